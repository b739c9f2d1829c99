import mobilebert_quantization as quantization
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from mobilebert_quantization import LARGEST_PAIR, Affine
from numpy.typing import NDArray

# What a product of two neighbours may reach in the kernels, and the largest input.
LARGEST_OF_16_BITS, LARGEST_INPUT = 2**15 - 1, 255
WEIGHTS = arrays.arrays(
    np.float64,
    st.tuples(st.integers(1, 4), st.integers(1, 7)),
    elements=st.floats(-1e30, 1e30) | st.floats(-1, 1) | st.sampled_from([0.0, 1.0, -1.0, 1.27]),
)


def test_worked_examples_of_the_documentation() -> None:
    assert quantization.largest_pairs(np.array([[3.0, 4.0, -5.0, 1.0, -2.0]])).tolist() == [7.0]
    row = np.array([[1.27, 1.27]])
    parameters = quantization.symmetric(row, axis=0)
    assert quantization.quantize(row, parameters).tolist() == [[127, 127]]
    parameters = quantization.paired(row, parameters)
    np.testing.assert_allclose(parameters.scale, [0.02], rtol=1e-6)
    assert quantization.quantize(row, parameters).tolist() == [[63, 63]]


@given(WEIGHTS)
@example(np.array([[127.0, 127.0]]))
@example(np.full((1, 2), np.float64(np.float32(1 / 3))))  # whose scale has no exact float32
@example(np.array([[0.5, 126.5], [1.5, 125.5]]))  # both round up
def test_no_pair_passes_16_bits_in_the_kernel(weight: NDArray[np.float64]) -> None:
    parameters = quantization.paired(weight, quantization.symmetric(weight, axis=0))
    stored = quantization.quantize(weight, parameters).astype(np.int64)
    assert quantization.largest_pairs(stored).max() <= LARGEST_PAIR
    # The kernel itself: inputs that are all 0 or largest reach every extreme.
    even = np.pad(stored, ((0, 0), (0, stored.shape[1] % 2))).reshape(len(stored), -1, 2)
    for inputs in ((LARGEST_INPUT, LARGEST_INPUT), (LARGEST_INPUT, 0), (0, LARGEST_INPUT)):
        assert np.abs(even @ np.array(inputs)).max() <= LARGEST_OF_16_BITS


@given(WEIGHTS)
def test_scales_grow_only_where_they_must_and_at_most_twofold(weight: NDArray[np.float64]) -> None:
    plain = quantization.symmetric(weight, axis=0)
    parameters = quantization.paired(weight, plain)
    assert np.all(parameters.scale >= plain.scale)
    assert np.all(parameters.scale.astype(np.float64) <= plain.scale.astype(np.float64) * 2 * (1 + 2.0**-22))
    unpaired = quantization.largest_pairs(weight) <= np.abs(weight).max(axis=1)
    # One float32 step may part a maximum and the sum of one number.
    np.testing.assert_allclose(parameters.scale[unpaired], plain.scale[unpaired], rtol=2.0**-22)


@pytest.mark.parametrize(
    "parameters",
    [
        Affine(np.ones(1, np.float32), np.zeros(1, np.int64), None, 8),
        Affine(np.ones(1, np.float32), np.zeros(1, np.int64), 0, 4),
        Affine(np.ones(1, np.float32), np.ones(1, np.int64), 0, 8),
    ],
)
def test_parameters_of_another_kind_are_an_error(parameters: Affine) -> None:
    with pytest.raises(ValueError, match="expected parameters of 8 bits with zero point 0 and a scale for each output"):
        quantization.paired(np.ones((1, 2)), parameters)
