"""The range of every tensor: what integers have to hold."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from mobilebert_quantization import ChannelRange, RowMaximum

from mobilebert_export.calibration.observe import Inputs, Observer, observe
from mobilebert_export.graph import operators as op
from mobilebert_export.graph.graph import Graph, Tensor
from mobilebert_export.graph.operators import SEQUENCE
from mobilebert_export.precisions.parameters import MOVEMENTS, Range

# A score this far below its row's largest has a probability of at most 6e-6, which no step of 8 bits (4e-3) or 16 bits
# (3e-5) shows. Lower scores, and padding, are held at this distance.
_NEGLIGIBLE = 12.0


def ranges(graph: Graph, inputs: Iterable[Inputs]) -> dict[str, Range]:
    """The smallest and the largest value of each tensor: of computed ones on text, of constants their own.

    Nothing is clipped: where one token is massive, percentiles and mean square error cut what the answer depends on.
    The scores of attention are the exception (`_NEGLIGIBLE`), and with them the mask, which only has to reach below
    all of them.

    Raises:
        DataError: an activation is NaN or infinite.
    """
    attention = _attention(graph)
    # A range is rounded to 8 or 16 bits in the end: float32 is enough to find it.
    seen = observe(graph, inputs, _observers(graph, attention), dtype=torch.float32)
    found = {name: _span(kept) for name, kept in seen.items()}
    for masked, (scores, table) in attention.items():
        low, high = found[masked]
        found[masked] = found[scores] = (low - _NEGLIGIBLE, high)
        below = min(found.get(table, (0.0, 0.0))[0], low - _NEGLIGIBLE - high)
        found[table] = (below, 0.0)
    for node in graph.nodes:
        for name in node.inputs:
            if isinstance(node.operator, op.Gather | op.Add | op.Multiply) and name not in found:
                tensor = graph.tensors[name]
                if tensor.data is not None:
                    found[name] = _own(tensor)
        if isinstance(node.operator, op.Positions):  # of all positions, however short the text is
            found[node.outputs[0]] = _own(graph.tensors[node.inputs[0]])
    return found


def _attention(graph: Graph) -> dict[str, tuple[str, str]]:
    """For each tensor of masked scores, that of the scores alone, and the table of the mask."""
    given = {name: node for node in graph.nodes for name in node.outputs}
    found = {}
    for node in graph.nodes:
        if isinstance(node.operator, op.Softmax):
            (masked,) = node.inputs
            scores, mask = given[masked].inputs
            while mask in given:
                mask = given[mask].inputs[0]
            found[masked] = (scores, mask)
    return found


def _observers(graph: Graph, attention: dict[str, tuple[str, str]]) -> dict[str, Callable[[int], Observer]]:
    observers: dict[str, Callable[[int], Observer]] = {}
    for node in graph.nodes:
        for name in node.outputs:
            if name in attention:
                observers[name] = lambda _: RowMaximum()
            elif not isinstance(node.operator, MOVEMENTS) and graph.tensors[name].shape[-1] != SEQUENCE:
                observers[name] = ChannelRange.empty
    return observers


def _span(kept: Observer) -> Range:
    if isinstance(kept, RowMaximum):
        return kept.low, kept.high
    if isinstance(kept, ChannelRange):
        return float(kept.low.min()), float(kept.high.max())
    raise TypeError(f"expected a range, got {type(kept).__name__}")


def _own(tensor: Tensor) -> Range:
    data = np.asarray(tensor.data)
    return float(data.min()), float(data.max())
