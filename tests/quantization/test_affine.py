import mobilebert_quantization as quantization
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from mobilebert_quantization import Affine, Bits
from numpy.typing import NDArray

LARGEST = float(np.finfo(np.float32).max)
EPS = float(np.finfo(np.float32).eps)
REALS = st.floats(-LARGEST, LARGEST)
WEIGHTS = arrays.arrays(np.float64, arrays.array_shapes(min_dims=1, max_dims=3), elements=REALS)
RANGES = st.tuples(REALS, REALS).map(lambda ends: (min(ends), max(ends)))
BITS: st.SearchStrategy[Bits] = st.sampled_from((4, 8, 16))


def within(low: float, high: float) -> NDArray[np.float64]:
    """Both ends of a range and what lies between, with 0."""
    return np.concatenate([np.linspace(low, high, 101), [low, high, np.clip(0.0, low, high)]])


def round_trip(values: NDArray[np.floating], parameters: Affine) -> NDArray[np.float64]:
    return quantization.dequantize(quantization.quantize(values, parameters), parameters)


def half_step(parameters: Affine) -> NDArray[np.float64]:
    # A scale is rounded to float32: relative 2^-24, which over 2^16 steps adds at most 2^-8 of a step at the ends.
    return parameters.scale.astype(np.float64) * (0.5 + 2.0**-7)


def test_worked_examples_of_the_documentation() -> None:
    weights = np.array([-2.54, 1.0])
    parameters = quantization.symmetric(weights, axis=None)
    assert parameters.scale == np.float32(0.02)
    assert quantization.quantize(weights, parameters).tolist() == [-127, 50]
    parameters = quantization.symmetric_range(-1.0, 2.54, bits=8)
    assert parameters.scale == np.float32(0.02)
    assert quantization.quantize(np.array([2.54]), parameters).tolist() == [127]
    parameters = quantization.asymmetric(-1.0, 4.1)
    assert parameters.scale == np.float32(0.02)
    assert parameters.zero_point == -78
    assert quantization.quantize(np.array([-1.0, 0.0, 4.1]), parameters).tolist() == [-128, -78, 127]


@given(WEIGHTS, BITS)
def test_weights_are_within_half_a_step_and_never_take_the_lowest_value(
    values: NDArray[np.float64], bits: Bits
) -> None:
    for axis in (None, 0, values.ndim - 1):
        parameters = quantization.symmetric(values, axis=axis, bits=bits)
        stored = quantization.quantize(values, parameters)
        assert parameters.zero_point.tolist() == [0] * parameters.scale.size
        assert np.abs(stored.astype(int)).max() <= 2 ** (bits - 1) - 1
        bound = half_step(parameters)
        if axis is not None:
            bound = bound.reshape([-1 if i == axis else 1 for i in range(values.ndim)])
        assert np.all(np.abs(round_trip(values, parameters) - values) <= bound)


@given(WEIGHTS)
def test_weights_of_the_opposite_sign_are_stored_with_the_opposite_sign(values: NDArray[np.float64]) -> None:
    parameters = quantization.symmetric(values, axis=0)
    opposite = quantization.quantize(-values, quantization.symmetric(-values, axis=0))
    np.testing.assert_array_equal(quantization.quantize(values, parameters), -opposite)


