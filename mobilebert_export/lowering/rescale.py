"""Where a NoNorm's gains are multiplied in, because the basis they would leave is out of reach of small numbers."""

from dataclasses import dataclass

import numpy as np

from mobilebert_export.graph.basis import Array


@dataclass(frozen=True)
class RescaleRule:
    """Tells the norms that are rescale points.

    Attributes:
        largest_drift: a product of gains since the stream's start beyond this, up or down, would bring the stored
            values, and the weights that write them, out of float16's and int8's reach. A gain of 0 has no inverse.
        chosen: norms that are rescale points whatever their gains, by the names of their outputs.
    """

    largest_drift: float = 64.0
    chosen: frozenset[str] = frozenset()

    def applies(self, name: str, drift: Array) -> bool:
        """Whether the norm whose output is called `name` is a rescale point.

        Args:
            name: of the norm's output.
            drift: (channels), the product of all gains since the stream's start, this norm's among them.
        """
        size = np.abs(drift)
        return name in self.chosen or bool(np.any((size < 1 / self.largest_drift) | (size > self.largest_drift)))


# For measuring a stream in the coordinates of its start: only what has no inverse starts anew.
MEASURING = RescaleRule(largest_drift=1e30)
