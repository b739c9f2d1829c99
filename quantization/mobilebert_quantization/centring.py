"""Centring: an offset for each channel that makes its range symmetric, so that zero point 0 wastes nothing."""

import numpy as np
from numpy.typing import NDArray


def centre(low: NDArray[np.floating], high: NDArray[np.floating]) -> NDArray[np.float64]:
    """The middle c of each channel's range, (channels,): x - c lies within (low - high) / 2 and (high - low) / 2.

        c = (low + high) / 2

    Where an offset is free, writers subtract c in their bias and readers add W c to theirs; the int8 products of K and
    V want it, for they take zero point 0 alone.
    Source: the zero point of Jacob et al. 2018 (arXiv 1712.05877), equation 1, moved into the biases around it.
    For low = (-1, 2) and high = (3, 2) it is (1, 2).

    Raises:
        ValueError: the shapes differ, a bound is not finite, or a low is above its high.
    """
    if low.shape != high.shape:
        raise ValueError(f"expected a low and a high for each channel, got shapes {low.shape}, {high.shape}")
    if not np.all(np.isfinite(low) & np.isfinite(high) & (low <= high)):
        raise ValueError("expected finite ranges with low <= high")
    # Halved first: the sum of two float64 may be infinite.
    return low.astype(np.float64) / 2 + high.astype(np.float64) / 2
