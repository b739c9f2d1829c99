"""Chooses what computes in integers by the error that was measured on text."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from mobilebert_export.calibration.observe import Inputs, outputs
from mobilebert_export.check.metrics import sqnr
from mobilebert_export.graph.graph import Graph
from mobilebert_export.precisions.integer import Recipe, integer

# SQNR at the outputs, in dB, that nodes go back to real numbers for: noise of a twentieth of the signal.
ENOUGH = 26.0
# Each round takes off at least this much noise, in dB: where real numbers alone are not quiet enough, rounds end.
_SMALLEST_STEP = 1.0


def release(
    graph: Graph, recipe: Recipe, batches: list[Inputs], sensitivities: Callable[[], Mapping[str, float]]
) -> Recipe:
    """The recipe without the nodes that cost the answer most, as few of them as bring the error down to `ENOUGH`.

    The noise of nodes adds up, each on its own being 10^(-SQNR/10) of the signal. So the noisiest ones are released
    until the rest should be quiet enough; and where the measured error still is not, further ones.

    Args:
        graph: of real numbers.
        recipe: all that may compute in integers.
        batches: the text that errors are measured on.
        sensitivities: gives the SQNR of each node alone; asked only if something has to be released.
    """
    truth = outputs(graph, batches)
    missing = ENOUGH - sqnr(truth, outputs(integer(graph, recipe), batches))
    if missing <= 0:
        return recipe
    noise = {name: 10 ** (-value / 10) for name, value in sensitivities().items()}
    quiet_first = sorted(noise, key=lambda name: (noise[name], name))
    totals = np.cumsum([noise[name] for name in quiet_first])
    kept = len(quiet_first)
    while missing > 0 and kept:
        bearable = totals[kept - 1] * 10 ** (-max(missing, _SMALLEST_STEP) / 10)
        kept = min(kept - 1, int(np.searchsorted(totals[:kept], bearable, side="right")))
        recipe = replace(recipe, integer=frozenset(quiet_first[:kept]))
        missing = ENOUGH - sqnr(truth, outputs(integer(graph, recipe), batches))
    return recipe
