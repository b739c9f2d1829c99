"""Smoothing: shares the spread of a tensor's channels between the activations and the weights that read them.

Where a channel's scale is free, x̃ = x / s and W̃ = W * s (along the inputs) compute the same.
"""

import numpy as np
from numpy.typing import NDArray

_DEAD = float(np.finfo(np.float32).tiny)


def product_scales(left_range: NDArray[np.floating], right_range: NDArray[np.floating]) -> NDArray[np.float64]:
    """Scales s, (channels,), positive, that make the factors of a product of activations equally large.

        s = √(l / r)

    l and r are the largest magnitudes of each channel of queries and keys, (channels,). A query is divided by s and a
    key multiplied by it: both then reach √(l r), and their product stays. A channel in which either is dead (see
    `smoothing_scales`) gets scale 1.
    Source: cross-layer equalization, Nagel et al. 2019 (arXiv 1906.04721), equation 11, for two activations.
    For l = (8, 1) and r = (2, 1) the scales are (2, 1), and both reach (4, 1).

    Raises:
        ValueError: the shapes differ, a range is negative or not finite.
    """
    ranges, alive = _alive(left_range, right_range)
    left, right = np.log(np.where(alive, ranges, 1.0))
    return np.asarray(np.exp((left - right) / 2))


def smoothing_scales(
    activation_range: NDArray[np.floating], weight_range: NDArray[np.floating], *, alpha: float = 0.5
) -> NDArray[np.float64]:
    """Scales s, (channels,), positive, by which activations are divided and weights multiplied.

        s = r^alpha / w^(1 - alpha)

    r is the largest magnitude of each channel's activations, w that of the weights that read it, both (channels,). At
    alpha 1/2, r / s and w * s become equal: both sqrt(r w). The scales are divided by their geometric mean, which the
    quantization of the whole tensor does not feel. A channel whose activations or weights are below the smallest normal
    float32 is dead: it gets scale 1 and has no part in the mean.
    Source: SmoothQuant, Xiao et al. 2022 (arXiv 2211.10438), equation 4.
    For r = (16, 1) and w = (1, 1) the scales before the division are (4, 1), after it (2, 0.5).

    Raises:
        ValueError: the shapes differ, a range is negative or not finite, or alpha is not from 0 to 1.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"expected alpha from 0 to 1, got {alpha:g}")
    ranges, alive = _alive(activation_range, weight_range)
    scales = np.ones(alive.shape)
    if alive.any():
        # In logarithms, where neither a power nor the mean overflows.
        activation, weight = np.log(ranges[:, alive])
        exponent = alpha * activation - (1 - alpha) * weight
        scales[alive] = np.exp(exponent - exponent.mean())
    return scales


def _alive(first: NDArray[np.floating], second: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Two ranges (2, channels), and where neither is dead."""
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(f"expected two ranges of the same channels, got shapes {first.shape}, {second.shape}")
    ranges = np.stack([first, second]).astype(np.float64)
    if not np.all(np.isfinite(ranges) & (ranges >= 0)):
        raise ValueError("expected finite ranges of 0 or more, got a negative one, NaN or infinity")
    return ranges, np.all(ranges >= _DEAD, axis=0)
