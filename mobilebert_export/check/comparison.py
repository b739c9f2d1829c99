"""How near a model's outputs come to the reference's: one value a row, then one summary of many rows.

Sums over rows are exact (`math.fsum`), so a summary does not depend on the order of the rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, inf, sqrt

import numpy as np
from numpy.typing import NDArray

from mobilebert_export.check.cases import Padding
from mobilebert_export.check.metrics import decibels

# Ranks of fewer values than this tell next to nothing.
_FEWEST_RANKS = 3
# Ranks are taken of at most so many positions of a row: those of a vocabulary are many.
_RANKED_POSITIONS = 8
# Sums of squares of larger values overflow float64.
_LARGEST = 1e150


@dataclass(frozen=True)
class RowError:
    """One output of one row, real positions only.

    Attributes:
        signal: Σ reference².
        noise: Σ (reference - candidate)².
        product: Σ reference · candidate.
        energy: Σ candidate².
        largest: max |reference - candidate|.
        scale: max |reference|.
        rank: Spearman's rank correlation of the scores of one position, the mean over positions; None for few scores.
        ranked: how many scores these are; 0 where there is no rank.
        single: reference and candidate, where the output is one number.
    """

    signal: float
    noise: float
    product: float
    energy: float
    largest: float
    scale: float
    rank: float | None
    ranked: int
    single: tuple[float, float] | None

    @property
    def sqnr(self) -> float:
        """Signal to noise in dB."""
        return decibels(self.signal, self.noise)


@dataclass(frozen=True)
class OutputError:
    """One output over all rows that were padded, or over all that were not.

    Attributes:
        output: its name.
        padding: which rows these are.
        rows: how many.
        sqnr: 10 log₁₀(Σ reference² / Σ (reference - candidate)²), in dB.
        worst_row_sqnr: the SQNR of the worst row alone.
        cosine: of reference and candidate, each as one vector.
        largest_error: the largest error as a share of the largest reference value.
        rank: the least mean rank correlation of a row; of an output that is one number, that over the rows. None where
            there are too few values to rank.
        ranked: of how many values that is, of the row that has fewest; 0 where there is no rank.
    """

    output: str
    padding: Padding
    rows: int
    sqnr: float
    worst_row_sqnr: float
    cosine: float
    largest_error: float
    rank: float | None
    ranked: int


def compare(reference: NDArray[np.floating], candidate: NDArray[np.floating]) -> RowError:
    """One output of one row; a candidate that is not finite, or too large for its energy to be, is infinitely far."""
    truth, given = reference.astype(np.float64), candidate.astype(np.float64)
    signal = float(np.sum(truth**2))
    scale = float(np.abs(truth).max(initial=0.0))
    if not np.all(np.abs(given) <= _LARGEST):
        return RowError(signal, inf, 0.0, inf, inf, scale, None, 0, None)
    error = truth - given
    rank = _rank(truth, given)
    return RowError(
        signal=signal,
        noise=float(np.sum(error**2)),
        product=float(np.sum(truth * given)),
        energy=float(np.sum(given**2)),
        largest=float(np.abs(error).max(initial=0.0)),
        scale=scale,
        rank=rank,
        ranked=0 if rank is None else truth.shape[-1],
        single=(truth.item(), given.item()) if truth.size == 1 else None,
    )


def summarize(output: str, padding: Padding, rows: Sequence[RowError]) -> OutputError:
    """All rows together.

    Raises:
        ValueError: there are none.
    """
    if not rows:
        raise ValueError("expected rows to summarize, got none")
    signal, noise, product, energy = (
        fsum(getattr(row, name) for row in rows) for name in ("signal", "noise", "product", "energy")
    )
    scale = max(row.scale for row in rows)
    rank, ranked = _rank_of_all(rows)
    length = sqrt(signal) * sqrt(energy)
    return OutputError(
        output=output,
        padding=padding,
        rows=len(rows),
        sqnr=decibels(signal, noise),
        worst_row_sqnr=min(row.sqnr for row in rows),
        cosine=product / length if 0 < length < inf else float(signal == energy),
        largest_error=max(row.largest for row in rows) / scale if scale else inf,
        rank=rank,
        ranked=ranked,
    )


def _rank(truth: NDArray[np.float64], given: NDArray[np.float64]) -> float | None:
    if truth.ndim == 0 or truth.shape[-1] < _FEWEST_RANKS:
        return None
    rows, others = truth.reshape(-1, truth.shape[-1]), given.reshape(-1, truth.shape[-1])
    picked = np.unique(np.linspace(0, len(rows) - 1, _RANKED_POSITIONS).astype(int))
    return fsum(_spearman(rows[index], others[index]) for index in picked) / len(picked)


def _rank_of_all(rows: Sequence[RowError]) -> tuple[float | None, int]:
    """The least rank of a row, or that over rows of one number each; and the fewest values that it is of."""
    single = np.array([row.single for row in rows if row.single is not None])
    if len(single) == len(rows) >= _FEWEST_RANKS:
        return _spearman(single[:, 0], single[:, 1]), len(single)
    ranks = [(row.rank, row.ranked) for row in rows if row.rank is not None]
    return (min(rank for rank, _ in ranks), min(ranked for _, ranked in ranks)) if ranks else (None, 0)


def _spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Pearson's correlation of the ranks; equal values share their mean rank."""
    first, second = _ranks(a), _ranks(b)
    first, second = first - first.mean(), second - second.mean()
    length = float(np.sqrt(np.sum(first**2) * np.sum(second**2)))
    return float(np.sum(first * second)) / length if length else float(np.array_equal(first, second))


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[inverse.reshape(-1)])
