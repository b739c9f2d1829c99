"""`mobilebert-export benchmark`, on the real emulation."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from mobilebert_benchmarks.emulation.setup import ArmSide
from mobilebert_benchmarks.errors import BaselineError, ModelError, RegressionError, SetupError, UnknownCoreError
from mobilebert_benchmarks.table import Table
from typer.testing import CliRunner, Result

from mobilebert_export.cli.benchmark import _fitting, _lengths, benchmark


def invoke(*arguments: object) -> Result:
    app = typer.Typer()
    app.command()(benchmark)
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, list(map(str, arguments)))


def program(*arguments: object, **environment: str) -> tuple[int, str]:
    """The real entry point: its exit code and what it says on standard error."""
    command = [str(Path(sys.executable).with_name("mobilebert-export")), *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=300, check=False
    )
    return done.returncode, done.stderr


def test_mistakes_are_found_before_anything_is_emulated(demo_float: Path, tmp_path: Path) -> None:
    assert isinstance(invoke(demo_float, "--cpu", "cortex-a77").exception, UnknownCoreError)
    assert isinstance(invoke(tmp_path / "none.tflite").exception, ModelError)
    assert isinstance(invoke(demo_float, "--baseline", tmp_path / "none.json").exception, BaselineError)
    assert invoke(demo_float, "--update-baseline").exit_code == 2
    assert invoke().exit_code == 2


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
    path.write_text(json.dumps(content))
    assert "got qemu 7.2.0" in str(invoke(*call).exception)
    assert invoke(*call, "--update-baseline").exit_code == 0
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
def test_texts_weigh_the_count(arm: ArmSide, demo_float: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "what is my balance"}\n')
    result = invoke(demo_float, "--cpu", "cortex-a76", "--data", path, "--json")
    content = json.loads(result.stdout)
    (counted,), (mean,) = content["results"], content["weighted"]
    assert mean["instructions_per_inference"] == counted["instructions_per_inference"]
    assert mean["shares"] == {"16": 1.0}
    assert counted["delegation"]["whole"]
    assert content["versions"]["libc"] == arm.versions.libc
