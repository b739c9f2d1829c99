"""Chooses the basis of every free stream from what it holds on calibration text.

Three steps, each exact in real arithmetic: where channels have grown apart, a stream is begun anew; where one
direction is massive, the wide stream is rotated to the axes of its second moment, which makes a channel of it; then
every free scale is shared between the activations and the weights that read them. Rotation costs a model that does
not need it some precision, so it is taken only where the measured error is smaller with it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from mobilebert_quantization import ChannelRange, SecondMoment, principal_axes, smoothing_scales
from mobilebert_quantization.growth import LogMagnitude, growth_apart

from mobilebert_export.calibration.observe import Inputs, batches, observe
from mobilebert_export.calibration.text import Row
from mobilebert_export.check.metrics import sqnr
from mobilebert_export.graph import operators as op
from mobilebert_export.graph.basis import Array, Basis
from mobilebert_export.graph.executor import execute
from mobilebert_export.graph.graph import Graph
from mobilebert_export.lowering import lower
from mobilebert_export.lowering.rescale import MEASURING, RescaleRule

if TYPE_CHECKING:
    from mobilebert_reference import Checkpoint

# A stream whose channels grow further apart than this begins anew: int8 has two digits.
_FURTHEST_APART = 64.0
# Batches that the choice of a rotation is measured on.
_MEASURED_BATCHES = 4


@dataclass(frozen=True)
class Equalization:
    """The bases that suit a model's activations.

    Attributes:
        bases: by the names of the free streams.
        rescale: where streams begin anew.
        rotated: whether the wide stream is kept in rotated axes.
        rows: how many rows of text this was measured on.
    """

    bases: Mapping[str, Basis]
    rescale: RescaleRule
    rotated: bool
    rows: int


def equalize(
    checkpoint: "Checkpoint", rows: Iterable[Row], quantize: Callable[[Graph], Graph], *, length: int
) -> Equalization:
    """Measures a model on text and chooses its bases.

    Args:
        checkpoint: the reference.
        rows: read several times over.
        quantize: the precision whose error is to be small.
        length: the longest row, in tokens.

    Raises:
        DataError: the rows cannot be used, or an activation is not finite.
    """
    lowered = partial(lower, checkpoint.model, checkpoint.config, dtype=np.float64)

    def inputs() -> Iterable[Inputs]:
        return batches(checkpoint.tokenizer, rows, length=length)

    rescale = replace(MEASURING, chosen=_outgrown(lowered(rescale=MEASURING), inputs()))
    lowered = partial(lowered, rescale=rescale)
    rotations = _rotations(lowered(), inputs(), checkpoint.config.hidden_size)
    candidates = [_smoothed(lowered, axes, inputs()) for axes in ([{}, rotations] if rotations else [{}])]
    measured = list(islice(inputs(), _MEASURED_BATCHES))
    truth = _outputs(lowered(), measured)
    errors = [sqnr(truth, _outputs(quantize(lowered(bases=bases)), measured)) for bases in candidates]
    best = int(np.argmax(errors))
    return Equalization(candidates[best], rescale, rotated=bool(best), rows=sum(1 for _ in rows))


def _outgrown(graph: Graph, inputs: Iterable[Inputs]) -> frozenset[str]:
    """The tensors at which a stream should begin anew."""
    residual = {start: stream for start, stream in graph.streams.items() if stream.freedom == "any"}
    seen = observe(graph, inputs, {name: LogMagnitude.empty for s in residual.values() for name in s.tensors})
    found = set()
    for stream in residual.values():
        computed = [name for name in stream.tensors if name in seen]
        begin = computed[0]
        for name in computed[1:]:
            if growth_apart(seen[begin], seen[name]) > _FURTHEST_APART:
                found.add(name)
                begin = name
    return frozenset(found)


def _rotations(graph: Graph, inputs: Iterable[Inputs], width: int) -> dict[str, Array]:
    """For each free stream of this width, the axes of its second moment; each of its tensors weighs the same."""
    wide = {
        start: stream.tensors
        for start, stream in graph.streams.items()
        if stream.freedom == "any" and graph.tensors[start].shape[-1] == width
    }
    seen = observe(graph, inputs, {name: SecondMoment.empty for names in wide.values() for name in names})
    axes = {}
    for start, names in wide.items():
        moments = [seen[name].moment for name in names if name in seen]
        axes[start] = principal_axes(np.sum([moment / np.trace(moment) for moment in moments], axis=0))
    return axes


def _smoothed(lowered: Callable[..., Graph], axes: Mapping[str, Array], inputs: Iterable[Inputs]) -> dict[str, Basis]:
    """The bases whose axes are given, or else the channels themselves, in the scales that smoothing gives."""
    graph = lowered(bases={start: Basis(matrix, np.zeros(len(matrix))) for start, matrix in axes.items()})
    names = {name for stream in graph.streams.values() for name in stream.tensors}
    seen = observe(graph, inputs, dict.fromkeys(names, ChannelRange.empty))
    bases = {}
    for start, stream in graph.streams.items():
        readers = _weights(graph, reading=set(stream.tensors))
        if not readers:  # a rescale point follows at once: whatever the scale, nothing is rounded
            continue
        activation = np.max([seen[name].largest for name in stream.tensors if name in seen], axis=0)
        if stream.freedom == "positive":
            activation = np.maximum(activation, _expected_range(activation, _weights(graph, writing=start)[0]))
        scales = smoothing_scales(activation, np.max([np.abs(weight).max(axis=0) for weight in readers], axis=0))
        matrix = axes[start] * scales if start in axes else scales
        bases[start] = Basis(matrix, np.zeros(len(scales)))
    return bases


def _expected_range(activation: Array, weight: Array) -> Array:
    """What each ReLU unit may reach, by the size of its weights (units, in): calibration may never have woken it."""
    size = np.linalg.norm(weight, axis=1)
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


def _outputs(graph: Graph, inputs: Iterable[Inputs]) -> Array:
    """All outputs at all positions that are not padding, in a row."""
    values = []
    for batch in inputs:
        mask = batch["attention_mask"].astype(bool)
        outputs = execute(graph, batch).values()
        values += [(value[mask] if value.shape[:2] == mask.shape else value).ravel() for value in outputs]
    return np.concatenate(values)
