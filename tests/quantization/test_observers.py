import math
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from mobilebert_quantization import ChannelRange, Histogram, RowMaximum, SecondMoment
from numpy.typing import NDArray

CHANNELS = 3
ANY = st.floats(allow_nan=False, allow_infinity=False)
# Around the powers of two that bins end at, and around each other.
NEAR = st.builds(lambda whole, power: whole * 2.0**power, st.integers(-40, 40), st.integers(-3, 3))
BINS = st.sampled_from((4, 5, 8, 2048))


def rows(elements: st.SearchStrategy[float]) -> st.SearchStrategy[NDArray[np.float64]]:
    return arrays.arrays(np.float64, st.tuples(st.integers(0, 12), st.just(CHANNELS)), elements=elements)


def observed(values: NDArray[np.floating], bins: int = 2048) -> Histogram:
    return Histogram.empty(bins).update(values)


def same(one: Histogram, other: Histogram) -> bool:
    of_one = (one.origin, one.exponent, one.low, one.high, one.counts.tolist())
    return of_one == (other.origin, other.exponent, other.low, other.high, other.counts.tolist())


@given(st.lists(rows(ANY), max_size=4), st.randoms(use_true_random=False))
def test_channel_range_is_that_of_all_rows_however_they_came(
    batches: list[NDArray[np.float64]], chooser: random.Random
) -> None:
    together = np.concatenate([np.zeros((1, CHANNELS)), *batches])
    chooser.shuffle(batches)
    state = ChannelRange.empty(CHANNELS).update(np.zeros((1, CHANNELS)))
    for batch in batches:
        state = state.update(batch)
    np.testing.assert_array_equal(state.low, together.min(axis=0))
    np.testing.assert_array_equal(state.high, together.max(axis=0))
    np.testing.assert_array_equal(state.largest, np.abs(together).max(axis=0))


@given(rows(ANY), rows(ANY))
def test_merged_channel_ranges_are_the_range_of_all(one: NDArray[np.float64], other: NDArray[np.float64]) -> None:
    empty = ChannelRange.empty(CHANNELS)
    merged = empty.update(one).merge(empty.update(other))
    together = empty.update(np.concatenate([one, other]))
    np.testing.assert_array_equal(merged.low, together.low)
    np.testing.assert_array_equal(merged.high, together.high)


def test_second_moment_of_the_documentation() -> None:
    state = SecondMoment.empty(2).update(np.array([[1.0, 0.0], [3.0, 2.0]]))
    assert state.count == 2
    assert state.mean.tolist() == [2, 1]
    assert state.moment.tolist() == [[5, 3], [3, 2]]


@given(rows(st.floats(-1e100, 1e100)), st.integers(0, 12))
def test_second_moment_is_that_of_all_rows_in_any_order(values: NDArray[np.float64], cut: int) -> None:
    values = np.concatenate([values, np.ones((1, CHANNELS))])
    split = SecondMoment.empty(CHANNELS).update(values[cut:][::-1]).update(values[:cut])
    # Sums of at most 13 terms, each rounded once: relative to the sum of their magnitudes.
    terms = np.abs(values)
    np.testing.assert_array_less(np.abs(split.mean - values.mean(axis=0)), 1e-14 * terms.mean(axis=0) + 1e-300)
    expected = np.einsum("ti,tj->ij", values, values) / len(values)
    bound = 1e-14 * np.einsum("ti,tj->ij", terms, terms) + 1e-300
    assert np.all(np.abs(split.moment - expected) <= bound)
    np.testing.assert_array_equal(split.moment, split.moment.T)
    assert split.count == len(values)


def test_second_moment_of_nothing_is_an_error() -> None:
    empty = SecondMoment.empty(2)
    with pytest.raises(ValueError, match="at least one row"):
        _ = empty.mean
    with pytest.raises(ValueError, match="at least one row"):
        _ = empty.update(np.zeros((0, 2))).moment


def test_histogram_of_the_documentation() -> None:
    state = observed(np.array([0.5, 1.5, 3.5]), bins=4)
    assert (state.counts.tolist(), state.width, state.origin) == ([1, 1, 0, 1], 1, 0)
    state = state.update(np.array([4.5]))
    assert (state.counts.tolist(), state.width, state.origin) == ([2, 1, 1, 0], 2, 0)


@given(st.lists(ANY | NEAR, min_size=1, max_size=30), st.lists(st.integers(0, 30), max_size=4), BINS, st.data())
def test_histogram_is_the_same_to_the_bit_however_the_values_came(
    values: list[float], cuts: list[int], bins: int, data: st.DataObject
) -> None:
    at_once = observed(np.array(values), bins)
    shuffled = np.array(data.draw(st.permutations(values)))
    state = Histogram.empty(bins)
    for part in np.split(shuffled, sorted(min(cut, len(values)) for cut in cuts)):
        state = state.update(part)
    assert same(state, at_once)


