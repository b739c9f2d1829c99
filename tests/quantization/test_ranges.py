import math
from collections.abc import Callable
from functools import partial
from statistics import NormalDist

import mobilebert_quantization as quantization
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from mobilebert_quantization import Affine, Bits, Histogram
from numpy.typing import NDArray

Method = Callable[[Histogram], tuple[float, float]]
METHODS: dict[str, Method] = {
    "min_max": quantization.min_max,
    "percentile": quantization.percentile,
    "mse": quantization.mse,
    "entropy": quantization.entropy,
}
ANY = st.floats(-1e300, 1e300) | st.floats(-8, 8)
VALUES = arrays.arrays(np.float64, st.integers(1, 200), elements=ANY)
# Where a large sample needs a few outliers.
SEEDS = st.integers(0, 2**32 - 1)


def observed(values: NDArray[np.float64], bins: int = 2048) -> Histogram:
    return Histogram.empty(bins).update(values)


def square_error(values: NDArray[np.float64], parameters: Affine) -> float:
    stored = quantization.quantize(values, parameters)
    return float(np.mean((quantization.dequantize(stored, parameters) - values) ** 2))


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@settings(max_examples=40)
@given(VALUES)
def test_range_stays_within_what_was_seen_and_zero(method: Method, values: NDArray[np.float64]) -> None:
    low, high = method(observed(values))
    assert low <= high
    assert low >= min(values.min(), 0)
    assert high <= max(values.max(), 0)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@settings(max_examples=20)
@given(SEEDS, st.integers(-60, 60))
def test_range_follows_the_unit_of_the_values(method: Method, seed: int, power: int) -> None:
    values = np.random.default_rng(seed).standard_t(3, 2000)
    low, high = method(observed(values))
    # A power of two is exact throughout.
    assert method(observed(values * 2.0**power)) == (low * 2.0**power, high * 2.0**power)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_range_of_nothing_is_an_error(method: Method) -> None:
    with pytest.raises(ValueError, match="at least one value"):
        method(Histogram.empty())
    with pytest.raises(ValueError, match="at least one value"):
        method(Histogram.empty().covering(-1, 1))


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("value", [0.0, 5.0, -5.0, 1e-300, -1e300])
def test_range_holds_the_one_value_seen(method: Method, value: float) -> None:
    low, high = method(observed(np.full(10, value)))
    assert low <= value <= high


@given(VALUES)
def test_min_max_clips_nothing(values: NDArray[np.float64]) -> None:
    assert quantization.min_max(observed(values)) == (values.min(), values.max())


def test_percentile_of_the_documentation() -> None:
    histogram = observed(np.arange(1.0, 101.0), bins=128)
    assert histogram.width == 1
    assert quantization.percentile(histogram, percent=96) == (3, 99)


@given(VALUES, st.floats(1, 100), st.sampled_from((16, 2048)))
def test_percentile_leaves_out_at_most_its_share_and_not_one_bin_more(
    values: NDArray[np.float64], percent: float, bins: int
) -> None:
    histogram = observed(values, bins)
    low, high = quantization.percentile(histogram, percent=percent)
    share = len(values) * (100 - percent) / 200
    assert np.count_nonzero(values < low) <= share
    assert np.count_nonzero(values > high) <= share
    # One bin further in would leave out more.
    assert np.count_nonzero(values < low + histogram.width) > share or low == values.min()
    assert np.count_nonzero(values >= high - histogram.width) > share or high == values.max()


@given(VALUES)
def test_all_percent_is_min_max(values: NDArray[np.float64]) -> None:
    assert quantization.percentile(observed(values), percent=100) == (values.min(), values.max())


@pytest.mark.parametrize("percent", [0, -1, 100.1, math.nan, math.inf])
def test_impossible_percentage_is_an_error(percent: float) -> None:
    with pytest.raises(ValueError, match="percentage above 0"):
        quantization.percentile(observed(np.ones(1)), percent=percent)


# Banner et al. 2019: the best clipping of a normal distribution of deviation 1 and a Laplace one of scale 1, by bits.
PUBLISHED = {
    "normal": {3: 2.15, 4: 2.55, 7: 3.61, 8: 3.92},
    "laplace": {3: 3.89, 4: 5.03, 7: 8.64, 8: 9.89},
}


def quantiles(distribution: str, count: int = 200_001) -> NDArray[np.float64]:
    """A sample as even as the distribution, up to its last millionths."""
    below = (np.arange(count) + 0.5) / count
    if distribution == "normal":
        return np.array([NormalDist().inv_cdf(share) for share in below])
    return np.where(below < 0.5, np.log(2 * below), -np.log(2 - 2 * below))


