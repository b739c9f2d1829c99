"""The precisions by the names that a user gives them."""

from collections.abc import Callable
from enum import Enum

from mobilebert_export.graph.graph import Graph
from mobilebert_export.precisions.weights import dynamic, float16


class Precision(str, Enum):
    """How numbers are stored and computed."""

    NONE = "none"
    FLOAT16 = "float16"
    DYNAMIC = "dynamic"


PRECISIONS: dict[Precision, Callable[[Graph], Graph]] = {
    Precision.NONE: lambda graph: graph,
    Precision.FLOAT16: float16,
    Precision.DYNAMIC: dynamic,
}


def apply(graph: Graph, precision: Precision) -> Graph:
    """The graph in a precision. It computes the same function, within the precision's error."""
    return PRECISIONS[precision](graph)
