"""Where int8 hurts: every node and every layer on its own, and the ranges before and after equalization."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mobilebert_export.calibration.calibrate import batches_of, naming_rows
from mobilebert_export.calibration.equalize import equalize
from mobilebert_export.calibration.ranges import ranges
from mobilebert_export.calibration.sensitivity import alone, sensitivity
from mobilebert_export.calibration.text import Row
from mobilebert_export.graph.expand import expanded
from mobilebert_export.lowering import lower
from mobilebert_export.precisions.choices import everything
from mobilebert_export.precisions.integer import Recipe
from mobilebert_export.precisions.parameters import Range, parameters

if TYPE_CHECKING:
    from mobilebert_reference import Checkpoint

_LAYER = re.compile(r"(?:mobilebert\.)?encoder\.layer\.(\d+)(?=\.|$)")


@dataclass(frozen=True)
class NodeSensitivity:
    """What one node costs in int8: its weight and the tensor that it gives, on operands in int8 as well.

    Attributes:
        name: of the tensor that it gives.
        part: `embeddings`, `layer 0` and so on, or `head`.
        operator: the kind of node.
        sqnr: at the outputs, in dB, when it alone computes in int8.
        before: its range on text with every stream in the coordinates that it starts with; None where there is no such
            tensor, or none is needed.
        after: the same in the coordinates that equalization chose.
    """

    name: str
    part: str
    operator: str
    sqnr: float
    before: Range | None
    after: Range | None


@dataclass(frozen=True)
class SensitivityReport:
    """What int8 costs a model.

    Attributes:
        nodes: in the order in which they run.
        parts: SQNR at the outputs, in dB, when all of a part computes in int8, in the same order.
        whole: SQNR when everything does.
        rows: of text that the ranges come from.
    """

    nodes: tuple[NodeSensitivity, ...]
    parts: dict[str, float]
    whole: float
    rows: int


def sensitivity_report(
    checkpoint: "Checkpoint", rows: Iterable[Row], *, length: int, progress: Callable[[str], None] = lambda _: None
) -> SensitivityReport:
    """Measures what int8 costs each node and each layer of a model, as `int8-full` has them.

    Args:
        checkpoint: the reference.
        rows: of text, read several times over.
        length: the longest row, in tokens; no longer than the model has positions.
        progress: is told each step, and how far it is.

    Raises:
        DataError: the rows cannot be used, or an activation is not finite.
    """
    longest = checkpoint.config.max_position_embeddings
    inputs, total = batches_of(checkpoint, rows, length=min(length, longest), progress=progress)
    plain = expanded(lower(checkpoint.model, checkpoint.config, dtype=np.float64))
    with naming_rows(rows):
        before = ranges(plain, inputs("ranges before"))
    coordinates = equalize(checkpoint, inputs).coordinates
    graph = expanded(lower(checkpoint.model, checkpoint.config, dtype=np.float64, coordinates=coordinates))
    after = ranges(graph, inputs("ranges after"))
    recipe = Recipe(parameters(graph, after, 8), everything(graph, 8))
    ordered = [node for node in graph.nodes if node.outputs[0] in recipe.integer]
    parts: dict[str, frozenset[str]] = {}
    for node in ordered:
        part = _part(node.outputs[0])
        parts[part] = parts.get(part, frozenset()) | {node.outputs[0]}
    groups = {**alone(recipe.integer), **parts, "": recipe.integer}
    count = len(groups)
    measured = sensitivity(
        graph, recipe, groups, next(iter(inputs("text"))), lambda done: progress(f"measuring {done} of {count}")
    )
    nodes = tuple(
        NodeSensitivity(
            name := node.outputs[0],
            _part(name),
            type(node.operator).__name__,
            measured[name],
            before.get(name),
            after.get(name),
        )
        for node in ordered
    )
    return SensitivityReport(nodes, {part: measured[part] for part in parts}, measured[""], total)


def _part(name: str) -> str:
    if name.startswith(("mobilebert.embeddings", "embeddings", "attention_mask")):
        return "embeddings"
    layer = _LAYER.match(name)
    return f"layer {layer[1]}" if layer else "head"
