"""Chooses the scale and the zero point of every tensor from the range that it was seen to have."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

import numpy as np
from mobilebert_quantization import Affine, asymmetric, symmetric_range

from mobilebert_export.graph import operators as op
from mobilebert_export.graph.graph import Graph, Node

Range: TypeAlias = tuple[float, float]
ActivationBits: TypeAlias = Literal[8, 16]

# These only move elements: what they give has the parameters of what they take, and kernels insist on it.
MOVEMENTS = (op.Reshape, op.Transpose, op.Split, op.First)

# What lies within (0, 1) or (-1, 1) by its nature has one scale in TFLite, a power of two.
_FIXED: dict[ActivationBits, dict[str, tuple[float, int]]] = {
    8: {"softmax": (2**-8, -128), "sigmoid": (2**-8, -128), "tanh": (2**-7, 0)},
    16: {"softmax": (2**-15, 0), "sigmoid": (2**-15, 0), "tanh": (2**-15, 0)},
}

# XNNPACK refuses to load a sum whose terms have a step below 2^-10 of the sum's, or from 2^8 times the sum's on; and a
# Linear whose products have a step from 2^8 times its output's on.
_FURTHEST_ABOVE, _FURTHEST_BELOW = 2.0**8, 2.0**6
_WEIGHT_STEPS = 127
_WEIGHTED = (op.Linear, op.Convolution, op.Multiply)


def parameters(graph: Graph, ranges: Mapping[str, Range], bits: ActivationBits) -> dict[str, Affine]:
    """The parameters of each tensor that has a range, or that takes those of another.

    16-bit tensors have zero point 0. So has the right side of a product of 8-bit matrices: kernels that multiply two
    such need no correction for it, and XNNPACK takes no others.
    """
    ranges = _within_reach(graph, ranges)
    centred = _right_sides(graph)
    chosen: dict[str, Affine] = {}
    for name in (*graph.inputs, *(tensor.name for tensor in graph.constants())):
        if name in ranges:
            chosen[name] = _within(ranges[name], bits, centred=bits > 8)  # noqa: PLR2004 - int8's own width
    for node in graph.nodes:
        for name in node.outputs:
            if isinstance(node.operator, (*MOVEMENTS, op.Gather)) and node.inputs[0] in chosen:
                chosen[name] = chosen[node.inputs[0]]
            elif (kind := _nature(node)) is not None:
                scale, zero_point = _FIXED[bits][kind]
                chosen[name] = Affine(np.array([scale], np.float32), np.array([zero_point]), None, bits)
            elif name in ranges:
                chosen[name] = _within(ranges[name], bits, centred=bits > 8 or name in centred)  # noqa: PLR2004
    return chosen


def _within_reach(graph: Graph, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """The ranges, widened where kernels cannot rescale by as much as they ask for.

    Little is lost: a term that is widened is still finer than the sum's own step, and an output had been cut from
    products far larger than what a ReLU, or another term, left of them.
    """
    moved_from = {
        name: node.inputs[0] for node in graph.nodes if isinstance(node.operator, MOVEMENTS) for name in node.outputs
    }

    def origin(name: str) -> str:
        while name in moved_from:
            name = moved_from[name]
        return name

    widened = dict(ranges)
    for node in graph.nodes:
        if isinstance(node.operator, op.Add) and widened.keys() >= {*map(origin, node.inputs), *node.outputs}:
            terms, (total,) = [origin(name) for name in node.inputs], node.outputs
            widened[total] = _at_least(widened[total], max(_width(widened[term]) for term in terms) / _FURTHEST_BELOW)
            for term in terms:
                widened[term] = _at_least(widened[term], _width(widened[total]) / _FURTHEST_ABOVE)
        if isinstance(node.operator, _WEIGHTED) and widened.keys() >= {origin(node.inputs[0]), *node.outputs}:
            weight = graph.tensors[node.inputs[1]].data
            if weight is None:
                continue
            product = _width(widened[origin(node.inputs[0])]) * float(np.abs(weight).max()) / _WEIGHT_STEPS
            widened[node.outputs[0]] = _at_least(widened[node.outputs[0]], product / _FURTHEST_BELOW)
    return widened


def _at_least(span: Range, width: float) -> Range:
    missing = max(width - _width(span), 0.0) / 2
    return span[0] - missing, span[1] + missing


def _width(span: Range) -> float:
    return max(span[1], 0.0) - min(span[0], 0.0)


def _within(span: Range, bits: ActivationBits, *, centred: bool) -> Affine:
    return symmetric_range(*span, bits=bits) if centred else asymmetric(*span, bits=bits)


def _nature(node: Node) -> str | None:
    match node.operator:
        case op.Softmax():
            return "softmax"
        case op.Activation(function="sigmoid" | "tanh" as function):
            return function
    return None


def _right_sides(graph: Graph) -> frozenset[str]:
    """The right operands of matrix products, and all that they are moved from."""
    found: set[str] = set()
    for node in reversed(graph.nodes):
        if isinstance(node.operator, op.MatMul):
            found.add(node.inputs[1])
        elif isinstance(node.operator, MOVEMENTS) and not found.isdisjoint(node.outputs):
            found.add(node.inputs[0])
    return frozenset(found)
