"""How near one set of numbers is to another: functions of the reference's values and the candidate's."""

import numpy as np
from numpy.typing import NDArray


def sqnr(reference: NDArray[np.floating], candidate: NDArray[np.floating]) -> float:
    """Signal to quantization noise ratio in dB: 10 log₁₀(Σ reference² / Σ (reference - candidate)²).

    An error of a tenth of the signal is 20 dB, of a hundredth 40 dB. Equal values give infinity; a value that is not
    finite, on either side, gives minus infinity.

    Raises:
        ValueError: the shapes differ, or there is nothing to compare.
    """
    if reference.shape != candidate.shape or reference.size == 0:
        raise ValueError(f"expected two arrays of one shape, not empty, got {reference.shape} and {candidate.shape}")
    if not (np.all(np.isfinite(candidate)) and np.all(np.isfinite(reference))):
        return -np.inf
    truth = reference.astype(np.float64)
    noise = float(np.sum((truth - candidate) ** 2))
    signal = float(np.sum(truth**2))
    if noise == 0:
        return np.inf
    return 10 * float(np.log10(signal / noise)) if signal > 0 else -np.inf


def agreement(reference: NDArray[np.integer], candidate: NDArray[np.integer]) -> float:
    """The share of answers that are the same, from 0 to 1.

    Raises:
        ValueError: the shapes differ, or there is nothing to compare.
    """
    if reference.shape != candidate.shape or reference.size == 0:
        raise ValueError(f"expected two arrays of one shape, not empty, got {reference.shape} and {candidate.shape}")
    return float(np.mean(reference == candidate))
