"""Results side by side: a table for each core, a row for each model, ratios to the first."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mobilebert_benchmarks.cores import cores
from mobilebert_benchmarks.emulation.delegation import Delegation
from mobilebert_benchmarks.emulation.instructions import Kind
from mobilebert_benchmarks.results import CoreResult, Report, TimedResult, Weighted

_Result = TypeVar("_Result")

# The kinds that tell how a model multiplies, and what it spends beside.
_SHOWN = {
    "matrix": Kind.MATRIX_MULTIPLY,
    "dot": Kind.DOT_PRODUCT,
    "int mul": Kind.INTEGER_MULTIPLY,
    "fma": Kind.FLOAT_MULTIPLY_ADD,
    "load": Kind.LOAD,
}


@dataclass(frozen=True)
class Table:
    """Text, cell by cell. The first column is set to the left, the others are numbers.

    Attributes:
        title: what is compared.
        columns: their names.
        rows: a cell for each column.
        bars: for each row the number that a chart shows, in the unit of the second column.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    bars: tuple[float, ...]


def tables(report: Report) -> tuple[Table, ...]:
    """A table for each core, one for each core's mean over the texts, one for each number of threads on the host."""
    shown = [_table(cpu, results) for cpu, results in _grouped(report.results, lambda result: result.cpu)]
    shown += [_weighted(cpu, results) for cpu, results in _grouped(report.weighted, lambda result: result.cpu)]
    places = _grouped(report.timed, lambda result: f"{result.cpu}, threads: {result.threads}")
    shown += [_timed(title, results) for title, results in places]
    return tuple(shown)


def _grouped(results: Sequence[_Result], key: Callable[[_Result], str]) -> list[tuple[str, list[_Result]]]:
    groups: dict[str, list[_Result]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    return list(groups.items())


def _table(cpu: str, results: Sequence[CoreResult]) -> Table:
    levels = tuple(f"L{level + 1} misses" for level in range(len(results[0].cache_misses)))
    columns = (
        "model",
        "instructions",
        "tokens",
        "ratio",
        *_SHOWN,
        *levels,
        "memory",
        "set-up",
        "partitions",
        "outside",
    )
    first = results[0].instructions_per_inference
    rows = tuple(_row(result, first) for result in results)
    bars = tuple(result.instructions_per_inference / 1e6 for result in results)
    return Table(f"{cpu}: {cores()[cpu].phones}", columns, rows, bars)


def _weighted(cpu: str, results: Sequence[Weighted]) -> Table:
    first = results[0].instructions_per_inference
    rows = tuple(
        (
            result.model,
            f"{result.instructions_per_inference / 1e6:,.2f} M",
            f"{result.instructions_per_inference / first:.3f}",
            ", ".join(f"{length}: {share:.0%}" for length, share in result.shares.items()),
        )
        for result in results
    )
    bars = tuple(result.instructions_per_inference / 1e6 for result in results)
    columns = ("model", "instructions", "ratio", "texts by tokens of their signature")
    return Table(f"{cpu}, mean over the texts given", columns, rows, bars)


def _timed(title: str, results: Sequence[TimedResult]) -> Table:
    columns = ("model", "median", "ratio", "p90", "CPU time", "spread", "cold start", "memory", "tokens", "runs")
    first = results[0].median_ms
    rows = tuple(
        (
            result.model,
            f"{result.median_ms:.2f} ms",
            f"{result.median_ms / first:.3f}",
            f"{result.p90_ms:.2f} ms",
            f"{result.cpu_ms:.2f} ms",
            f"{result.spread:.1%}",
            f"{result.cold_start_ms:.1f} ms",
            f"{result.peak_memory_bytes / 1e6:.1f} MB",
            str(result.length),
            str(result.runs),
        )
        for result in results
    )
    return Table(title, columns, rows, tuple(result.median_ms for result in results))


def _row(result: CoreResult, first: int) -> tuple[str, ...]:
    total = result.instructions_per_inference
    return (
        result.model,
        f"{total / 1e6:,.2f} M",
        str(result.length),
        f"{total / first:.3f}",
        *(f"{result.mix[kind] / total:.1%}" for kind in _SHOWN.values()),
        *(f"{misses / 1e3:,.0f} k" for misses in result.cache_misses),
        f"{result.peak_memory_bytes / 1e6:.1f} MB",
        f"{result.set_up_instructions / 1e6:,.1f} M",
        str(result.delegation.partitions),
        _outside(result.delegation),
    )


def _outside(delegation: Delegation) -> str:
    count = f"{sum(delegation.outside.values())}"
    return count if delegation.whole else f"{count} !"
