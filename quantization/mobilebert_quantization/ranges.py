"""The range that a quantized tensor shall hold, chosen from the histogram of its values.

A wider range clips less and rounds more coarsely. Each method gives (low, high), within what was seen and 0.
"""

import numpy as np
from numpy.typing import NDArray

from mobilebert_quantization.affine import Bits
from mobilebert_quantization.observers import Histogram


def min_max(histogram: Histogram) -> tuple[float, float]:
    """All that was seen: nothing is clipped. For values (-1, 0.5, 3) the range is (-1, 3).

    Raises:
        ValueError: the histogram is empty.
    """
    _check(histogram)
    return histogram.low, histogram.high


def percentile(histogram: Histogram, *, percent: float = 99.99) -> tuple[float, float]:
    """The narrowest range of whole bins that leaves out at most (100 - percent) / 2 percent of the values at each end.

    For the values 1, 2, ..., 100 in bins of width 1 and 96 percent, the range is (3, 99): two values lie below it, and
    two in the bins from 99 on.

    Raises:
        ValueError: the histogram is empty, or `percent` is not above 0 and at most 100.
    """
    _check(histogram)
    if not 0 < percent <= 100:  # noqa: PLR2004
        raise ValueError(f"expected a percentage above 0 and at most 100, got {percent:g}")
    counts = histogram.counts
    outside = counts.sum() * (100 - percent) / 200
    first = int(np.searchsorted(np.cumsum(counts), outside, side="right"))
    behind = len(counts) - int(np.searchsorted(np.cumsum(counts[::-1]), outside, side="right"))
    low, high = (histogram.origin + first) * histogram.width, (histogram.origin + behind) * histogram.width
    return max(low, histogram.low), min(high, histogram.high)


def mse(histogram: Histogram, *, bits: Bits = 8, symmetric: bool = False) -> tuple[float, float]:
    """The range, holding 0, with the least mean square error of clipping and rounding together.

        sum over x < low of (low - x)^2  +  sum over x > high of (x - high)^2  +  count * step^2 / 12

    step is (high - low) / (2^bits - 1). With `symmetric`, low is -high, and step is high / (2^(bits-1) - 1). The ends
    are chosen among the bins' edges. Exact zeros count as rounded, which after a ReLU takes a little off the range.
    Source: Banner, Nahshan, Soudry 2019 (arXiv 1810.05723), section 3, with the sums over the histogram in place of a
    fitted density. For a normal distribution of deviation 1 the range of 8 bits is (-3.9, 3.9), that of 4 bits
    (-2.5, 2.5).

    Raises:
        ValueError: the histogram is empty.
    """
    _check(histogram)
    held = histogram.covering(0.0, 0.0)
    # Everything in widths of a bin.
    if symmetric:
        counts = _magnitudes(held)
        ends = np.arange(len(counts) + 1)
        error = _clipping(counts) + _rounding(counts, ends / (2 ** (bits - 1) - 1))
        end = min(int(error.argmin()) * held.width, max(held.high, -held.low))
        return -end, end
    counts = held.counts.astype(np.float64)
    edges = held.origin + np.arange(len(counts) + 1)
    lows, highs = edges[edges <= 0], edges[edges >= 0]
    below, above = _clipping(counts[::-1])[::-1][edges <= 0], _clipping(counts)[edges >= 0]
    steps = (highs[None, :] - lows[:, None]) / (2**bits - 1)
    error = below[:, None] + above[None, :] + _rounding(counts, steps)
    row, column = np.unravel_index(error.argmin(), error.shape)
    return max(float(lows[row]) * held.width, held.low), min(float(highs[column]) * held.width, held.high)


def entropy(histogram: Histogram, *, bits: Bits = 8) -> tuple[float, float]:
    """The range within (-t, t) that keeps most of the distribution of magnitudes, by Kullback-Leibler divergence.

        t = argmin over t of  sum of P log(P / Q)

    P is the histogram of |x| up to t with all beyond t added to its last bin; Q the same bins without the addition,
    joined into 2^(bits-1) levels and spread evenly over those of each level that are not empty.
    Source: Migacz 2017, "8-bit inference with TensorRT" (GTC), the entropy calibrator. For values spread evenly up to
    1 with one of a million at 8, the range ends near 1. No more bins than levels (16 bits): nothing is clipped.

    Raises:
        ValueError: the histogram is empty.
    """
    _check(histogram)
    held = histogram.covering(0.0, 0.0)
    counts = np.trim_zeros(_magnitudes(held), "b")
    levels = 2 ** (bits - 1)
    ends = range(min(levels, len(counts)), len(counts) + 1)
    end = min(ends, key=lambda end: _divergence(counts, end, levels)) * held.width
    return max(-end, held.low), min(end, held.high)


def _check(histogram: Histogram) -> None:
    if not histogram.counts.any():
        raise ValueError("expected a histogram of at least one value, got an empty one")


def _magnitudes(held: Histogram) -> NDArray[np.float64]:
    """Counts of |x| in bins of the same width from 0 on."""
    cells = held.origin + np.arange(len(held.counts))
    # The bin below 0 is cell -1, and -1 - cell is its place among the magnitudes.
    return np.bincount(np.where(cells < 0, -1 - cells, cells), weights=held.counts).astype(np.float64)


def _clipping(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Square error of clipping at the upper end: (bins + 1,), for each edge the sum over the bins above it.

    A bin i above edge j stands for values (i - j + 1/2) beyond. Only sums of positive terms: nothing cancels.
    """
    squares = (np.arange(len(counts)) + 0.5) ** 2
    return np.append(np.convolve(counts[::-1], squares)[len(counts) - 1 :: -1], 0.0)


def _rounding(counts: NDArray[np.float64], steps: NDArray[np.float64]) -> NDArray[np.float64]:
    return float(counts.sum()) * steps**2 / 12


def _divergence(counts: NDArray[np.float64], end: int, levels: int) -> float:
    inside = counts[:end]
    level = np.arange(end) * levels // end
    occupied = inside > 0
    filled = np.maximum(np.bincount(level, weights=occupied), 1)
    spread = np.where(occupied, (np.bincount(level, weights=inside) / filled)[level], 0.0)
    clipped = inside.copy()
    clipped[-1] += counts[end:].sum()
    held = clipped > 0
    if not np.all(spread[held] > 0):
        return float("inf")
    p, q = clipped[held] / clipped.sum(), spread[held] / spread.sum()
    return float(np.sum(p * np.log(p / q)))
