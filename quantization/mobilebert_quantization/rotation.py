"""Rotation: the basis in which a massive direction of a stream is one channel.

Nothing non-linear acts on a residual stream, so it may be kept as x = B x̃ in any invertible basis B: its readers
absorb B, its writers B⁻¹. In the axes of its second moment over calibration text a direction that is massive, however
large and however it varies, becomes one channel, which a scale then divides out (see `smoothing`).
"""

import numpy as np
from numpy.typing import NDArray


def principal_axes(moment: NDArray[np.floating]) -> NDArray[np.float64]:
    """Eigenvectors of a second moment E[x xᵀ], (channels, channels), as the columns of an orthogonal matrix.

    Columns go from the largest eigenvalue to the smallest; the entry of largest magnitude in each is positive, the
    first of them where several are equal. They are orthogonal to rounding whatever the eigenvalues. Float64 holds a
    moment to 1e-16 of its largest eigenvalue: one that is 1e12 times the rest leaves the axes of the rest exact to
    about 1e-4 of their energies; axes below 1e-16 of it are any basis of what remains.
    Source: SliceGPT, Ashkboos et al. 2024 (arXiv 2401.15024), section 3; it cuts small axes off, here none is.
    For ((2, 1), (1, 2)) the columns are (0.707, 0.707) and (0.707, -0.707), with eigenvalues 3 and 1.

    Raises:
        ValueError: the matrix is not square, not symmetric, or not finite.
    """
    if moment.ndim != 2 or moment.shape[0] != moment.shape[1]:  # noqa: PLR2004
        raise ValueError(f"expected a square matrix, got shape {moment.shape}")
    matrix = moment.astype(np.float64)
    largest = np.abs(matrix).max(initial=0.0)
    if not np.isfinite(largest):
        raise ValueError("expected a finite second moment, got NaN or infinity")
    # Rounding alone parts the two halves of a moment by much less.
    if np.abs(matrix - matrix.T).max(initial=0.0) > 1e-9 * largest:
        raise ValueError("expected a symmetric matrix, got one that differs from its transpose")
    eigenvalues, vectors = np.linalg.eigh(matrix)
    vectors = vectors[:, np.argsort(-eigenvalues, kind="stable")]
    return vectors * _signs(vectors)


def _signs(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    leading = np.abs(vectors).argmax(axis=0)
    return np.where(vectors[leading, np.arange(vectors.shape[1])] < 0, -1.0, 1.0)
