"""Rewrites the way tensors are stored, node by node."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from mobilebert_quantization import Affine
from numpy.typing import NDArray

from mobilebert_export.graph import operators as op
from mobilebert_export.graph.graph import Graph, Node, Tensor


class Rewriter:
    """Copies a graph's nodes one at a time, storing some tensors otherwise on the way."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._tensors = dict(graph.tensors)
        self._nodes: list[Node] = []

    def __getitem__(self, name: str) -> Tensor:
        """A tensor, as it is stored by now."""
        return self._tensors[name]

    def keep(self, node: Node) -> None:
        """Copies a node as it is."""
        self._nodes.append(node)

    def add(self, tensor: Tensor) -> str:
        """A new tensor beside the graph's own."""
        self._tensors[tensor.name] = tensor
        return tensor.name

    def store(self, name: str, data: NDArray[np.generic], quantization: Affine | None = None) -> None:
        """Stores a constant in another way, under its own name: its readers take it as it is stored."""
        self._tensors[name] = replace(self._tensors[name], data=data, dtype=data.dtype, quantization=quantization)

    def store_behind_dequantize(self, name: str, data: NDArray[np.generic]) -> None:
        """Stores a constant in another way and turns it into real numbers before its readers, who see its own name."""
        original = self._tensors[name]
        stored = self.add(Tensor(f"{name}.{data.dtype}", original.shape, data.dtype, data))
        self._tensors[name] = replace(original, data=None)
        self.keep(Node(op.Dequantize(), (stored,), (name,)))

    def compute_as(self, name: str, dtype: np.dtype[np.generic], quantization: Affine) -> None:
        """Has a node give a tensor in integers, under its own name."""
        self._tensors[name] = replace(self._tensors[name], dtype=dtype, quantization=quantization)

    def finish(self, outputs: Callable[[str], str] = lambda name: name) -> Graph:
        """The graph with all that was copied; `outputs` tells which tensor now stands for an output's."""
        named = {output: outputs(name) for output, name in self.graph.outputs.items()}
        return replace(self.graph, tensors=self._tensors, nodes=tuple(self._nodes), outputs=named)


Rule = Callable[[Rewriter, Node], None]


def rewrite(graph: Graph, rule: Rule) -> Graph:
    """Applies a rule, which copies one node, to each node in order."""
    rewriter = Rewriter(graph)
    for node in graph.nodes:
        rule(rewriter, node)
    return rewriter.finish()
