"""What calibration keeps of the activations it sees: a few numbers for each tensor, however many rows pass.

Each observer is a value: `update` takes activations and returns a new one. The order of the rows changes nothing but
the rounding of sums; ranges and histograms come out the same to the bit.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

# As many as TensorRT's calibrator takes (see `ranges.entropy`).
_BINS = 2048
# The whole range of float64, on both sides of 0, in bins of 2^1023.
_FEWEST_BINS = 4
# Lattice cells are whole numbers that a float64 holds exactly.
_EXACT_BITS = 53
# Its reciprocal is still a float64.
_SMALLEST_EXPONENT = -1022


@dataclass(frozen=True)
class ChannelRange:
    """The smallest and largest value of each channel; (inf, -inf) before the first.

    For rows (1, -2) and (3, -5), low is (1, -5) and high is (3, -2).

    Attributes:
        low: (channels,).
        high: (channels,).
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @staticmethod
    def empty(channels: int) -> "ChannelRange":
        """Nothing seen yet."""
        return ChannelRange(np.full(channels, np.inf), np.full(channels, -np.inf))

    @property
    def largest(self) -> NDArray[np.float64]:
        """The largest magnitude of each channel, (channels,)."""
        return np.maximum(-self.low, self.high)

    def update(self, values: NDArray[np.floating]) -> "ChannelRange":
        """With more values (tokens, channels).

        Raises:
            ValueError: a value is not finite, or the number of channels differs.
        """
        seen = _finite(values, channels=len(self.low))
        return self.merge(ChannelRange(seen.min(axis=0, initial=np.inf), seen.max(axis=0, initial=-np.inf)))

    def merge(self, other: "ChannelRange") -> "ChannelRange":
        """The range of what either has seen."""
        return ChannelRange(np.minimum(self.low, other.low), np.maximum(self.high, other.high))


@dataclass(frozen=True)
class RowMaximum:
    """The lowest and the highest of the rows' largest values; (inf, -inf) before the first.

    What a softmax makes of a row depends on the distance to its largest value alone. For rows (1, -7) and (3, 2), low
    is 1 and high is 3.

    Attributes:
        low: the smallest of the rows' maxima.
        high: the largest of them.
    """

    low: float = math.inf
    high: float = -math.inf

    def update(self, values: NDArray[np.floating]) -> "RowMaximum":
        """With more rows (rows, anything).

        Raises:
            ValueError: a row's largest value is not finite.
        """
        largest = _finite(values.max(axis=-1))
        return RowMaximum(min(self.low, float(largest.min())), max(self.high, float(largest.max())))


@dataclass(frozen=True)
class SecondMoment:
    """Sums that give the mean, E[x], and the second moment, E[x xᵀ], of the rows seen.

    For rows (1, 0) and (3, 2) the mean is (2, 1) and the second moment ((5, 3), (3, 2)).

    Attributes:
        count: the number of rows.
        total: (channels,): the sum of the rows.
        products: (channels, channels): the sum of the outer products of each row with itself.
    """

    count: int
    total: NDArray[np.float64]
    products: NDArray[np.float64]

    @staticmethod
    def empty(channels: int) -> "SecondMoment":
        """Nothing seen yet."""
        return SecondMoment(0, np.zeros(channels), np.zeros((channels, channels)))

    @property
    def mean(self) -> NDArray[np.float64]:
        """E[x], (channels,). Raises ValueError before the first row."""
        return self.total / self._counted()

    @property
    def moment(self) -> NDArray[np.float64]:
        """E[x xᵀ], (channels, channels), symmetric. Raises ValueError before the first row."""
        return self.products / self._counted()

    def update(self, values: NDArray[np.floating]) -> "SecondMoment":
        """With more values (tokens, channels).

        Raises:
            ValueError: a value is not finite, or the number of channels differs.
        """
        seen = _finite(values, channels=len(self.total))
        return SecondMoment(self.count + len(seen), self.total + seen.sum(axis=0), self.products + seen.T @ seen)

    def _counted(self) -> int:
        if self.count == 0:
            raise ValueError("expected at least one row, got none")
        return self.count