# Their step is 2 a / 2^bits, ours 2 a / (2^bits - 1) or, symmetric, 2 a / (2^bits - 2): between two rows of the table.
# 2 percent is that interpolation, a bin (0.2 percent of the largest value) and the few values beyond the optimum.
@pytest.mark.parametrize("distribution", PUBLISHED)
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("symmetric", [False, True])
def test_mse_agrees_with_the_published_optimum(distribution: str, bits: Bits, symmetric: bool) -> None:
    table = PUBLISHED[distribution]
    published = float(np.interp(math.log2(2**bits - 1 - symmetric), list(table), list(table.values())))
    low, high = quantization.mse(observed(quantiles(distribution)), bits=bits, symmetric=symmetric)
    assert high == pytest.approx(published, rel=0.02)
    assert low == pytest.approx(-published, rel=0.02)


# Heavy tails, one side only, and a lone outlier: the range found must be nearly as good as any, measured by quantizing
# the values themselves. The formula holds rounding errors to be uniform, which costs a few percent.
@pytest.mark.parametrize("kind", ["student", "one side", "outlier"])
@pytest.mark.parametrize("symmetric", [False, True])
def test_mse_finds_nearly_the_least_error_that_quantizing_the_values_gives(kind: str, symmetric: bool) -> None:
    chooser = np.random.default_rng(3)
    values = chooser.standard_t(3, 50_000)
    if kind == "one side":
        values = np.abs(values)
    if kind == "outlier":
        values = np.append(chooser.standard_normal(50_000), 30.0)
    histogram = observed(values)
    parameters = partial(quantization.symmetric_range if symmetric else quantization.asymmetric, bits=8)
    found = square_error(values, parameters(*quantization.mse(histogram, symmetric=symmetric)))
    shares = np.linspace(0.05, 1, 60)
    lowest, highest = min(histogram.low, 0), max(histogram.high, 0)
    lows = [0.0] if symmetric or lowest == 0 else lowest * shares
    best = min(square_error(values, parameters(low, high)) for low in lows[::4] for high in highest * shares)
    assert found <= 1.05 * best
    assert found <= 1.05 * square_error(values, parameters(lowest, highest))


def test_mse_of_symmetric_weights_both_sides_alike() -> None:
    values = np.random.default_rng(0).standard_t(3, 10_000)
    low, high = quantization.mse(observed(values), symmetric=True)
    assert low == -high
    assert (low, high) == quantization.mse(observed(-values), symmetric=True)


def published_entropy_threshold(values: NDArray[np.float64], levels: int) -> float:
    """The pseudocode of Migacz 2017, step by step, over the histogram's bins of magnitudes."""
    width = observed(values).covering(0, 0).width
    counts = np.bincount(np.where(values < 0, np.ceil(-values / width) - 1, values // width).astype(int)).tolist()
    divergences = {}
    for end in range(levels, len(counts) + 1):
        reference = counts[:end]
        reference[-1] += sum(counts[end:])
        candidate = [0.0] * end
        for level in range(levels):
            bins = [i for i in range(end) if i * levels // end == level and counts[i] > 0]
            for i in bins:
                candidate[i] = sum(counts[j] for j in bins) / len(bins)
        if any(p > 0 and q == 0 for p, q in zip(reference, candidate, strict=True)):
            continue
        p_sum, q_sum = sum(reference), sum(candidate)
        divergences[end] = sum(
            p / p_sum * math.log((p / p_sum) / (q / q_sum)) for p, q in zip(reference, candidate, strict=True) if p > 0
        )
    return min(divergences, key=lambda end: divergences[end]) * width


@pytest.mark.parametrize("seed", range(3))
def test_entropy_agrees_with_the_published_steps(seed: int) -> None:
    chooser = np.random.default_rng(seed)
    values = np.clip(chooser.standard_t(4, 20_000), -7, 7)
    # Few levels, so that the steps written out stay quick.
    threshold = published_entropy_threshold(values, levels=8)
    low, high = quantization.entropy(observed(values), bits=4)
    assert (low, high) == (max(-threshold, values.min()), min(threshold, values.max()))


def test_entropy_keeps_even_values_and_clips_the_outlier() -> None:
    chooser = np.random.default_rng(0)
    even = chooser.uniform(-1, 1, 1_000_000)
    low, high = quantization.entropy(observed(np.append(even, 8.0)))
    assert -1 <= low < -0.99
    # One bin of 1/128 more may be kept.
    assert 0.99 < high < 1.01


def test_entropy_clips_nothing_where_levels_are_more_than_bins() -> None:
    values = np.random.default_rng(0).standard_t(3, 10_000)
    assert quantization.entropy(observed(values), bits=16) == (values.min(), values.max())


@pytest.mark.parametrize("power", [3, 6])
def test_one_massive_value_does_not_decide_where_most_error_lies_elsewhere(power: int) -> None:
    values = np.append(np.random.default_rng(0).standard_normal(100_000), 10.0**power)
    histogram = observed(values)
    low, high = quantization.percentile(histogram, percent=99.9)
    # What lies in one bin is not told apart: the end of the bin is as near as it gets.
    assert -6 - histogram.width < low < 0 < high < 6 + histogram.width
