"""The precisions by the names that a user gives them."""

from collections.abc import Callable
from enum import Enum

from mobilebert_export.errors import UsageError
from mobilebert_export.graph.expand import expanded
from mobilebert_export.graph.graph import Graph
from mobilebert_export.precisions.integer import Recipe, integer
from mobilebert_export.precisions.weights import dynamic, float16


class Precision(str, Enum):
    """How numbers are stored and computed."""

    NONE = "none"
    FLOAT16 = "float16"
    DYNAMIC = "dynamic"
    INT8 = "int8"
    INT8_FULL = "int8-full"
    INT16 = "int16"


# Activations are integers, of ranges that are known beforehand.
STATIC = frozenset({Precision.INT8, Precision.INT8_FULL, Precision.INT16})
# The precisions that round activations, and so depend on what these are.
CALIBRATED = STATIC | {Precision.DYNAMIC}

_OF_WEIGHTS: dict[Precision, Callable[[Graph], Graph]] = {
    Precision.NONE: lambda graph: graph,
    Precision.FLOAT16: float16,
    Precision.DYNAMIC: dynamic,
}


def apply(graph: Graph, precision: Precision, recipe: Recipe | None = None) -> Graph:
    """The graph in a precision. It computes the same function, within the precision's error.

    Args:
        graph: of real numbers, bound or not.
        precision: how numbers are stored and computed.
        recipe: of a precision whose activations are integers.

    Raises:
        UsageError: such a precision without a recipe.
    """
    if precision in _OF_WEIGHTS:
        return _OF_WEIGHTS[precision](graph)
    if recipe is None:
        raise UsageError(f"expected a recipe for {precision.value}, got none; calibrate the model first")
    return integer(expanded(graph), recipe)