@dataclass(frozen=True)
class Histogram:
    """How often each part of a tensor's range was seen, in a fixed number of bins that widen as the range grows.

    Bin i holds the values from (origin + i) * 2^exponent to the next one, with the smallest exponent at which the bins
    reach from `low` to `high`. Widening a bin to the next power of two joins whole neighbours, so every count is exact
    and does not depend on the order in which the values came; more than half of the bins lie within the range, unless
    it is narrower than float64 can tell apart.
    With 4 bins, values (0.5, 1.5, 3.5) are counted as (1, 1, 0, 1) at width 1; a value 4.5 then makes the width 2 and
    the counts (2, 1, 1, 0).

    Attributes:
        counts: (bins,), int64.
        origin: place of the first bin, in widths from 0.
        exponent: the bins are 2^exponent wide.
        low: the smallest value seen (or covered); inf before the first.
        high: the largest value seen (or covered); -inf before the first.
    """

    counts: NDArray[np.int64]
    origin: int
    exponent: int
    low: float
    high: float

    @staticmethod
    def empty(bins: int = _BINS) -> "Histogram":
        """Nothing seen yet. Raises ValueError for fewer than 4 bins, which no float64 is wide enough for."""
        if bins < _FEWEST_BINS:
            raise ValueError(f"expected at least {_FEWEST_BINS} bins, got {bins}")
        return Histogram(np.zeros(bins, np.int64), 0, _SMALLEST_EXPONENT, math.inf, -math.inf)

    @property
    def width(self) -> float:
        """Width of a bin."""
        return math.ldexp(1.0, self.exponent)

    def update(self, values: NDArray[np.floating]) -> "Histogram":
        """With more values, of any shape.

        Raises:
            ValueError: a value is not finite.
        """
        seen = _finite(values).ravel()
        if seen.size == 0:
            return self
        wide = self.covering(float(seen.min()), float(seen.max()))
        bins = _cells(seen, wide.exponent) - wide.origin
        return replace(wide, counts=wide.counts + np.bincount(bins, minlength=len(self.counts)))

    def covering(self, low: float, high: float) -> "Histogram":
        """The same counts in bins that also reach from `low` to `high`."""
        if self.low <= low and high <= self.high:
            return self
        low, high = min(low, self.low), max(high, self.high)
        exponent, origin = _lattice(low, high, len(self.counts))
        occupied = np.flatnonzero(self.counts)
        cells = (self.origin + occupied) >> (exponent - self.exponent)
        counts = np.zeros_like(self.counts)
        np.add.at(counts, cells - origin, self.counts[occupied])
        return Histogram(counts, origin, exponent, low, high)


def _lattice(low: float, high: float, bins: int) -> tuple[int, int]:
    """The smallest exponent at which the cells from `low` to `high` are at most `bins`, and the first of them."""
    # Two lower bounds: cells that float64 holds exactly, and bins * 2^exponent above high - low (which may overflow).
    exponent = max(_exponent(max(-low, high)) - _EXACT_BITS, _exponent(high / 2 - low / 2) + 1 - bins.bit_length())
    exponent = max(exponent, _SMALLEST_EXPONENT)
    while True:
        first, last = _cells(np.array([low, high]), exponent).tolist()
        if last - first < bins:
            return exponent, first
        exponent += 1


def _exponent(magnitude: float) -> int:
    return math.frexp(magnitude)[1] if magnitude > 0 else _SMALLEST_EXPONENT


def _cells(values: NDArray[np.float64], exponent: int) -> NDArray[np.int64]:
    scaled = values * math.ldexp(1.0, -exponent)
    # A tiny negative value may come out of the product as -0, and its cell is still -1.
    cells: NDArray[np.float64] = np.floor(scaled) - ((values < 0) & (scaled == 0))
    return cells.astype(np.int64)


def _finite(values: NDArray[np.floating], *, channels: int | None = None) -> NDArray[np.float64]:
    if channels is not None and (values.ndim != 2 or values.shape[1] != channels):  # noqa: PLR2004
        raise ValueError(f"expected shape (tokens, {channels}), got {values.shape}")
    finite = np.isfinite(values)
    if not finite.all():
        row = int(np.argwhere(~finite)[0][0]) if values.ndim else 0
        raise ValueError(f"expected finite activations, got NaN or infinity in row {row}")
    return values.astype(np.float64)