@given(RANGES, st.sampled_from((4, 8)))
def test_asymmetric_range_is_within_half_a_step_and_holds_zero_exactly(ends: tuple[float, float], bits: Bits) -> None:
    parameters = quantization.asymmetric(*ends, bits=bits)
    lowest, highest = parameters.limits
    assert (lowest, highest) == (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    assert lowest <= int(parameters.zero_point[0]) <= highest
    values = within(*ends)
    assert np.all(np.abs(round_trip(values, parameters) - values) <= half_step(parameters))
    assert round_trip(np.zeros(1), parameters) == 0


# A scale that a float32 cannot hold as a normal number is raised to the smallest one, and leaves part of the range.
@given(st.floats(1e-30, 1e30), st.floats(0, 1), st.sampled_from((4, 8)))
def test_asymmetric_range_uses_every_stored_value(width: float, share_below_zero: float, bits: Bits) -> None:
    low = -width * share_below_zero
    parameters = quantization.asymmetric(low, low + width, bits=bits)
    ends = quantization.quantize(np.array([low, low + width]), parameters)
    assert tuple(ends.tolist()) == pytest.approx(parameters.limits, abs=1)
    assert int(ends[1]) - int(ends[0]) >= 2**bits - 2


@given(RANGES, BITS)
def test_symmetric_range_is_within_half_a_step_with_zero_point_zero(ends: tuple[float, float], bits: Bits) -> None:
    parameters = quantization.symmetric_range(*ends, bits=bits)
    assert parameters.zero_point.tolist() == [0]
    values = within(*ends)
    assert np.all(np.abs(round_trip(values, parameters) - values) <= half_step(parameters))


@given(arrays.arrays(np.float64, 20, elements=st.floats(allow_nan=False)), RANGES)
def test_what_passes_the_range_is_stored_as_its_end_and_order_is_kept(
    values: NDArray[np.float64], ends: tuple[float, float]
) -> None:
    parameters = quantization.asymmetric(*ends)
    stored = quantization.quantize(np.sort(values), parameters)
    assert np.all(np.diff(stored.astype(int)) >= 0)
    assert quantization.quantize(np.array([-np.inf, np.inf]), parameters).tolist() == [-128, 127]


# At a scale that is a power of two torch's product with the reciprocal is the same quotient, ties included.
@given(st.integers(-20, 20), st.integers(-128, 127), st.integers(0, 2**32 - 1))
def test_rounding_and_clipping_are_those_of_torch(power: int, zero_point: int, seed: int) -> None:
    chooser = np.random.default_rng(seed)
    quarters = chooser.integers(-1200, 1200, 200) / 4
    values = (np.concatenate([quarters, chooser.normal(0, 100, 200)]) * 2.0**power).astype(np.float32)
    parameters = Affine(np.array([2.0**power], np.float32), np.array([zero_point]), None, 8)
    expected = torch.fake_quantize_per_tensor_affine(torch.from_numpy(values), 2.0**power, zero_point, -128, 127)
    np.testing.assert_array_equal(round_trip(values, parameters), expected.numpy())


def test_activations_use_the_lowest_value_and_weights_do_not() -> None:
    values = np.array([-10.0, 10.0])
    assert quantization.quantize(values, quantization.symmetric_range(-1, 1, bits=8)).tolist() == [-128, 127]
    assert quantization.quantize(values, quantization.symmetric_range(-1, 1, bits=16)).tolist() == [-32768, 32767]
    assert quantization.quantize(values, quantization.symmetric(np.ones(1), axis=None)).tolist() == [-127, 127]


@pytest.mark.parametrize(("bits", "dtype"), [(4, np.int8), (8, np.int8), (16, np.int16)])
def test_stored_type_holds_the_bits(bits: Bits, dtype: type[np.generic]) -> None:
    parameters = quantization.symmetric(np.array([1.0]), axis=None, bits=bits)
    stored = quantization.quantize(np.array([1.0]), parameters)
    assert stored.dtype == dtype
    assert stored.tolist() == [2 ** (bits - 1) - 1]


def test_nothing_but_zeros_is_stored_as_zeros_at_scale_one() -> None:
    for parameters in (
        quantization.symmetric(np.zeros(3), axis=None),
        quantization.symmetric_range(0, 0, bits=16),
        quantization.asymmetric(0, 0),
    ):
        assert (parameters.scale.tolist(), parameters.zero_point.tolist()) == ([1.0], [0])
        assert quantization.quantize(np.zeros(3), parameters).tolist() == [0, 0, 0]


@pytest.mark.parametrize("ends", [(1.0, -1.0), (np.nan, 1.0), (0.0, np.nan), (-np.inf, 0.0), (0.0, np.inf)])
def test_impossible_range_is_an_error(ends: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="low <= high"):
        quantization.asymmetric(*ends)
    with pytest.raises(ValueError, match="low <= high"):
        quantization.symmetric_range(*ends, bits=8)


def test_range_too_wide_for_a_float32_scale_is_an_error() -> None:
    huge = float(np.finfo(np.float64).max)
    with pytest.raises(ValueError, match="finite, positive scales"):
        quantization.asymmetric(-huge, huge)
    with pytest.raises(ValueError, match="finite, positive scales"):
        quantization.symmetric_range(-huge, huge, bits=8)
    with pytest.raises(ValueError, match="finite, positive scales"):
        quantization.symmetric(np.array([huge]), axis=None)


@pytest.mark.parametrize("bits", [16, 32])
def test_wide_activations_have_no_zero_point(bits: Bits) -> None:
    with pytest.raises(ValueError, match="use symmetric_range"):
        quantization.asymmetric(-1, 2, bits=bits)


def test_nan_is_an_error() -> None:
    with pytest.raises(ValueError, match="got NaN"):
        quantization.quantize(np.array([0.0, np.nan]), quantization.asymmetric(-1, 1))
    with pytest.raises(ValueError, match="got NaN"):
        quantization.symmetric(np.array([0.0, np.nan]), axis=None)


SCALES = st.floats(1e-10, 1e10)


def affine(*scales: float, bits: Bits = 8) -> Affine:
    axis = 0 if len(scales) > 1 else None
    return Affine(np.array(scales, np.float32), np.zeros(len(scales), np.int64), axis, bits)


def test_bias_is_stored_in_units_of_the_products() -> None:
    parameters = quantization.bias_parameters(np.ones(2), activation=affine(0.1), weight=affine(0.02, 0.01))
    np.testing.assert_allclose(parameters.scale, [0.002, 0.001], rtol=EPS)
    stored = quantization.quantize(np.ones(2), parameters)
    assert stored.dtype == np.int32
    assert stored.tolist() == [500, 1000]
    assert parameters.axis == 0


@given(SCALES, st.lists(SCALES, min_size=1, max_size=5), st.data())
def test_bias_is_within_half_a_unit_and_its_scale_is_the_product(
    activation: float, weights: list[float], data: st.DataObject
) -> None:
    units = np.float64(np.float32(activation)) * np.array(weights, np.float32).astype(np.float64)
    whole = st.integers(-(2**30) + 64, 2**30 - 64)
    biases = np.array([data.draw(whole) for _ in weights]) * units
    parameters = quantization.bias_parameters(biases, activation=affine(activation), weight=affine(*weights))
    # A float32 product; the kernels allow 2 percent.
    np.testing.assert_allclose(parameters.scale, units, rtol=EPS)
    assert np.all(np.abs(round_trip(biases, parameters) - biases) <= parameters.scale.astype(np.float64) * 0.5)


@pytest.mark.parametrize("sign", [-1, 1])
def test_bias_takes_half_of_32_bits_and_leaves_the_rest_to_the_products(sign: int) -> None:
    largest = np.array([sign * 2.0**30])
    parameters = quantization.bias_parameters(largest, activation=affine(1), weight=affine(1))
    assert quantization.quantize(largest, parameters).tolist() == [sign * 2**30]
    with pytest.raises(ValueError, match="within 2\\^30 steps"):
        quantization.bias_parameters(largest + sign, activation=affine(1), weight=affine(1))


@pytest.mark.parametrize("bias", [1e10, -1e10, np.inf, np.nan])
def test_bias_that_32_bits_cannot_hold_is_an_error_that_names_the_channel(bias: float) -> None:
    with pytest.raises(ValueError, match="in channel 1; give its weights a larger scale"):
        quantization.bias_parameters(np.array([1.0, bias]), activation=affine(1), weight=affine(1, 1))
    with pytest.raises(ValueError, match="in channel 1"):
        quantization.bias_parameters(np.array([1.0, bias]), activation=affine(1), weight=affine(1))


def test_bias_parameters_refuse_what_does_not_belong_together() -> None:
    with pytest.raises(ValueError, match="one scale for the activation, got 2"):
        quantization.bias_parameters(np.ones(2), activation=affine(1, 1), weight=affine(1, 1))
    with pytest.raises(ValueError, match="each of 2 channels"):
        quantization.bias_parameters(np.ones(3), activation=affine(1), weight=affine(1, 1))
    for tiny_or_huge in (1e-30, 1e30):
        with pytest.raises(ValueError, match="normal float32"):
            quantization.bias_parameters(np.ones(1), activation=affine(tiny_or_huge), weight=affine(tiny_or_huge))


def test_parameters_refuse_impossible_scales_and_shapes() -> None:
    for scale in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="finite, positive scales"):
            affine(scale)
    with pytest.raises(ValueError, match="one zero point a channel"):
        Affine(np.ones(2, np.float32), np.zeros(1, np.int64), 0, 8)


