import mobilebert_quantization as quantization
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

FLOAT32 = np.finfo(np.float32)
TINY = float(FLOAT32.tiny)
POSITIVE = st.floats(TINY, float(FLOAT32.max))
ALPHAS = st.floats(0, 1)


def pairs(elements: st.SearchStrategy[float]) -> st.SearchStrategy[NDArray[np.float64]]:
    return arrays.arrays(np.float64, st.tuples(st.just(2), st.integers(1, 30)), elements=elements)


def test_scales_of_the_documentation() -> None:
    scales = quantization.smoothing_scales(np.array([16.0, 1.0]), np.array([1.0, 1.0]))
    np.testing.assert_allclose(scales, [2, 0.5], rtol=1e-15)


# Logarithms of up to 88 carry 1e-16 of their size into the exponent, twice and with the mean: 1e-13 covers it.
@given(pairs(POSITIVE), ALPHAS)
def test_scales_are_those_of_the_paper_up_to_a_common_factor(ranges: NDArray[np.float64], alpha: float) -> None:
    activation, weight = ranges
    scales = quantization.smoothing_scales(activation, weight, alpha=alpha)
    assert np.all(np.isfinite(scales) & (scales > 0))
    common = scales / (activation**alpha / weight ** (1 - alpha))
    np.testing.assert_allclose(common, common[0], rtol=1e-13)
    assert np.mean(np.log(scales)) == pytest.approx(0, abs=1e-13)


@given(pairs(POSITIVE))
def test_at_one_half_activations_and_weights_spread_alike(ranges: NDArray[np.float64]) -> None:
    activation, weight = ranges
    scales = quantization.smoothing_scales(activation, weight)
    ratio = (activation / scales) / (weight * scales)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-12)


@given(pairs(POSITIVE))
def test_the_ends_of_alpha_flatten_one_side(ranges: NDArray[np.float64]) -> None:
    activation, weight = ranges
    flat = activation / quantization.smoothing_scales(activation, weight, alpha=1)
    np.testing.assert_allclose(flat, flat[0], rtol=1e-12)
    flat = weight * quantization.smoothing_scales(activation, weight, alpha=0)
    np.testing.assert_allclose(flat, flat[0], rtol=1e-12)


@given(pairs(POSITIVE | st.sampled_from((0.0, TINY / 2, 1e-300))), ALPHAS)
def test_dead_channels_keep_scale_one_and_leave_the_others_alone(ranges: NDArray[np.float64], alpha: float) -> None:
    scales = quantization.smoothing_scales(*ranges, alpha=alpha)
    dead = np.any(ranges < TINY, axis=0)
    assert np.all(scales[dead] == 1)
    if not dead.all():
        alone = quantization.smoothing_scales(*ranges[:, ~dead], alpha=alpha)
        np.testing.assert_array_equal(scales[~dead], alone)


def test_smoothing_keeps_what_a_reader_computes() -> None:
    chooser = np.random.default_rng(0)
    rows, weight = chooser.standard_normal((20, 16)), chooser.standard_normal((8, 16))
    rows[:, 3] *= 1e6
    scales = quantization.smoothing_scales(np.abs(rows).max(axis=0), np.abs(weight).max(axis=0))
    expected = rows @ weight.T
    smoothed = (rows / scales) @ (weight * scales).T
    np.testing.assert_allclose(smoothed, expected, rtol=0, atol=1e-14 * np.abs(expected).max())


@pytest.mark.parametrize("alpha", [-0.1, 1.1, np.nan])
def test_impossible_alpha_is_an_error(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha from 0 to 1"):
        quantization.smoothing_scales(np.ones(2), np.ones(2), alpha=alpha)


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_impossible_range_is_an_error(bad: float) -> None:
    for ranges in ((np.array([1.0, bad]), np.ones(2)), (np.ones(2), np.array([1.0, bad]))):
        with pytest.raises(ValueError, match="finite ranges of 0 or more"):
            quantization.smoothing_scales(*ranges)


def test_ranges_of_other_channels_are_an_error() -> None:
    with pytest.raises(ValueError, match="same channels"):
        quantization.smoothing_scales(np.ones(2), np.ones(3))
    with pytest.raises(ValueError, match="same channels"):
        quantization.smoothing_scales(np.ones((2, 2)), np.ones((2, 2)))


def test_product_scales_of_the_documentation() -> None:
    left, right = np.array([8.0, 1.0]), np.array([2.0, 1.0])
    scales = quantization.product_scales(left, right)
    np.testing.assert_allclose(scales, [2, 1], rtol=1e-15)
    np.testing.assert_allclose(left / scales, [4, 1], rtol=1e-15)
    np.testing.assert_allclose(right * scales, [4, 1], rtol=1e-15)


@given(pairs(POSITIVE | st.sampled_from((0.0, TINY / 2, 1e-300))))
def test_factors_of_a_product_reach_alike(ranges: NDArray[np.float64]) -> None:
    left, right = ranges
    scales = quantization.product_scales(left, right)
    assert np.all(np.isfinite(scales) & (scales > 0))
    dead = np.any(ranges < TINY, axis=0)
    assert np.all(scales[dead] == 1)
    # Logarithms of up to 88, halved: 1e-14 each.
    alike = np.sqrt(left[~dead]) * np.sqrt(right[~dead])
    np.testing.assert_allclose(left[~dead] / scales[~dead], alike, rtol=1e-13)
    np.testing.assert_allclose(right[~dead] * scales[~dead], alike, rtol=1e-13)


@given(pairs(POSITIVE))
def test_factors_the_other_way_round_have_the_reciprocal_scales(ranges: NDArray[np.float64]) -> None:
    forth, back = quantization.product_scales(*ranges), quantization.product_scales(*ranges[::-1])
    np.testing.assert_allclose(forth * back, 1, rtol=1e-13)


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_impossible_range_of_a_factor_is_an_error(bad: float) -> None:
    for ranges in ((np.array([1.0, bad]), np.ones(2)), (np.ones(2), np.array([1.0, bad]))):
        with pytest.raises(ValueError, match="finite ranges of 0 or more"):
            quantization.product_scales(*ranges)
    with pytest.raises(ValueError, match="same channels"):
        quantization.product_scales(np.ones(2), np.ones(3))
