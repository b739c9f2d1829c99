"""An estimate of what a graph costs to run, to order precisions by."""

import math

import numpy as np

from mobilebert_export.errors import GraphError
from mobilebert_export.graph import operators as op
from mobilebert_export.graph.graph import Graph, Node

_REAL = 4


def cost(graph: Graph) -> int:
    """Bytes of operands that are multiplied or moved, of a bound graph.

    A product of two numbers counts as the width of the narrower one: registers hold four times as many of 8 bits as
    of 32. Everything else counts what it reads and writes. A Linear of real numbers with int8 weights also reads its
    input twice more, to find each row's range and to round it. An estimate: it knows no core.
    """
    return sum(_cost(node, graph) for node in graph.nodes)


def _cost(node: Node, graph: Graph) -> int:
    moved = sum(_elements(graph, name) * _width(graph, name) for name in (node.inputs[0], *node.outputs))
    if isinstance(node.operator, op.Linear | op.Convolution):
        weight = graph.tensors[node.inputs[1]]
        products = _elements(graph, node.outputs[0]) * math.prod(int(size) for size in weight.shape[1:])
        real_input = graph.tensors[node.inputs[0]].quantization is None
        rounded = isinstance(node.operator, op.Linear) and real_input and weight.quantization is not None
        return products * _width(graph, node.inputs[1]) + moved + rounded * 2 * _REAL * _elements(graph, node.inputs[0])
    if isinstance(node.operator, op.MatMul):
        products = _elements(graph, node.outputs[0]) * int(graph.tensors[node.inputs[0]].shape[-1])
        return products * _width(graph, node.inputs[0]) + moved
    if isinstance(node.operator, op.Dequantize) and graph.tensors[node.inputs[0]].is_constant:
        return 0  # once, when the file is loaded
    return moved


def _elements(graph: Graph, name: str) -> int:
    shape = graph.tensors[name].shape
    if any(isinstance(size, str) for size in shape):
        raise GraphError(f"expected a bound graph, got tensor {name} of shape {shape}")
    return math.prod(int(size) for size in shape)


def _width(graph: Graph, name: str) -> int:
    dtype = graph.tensors[name].dtype
    return _REAL if dtype == np.float16 else dtype.itemsize
