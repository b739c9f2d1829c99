"""The harness: every model on every core that was asked for."""

from collections.abc import Callable, Sequence
from pathlib import Path

from mobilebert_benchmarks.cores import HOST, cores
from mobilebert_benchmarks.emulation.measure import measure
from mobilebert_benchmarks.emulation.setup import ArmSide
from mobilebert_benchmarks.errors import ModelError
from mobilebert_benchmarks.host.measure import busy
from mobilebert_benchmarks.host.measure import measure as measure_host
from mobilebert_benchmarks.model_file import ModelFile, read_model
from mobilebert_benchmarks.phone import Phone
from mobilebert_benchmarks.phone import measure as measure_phone
from mobilebert_benchmarks.results import CoreResult, Report, Weighted
from mobilebert_benchmarks.traffic import shares, weighted


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
        lengths: of the texts that weigh the counts, in tokens; without any, each file's longest signature is counted.
        progress: is told what happens.

    Raises:
        BenchmarkError: the phone fails, a model is refused, or the guest is not what it should be.
    """
    warning = busy() if HOST in cpus else None  # before this makes it busy
    longest = [(model, model.signatures[-1]) for model in models]
    timed = measure_host(longest, runs, progress) if HOST in cpus else ()
    if arm is None:
        return Report(None, (), timed=timed, busy=warning)
    if phone is not None:
        timed += measure_phone(phone, arm, longest, runs, progress)
    results: list[CoreResult] = []
    means: list[Weighted] = []
    for name in (name for name in cpus if name != HOST):
        for model in models:
            progress(f"counting {model.name} on {name}")
            taken = shares(model, lengths) if lengths else {model.signatures[-1]: 1.0}
            counted = [measure(arm, cores()[name], model, signature) for signature in taken]
            results += counted
            if lengths:
                means.append(weighted(counted, {signature.length: share for signature, share in taken.items()}))
    return Report(arm.versions, tuple(results), tuple(means), timed, warning)
