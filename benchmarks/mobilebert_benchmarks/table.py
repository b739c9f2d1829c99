"""Results side by side: a row for each model, ratios to the first, and what their operators take."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mobilebert_benchmarks.cores import cores
from mobilebert_benchmarks.emulation.delegation import Delegation
from mobilebert_benchmarks.emulation.instructions import Kind
from mobilebert_benchmarks.emulation.mca import Estimate
from mobilebert_benchmarks.results import CoreResult, Report, TimedResult, Weighted, WeightedTime, grouped

# The kinds that tell how a model multiplies, and what it spends beside.
_SHOWN = {
    "matrix": Kind.MATRIX_MULTIPLY,
    "dot": Kind.DOT_PRODUCT,
    "int mul": Kind.INTEGER_MULTIPLY,
    "fma": Kind.FLOAT_MULTIPLY_ADD,
    "load": Kind.LOAD,
}
_TEXTS = "texts by tokens of their signature"
_LEAST_SHARE = 0.005  # of a model's cost, below which an operator is not shown


@dataclass(frozen=True)
class Table:
    """Text, cell by cell. The first column is set to the left, the others are numbers.

    Attributes:
        title: what is compared.
        columns: their names.
        rows: a cell for each column.
        bars: for each row the number that a chart shows, in the unit of the second column; none for no chart.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    bars: tuple[float, ...] = ()


def tables(report: Report) -> tuple[Table, ...]:
    """By core, then by machine and number of threads: the models, what their operators take, their means over texts."""
    shown = []
    for cpu, counted in grouped(report.results, lambda result: result.cpu).items():
        shown.append(_table(cpu, counted))
        by_operator = {_column(result, counted): result.operators for result in counted}
        shown += _operators(f"{cpu}, instructions by operator", by_operator, lambda cost: f"{cost / 1e6:,.2f} M")
    for cpu, means in grouped(report.weighted, lambda result: result.cpu).items():
        shown.append(_weighted(cpu, means))
    for place, timed in grouped(report.timed, _place).items():
        shown.append(_timed(place, timed))
        times = {_column(result, timed): result.operators_ms for result in timed if result.operators_ms}
        shown += _operators(f"{place}, medians by operator", times, lambda cost: f"{cost:.3f} ms")
    for place, mean_times in grouped(report.weighted_times, _place).items():
        shown.append(_weighted_times(place, mean_times))
    return tuple(shown)


def _place(result: TimedResult | WeightedTime) -> str:
    return f"{result.cpu}, threads: {result.threads}"


def _column(result: CoreResult | TimedResult, beside: Sequence[CoreResult | TimedResult]) -> str:
    """The model, with its tokens if it stands there at several lengths."""
    several = sum(each.model == result.model for each in beside) > 1
    return f"{result.model} ({result.length})" if several else result.model


def _operators(title: str, models: Mapping[str, Mapping[str, float]], shown: Callable[[float], str]) -> Iterator[Table]:
    """A row for each kind of operator that takes something of a model, a column for each model."""
    kinds: dict[str, dict[str, float]] = {}
    for model, costs in models.items():
        for kernel, cost in costs.items():
            row = kinds.setdefault(kernel.partition(" (")[0], {})
            row[model] = row.get(model, 0) + cost
    totals = {model: sum(costs.values()) for model, costs in models.items()}
    rows = [
        (name, *(shown(costs[model]) if model in costs else "-" for model in models))
        for name, costs in sorted(kinds.items(), key=lambda item: max(item[1].values()), reverse=True)
        if any(cost > _LEAST_SHARE * totals[model] for model, cost in costs.items())
    ]
    if rows:
        yield Table(title, ("operator", *models), tuple(rows))


def _table(cpu: str, results: Sequence[CoreResult]) -> Table:
    levels = tuple(f"L{level + 1} misses" for level in range(len(results[0].cache_misses)))
    columns = (
        "model",
        "instructions",
        "tokens",
        "ratio",
        "modelled",
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
            _milliseconds(*result.modelled_ms) if result.modelled_ms else "-",
            f"{result.cut:.1%}",
            _shares(result.shares),
        )
        for result in results
    )
    bars = tuple(result.instructions_per_inference / 1e6 for result in results)
    columns = ("model", "instructions", "ratio", "modelled", "texts cut", _TEXTS)
    return Table(f"{cpu}, mean over the texts given", columns, rows, bars)


def _weighted_times(place: str, results: Sequence[WeightedTime]) -> Table:
    first = results[0].mean_ms
    rows = tuple(
        (
            result.model,
            f"{result.mean_ms:.2f} ms",
            f"{result.mean_ms / first:.3f}",
            f"{result.cut:.1%}",
            _shares(result.shares),
        )
        for result in results
    )
    columns = ("model", "median", "ratio", "texts cut", _TEXTS)
    return Table(f"{place}, mean over the texts given", columns, rows, tuple(result.mean_ms for result in results))


def _shares(shares: Mapping[int, float]) -> str:
    return ", ".join(f"{length}: {share:.0%}" for length, share in shares.items())


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
        _estimate(result.estimate),
        *(f"{result.mix[kind] / total:.1%}" for kind in _SHOWN.values()),
        *(f"{misses / 1e3:,.0f} k" for misses in result.cache_misses),
        f"{result.peak_memory_bytes / 1e6:.1f} MB",
        f"{result.set_up_instructions / 1e6:,.1f} M",
        str(result.delegation.partitions),
        _outside(result.delegation),
    )


def _estimate(estimate: Estimate | str) -> str:
    if isinstance(estimate, str):
        return "-"
    return _milliseconds(estimate.low_ms, estimate.high_ms)


def _milliseconds(low: float, high: float) -> str:
    return f"{low:,.1f} to {high:,.1f} ms"


def _outside(delegation: Delegation) -> str:
    count = f"{sum(delegation.outside.values())}"
    return count if delegation.whole else f"{count} !"
