"""Precisions that compute in integers: every tensor of such a node is stored in 8 or 16 bits, weights in 8."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import mobilebert_quantization as quantization
import numpy as np
from mobilebert_quantization import Affine

from mobilebert_export.graph import operators as op
from mobilebert_export.graph.graph import Graph, Node, Tensor
from mobilebert_export.precisions.parameters import MOVEMENTS, ActivationBits
from mobilebert_export.precisions.rewrite import Rewriter, Rule
from mobilebert_export.precisions.weights import keep_dynamic

_DTYPES: dict[ActivationBits, np.dtype[np.generic]] = {8: np.dtype(np.int8), 16: np.dtype(np.int16)}


@dataclass(frozen=True)
class Recipe:
    """Which nodes compute in integers, and how integers stand for real numbers.

    Attributes:
        parameters: of tensors, by name.
        integer: the nodes that compute in integers, by the name of their first output.
        bits: the width of activations.
        outputs: whether the graph's outputs are given in integers.
    """

    parameters: Mapping[str, Affine]
    integer: frozenset[str]
    bits: ActivationBits = 8
    outputs: bool = False


def integer(graph: Graph, recipe: Recipe, *, rest: Rule = keep_dynamic) -> Graph:
    """The graph by a recipe: conversions stand where a node that computes in integers meets one that does not.

    Args:
        graph: of real numbers, without operators that no integer kernel computes (see `expanded`).
        recipe: what computes in integers, and how.
        rest: copies the other nodes; without one, as the precision `dynamic` has them.
    """
    return _Integers(graph, recipe, rest).rewritten()


class _Integers:
    def __init__(self, graph: Graph, recipe: Recipe, rest: Rule) -> None:
        self._graph = graph
        self._recipe = recipe
        self._rest = rest
        self._rewriter = Rewriter(graph)
        self._dtype = _DTYPES[recipe.bits]
        self._integer: set[str] = set()  # tensors that a node gives in integers
        self._converted: set[str] = set()

    def rewritten(self) -> Graph:
        for node in self._graph.nodes:
            # What only moves elements moves them as they are stored.
            moved = isinstance(node.operator, MOVEMENTS) and node.inputs[0] in self._integer
            if moved or node.outputs[0] in self._recipe.integer:
                self._in_integers(node)
            else:
                self._rest(self._rewriter, replace(node, inputs=tuple(map(self._real, node.inputs))))
        return self._rewriter.finish(outputs=self._stored if self._recipe.outputs else self._real)

    def _in_integers(self, node: Node) -> None:
        for name in node.outputs:
            self._rewriter.compute_as(name, self._dtype, self._recipe.parameters[name])
            self._integer.add(name)
        match node.operator:
            case op.Linear() | op.Convolution():
                values = self._stored(node.inputs[0])
                self._store_weight(node)
                self._rewriter.keep(replace(node, inputs=(values, *node.inputs[1:])))
            case op.Gather():
                self._rewriter.keep(replace(node, inputs=(self._stored(node.inputs[0]), node.inputs[1])))
            case op.Multiply() if self._graph.tensors[node.inputs[1]].data is not None:
                self._store_factors(node.inputs[1], self._recipe.parameters[node.inputs[0]])
                self._rewriter.keep(replace(node, inputs=(self._stored(node.inputs[0]), node.inputs[1])))
            case _:
                self._rewriter.keep(replace(node, inputs=tuple(map(self._stored, node.inputs))))

    def _stored(self, name: str) -> str:
        """The tensor in integers: as it is given, or behind a conversion."""
        if name in self._integer:
            return name
        parameters = self._recipe.parameters[name]
        tensor = self._graph.tensors[name]
        if tensor.data is not None:
            stored = quantization.quantize(np.asarray(tensor.data, np.float64), parameters)
            self._rewriter.store(name, stored, parameters)
            self._integer.add(name)
            return name
        into = Tensor(f"{name}.{self._dtype}", tensor.shape, self._dtype, None, parameters)
        return self._convert(op.Quantize(), into, name)

    def _real(self, name: str) -> str:
        """The tensor in real numbers: as it is given, or behind a conversion."""
        if name not in self._integer:
            return name
        original = self._graph.tensors[name]
        return self._convert(op.Dequantize(), replace(original, name=f"{name}.real", data=None), name)

    def _convert(self, operator: op.Quantize | op.Dequantize, into: Tensor, name: str) -> str:
        if into.name not in self._converted:
            self._rewriter.add(into)
            self._rewriter.keep(Node(operator, (name,), (into.name,)))
            self._converted.add(into.name)
        return into.name

    def _store_factors(self, name: str, activation: Affine) -> None:
        """Stores a factor for each channel, each at a scale of its own: they are exact, however far apart."""
        factors = np.asarray(self._graph.tensors[name].data, np.float64)
        parameters = quantization.weight_parameters(factors, np.zeros(len(factors)), activation=activation)
        self._rewriter.store(name, quantization.quantize(factors, parameters), parameters)

    def _store_weight(self, node: Node) -> None:
        """Stores the weight in int8, a scale for each output channel, and the bias in the unit of their products."""
        values, weight_name, bias_name = node.inputs
        weight, bias = (np.asarray(self._graph.tensors[name].data, np.float64) for name in (weight_name, bias_name))
        activation = self._recipe.parameters[values]
        parameters = quantization.weight_parameters(weight, bias, activation=activation)
        unit = quantization.bias_parameters(bias, activation=activation, weight=parameters)
        self._rewriter.store(weight_name, quantization.quantize(weight, parameters), parameters)
        self._rewriter.store(bias_name, quantization.quantize(bias, unit), unit)
