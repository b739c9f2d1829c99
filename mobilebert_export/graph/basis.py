"""The coordinates that a tensor is kept in.

Nothing non-linear acts on the residual streams of a `no_norm` MobileBERT, so a stream x of n channels may be stored
as x̃ in any invertible basis, at no cost at run time:

    x = B x̃ + c

Every Linear that reads the stream absorbs B and c, every Linear that writes to it absorbs B⁻¹. A NoNorm then costs
nothing: it only changes what B and c are. B is stored as a vector where it is diagonal.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Basis:
    """`x = matrix @ stored + offset` over the last axis.

    Attributes:
        matrix: (n,), the diagonal of B, or (n, n), B itself. Invertible.
        offset: (n,), c.
    """

    matrix: Array
    offset: Array

    @staticmethod
    def identity(channels: int) -> "Basis":
        """The basis in which a tensor is stored as it is."""
        return Basis(np.ones(channels), np.zeros(channels))

    @property
    def is_diagonal(self) -> bool:
        """Whether each channel stands for one channel of the reference."""
        return self.matrix.ndim == 1

    @property
    def is_identity(self) -> bool:
        """Whether the stored tensor is the reference's own."""
        return self.is_diagonal and bool(np.all(self.matrix == 1.0) and np.all(self.offset == 0.0))

    def without_offset(self) -> "Basis":
        """The basis of what is added to a stream: the stream itself carries the offset."""
        return Basis(self.matrix, np.zeros_like(self.offset))

    def after_affine(self, gain: Array, bias: Array) -> "Basis":
        """The basis in which the stored tensor now stands for `gain * x + bias`."""
        matrix = gain * self.matrix if self.is_diagonal else gain[:, None] * self.matrix
        return Basis(matrix, gain * self.offset + bias)

    def read_by(self, weight: Array, bias: Array) -> tuple[Array, Array]:
        """Weight (out, n) and bias (out) of the Linear that reads x, made to read x̃: W B and b + W c.

        With B = diag(2, 4) and c = (1, 0), y = x₁ + x₂ is 2 x̃₁ + 4 x̃₂ + 1.
        """
        folded = weight * self.matrix if self.is_diagonal else weight @ self.matrix
        return folded, bias + (weight @ self.offset if np.any(self.offset) else 0.0)

    def written_by(self, weight: Array, bias: Array) -> tuple[Array, Array]:
        """Weight (n, in) and bias (n) of the Linear that gives x, made to give x̃: B⁻¹ W and B⁻¹ (b - c)."""
        return self.to_stored(weight.T, offset=False).T, self.to_stored(bias)

    def to_stored(self, values: Array, *, offset: bool = True) -> Array:
        """x̃ for values (..., n) of x; `offset=False` for directions, which have none."""
        centred = values - self.offset if offset else values
        if self.is_diagonal:
            return np.asarray(centred / self.matrix)
        return np.asarray(np.linalg.solve(self.matrix, centred.reshape(-1, len(self.offset)).T).T.reshape(values.shape))

    def to_reference(self, stored: Array) -> Array:
        """Values x (..., n) that the stored ones stand for."""
        return np.asarray((stored * self.matrix if self.is_diagonal else stored @ self.matrix.T) + self.offset)
