import mobilebert_quantization as quantization
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

LARGEST = float(np.finfo(np.float64).max)
PAIRS = arrays.arrays(np.float64, (2, 5), elements=st.floats(-LARGEST, LARGEST))


def test_centre_of_the_documentation() -> None:
    assert quantization.centre(np.array([-1.0, 2.0]), np.array([3.0, 2.0])).tolist() == [1, 2]


@given(PAIRS)
@example(np.array([[-LARGEST], [LARGEST]]))
@example(np.array([[LARGEST], [LARGEST]]))
def test_centred_range_is_symmetric(pairs: NDArray[np.float64]) -> None:
    low, high = pairs.min(axis=0), pairs.max(axis=0)
    middle = quantization.centre(low, high)
    assert np.all((low <= middle) & (middle <= high))
    # Halves, that the widest range stays finite. One rounding each; a subnormal has no half.
    above, below = high / 2 - middle / 2, middle / 2 - low / 2
    bound = np.maximum(np.abs(low), np.abs(high)) * np.finfo(np.float64).eps + np.finfo(np.float64).smallest_subnormal
    assert np.all(np.abs(above - below) <= bound)


def test_narrow_types_do_not_overflow() -> None:
    largest = np.array([np.finfo(np.float16).max])
    assert quantization.centre(largest, largest).tolist() == largest.tolist()


@pytest.mark.parametrize(("low", "high"), [(1.0, -1.0), (np.nan, 1.0), (0.0, np.nan), (-np.inf, 0.0), (0.0, np.inf)])
def test_impossible_range_is_an_error(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="low <= high"):
        quantization.centre(np.array([0.0, low]), np.array([0.0, high]))


def test_ranges_of_other_channels_are_an_error() -> None:
    with pytest.raises(ValueError, match="each channel"):
        quantization.centre(np.zeros(2), np.zeros(3))
