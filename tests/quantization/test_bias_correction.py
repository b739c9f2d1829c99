import mobilebert_quantization as quantization
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st


def test_correction_of_the_documentation() -> None:
    correction = quantization.bias_correction(np.array([[0.26, -0.5]]), np.array([[0.25, -0.5]]), np.array([4.0, 1.0]))
    np.testing.assert_allclose(correction, [0.04], rtol=1e-14)


@given(st.integers(1, 6), st.integers(1, 40), st.integers(-30, 30), st.integers(0, 2**32 - 1))
def test_corrected_linear_has_the_mean_output_of_the_exact_one(
    outputs: int, inputs: int, power: int, seed: int
) -> None:
    chooser = np.random.default_rng(seed)
    weight = chooser.standard_normal((outputs, inputs)) * 10.0**power
    rows = chooser.standard_normal((50, inputs)) + 3
    parameters = quantization.symmetric(weight, axis=0)
    rounded = quantization.dequantize(quantization.quantize(weight, parameters), parameters)
    correction = quantization.bias_correction(weight, rounded, rows.mean(axis=0))
    exact, corrected = (rows @ weight.T).mean(axis=0), (rows @ rounded.T).mean(axis=0) + correction
    # Sums of float64 of at most 40 * 50 terms.
    bound = 1e-13 * np.abs(weight).max() * np.abs(rows).sum(axis=1).max()
    np.testing.assert_allclose(corrected, exact, rtol=0, atol=bound)


def test_weights_of_float32_are_subtracted_in_float64() -> None:
    weight, rounded = np.array([[1.0]], np.float32), np.array([[1.0 + 2.0**-40]])
    assert quantization.bias_correction(weight, rounded, np.ones(1, np.float32)) == -(2.0**-40)


@pytest.mark.parametrize(
    "shapes", [((2, 3), (2, 3), (2,)), ((2, 3), (3, 2), (3,)), ((3,), (3,), (3,)), ((2, 3), (2, 3), (1, 3))]
)
def test_shapes_that_do_not_belong_together_are_an_error(shapes: tuple[tuple[int, ...], ...]) -> None:
    weight, rounded, mean = (np.zeros(shape) for shape in shapes)
    with pytest.raises(ValueError, match="outputs, inputs"):
        quantization.bias_correction(weight, rounded, mean)
