"""The gate: same versions, 0.1 %, every model and core named."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mobilebert_benchmarks.baseline import Baseline, compare, dropped, read_baseline, refuse_other_versions, updated
from mobilebert_benchmarks.emulation.delegation import Delegation
from mobilebert_benchmarks.emulation.instructions import Kind
from mobilebert_benchmarks.emulation.tools import Versions
from mobilebert_benchmarks.errors import BaselineError, RegressionError
from mobilebert_benchmarks.results import CoreResult

VERSIONS = Versions(qemu="7.2.22", libc="Debian GLIBC 2.36-8", litert="2.3.0")
BASELINE = Baseline(VERSIONS, {"model": {"cortex-a76": 1_000_000, "cortex-a53": 2_000_000}})


def result(instructions: int, model: str = "model", cpu: str = "cortex-a76") -> CoreResult:
    return CoreResult(
        model=model,
        cpu=cpu,
        length=16,
        instructions_per_inference=instructions,
        mix={kind: instructions if kind is Kind.LOAD else 0 for kind in Kind},
        accesses=1,
        cache_misses=(1,),
        peak_memory_bytes=4096,
        set_up_instructions=1,
        delegation=Delegation(1, 10, {"GATHER": 2}, whole=True),
        operators={"GATHER": 1},
        estimate="none here",
        output_hash="0" * 16,
    )


@pytest.mark.parametrize("instructions", [1_000_000, 1_001_000, 999_000, 500_000])
def test_within_a_thousandth_or_better_passes(instructions: int) -> None:
    compare(BASELINE, [result(instructions)])


def test_a_regression_names_model_core_and_by_how_much() -> None:
    with pytest.raises(RegressionError, match=r"got model on cortex-a76 \+0.20% \(1,000,000 to 1,002,000\); model on"):
        compare(BASELINE, [result(1_002_000), result(1_999_999, cpu="cortex-a53"), result(3_000_000, cpu="cortex-a53")])
    with pytest.raises(RegressionError):
        compare(BASELINE, [result(1_001_001)])


@pytest.mark.parametrize("missing", [{"model": "other"}, {"cpu": "cortex-a55"}])
def test_what_the_baseline_lacks_is_refused(missing: dict[str, str]) -> None:
    with pytest.raises(BaselineError, match=r"expected a baseline for .*use --update-baseline"):
        compare(BASELINE, [result(1, **missing)])


def test_a_regression_is_named_though_the_baseline_lacks_another_model() -> None:
    with pytest.raises(RegressionError, match=r"model on cortex-a76 \+0.20%"):
        compare(BASELINE, [result(1, model="other"), result(1_002_000)])


@pytest.mark.parametrize("name", ["qemu", "libc", "litert"])
def test_other_versions_are_refused_by_name(name: str) -> None:
    with pytest.raises(BaselineError, match=rf"got {name} {getattr(VERSIONS, name)} \(here other\); use"):
        refuse_other_versions(BASELINE, replace(VERSIONS, **{name: "other"}))
    refuse_other_versions(BASELINE, VERSIONS)


def test_an_update_keeps_what_was_not_measured(tmp_path: Path) -> None:
    new = updated(BASELINE, VERSIONS, [result(900_000), result(7, model="new")])
    assert new.instructions == {
        "model": {"cortex-a76": 900_000, "cortex-a53": 2_000_000},
        "new": {"cortex-a76": 7},
    }
    (tmp_path / "baseline.json").write_text(new.to_json())
    assert read_baseline(tmp_path / "baseline.json") == new


def test_an_update_by_other_versions_keeps_nothing() -> None:
    others = replace(VERSIONS, qemu="8.0.0")
    assert updated(BASELINE, others, [result(5)]) == Baseline(others, {"model": {"cortex-a76": 5}})
    assert updated(None, VERSIONS, [result(5)]) == Baseline(VERSIONS, {"model": {"cortex-a76": 5}})


def test_what_an_update_drops_is_told() -> None:
    before = replace(BASELINE, instructions={**BASELINE.instructions, "other": {"cortex-a76": 5}})
    every = [result(5), result(6, cpu="cortex-a53")]
    others = replace(VERSIONS, qemu="8.0.0")
    assert dropped(before, updated(before, VERSIONS, [result(5)])) is None
    for results, lost in ((every, "other"), (every[:1], "model, other")):
        assert dropped(before, updated(before, others, results)) == (
            f"counts made with qemu 7.2.22 (here 8.0.0) are dropped from the baseline: of {lost}"
        )


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[" * 100_000,
        "[]",
        "{}",
        '{"versions": {}, "instructions_per_inference": {}}',
        {"instructions_per_inference": {"model": {"cortex-a76": 0}}},
        {"instructions_per_inference": {"model": {"cortex-a76": True}}},
        {"instructions_per_inference": {"model": {"cortex-a76": 1.5}}},
        {"instructions_per_inference": {"model": 3}},
        {"instructions_per_inference": []},
        {"versions": {"qemu": 7, "libc": "", "litert": ""}},
        {"versions": {"qemu": "7", "libc": "", "litert": "", "more": ""}},
        b"\xff\xfe",
    ],
)
def test_another_file_is_one_line(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "baseline.json"
    if isinstance(content, dict):
        content = json.dumps({**json.loads(BASELINE.to_json()), **content})
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(
        BaselineError, match=r"expected a baseline of this command, got .*; remove it and use --update-baseline"
    ):
        read_baseline(path)


def test_no_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BaselineError, match=r"none.json, which does not exist; make it with --update-baseline$"):
        read_baseline(tmp_path / "none.json")
