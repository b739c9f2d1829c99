"""Bias correction: takes the mean of a Linear's rounding error out of its output."""

import numpy as np
from numpy.typing import NDArray


def bias_correction(
    weight: NDArray[np.floating], rounded_weight: NDArray[np.floating], mean_input: NDArray[np.floating]
) -> NDArray[np.float64]:
    """What to add to the bias, (outputs,), so that the rounded weight gives the same mean output.

        E[W x] - E[W̃ x] = (W - W̃) E[x]

    W and W̃, the real values that the stored weight stands for, are (outputs, inputs); E[x] is (inputs,), over the
    calibration text.
    Source: Nagel et al. 2019 (arXiv 1906.04721), section 4.2.
    For W = ((0.26, -0.5)), W̃ = ((0.25, -0.5)) and E[x] = (4, 1) it is (0.04).

    Raises:
        ValueError: the shapes do not belong together.
    """
    if weight.ndim != 2 or weight.shape != rounded_weight.shape or mean_input.shape != weight.shape[1:]:  # noqa: PLR2004
        shapes = f"{weight.shape}, {rounded_weight.shape}, {mean_input.shape}"
        raise ValueError(f"expected (outputs, inputs) twice and (inputs,), got {shapes}")
    error: NDArray[np.float64] = weight.astype(np.float64) - rounded_weight
    return error @ mean_input.astype(np.float64)
