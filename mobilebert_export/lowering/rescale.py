"""Where a NoNorm's gains are multiplied in, because the basis they would leave is out of reach of small numbers."""

from dataclasses import dataclass

import numpy as np

from mobilebert_export.graph.basis import Array


@dataclass(frozen=True)
class RescaleRule:
    """Tells the norms that are rescale points.

    Attributes:
        smallest_gain: a gain nearer to 0 than this would leave a basis whose inverse explodes.
        largest_drift: a product of gains since the stream's start beyond this, up or down, would bring the stored
            values, and
            the weights that write them, out of float16's and int8's reach.
        chosen: norms that are rescale points whatever their gains, by the names of their outputs.
    """

    smallest_gain: float = 0.02
    largest_drift: float = 64.0
    chosen: frozenset[str] = frozenset()

    def applies(self, name: str, gain: Array, drift: Array) -> bool:
        """Whether the norm `name` is a rescale point.

        Args:
            name: of the norm's output.
            gain: (channels), the norm's own.
            drift: (channels), the product of all gains since the stream's start, this one among them.
        """
        size = np.abs(drift)
        outside = (size < 1 / self.largest_drift) | (size > self.largest_drift)
        return name in self.chosen or bool(np.any((np.abs(gain) < self.smallest_gain) | outside))


# For measuring a stream in the coordinates of its start: only what has no inverse at all starts anew.
MEASURING = RescaleRule(smallest_gain=1e-30, largest_drift=1e30)
