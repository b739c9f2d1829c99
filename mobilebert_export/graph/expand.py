"""Takes operators apart that no integer kernel, and no single operator of TFLite, computes."""

from dataclasses import replace

import numpy as np

from mobilebert_export.graph import operators as op
from mobilebert_export.graph.builder import output_shape
from mobilebert_export.graph.graph import Graph, Node, Tensor, constant
from mobilebert_export.graph.operators import Operator


def expanded(graph: Graph) -> Graph:
    """The same function without `LayerNorm` and without the activation `silu`."""
    parts = _Parts(graph)
    for node in graph.nodes:
        match node.operator:
            case op.LayerNorm(epsilon=epsilon):
                parts.layer_norm(node, epsilon)
            case op.Activation(function="silu"):
                (values,), (output,) = node.inputs, node.outputs
                gate = parts.step(op.Activation("sigmoid"), values, name=f"{output}.gate")
                parts.nodes.append(Node(op.Multiply(), (values, gate), node.outputs))
            case _:
                parts.nodes.append(node)
    return replace(graph, tensors=parts.tensors, nodes=tuple(parts.nodes))


class _Parts:
    def __init__(self, graph: Graph) -> None:
        self.tensors = dict(graph.tensors)
        self.nodes: list[Node] = []

    def layer_norm(self, node: Node, epsilon: float) -> None:
        """(x - mean) / √(variance + ε) · weight + bias."""
        values, weight, bias = node.inputs
        (output,) = node.outputs
        tiny = constant(f"{output}.epsilon", np.array([epsilon]), self.tensors[output].dtype)
        self.tensors[tiny.name] = tiny
        mean = self.step(op.Mean(), values, name=f"{output}.mean")
        centred = self.step(op.Subtract(), values, mean, name=f"{output}.centred")
        squares = self.step(op.Multiply(), centred, centred, name=f"{output}.squares")
        variance = self.step(op.Mean(), squares, name=f"{output}.variance")
        safe = self.step(op.Add(), variance, tiny.name, name=f"{output}.safe_variance")
        inverse = self.step(op.Activation("rsqrt"), safe, name=f"{output}.inverse_deviation")
        normalized = self.step(op.Multiply(), centred, inverse, name=f"{output}.normalized")
        scaled = self.step(op.Multiply(), normalized, weight, name=f"{output}.scaled")
        self.nodes.append(Node(op.Add(), (scaled, bias), node.outputs))

    def step(self, operator: Operator, *inputs: str, name: str) -> str:
        shape = output_shape(operator, [self.tensors[each].shape for each in inputs])
        self.tensors[name] = Tensor(name, shape, self.tensors[inputs[0]].dtype)
        self.nodes.append(Node(operator, inputs, (name,)))
        return name