def test_worked_examples_of_weights_beside_a_bias() -> None:
    activation = affine(2.0**-10)
    parameters = quantization.weight_parameters(np.array([[1e-12]]), np.ones(1), activation=activation)
    assert parameters.scale == pytest.approx(2.0**-20, rel=EPS)
    assert quantization.quantize(np.array([[1e-12]]), parameters).tolist() == [[0]]
    unit = quantization.bias_parameters(np.ones(1), activation=activation, weight=parameters)
    assert quantization.quantize(np.ones(1), unit)[0] == pytest.approx(2**30, rel=2 * EPS)


MAGNITUDES = st.floats(1e-30, 1e30) | st.just(0.0)
ACTIVATIONS = st.tuples(st.floats(1e-12, 1e6), st.sampled_from((8, 16)))


@given(st.lists(st.tuples(MAGNITUDES, MAGNITUDES, st.booleans()), min_size=1, max_size=6), ACTIVATIONS)
def test_weights_and_biases_of_any_size_are_stored_together(
    outputs: list[tuple[float, float, bool]], activation: tuple[float, Bits]
) -> None:
    weight = np.array([[size, -size / 3] for size, _, _ in outputs])
    bias = np.array([size if positive else -size for _, size, positive in outputs])
    values = affine(activation[0], bits=activation[1])
    limit = 2**30 if activation[1] == 8 else 2**46
    parameters = quantization.weight_parameters(weight, bias, activation=values)
    plain = quantization.symmetric(weight, axis=0)
    unit = quantization.bias_parameters(bias, activation=values, weight=parameters)  # no bias passes its limit
    stored = quantization.quantize(bias, unit)
    assert stored.dtype == (np.int32 if activation[1] == 8 else np.int64)
    assert all(abs(int(each)) <= limit for each in stored)
    assert parameters.zero_point.tolist() == [0] * len(outputs)
    assert (parameters.axis, parameters.bits, parameters.narrow) == (0, 8, True)
    alive = np.any(weight, axis=1)
    assert np.all(parameters.scale[alive] >= plain.scale[alive])


