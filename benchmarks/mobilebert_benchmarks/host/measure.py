"""Times on this machine: the models take turns, so that what disturbs one disturbs all."""

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

from mobilebert_benchmarks.cores import HOST
from mobilebert_benchmarks.errors import HostError
from mobilebert_benchmarks.host import profile
from mobilebert_benchmarks.host.process import Worker
from mobilebert_benchmarks.model_file import ModelFile, Signature
from mobilebert_benchmarks.results import TimedResult
from mobilebert_benchmarks.timing import ROUNDS, each_round, summary

THREADS = (1, 2)
_BUSY_LOAD = 0.5


def measure(
    models: Sequence[tuple[ModelFile, Signature]],
    runs: int,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[TimedResult, ...]:
    """Every model with every number of threads, about `runs` inferences of each.

    Args:
        models: the files, each with what to run of it.
        runs: inferences to time.
        progress: is told what happens.

    Raises:
        ModelError: LiteRT refuses a model, or crashes on it.
        HostError: a process does not answer.
    """
    share = each_round(runs)
    results: list[TimedResult] = []
    for threads in THREADS:
        with ExitStack() as stack:
            workers = []
            for model, signature in models:
                progress(f"loading {model.name}")
                workers.append(stack.enter_context(Worker(model, signature, threads)))
            rounds: list[list[dict[str, Any]]] = [[] for _ in workers]
            for turn in range(ROUNDS):
                progress(f"measuring with {threads} threads, round {turn + 1} of {ROUNDS}")
                for seen, worker in zip(rounds, workers, strict=True):
                    seen.append(worker.run(share))
            results += [
                summary(model.name, HOST, signature.length, threads, worker.loaded["cold_start_ns"], seen)
                for (model, signature), worker, seen in zip(models, workers, rounds, strict=True)
            ]
    return tuple(results)


def with_operators(
    results: Sequence[TimedResult],
    models: Sequence[tuple[ModelFile, Signature]],
    runs: int,
    profiler: Path,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[tuple[TimedResult, ...], tuple[str, ...]]:
    """The results of `measure` with their times by operator, of runs of their own, and what to warn of.

    Args:
        results: of the models, in the order in which `measure` gives them.
        models: the files, each with what was run of it.
        runs: inferences to profile.
        profiler: the runner that lists times by operator.
        progress: is told what happens.
    """
    profiled, warnings = [], []
    for result, (model, signature) in zip(results, cycle(models), strict=False):
        progress(f"measuring operators of {model.name} with {result.threads} threads")
        try:
            times = profile.operators_ms(profiler, model, signature, result.threads, runs)
        except HostError as error:
            times = {}
            warnings.append(f"no times by operator for {model.name}: {error}")
        profiled.append(replace(result, operators_ms=times))
    return tuple(profiled), tuple(dict.fromkeys(warnings))


def busy(load: float) -> str | None:
    """What to warn of if others use this machine, else None.

    Args:
        load: the mean number of processes at work in the minute before the measurement.
    """
    if load < _BUSY_LOAD:
        return None
    cpus = os.cpu_count() or 1
    return (
        f"this machine is busy: a load of {load:.1f} on {cpus} CPUs before the measurement; times are not to be trusted"
    )
