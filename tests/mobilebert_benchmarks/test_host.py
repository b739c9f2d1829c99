"""Measurements on this machine: real processes, real models, and models that crash them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from mobilebert_benchmarks.errors import HostError, ModelError, SetupError
from mobilebert_benchmarks.host import measure as host
from mobilebert_benchmarks.host import profile
from mobilebert_benchmarks.host.process import Worker
from mobilebert_benchmarks.model_file import read_model

from tests.mobilebert_benchmarks.model_files import write_relu


def test_every_model_is_measured_with_one_and_two_threads(demo_float: Path, demo_dynamic: Path) -> None:
    models = [read_model(path) for path in (demo_float, demo_dynamic)]
    results = host.measure([(model, model.signatures[-1]) for model in models], runs=12)
    assert [(result.model, result.threads) for result in results] == [
        ("demo-none", 1),
        ("demo-dynamic", 1),
        ("demo-none", 2),
        ("demo-dynamic", 2),
    ]
    for result in results:
        assert result.runs == 15  # the same number in each of 5 rounds
        assert 0 < result.median_ms <= result.p90_ms
        assert result.cpu_ms > 0
        assert result.spread >= 0
        assert result.cold_start_ms > result.median_ms
        json.dumps(vars(result))


def test_the_operators_take_about_as_long_as_the_inference(demo_float: Path, tmp_path: Path) -> None:
    program = profile.runner(tmp_path)
    assert profile.runner(tmp_path) == program
    model = read_model(demo_float)
    models = [(model, model.signatures[-1])]
    results, warnings = host.with_operators(host.measure(models, runs=25), models, 25, program)
    assert [each.threads for each in results] == [1, 2]
    assert warnings == ()
    result = results[0]
    names = list(result.operators_ms)
    assert names[0].startswith("Fully Connected")
    assert {"GATHER", "Softmax (NC, F32)"} <= set(names)
    # Two runs at different times on a machine that others use; another unit would be a thousand times off.
    assert 0.1 * result.median_ms < sum(result.operators_ms.values()) < 10 * result.median_ms


def test_what_cannot_be_profiled_keeps_its_times_and_says_why(demo_float: Path, tmp_path: Path) -> None:
    files = [read_model(each) for each in (write_relu(tmp_path / "relu.tflite"), demo_float)]
    models = [(model, model.signatures[-1]) for model in files]
    timed = host.measure(models, runs=5)
    results, warnings = host.with_operators(timed, models, 5, profile.runner(tmp_path))
    assert [replace(result, operators_ms={}) for result in results] == list(timed)
    assert [(result.model, bool(result.operators_ms)) for result in results] == [
        ("relu", False),
        ("demo-none", True),
    ] * 2
    assert warnings == ("no times by operator for relu: input x has element type 1, not int32 or int64",)


def test_another_release_of_litert_is_not_profiled(monkeypatch: pytest.MonkeyPatch) -> None:
    assert profile.library().is_file()
    monkeypatch.setattr(profile, "VERSION", "2.2.0")
    with pytest.raises(SetupError, match=r"expected ai-edge-litert 2.2.0, got 2"):
        profile.library()


def test_a_profile_that_fails_is_one_line(demo_float: Path, tmp_path: Path) -> None:
    silent = tmp_path / "runner"
    silent.write_text("#!/bin/sh\n")
    silent.chmod(0o755)
    model = read_model(demo_float)
    with pytest.raises(HostError, match=r"expected the operators of demo-none from the runner, got: ") as raised:
        profile.operators_ms(silent, model, model.signatures[-1], 1, 5)
    assert "\n" not in str(raised.value)


def test_memory_is_the_models_and_not_that_of_who_measures(demo_float: Path) -> None:
    model = read_model(demo_float)
    with Worker(model, model.signatures[-1], 1) as worker:
        peak = worker.run(1)["peak_bytes"]
    # Weights are mapped and packed once more; the rest is code of the runtime and some arenas.
    size = demo_float.stat().st_size
    assert size < peak < 3 * size + (32 << 20)


def test_a_model_that_crashes_its_process_is_one_line(demo_float: Path, tmp_path: Path) -> None:
    model = read_model(demo_float)
    cut = tmp_path / "demo-none.tflite"
    cut.write_bytes(demo_float.read_bytes())
    model = replace(model, path=cut)
    cut.write_bytes(demo_float.read_bytes()[:20_000])  # after it was read: its weights are beyond the end
    with pytest.raises(ModelError, match=r"expected a model that LiteRT runs, got demo-none: exit code") as raised:
        Worker(model, model.signatures[-1], 1)
    assert "\n" not in str(raised.value)


def test_a_process_that_does_not_answer_is_stopped(demo_float: Path) -> None:
    model = read_model(demo_float)
    with pytest.raises(HostError, match=r"expected demo-none to answer within 0 s"):
        Worker(model, model.signatures[-1], 1, timeout=0.001)


@pytest.mark.parametrize(("load", "warned"), [(0.1, False), (3.0, True)])
def test_a_busy_machine_is_told(load: float, warned: bool) -> None:
    warning = host.busy(load)
    assert (warning is not None) is warned
    if warning:
        assert "a load of 3.0" in warning