# 2^46 steps in float64 are rounded to 2^-7 of a step, a few times over.
@given(SCALES, st.lists(SCALES, min_size=1, max_size=5), st.data())
def test_bias_behind_16_bits_is_stored_in_64(activation: float, weights: list[float], data: st.DataObject) -> None:
    units = np.float64(np.float32(activation)) * np.array(weights, np.float32).astype(np.float64)
    whole = st.integers(-(2**46) + 2**24, 2**46 - 2**24)
    biases = np.array([data.draw(whole) for _ in weights]) * units
    parameters = quantization.bias_parameters(biases, activation=affine(activation, bits=16), weight=affine(*weights))
    assert parameters.bits == 64
    stored = quantization.quantize(biases, parameters)
    assert stored.dtype == np.int64
    bound = parameters.scale.astype(np.float64) * (0.5 + 2.0**-5)
    assert np.all(np.abs(round_trip(biases, parameters) - biases) <= bound)


def test_bias_behind_16_bits_has_a_limit_too() -> None:
    one = affine(1, bits=16)
    assert quantization.quantize(
        np.array([2.0**46]), quantization.bias_parameters(np.array([2.0**46]), activation=one, weight=affine(1))
    ).tolist() == [2**46]
    with pytest.raises(ValueError, match="within 2\\^46 steps"):
        quantization.bias_parameters(np.array([2.0**46 + 1]), activation=one, weight=affine(1))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weight_that_is_not_finite_is_an_error(bad: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinity"):
        quantization.weight_parameters(np.array([[bad]]), np.ones(1), activation=affine(1))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bias_beside_a_weight_that_is_not_finite_is_an_error(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        quantization.weight_parameters(np.ones((1, 1)), np.array([bad]), activation=affine(1))
