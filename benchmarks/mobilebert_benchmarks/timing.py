"""Times of inferences, summed up the same way wherever they were taken.

Models take turns in rounds, so that what disturbs one disturbs all.
"""

from collections.abc import Mapping, Sequence
from statistics import median, quantiles
from typing import Any

from mobilebert_benchmarks.results import TimedResult

ROUNDS = 5


def each_round(runs: int) -> int:
    """How many inferences a round has, for `runs` or a few more in all."""
    return -(-runs // ROUNDS)


def summary(
    model: str, cpu: str, length: int, threads: int, cold_start_ns: int, rounds: Sequence[Mapping[str, Any]]
) -> TimedResult:
    """Of rounds with `times_ns` of each inference, `cpu_ns` of all of them, and `peak_bytes` so far."""
    times = [nanoseconds / 1e6 for seen in rounds for nanoseconds in seen["times_ns"]]
    medians = [median(seen["times_ns"]) / 1e6 for seen in rounds]
    return TimedResult(
        model=model,
        cpu=cpu,
        length=length,
        threads=threads,
        runs=len(times),
        median_ms=median(times),
        p90_ms=quantiles(times, n=10, method="inclusive")[-1],
        cpu_ms=sum(seen["cpu_ns"] for seen in rounds) / len(times) / 1e6,
        spread=(max(medians) - min(medians)) / median(times),
        cold_start_ms=cold_start_ns / 1e6,
        peak_memory_bytes=max(seen["peak_bytes"] for seen in rounds),
    )
