"""The harness: every model on every core that was asked for."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from mobilebert_benchmarks.cores import HOST, cores
from mobilebert_benchmarks.counting import count
from mobilebert_benchmarks.emulation.setup import ArmSide
from mobilebert_benchmarks.errors import ModelError, SetupError
from mobilebert_benchmarks.host.measure import busy, with_operators
from mobilebert_benchmarks.host.measure import measure as measure_host
from mobilebert_benchmarks.host.profile import runner
from mobilebert_benchmarks.model_file import ModelFile, read_model
from mobilebert_benchmarks.phone import Phone
from mobilebert_benchmarks.phone import measure as measure_phone
from mobilebert_benchmarks.results import CoreResult, Report, Texts, TimedResult
from mobilebert_benchmarks.traffic import too_long, traffic, weighted, weighted_times


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
    tokenizer: str = "",
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
        tokenizer: whose tokenizer counted those tokens.
        progress: is told what happens.

    Raises:
        BenchmarkError: the phone fails, a model is refused, or the guest is not what it should be.
    """
    asked = {model.name: traffic(model, lengths) for model in models}
    each = [(model, signature) for model in models for signature in asked[model.name].shares]
    timed: tuple[TimedResult, ...] = ()
    warnings = list(filter(None, (too_long(model, asked[model.name]) for model in models)))
    host_load = os.getloadavg()[0] if HOST in cpus else None  # before this makes it busy
    if host_load is not None:
        timed = measure_host(each, runs, progress)
        warnings += filter(None, [busy(host_load)])
        try:
            timed, silent = with_operators(timed, each, runs, runner(), progress)
            warnings += silent
        except SetupError as error:
            warnings.append(f"no times by operator: {error}")
    if arm is not None and phone is not None:
        timed = (*timed, *measure_phone(phone, arm, each, runs, progress))
    results: tuple[CoreResult, ...] = ()
    if arm is not None:
        emulated = [cores()[name] for name in cpus if name != HOST]
        results = tuple(count(arm, [(core, *model) for core in emulated for model in each], progress))
    return Report(
        versions=arm.versions if arm is not None else None,
        results=results,
        weighted=weighted(results, asked) if lengths else (),
        timed=timed,
        weighted_times=weighted_times(timed, asked) if lengths else (),
        texts=Texts(len(lengths), max(lengths), tokenizer) if lengths else None,
        host_load=host_load,
        warnings=tuple(warnings),
    )
