"""How far a stream's channels have grown apart since it began.

The scales of a stream are chosen once, where it begins. Where some channels have outgrown the others since then by
orders of magnitude, no choice of scales fits both ends, and the stream is better begun anew.

Source: this project. The geometric mean is what keeps one massive token (Sun et al. 2024, arXiv 2402.17762) out of it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Stands for a value of 0, which has no logarithm.
_SMALLEST = 1e-300


@dataclass(frozen=True)
class LogMagnitude:
    """The mean of ln |x| of each channel: a typical size, which one massive token does not move.

    For rows (1, 10) and (1, 1000) the mean is (0, ln 100).

    Attributes:
        count: the number of rows.
        total: (channels,): the sum of ln |x|.
    """

    count: int
    total: NDArray[np.float64]

    @staticmethod
    def empty(channels: int) -> "LogMagnitude":
        """Nothing seen yet."""
        return LogMagnitude(0, np.zeros(channels))

    @property
    def mean(self) -> NDArray[np.float64]:
        """E[ln |x|], (channels,). Raises ValueError before the first row."""
        if self.count == 0:
            raise ValueError("expected at least one row, got none")
        return self.total / self.count

    def update(self, values: NDArray[np.floating]) -> "LogMagnitude":
        """With more values (tokens, channels)."""
        logarithms = np.log(np.maximum(np.abs(values), _SMALLEST))
        return LogMagnitude(self.count + len(values), self.total + logarithms.sum(axis=0))


def growth_apart(before: LogMagnitude, after: LogMagnitude) -> float:
    """How many times more the fastest channel has grown than the median one.

    From typical sizes (1, 1, 1) to (2, 2, 200) it is 100. A channel that was always 0 before has no size to grow
    from, and is left out.

    Raises:
        ValueError: either has seen nothing.
    """
    alive = before.mean > np.log(_SMALLEST) + 1
    if not alive.any():
        return 1.0
    grown = (after.mean - before.mean)[alive]
    return float(np.exp(min(grown.max() - np.median(grown), 700.0)))
