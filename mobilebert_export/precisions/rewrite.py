"""Rewrites the way constants are stored, node by node."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from mobilebert_quantization import Affine
from numpy.typing import NDArray

from mobilebert_export.graph import operators as op
from mobilebert_export.graph.graph import Graph, Node, Tensor


class Rewriter:
    """Copies a graph's nodes one at a time, storing some constants otherwise on the way."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._tensors = dict(graph.tensors)
        self._nodes: list[Node] = []

    def keep(self, node: Node) -> None:
        """Copies a node as it is."""
        self._nodes.append(node)

    def store(self, name: str, data: NDArray[np.generic], quantization: Affine | None = None) -> None:
        """Stores a constant in another way, under its own name: its readers take it as it is stored."""
        self._tensors[name] = replace(self._tensors[name], data=data, dtype=data.dtype, quantization=quantization)

    def store_behind_dequantize(self, name: str, data: NDArray[np.generic]) -> None:
        """Stores a constant in another way and turns it into real numbers before its readers, who see its own name."""
        stored = f"{name}.{data.dtype}"
        original = self._tensors[name]
        self._tensors[stored] = Tensor(stored, original.shape, data.dtype, data)
        self._tensors[name] = replace(original, data=None)
        self._nodes.append(Node(op.Dequantize(), (stored,), (name,)))

    def finish(self) -> Graph:
        """The graph with all that was copied."""
        return replace(self.graph, tensors=self._tensors, nodes=tuple(self._nodes))


Rule = Callable[[Rewriter, Node], None]


def rewrite(graph: Graph, rule: Rule) -> Graph:
    """Applies a rule, which copies one node, to each node in order."""
    rewriter = Rewriter(graph)
    for node in graph.nodes:
        rule(rewriter, node)
    return rewriter.finish()
