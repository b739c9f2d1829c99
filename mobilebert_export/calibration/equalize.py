"""Chooses the coordinates of every stream from what it holds on calibration text.

Each step is exact in real arithmetic. Where channels have grown apart, a stream is begun anew. Where one direction is
massive, the wide stream is rotated to the axes of its second moment, which makes a channel of it. Then every free scale
is shared between the activations and the weights that read them, or between queries and keys; and keys and values,
whose zero point is 0, are centred. Rotation costs a model that does not need it some precision, so it is taken only
where the measured error is smaller with it.

Streams are not centred, though they could be: the middle of a channel's range is that of its few massive tokens, and
without it the values of all others are larger, and with them the error of every weight that reads them.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from mobilebert_quantization import (
    ChannelRange,
    LogMagnitude,
    SecondMoment,
    centre,
    growth_apart,
    principal_axes,
    product_scales,
    smoothing_scales,
)
from numpy.typing import NDArray

from mobilebert_export.calibration.observe import Inputs, few, observe, outputs
from mobilebert_export.check.metrics import sqnr
from mobilebert_export.graph import operators as op
from mobilebert_export.graph.basis import Array, Basis
from mobilebert_export.graph.graph import FreeStream, Graph
from mobilebert_export.lowering import Coordinates, lower
from mobilebert_export.lowering.rescale import MEASURING
from mobilebert_export.precisions.weights import dynamic

if TYPE_CHECKING:
    from mobilebert_reference import Checkpoint

# A stream whose channels grow further apart than this begins anew: int8 has two digits.
_FURTHEST_APART = 64.0


@dataclass(frozen=True)
class Equalization:
    """The coordinates that suit a model's activations.

    Attributes:
        coordinates: of every stream.
        rotated: whether the wide stream is kept in rotated axes.
    """

    coordinates: Coordinates
    rotated: bool


def equalize(checkpoint: "Checkpoint", inputs: Callable[[str], Iterable[Inputs]]) -> Equalization:
    """Measures a model on text and chooses its coordinates.

    Args:
        checkpoint: the reference.
        inputs: gives the text anew each time it is asked, and is told what for.

    Raises:
        DataError: the text cannot be used, or an activation is not finite.
    """
    lowered = partial(lower, checkpoint.model, checkpoint.config, dtype=np.float64)
    width = checkpoint.config.hidden_size
    start = Coordinates(rescale=MEASURING)
    graph = lowered(coordinates=start)
    seen = _look(graph, inputs("streams"), width)
    if chosen := _outgrown(graph, seen):  # streams that begin anew have axes of their own
        start = Coordinates(rescale=replace(MEASURING, chosen=chosen))
        graph = lowered(coordinates=start)
        seen = _look(graph, inputs("new streams"), width)
    axes = _axes(graph, seen, width)
    turned = replace(start, bases={name: Basis(matrix, np.zeros(len(matrix))) for name, matrix in axes.items()})
    text = [few(batch) for batch in islice(inputs("rotation"), 1)]
    rotated = bool(axes) and _smaller_error(lowered, turned, start, text)
    return Equalization(_equalized(lowered, turned if rotated else start, inputs("scales")), rotated)


@dataclass(frozen=True)
class _Seen:
    """What is kept of a tensor of a residual stream: typical sizes, and of a wide one the second moment."""

    size: LogMagnitude
    moment: SecondMoment | None

    def update(self, values: NDArray[np.floating]) -> "_Seen":
        """With more values (tokens, channels)."""
        return _Seen(self.size.update(values), self.moment.update(values) if self.moment else None)


def _residual(graph: Graph) -> dict[str, FreeStream]:
    return {start: stream for start, stream in graph.streams.items() if stream.freedom == "any"}


def _look(graph: Graph, inputs: Iterable[Inputs], width: int) -> dict[str, _Seen]:
    def empty(channels: int) -> _Seen:
        return _Seen(LogMagnitude.empty(channels), SecondMoment.empty(channels) if channels == width else None)

    return observe(graph, inputs, {name: empty for each in _residual(graph).values() for name in each.tensors})


def _outgrown(graph: Graph, seen: Mapping[str, _Seen]) -> frozenset[str]:
    """The tensors at which a stream should begin anew."""
    found = set()
    for stream in _residual(graph).values():
        computed = [name for name in stream.tensors if name in seen]
        begin = computed[0]
        for name in computed[1:]:
            if growth_apart(seen[begin].size, seen[name].size) > _FURTHEST_APART:
                found.add(name)
                begin = name
    return frozenset(found)


def _axes(graph: Graph, seen: Mapping[str, _Seen], width: int) -> dict[str, Array]:
    """For each free stream of this width, the axes of its second moment; each of its tensors weighs the same."""
    axes = {}
    for start, stream in _residual(graph).items():
        if stream.channels != width:
            continue
        kept = [seen[name].moment for name in stream.tensors if name in seen]
        moments = [each.moment for each in kept if each is not None]
        axes[start] = principal_axes(np.sum([moment / (np.trace(moment) or 1.0) for moment in moments], axis=0))
    return axes


def _smaller_error(lowered: Callable[..., Graph], one: Coordinates, other: Coordinates, inputs: list[Inputs]) -> bool:
    """Whether rounding costs less in one than in the other, both equalized; measured with `dynamic`."""
    truth = outputs(lowered(coordinates=other), inputs)
    errors = [
        sqnr(truth, outputs(dynamic(lowered(coordinates=_equalized(lowered, each, inputs))), inputs))
        for each in (one, other)
    ]
    return errors[0] > errors[1]


def _equalized(lowered: Callable[..., Graph], start: Coordinates, inputs: Iterable[Inputs]) -> Coordinates:
    """The coordinates whose axes are given, in the scales and around the centres that suit the text."""
    graph = lowered(coordinates=start)
    names = {name for stream in graph.streams.values() for name in stream.tensors}
    seen = observe(graph, inputs, dict.fromkeys(names, ChannelRange.empty))
    bases = {}
    for name, stream in graph.streams.items():
        if stream.freedom == "product":
            bases[name] = _of_product(stream, seen)
        elif (scales := _scales(graph, name, stream, seen)) is not None:
            axes = start.bases[name].matrix if name in start.bases else np.ones(stream.channels)
            offset = (
                centre(seen[name].low, seen[name].high) if stream.freedom == "affine" else np.zeros(stream.channels)
            )
            bases[name] = Basis(axes * scales, offset)
    return replace(start, bases=bases)


def _of_product(stream: FreeStream, seen: Mapping[str, ChannelRange]) -> Basis:
    """The scales that make both factors of a product equally large, and the centre of the right one."""
    left, right = (seen[name] for name in stream.tensors)
    if stream.tensors[0] == stream.tensors[1]:
        middle = stream.channels
        left = ChannelRange(left.low[:middle], left.high[:middle])
        right = ChannelRange(right.low[middle:], right.high[middle:])
    scales = product_scales(left.largest, (right.high - right.low) / 2)
    return Basis(scales, centre(right.low, right.high))


def _scales(graph: Graph, start: str, stream: FreeStream, seen: Mapping[str, ChannelRange]) -> Array | None:
    """The scales that smoothing gives a stream; None where no Linear reads it."""
    readers = _weights(graph, reading=set(stream.tensors))
    if not readers:  # a rescale point follows at once: whatever the scale, nothing is rounded
        return None
    activation = np.max([seen[name].largest for name in stream.tensors if name in seen], axis=0)
    if stream.freedom == "positive":
        activation = np.maximum(activation, _expected_range(activation, _weights(graph, writing=start)[0]))
    return smoothing_scales(activation, np.max([np.abs(weight).max(axis=0) for weight in readers], axis=0))


def _expected_range(activation: Array, weight: Array) -> Array:
    """What each ReLU unit may reach, by the size of its weights (units, in): calibration may never have woken it."""
    size = np.linalg.norm(weight, axis=1)
    if not size.any():  # pruned: they reach their biases
        return activation
    return np.asarray(size * np.median(activation[size > 0] / size[size > 0]))


def _weights(graph: Graph, *, reading: set[str] | None = None, writing: str | None = None) -> list[Array]:
    """Weights (out, in) of the Linears and convolutions that read any of these tensors, or that write this one."""
    found = []
    for node in graph.nodes:
        if isinstance(node.operator, op.Linear | op.Convolution):
            weight = graph.tensors[node.inputs[1]].data
            if weight is not None and (node.inputs[0] in (reading or ()) or node.outputs[0] == writing):
                found.append(np.asarray(weight, np.float64).reshape(-1, weight.shape[-1]))
    return found
