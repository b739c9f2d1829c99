"""`mobilebert-export benchmark`, on the real emulation."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest
import typer
from mobilebert_benchmarks.baseline import TOLERANCE
from mobilebert_benchmarks.emulation.setup import ArmSide
from mobilebert_benchmarks.errors import BaselineError, ModelError, RegressionError, SetupError, UnknownCoreError
from mobilebert_benchmarks.table import Table
from mobilebert_reference import load_checkpoint
from mobilebert_reference.demo import CHECKPOINT
from typer.testing import CliRunner, Result

from mobilebert_export.cli.benchmark import _fitting, _lengths, benchmark
from mobilebert_export.errors import UsageError
from mobilebert_export.export import export_tflite
from mobilebert_export.precisions import Precision
from tests.mobilebert_benchmarks.model_files import write_merged, write_relu


def invoke(*arguments: object) -> Result:
    app = typer.Typer()
    app.command()(benchmark)
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, list(map(str, arguments)))


def program(*arguments: object, stdout: IO[str] | int = subprocess.PIPE, **environment: str) -> tuple[int, str]:
    """The real entry point: its exit code and what it says on standard error."""
    command = [str(Path(sys.executable).with_name("mobilebert-export")), *map(str, arguments)]
    done = subprocess.run(
        command,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
        timeout=300,
        check=False,
    )
    return done.returncode, done.stderr


def test_mistakes_are_found_before_anything_is_emulated(demo_float: Path, tmp_path: Path) -> None:
    assert isinstance(invoke(demo_float, "--cpu", "cortex-a77").exception, UnknownCoreError)
    assert isinstance(invoke(tmp_path / "none.tflite").exception, ModelError)
    assert isinstance(invoke(demo_float, "--baseline", tmp_path / "none.json").exception, BaselineError)
    assert invoke(demo_float, "--update-baseline").exit_code == 2
    assert invoke().exit_code == 2


def test_a_baseline_that_cannot_be_written_is_told_before_anything_is_counted(
    demo_float: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # nothing could be counted
    result = invoke(demo_float, "--baseline", tmp_path / "none" / "counts.json", "--update-baseline")
    assert isinstance(result.exception, UsageError)
    assert "expected an output in a directory that exists" in str(result.exception)


def test_what_was_measured_is_in_its_file_though_it_cannot_be_printed(demo_float: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    command = ["benchmark", demo_float, "--cpu", "host", "--runs", 5, "--report", page]
    with Path("/dev/full").open("w") as full:
        code, said = program(*command, stdout=full)
    assert (code, said.count("\n")) == (2, 1)
    assert "<svg" in page.read_text()


def test_two_models_of_one_name_are_refused(demo_float: Path, tmp_path: Path) -> None:
    (tmp_path / demo_float.name).write_bytes(demo_float.read_bytes())
    result = invoke(demo_float, tmp_path / demo_float.name)
    assert isinstance(result.exception, ModelError)
    assert "got demo-none 2 times" in str(result.exception)


def test_without_the_arm_side_it_says_what_to_install(
    demo_float: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = invoke(demo_float, "--cpu", "cortex-a76")
    assert isinstance(result.exception, SetupError)
    assert "mobilebert-export setup-arm --install" in str(result.exception)


@pytest.mark.slow
def test_json_is_one_object_with_an_integer_for_each_model_and_core(arm: ArmSide, demo_float: Path) -> None:
    result = invoke(demo_float, "--cpu", "cortex-a76", "--cpu", "cortex-a53", "--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert [(each["model"], each["cpu"]) for each in report["results"]] == [
        ("demo-none", "cortex-a76"),
        ("demo-none", "cortex-a53"),
    ]
    for each in report["results"]:
        assert type(each["instructions_per_inference"]) is int
        assert each["instructions_per_inference"] == sum(each["mix"].values())
    assert report["versions"]["qemu"] == arm.versions.qemu


@pytest.mark.slow
def test_models_are_compared_with_the_first(arm: ArmSide, demo_float: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.tflite"
    copy.write_bytes(demo_float.read_bytes())
    shown = invoke(demo_float, copy, "--cpu", "cortex-a76").stdout
    assert arm.versions.libc in shown
    assert "cortex-a76: " in shown
    first, second = (line for line in shown.splitlines() if line.startswith(("demo-none", "copy")))
    assert first.split()[1:] == second.split()[1:]
    assert " 1.000 " in second


@pytest.mark.slow
def test_the_gate(arm: ArmSide, demo_float: Path, tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    call = (demo_float, "--cpu", "cortex-a76", "--baseline", path)
    assert invoke(*call, "--update-baseline").exit_code == 0
    content = json.loads(path.read_text())
    assert content["versions"]["litert"] == arm.versions.litert
    assert invoke(*call).exit_code == 0

    before = content["instructions_per_inference"]["demo-none"]["cortex-a76"]
    content["instructions_per_inference"]["demo-none"]["cortex-a76"] = before * 99 // 100
    path.write_text(json.dumps(content))
    worse = invoke(*call)
    assert isinstance(worse.exception, RegressionError)
    assert "demo-none on cortex-a76 +1.0" in str(worse.exception)
    code, said = program("benchmark", *call)
    assert (code, said.count("\n")) == (1, 1)
    assert "demo-none on cortex-a76 +1.0" in said
    assert "cortex-a76: " in worse.stdout  # what was counted is shown all the same

    content["versions"]["qemu"] = "7.2.0"
    content["instructions_per_inference"]["other"] = {"cortex-a76": 5}
    path.write_text(json.dumps(content))
    assert "got qemu 7.2.0" in str(invoke(*call).exception)
    updated = invoke(*call, "--update-baseline", "--json")
    (warning,) = json.loads(updated.stdout)["warnings"]
    assert warning.startswith("counts made with qemu 7.2.0 (here ")
    assert warning.endswith("are dropped from the baseline: of other")
    assert json.loads(path.read_text())["instructions_per_inference"]["demo-none"]["cortex-a76"] == before


def test_exit_codes_of_the_program(demo_float: Path, tmp_path: Path) -> None:
    code, said = program("benchmark", demo_float, "--cpu", "cortex-a77")
    assert code == 2
    assert said.startswith("mobilebert-export: expected a CPU among cortex-a53,")
    assert said.count("\n") == 1
    assert program("benchmark", tmp_path / "none.tflite")[0] == 2
    assert program("setup-arm", "--check", PATH=str(tmp_path))[0] == 1
    code, said = program("setup-arm", PATH=str(tmp_path))
    assert (code, said.count("\n")) == (2, 1)


def test_the_host_alone_needs_no_arm_side(demo_float: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    page = tmp_path / "report.html"
    result = invoke(demo_float, "--cpu", "host", "--runs", 5, "--json", "--report", page)
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert (content["results"], content["versions"]) == ([], None)
    assert [each["threads"] for each in content["timed"]] == [1, 2]
    # Without a compiler there is no profiler, which is said.
    assert [each["operators_ms"] for each in content["timed"]] == [{}, {}]
    assert "no times by operator: expected gcc, which is not installed" in content["warnings"]
    assert "<svg" in page.read_text()
    refused = invoke(demo_float, "--cpu", "host", "--report", page)
    assert refused.exit_code != 0


def test_options_that_contradict_each_other_are_refused(demo_float: Path, tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    assert invoke(demo_float, "--baseline", path, "--data", path).exit_code == 2
    assert invoke(demo_float, "--baseline", path, "--update-baseline", "--cpu", "host").exit_code == 2
    refused = invoke(demo_float, "--cpu", "host", "--checkpoint", tmp_path)
    assert refused.exit_code == 2
    assert "--data" in refused.output


def test_texts_are_measured_in_tokens_of_the_demo(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "what is my balance"}\n{"text": "' + "hello " * 300 + '"}\n')
    assert _lengths(path, None) == (6, 302)


def test_texts_weigh_the_times_of_the_host(demo_float: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "what is my balance"}\n')
    result = invoke(demo_float, "--cpu", "host", "--runs", 5, "--data", path, "--json")
    content = json.loads(result.stdout)
    assert [each["threads"] for each in content["weighted_times"]] == [1, 2]
    assert [each["mean_ms"] for each in content["weighted_times"]] == [each["median_ms"] for each in content["timed"]]
    assert content["texts"] == {"count": 1, "longest": 6, "tokenizer": "the demo"}
    assert type(content["host_load"]) is float


def test_a_model_that_cannot_be_profiled_takes_no_times_along(demo_float: Path, tmp_path: Path) -> None:
    relu = write_relu(tmp_path / "relu.tflite")
    result = invoke(relu, demo_float, "--cpu", "host", "--runs", 5, "--json")
    content = json.loads(result.stdout)
    assert [(each["model"], each["median_ms"] > 0) for each in content["timed"]] == [
        ("relu", True),
        ("demo-none", True),
    ] * 2
    assert "no times by operator for relu: input x has element type 1, not int32 or int64" in content["warnings"]


@pytest.mark.parametrize("width", [20, 40, 80, 100, 1000])
def test_every_cell_of_a_table_is_whole_at_any_width(width: int) -> None:
    from rich.console import Console

    names = [f"a-model-of-{number}-letters" for number in range(9)]
    table = Table("title", ("operator", *names), (("Fully Connected", *(f"{number},000.00 M" for number in range(9))),))
    console = Console(width=width, record=True, file=io.StringIO())
    for part in _fitting(table, console):
        console.print(part, crop=False)
    lines = console.export_text().splitlines()
    for text in (*names, *table.rows[0][1:]):
        assert sum(text in line for line in lines) == 1
    assert all(len(line) <= max(width, 40) for line in lines)  # the widest two columns need as much
    assert sum("Fully Connected" in line for line in lines) == sum("operator" in line for line in lines)


@pytest.mark.slow
def test_texts_weigh_the_signatures_of_a_file(arm: ArmSide, demo_float: Path, tmp_path: Path) -> None:
    """A file of two lengths beside files of one of them: each text is counted at the length that holds it."""
    long = tmp_path / "long.tflite"
    export_tflite(load_checkpoint(CHECKPOINT), long, precision=Precision.NONE, sequence_length=32)
    both = write_merged(demo_float, long, tmp_path / "both.tflite")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "what is my balance"}\n' * 3 + '{"text": "' + "hello " * 20 + '"}\n')
    result = invoke(both, demo_float, long, "--cpu", "cortex-a76", "--data", rows, "--json")
    content = json.loads(result.stdout)
    counts = {(each["model"], each["length"]): each["instructions_per_inference"] for each in content["results"]}
    assert set(counts) == {("both", 16), ("both", 32), ("demo-none", 16), ("long", 32)}
    assert all(each["delegation"]["whole"] for each in content["results"])
    # One more graph in the file costs an inference next to nothing.
    assert counts["both", 16] == pytest.approx(counts["demo-none", 16], rel=TOLERANCE)
    assert counts["both", 32] == pytest.approx(counts["long", 32], rel=TOLERANCE)
    assert 1.5 * counts["both", 16] < counts["both", 32]
    means = {each["model"]: each for each in content["weighted"]}
    assert means["both"]["shares"] == {"16": 0.75, "32": 0.25}
    assert means["both"]["instructions_per_inference"] == round(0.75 * counts["both", 16] + 0.25 * counts["both", 32])
    assert [means[model]["cut"] for model in ("both", "demo-none", "long")] == [0.0, 0.25, 0.0]
    (warning,) = content["warnings"]
    assert warning.startswith("1 of 4 texts are longer than the 16 tokens of demo-none")
    assert content["versions"]["libc"] == arm.versions.libc


@pytest.mark.slow
def test_a_phone_is_measured_by_way_of_adb(
    arm: ArmSide, demo_float: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No phone is here: adb is a script that runs nothing, and says what the runner would."""
    said = {"peak_kib": 2048, "first_answer_ns": 9_000_000, "cpu_ns": 2_000_000, "times_ns": [2_000_000]}
    adb = tmp_path / "adb"
    adb.write_text(f"""#!/bin/sh
echo "$@" >> {tmp_path}/log
case "$*" in
  *get-state) echo device;;
  *push*) [ -e "$4" ];;
  *./runner*) echo '{json.dumps(said)}';;
esac
""")
    adb.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    result = invoke(demo_float, "--adb", "emulator-5554", "--runs", 5, "--json")
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert (content["results"], content["host_load"]) == ([], None)
    assert [(each["cpu"], each["threads"], each["median_ms"]) for each in content["timed"]] == [
        ("adb:emulator-5554", 1, 2.0),
        ("adb:emulator-5554", 2, 2.0),
    ]
    calls = (tmp_path / "log").read_text().splitlines()
    assert any(f" push {arm.runner} " in call for call in calls)
    assert any(f" push {demo_float} " in call for call in calls)


@pytest.mark.parametrize("option", ["--report", "--baseline"])
def test_output_that_is_an_input_is_refused_before_anything_runs(option: str, demo_float: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.tflite"
    model.write_bytes(demo_float.read_bytes())
    options = ["--update-baseline"] if option == "--baseline" else ["--overwrite"]
    refused = invoke(model, option, model, "--cpu", "cortex-a76", *options)
    assert isinstance(refused.exception, UsageError)
    assert f"got {model} as {option}, which is an input" in str(refused.exception)
    assert model.read_bytes() == demo_float.read_bytes()


def test_report_and_baseline_in_one_file_are_refused(demo_float: Path, tmp_path: Path) -> None:
    both = tmp_path / "both.json"
    options = ["--cpu", "cortex-a76", "--update-baseline", "--overwrite"]
    refused = invoke(demo_float, "--report", both, "--baseline", both, *options)
    assert isinstance(refused.exception, UsageError)
    assert "one for both" in str(refused.exception)
