"""What is committed and written of instruction counts is what is counted."""

import resource
from pathlib import Path

import pytest
from mobilebert_benchmarks.baseline import TOLERANCE, read_baseline, refuse_other_versions
from mobilebert_benchmarks.cores import cores
from mobilebert_benchmarks.emulation.measure import measure
from mobilebert_benchmarks.emulation.setup import ArmSide
from mobilebert_benchmarks.errors import BaselineError
from mobilebert_benchmarks.model_file import read_model
from mobilebert_reference import load_checkpoint
from mobilebert_reference.demo import CHECKPOINT

from mobilebert_export.export import export_tflite
from mobilebert_export.precisions import Precision

ROOT = Path(__file__).parents[2]
BASELINE = ROOT / "benchmarks" / "results" / "arm-baseline.json"
MOST_SECONDS = 10  # of a processor, for the demo on one core


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the command exports it in int8. Which text it is fitted to changes numbers in the file, and no instruction."""
    path = tmp_path_factory.mktemp("committed") / "demo-int8.tflite"
    export_tflite(load_checkpoint(CHECKPOINT), path, precision=Precision.INT8)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("core", ["cortex-a76", "cortex-a53"])
def test_the_demo_counts_what_is_committed_in_ten_seconds(arm: ArmSide, demo: Path, core: str) -> None:
    baseline = read_baseline(BASELINE)
    try:
        refuse_other_versions(baseline, arm.versions)
    except BaselineError as error:
        pytest.skip(str(error))
    model = read_model(demo)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = measure(arm, cores()[core], model, model.signatures[-1])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < MOST_SECONDS
    # Either way: where fewer are needed, what is committed is to be renewed.
    committed = baseline.instructions["demo-int8"][core]
    assert result.instructions_per_inference == pytest.approx(committed, rel=TOLERANCE)


def test_the_table_of_the_readme_is_the_committed_baseline() -> None:
    """In millions, full size; a row for each precision, a column for each core."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## What it costs on a phone's core")[2]
    lines = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("|")]
    (_, *columns), _, *rows = ([cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines)
    assert columns == list(cores())
    baseline = read_baseline(BASELINE).instructions
    shown = {precision: numbers for precision, *numbers in rows}
    assert {"none", "dynamic", "int8", "int8-full", "int16"} <= shown.keys()
    for precision, numbers in shown.items():
        counts = baseline[f"full-{precision}"]
        assert numbers == [f"{round(counts[core] / 1e6):,}" for core in columns], precision