@given(st.lists(ANY | NEAR, min_size=1, max_size=30), BINS)
def test_histogram_counts_every_value_once_in_its_own_bin(values: list[float], bins: int) -> None:
    state = observed(np.array(values), bins)
    assert (state.low, state.high) == (min(values), max(values))
    expected: dict[int, int] = {}
    for value in values:
        # Exact, in whole numbers: floor(value / 2^exponent).
        numerator, denominator = value.as_integer_ratio()
        cell = numerator * 2 ** max(-state.exponent, 0) // (denominator * 2 ** max(state.exponent, 0))
        expected[cell - state.origin] = expected.get(cell - state.origin, 0) + 1
    assert {i: int(n) for i, n in enumerate(state.counts) if n} == expected
    assert min(expected) == 0


@given(arrays.arrays(np.float64, 2, elements=ANY | NEAR), BINS)
def test_histogram_has_the_narrowest_bins_that_reach(ends: NDArray[np.float64], bins: int) -> None:
    state = observed(ends, bins)
    # Bins narrower than the values are exact are of no use, and none is below 2^-1022.
    if state.width > math.ulp(np.abs(ends).max()) and state.exponent > -1022:
        half = Fraction(state.width) / 2
        assert math.floor(Fraction(ends.max()) / half) - math.floor(Fraction(ends.min()) / half) >= bins


@given(st.lists(NEAR, min_size=1, max_size=30), NEAR, NEAR)
def test_covering_more_changes_no_count_and_what_comes_later_nothing(
    values: list[float], one: float, other: float
) -> None:
    low, high = min(one, other), max(one, other)
    wide = observed(np.array(values), 8).covering(low, high)
    assert wide.counts.sum() == len(values)
    seen_too = observed(np.array([*values, low, high]), 8)
    assert (wide.exponent, wide.origin, wide.low, wide.high) == (
        seen_too.exponent,
        seen_too.origin,
        seen_too.low,
        seen_too.high,
    )
    assert np.all(wide.counts <= seen_too.counts)


def test_narrow_types_are_observed_as_the_numbers_they_are() -> None:
    values = np.array([[1e4, -6e-5, 0.0]])
    for narrow in (values.astype(np.float16), values.astype(np.float32)):
        assert same(observed(narrow), observed(narrow.astype(np.float64)))
        squares = SecondMoment.empty(3).update(narrow.repeat(2, axis=0)).moment
        assert squares[0, 0] == float(narrow[0, 0]) ** 2


def test_state_does_not_grow_with_the_rows() -> None:
    chooser = np.random.default_rng(0)
    state = Histogram.empty()
    for power in range(12):
        state = state.update(chooser.standard_normal(1000) * 10.0**power)
    assert state.counts.shape == (2048,)
    assert state.counts.sum() == 12_000


def test_updating_leaves_the_earlier_value_as_it_was() -> None:
    before = observed(np.array([1.0, 2.0]))
    counts = before.counts.copy()
    before.update(np.array([1.5, 100.0]))
    before.update(np.array([1.5]))
    np.testing.assert_array_equal(before.counts, counts)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_value_that_is_no_number_is_an_error_that_names_the_row(bad: float) -> None:
    values = np.zeros((4, CHANNELS))
    values[2, 1] = bad
    for state in (ChannelRange.empty(CHANNELS), SecondMoment.empty(CHANNELS), Histogram.empty()):
        with pytest.raises(ValueError, match="NaN or infinity in row 2"):
            state.update(values)


def test_other_channels_are_an_error() -> None:
    for state in (ChannelRange.empty(CHANNELS), SecondMoment.empty(CHANNELS)):
        for shape in ((2, CHANNELS + 1), (CHANNELS,), (1, 2, CHANNELS)):
            with pytest.raises(ValueError, match=r"expected shape \(tokens, 3\)"):
                state.update(np.zeros(shape))


def test_histogram_of_too_few_bins_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least 4 bins"):
        Histogram.empty(3)


def test_row_maximum_of_the_documentation() -> None:
    state = RowMaximum().update(np.array([[1.0, -7.0], [3.0, 2.0]]))
    assert (state.low, state.high) == (1, 3)


@given(st.lists(arrays.arrays(np.float64, (2, CHANNELS), elements=ANY), max_size=4))
def test_row_maximum_is_that_of_all_rows_however_they_came(batches: list[NDArray[np.float64]]) -> None:
    together = np.concatenate([np.zeros((1, CHANNELS)), *batches])
    state = RowMaximum().update(np.zeros((1, CHANNELS)))
    for batch in reversed(batches):
        state = state.update(batch[None])  # further axes are rows too
    assert (state.low, state.high) == (min(map(max, together.tolist())), max(map(max, together.tolist())))


def test_row_maximum_before_the_first_row_is_that_of_nothing() -> None:
    assert (RowMaximum().low, RowMaximum().high) == (math.inf, -math.inf)


def test_row_maximum_ignores_what_lies_below_and_refuses_what_is_no_number() -> None:
    state = RowMaximum().update(np.array([[1.0, -np.inf]]))
    assert (state.low, state.high) == (1, 1)
    for bad in ([np.nan, 0.0], [np.inf, 0.0], [-np.inf, -np.inf]):
        with pytest.raises(ValueError, match="NaN or infinity"):
            state.update(np.array([bad]))
