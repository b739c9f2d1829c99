"""The script that makes the committed table and baseline."""

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from mobilebert_benchmarks.counting import count
from mobilebert_benchmarks.emulation.setup import ArmSide
from mobilebert_benchmarks.errors import GuestError
from typer import Typer
from typer.testing import CliRunner, Result

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def arm_counts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("arm_counts")
    if not module.TEXT.exists():
        pytest.skip("needs the texts of ../shared/data")
    return module


def invoke(arm_counts: ModuleType, *arguments: object) -> Result:
    app = Typer()
    app.command()(arm_counts.main)
    return CliRunner().invoke(app, ["--no-full-size", "--precision", "none", *map(str, arguments)])


@pytest.mark.slow
def test_what_fails_later_loses_no_count(
    arm: ArmSide, arm_counts: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*arguments: Any) -> Iterator[object]:
        counted = count(*arguments)
        yield next(counted)
        counted.close()  # type: ignore[attr-defined]
        raise GuestError("the second one fails")

    monkeypatch.setattr(arm_counts, "count", failing)
    result = invoke(arm_counts, "--results", tmp_path)
    assert isinstance(result.exception, GuestError), result.output
    baseline = json.loads((tmp_path / "arm-baseline.json").read_text())
    assert baseline["versions"] == vars(arm.versions)
    ((core, instructions),) = baseline["instructions_per_inference"]["demo-none"].items()
    table = (tmp_path / "arm.txt").read_text()
    assert f"\n{core}: " in table
    assert f"{instructions / 1e6:,.2f} M" in table


def test_without_a_directory_for_the_results_nothing_is_exported(arm_counts: ModuleType, tmp_path: Path) -> None:
    assert invoke(arm_counts, "--results", tmp_path / "none").exit_code == 2
