"""The harness: every model on every core that was asked for."""

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

from mobilebert_benchmarks.cores import HOST, cores
from mobilebert_benchmarks.emulation.measure import measure
from mobilebert_benchmarks.emulation.setup import ArmSide
from mobilebert_benchmarks.errors import ModelError, SetupError
from mobilebert_benchmarks.host.measure import busy
from mobilebert_benchmarks.host.measure import measure as measure_host
from mobilebert_benchmarks.host.profile import runner
from mobilebert_benchmarks.model_file import ModelFile, read_model
from mobilebert_benchmarks.phone import Phone
from mobilebert_benchmarks.phone import measure as measure_phone
from mobilebert_benchmarks.results import CoreResult, Report, TimedResult
from mobilebert_benchmarks.traffic import shares, weighted, weighted_times


def read_models(paths: Sequence[Path]) -> tuple[ModelFile, ...]:
    """Reads the files.

    Raises:
        ModelError: one cannot be read, or two have the same name.
    """
    models = tuple(read_model(path) for path in paths)
    names = [model.name for model in models]
    for name in names:
        if names.count(name) > 1:
            raise ModelError(
                f"expected models with names of their own, got {name} {names.count(name)} times; rename one"
            )
    return models


def run(
    arm: ArmSide | None,
    models: Sequence[ModelFile],
    cpus: Sequence[str],
    *,
    runs: int,
    phone: Phone | None = None,
    lengths: Sequence[int] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Counts every model on every emulated core among `cpus`, and measures on this machine if `host` is one of them.

    Args:
        arm: the emulated side; None emulates nothing.
        models: the files.
        cpus: names of cores; `known` has checked them.
        runs: inferences to time on this machine and the phone.
        phone: to measure on too; needs `arm`, whose runner it is given.
        lengths: of the texts that weigh the results, in tokens; without any, each file's longest signature is measured.
        progress: is told what happens.

    Raises:
        BenchmarkError: the phone fails, a model is refused, or the guest is not what it should be.
    """
    taken = {model.name: shares(model, lengths) for model in models}
    each = [(model, signature) for model in models for signature in taken[model.name]]
    timed: list[TimedResult] = []
    warnings: list[str] = []
    if HOST in cpus:
        warnings += filter(None, [busy()])  # before this makes it busy
        try:
            profiler = runner()
        except SetupError as error:
            profiler = None
            warnings.append(f"no times by operator: {error}")
        timed += measure_host(each, runs, progress, profiler=profiler)
    if arm is not None and phone is not None:
        timed += measure_phone(phone, arm, each, runs, progress)
    results: list[CoreResult] = []
    emulated = [cores()[name] for name in cpus if name != HOST]
    if arm is not None:
        for core, (model, signature) in product(emulated, each):
            progress(f"counting {model.name} on {core.name}")
            results.append(measure(arm, core, model, signature))
    return Report(
        versions=arm.versions if arm is not None else None,
        results=tuple(results),
        weighted=weighted(results, taken) if lengths else (),
        timed=tuple(timed),
        weighted_times=weighted_times(timed, taken) if lengths else (),
        warnings=tuple(warnings),
    )
