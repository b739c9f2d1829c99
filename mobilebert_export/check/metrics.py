"""How near one set of numbers is to another: functions of the reference's values and the candidate's."""

from dataclasses import dataclass
from math import inf, log10

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Energies:
    """Of a signal and of the noise on it: sums of squares, which add up over the pieces of an array.

    Attributes:
        signal: Σ reference².
        noise: Σ (reference - candidate)²; infinite where a value on either side is not finite.
    """

    signal: float = 0.0
    noise: float = 0.0

    @staticmethod
    def of(reference: NDArray[np.floating], candidate: NDArray[np.floating]) -> "Energies":
        """Those of two arrays of one shape. Raises ValueError if the shapes differ."""
        if reference.shape != candidate.shape:
            raise ValueError(f"expected two arrays of one shape, got {reference.shape} and {candidate.shape}")
        if not (np.all(np.isfinite(candidate)) and np.all(np.isfinite(reference))):
            return Energies(0.0, np.inf)
        truth = reference.astype(np.float64)
        return Energies(float(np.sum(truth**2)), float(np.sum((truth - candidate) ** 2)))

    def __add__(self, other: "Energies") -> "Energies":
        """Those of both pieces together."""
        return Energies(self.signal + other.signal, self.noise + other.noise)

    @property
    def sqnr(self) -> float:
        """The ratio in dB."""
        return decibels(self.signal, self.noise)


def decibels(signal: float, noise: float) -> float:
    """10 log₁₀(signal / noise): infinite for no noise, minus infinity for no signal in it."""
    if noise == 0:
        return inf
    ratio = signal / noise
    return 10 * log10(ratio) if ratio > 0 else -inf


def sqnr(reference: NDArray[np.floating], candidate: NDArray[np.floating]) -> float:
    """Signal to quantization noise ratio in dB: 10 log₁₀(Σ reference² / Σ (reference - candidate)²).

    An error of a tenth of the signal is 20 dB, of a hundredth 40 dB. Equal values give infinity; a value that is not
    finite, on either side, gives minus infinity.

    Raises:
        ValueError: the shapes differ, or there is nothing to compare.
    """
    if reference.size == 0:
        raise ValueError("expected two arrays of one shape, not empty, got nothing to compare")
    return Energies.of(reference, candidate).sqnr
