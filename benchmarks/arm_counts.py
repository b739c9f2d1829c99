"""Counts what every precision costs on every emulated core: the table and the baseline in `results/`.

Most of it is the full-size model, in float, which QEMU computes in software, and in int16, whose kernels are the plain
reference ones.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from full_size import SHARED, TRAINED
from mobilebert_benchmarks.baseline import dropped, read_baseline, updated
from mobilebert_benchmarks.benchmark import read_models
from mobilebert_benchmarks.cores import cores
from mobilebert_benchmarks.counting import count
from mobilebert_benchmarks.emulation.setup import set_up
from mobilebert_benchmarks.results import Report
from rich.console import Console

from mobilebert_export.cli.benchmark import show
from mobilebert_export.precisions import CALIBRATED, Precision

RESULTS = Path(__file__).parent / "results"
TEXT = SHARED / "data" / "clinc150_train.jsonl"
CALIBRATION_ROWS = 200
WIDTH = 190  # of the table, which goes into a file
# pip puts the command beside the interpreter.
COMMAND = Path(sys.executable).with_name("mobilebert-export")


def main(
    full_size: Annotated[bool, typer.Option(help="Also count the full-size model.")] = True,
    precision: Annotated[list[Precision] | None, typer.Option(help="Default: every one.")] = None,
    results: Annotated[Path, typer.Option(file_okay=False, exists=True, help="Where both files go.")] = RESULTS,
) -> None:
    """Export the models, count them on every core, and write the table and the baseline."""
    checkpoints: dict[str, Path | None] = {"demo": None, "full": TRAINED} if full_size else {"demo": None}
    arm = set_up(progress=_tell)
    with tempfile.TemporaryDirectory() as name:
        models = read_models(_exported(checkpoints, precision or list(Precision), Path(name)))
        wanted = [(core, model, model.signatures[-1]) for core in cores().values() for model in models]
        counted, path = [], results / "arm-baseline.json"
        before = baseline = read_baseline(path) if path.exists() else None
        for result in count(arm, wanted, _tell):
            # After each, so that what fails later loses none of those before it.
            counted.append(result)
            baseline = updated(baseline, arm.versions, [result])
            path.write_text(baseline.to_json(), encoding="utf-8")
            _write_table(Report(arm.versions, tuple(counted)), results / "arm.txt")
    if before and baseline and (lost := dropped(before, baseline)):
        _tell(lost)
    typer.echo((results / "arm.txt").read_text(encoding="utf-8"))


def _exported(checkpoints: dict[str, Path | None], precisions: Sequence[Precision], directory: Path) -> list[Path]:
    text = directory / "text.jsonl"
    lines = TEXT.read_text(encoding="utf-8").splitlines(keepends=True)
    text.write_text("".join(lines[:: len(lines) // CALIBRATION_ROWS]), encoding="utf-8")
    files = []
    for label, checkpoint in checkpoints.items():
        for precision in precisions:
            file = directory / f"{label}-{precision.value}.tflite"
            _tell(f"exporting {file.stem}")
            fitted_to = ["--calibration", text] if precision in CALIBRATED else []
            arguments = [*([checkpoint] if checkpoint else []), "--quantize", precision.value, *fitted_to]
            command = [COMMAND, "tflite", *arguments, "--output", file]
            subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
            files.append(file)
    return files


def _write_table(report: Report, path: Path) -> None:
    command = " ".join(["python benchmarks/arm_counts.py", *sys.argv[1:]])
    with path.open("w", encoding="utf-8") as file:
        file.write(f"{command}\n\n")
        show(report, Console(file=file, width=WIDTH, markup=False, highlight=False, emoji=False))


def _tell(what: str) -> None:
    typer.echo(what, err=True)


if __name__ == "__main__":
    typer.run(main)
