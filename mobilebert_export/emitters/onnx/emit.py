"""From a graph to the operators of ONNX: one for each node, but for those that ONNX has only in parts.

Integers. The graph stores 8 bits as signed numbers; the file as unsigned ones, 128 more, zero points too: the same real
numbers. A weight stays signed where that is safe, because kernels are fastest then. On x86 without VNNI those for
unsigned times signed bytes add the products of two neighbouring inputs in 16 bits, and what passes 32,767 is cut off,
without a word. Any other weight becomes unsigned, for kernels that widen before they multiply. Both are exact.

- A Linear with a weight in integers and an input in real numbers (`dynamic`) is DynamicQuantizeLinear and
  MatMulInteger, which ONNX Runtime fuses to DynamicQuantizeMatMul or MatMulIntegerToFloat.
- A node that computes in integers is its operator on real numbers between DequantizeLinear and QuantizeLinear, which
  ONNX Runtime fuses to QGemm, QLinearMatMul or QLinearAdd. One that only moves elements moves the integers.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from typing_extensions import assert_never

from mobilebert_export.emitters.onnx import parts
from mobilebert_export.emitters.onnx.file import ModelFile
from mobilebert_export.emitters.onnx.rows import in_rows
from mobilebert_export.emitters.onnx.values import TO_REAL, Step, Values
from mobilebert_export.errors import GraphError, UsageError
from mobilebert_export.graph import operators as op
from mobilebert_export.graph.expand import expanded
from mobilebert_export.graph.graph import Graph, Node

# The first opset that can say all of it: DequantizeLinear with a scale for each channel.
FLOOR_OPSET = 13
# The last opset that ONNX Runtime 1.32 has every kernel for: it loads opset 28, but not its QuantizeLinear.
CURRENT_OPSET = 27


def emit(graph: Graph, *, opset: int = CURRENT_OPSET, description: str = "") -> bytes:
    """The graph as an `.onnx` file.

    Args:
        graph: bound or not: symbols of its shapes become those of the file.
        opset: of ONNX's own operators, from `FLOOR_OPSET` to `CURRENT_OPSET`; no others are used.
        description: stands in the file, for people.

    Returns:
        The file; the same graph gives the same bytes. Each of its values has the graph's name for it, but for an output
        that goes by another name than its tensor. What Linears read and give is a matrix of all positions (see
        `in_rows`), and a weight lies as its operator reads it: (in, out) of a Linear, (out, in, taps) of a convolution.

    Raises:
        UsageError: another opset.
        GraphError: the graph is too large for a file (2 GB), or stores numbers in a way that is not emitted.
    """
    refuse_opset(opset)
    return _Emitter(graph, ModelFile(opset, description)).emit()


def refuse_opset(opset: int) -> None:
    """Says early what `emit` would say about an opset.

    Raises:
        UsageError: it is not emitted.
    """
    if not FLOOR_OPSET <= opset <= CURRENT_OPSET:
        raise UsageError(f"expected an opset from {FLOOR_OPSET} to {CURRENT_OPSET}, got {opset}; use another --opset")


class _Emitter:
    def __init__(self, graph: Graph, file: ModelFile) -> None:
        self._graph = in_rows(graph if file.opset >= parts.LAYER_NORMALIZATION else expanded(graph))
        self._file = file
        self._values = Values(self._graph, file)

    def emit(self) -> bytes:
        for name in self._graph.inputs:
            self._file.input(self._values.name(name), self._values.shape(name), np.int32)
        for node in self._graph.nodes:
            self._node(node)
            for name in node.outputs:
                self._values.describe(name)
        for name in self._graph.outputs:
            self._file.output(name)
        return self._file.to_bytes()

    def _node(self, node: Node) -> None:
        """Writes the operator, or operators, of one node."""
        first, output = node.inputs[0], node.outputs[0]
        match node.operator:
            case op.Gather():
                self._gather(node)
            case op.Trim():
                self._trim(node)
            case op.Positions():
                self._positions(node)
            case op.Linear(activation=activation):
                self._linear(node, [Step("Relu")] if activation == "relu" else [])
            case op.Convolution():
                self._convolution(node)
            case op.Add():
                self._computed("Add", node)
            case op.Multiply():
                self._computed("Mul", node)
            case op.Subtract():
                self._computed("Sub", node)
            case op.Mean():
                parts.mean(self._file, self._values.real(first), self._unrounded(output))
                self._round(output)
            case op.MatMul(transpose_right=transposed):
                self._matmul(node, transposed=transposed)
            case op.Softmax():
                self._computed("Softmax", node, axis=-1)
            case op.Activation(function=function):
                parts.activation(self._file, function, self._values.real(first), self._unrounded(output))
                self._round(output)
            case op.LayerNorm(epsilon=epsilon):
                self._computed("LayerNormalization", node, axis=-1, epsilon=epsilon)
            case op.Reshape(shape=shape):
                self._chain(
                    self._values.stored(first),
                    [Step("Reshape", [self._values.sizes(shape, self._values.shape(first))])],
                    output,
                )
            case op.Transpose(permutation=permutation):
                self._chain(self._values.stored(first), [Step("Transpose", (), {"perm": permutation})], output)
            case op.Split(axis=axis):
                outputs = [self._values.name(name) for name in node.outputs]
                parts.split(self._file, self._values.stored(first), outputs, axis)
            case op.First(axis=axis):
                bounds = [self._values.integers(number) for number in (0, 1, axis)]
                self._chain(self._values.stored(first), [Step("Slice", bounds)], output)
            case op.Quantize():
                self._chain(self._values.stored(first), self._values.rounding(output), output)
            case op.Dequantize():
                self._chain(self._values.stored(first), self._values.restoring(first), output)
            case _:
                assert_never(node.operator)

    def _computed(self, kind: str, node: Node, **attributes: Any) -> None:  # noqa: ANN401
        """An operator that takes just the node's inputs and gives just its output."""
        values, *others = map(self._values.real, node.inputs)
        (output,) = node.outputs
        self._chain(values, [Step(kind, others, attributes), *self._values.rounding(output)], output)

    def _gather(self, node: Node) -> None:
        (table, ids), (output,) = node.inputs, node.outputs
        index = self._values.index(ids)
        parameters = self._values.parameters(table)
        if parameters is None or parameters.axis is None:
            self._chain(self._values.stored(table), [Step("Gather", [index])], output)
            return
        # A scale for each row: rows and scales are gathered apart, and the table is never one of real numbers.
        rows = self._file.constant(self._values.name(table), self._values.data(table))
        scales = self._file.constant(f"{table}.quantization.scale", parameters.scale[:, None])
        scale = self._file.node("Gather", [scales, index], f"{output}.scale")
        self._chain(rows, [Step("Gather", [index]), TO_REAL, Step("Mul", [scale])], output)

    def _trim(self, node: Node) -> None:
        """Up to one position behind the last that holds a token in any row: all of them where there is no token."""
        (values, mask), (output,) = node.inputs, node.outputs
        zero, one, two = map(self._values.integers, (0, 1, 2))
        counted = self._values.once("ReduceSum", [self._values.index(mask), zero], f"{mask}.counted", keepdims=0)
        occupied = self._values.once("Sign", [counted], f"{mask}.occupied")
        last = self._values.once("ArgMax", [occupied], f"{mask}.last", axis=0, select_last_index=1)
        end = self._values.once("Add", [last, two], f"{mask}.end")
        self._chain(values, [Step("Slice", [zero, end, one])], output)

    def _positions(self, node: Node) -> None:
        (table, ids), (output,) = node.inputs, node.outputs
        start = axis = self._values.integers(0)
        steps = [Step("Slice", [start, self._values.length(ids), axis]), Step("Unsqueeze", [axis])]
        self._chain(self._values.stored(table), steps, output)

    def _linear(self, node: Node, activation: Sequence[Step]) -> None:
        (values, weight, bias), (output,) = node.inputs, node.outputs
        if self._values.parameters(values) is None and self._values.parameters(weight) is not None:
            self._dynamic_linear(node, activation)
            return
        product = Step("Gemm", [self._values.real(weight), self._values.real(bias)])
        self._chain(self._values.real(values), [product, *activation, *self._values.rounding(output)], output)

    def _dynamic_linear(self, node: Node, activation: Sequence[Step]) -> None:
        """Values are rounded to 8 bits within the range that they turn out to have."""
        (values, weight, bias), (output,) = node.inputs, node.outputs
        rounded, step, zero_point = self._values.dynamically_rounded(values)
        weight_step, weight_zero_point = self._values.units(weight)
        unit = self._file.node("Mul", [step, weight_step], f"{output}.unit")
        product = Step("MatMulInteger", [self._values.stored(weight), zero_point, weight_zero_point])
        steps = [product, TO_REAL, Step("Mul", [unit]), Step("Add", [self._values.real(bias)]), *activation]
        self._chain(rounded, steps, output)

    def _convolution(self, node: Node) -> None:
        """ONNX has the channels before the positions."""
        (values, weight, bias), (output,) = node.inputs, node.outputs
        exchanged = {"perm": (0, 2, 1)}
        taps = self._values.shape(weight)[1]
        if not isinstance(taps, int) or taps % 2 == 0:
            raise GraphError(f"expected an odd number of taps, got {taps} in {weight}")
        columns = self._file.node("Transpose", [self._values.stored(values)], f"{output}.columns", **exchanged)
        operands = [self._values.real(weight), self._values.real(bias)]
        product = Step("Conv", operands, {"pads": (taps // 2, taps // 2)})
        steps = [product, *self._values.rounding(output), Step("Transpose", (), exchanged)]
        self._chain(self._values.real(values, columns), steps, output)

    def _matmul(self, node: Node, *, transposed: bool) -> None:
        (left, right), (output,) = node.inputs, node.outputs
        factor = self._values.stored(right)
        if transposed:
            *others, rows, columns = range(len(self._values.shape(right)))
            factor = self._values.once("Transpose", [factor], f"{factor}.transposed", perm=(*others, columns, rows))
        product = Step("MatMul", [self._values.real(right, factor)])
        self._chain(self._values.real(left), [product, *self._values.rounding(output)], output)

    def _chain(self, values: str, steps: Sequence[Step], output: str) -> None:
        """Operators one after the other; what the last one gives is the graph's tensor `output`."""
        name = self._values.name(output)
        for index, step in enumerate(steps):
            given = name if index == len(steps) - 1 else f"{name}.{step.kind}"
            values = self._file.node(step.kind, [values, *step.inputs], given, **step.attributes)

    def _unrounded(self, output: str) -> str:
        """What to call a result in real numbers: the graph's tensor, or what will be rounded to it."""
        name = self._values.name(output)
        return f"{name}.unrounded" if self._values.rounding(output) else name

    def _round(self, output: str) -> None:
        if steps := self._values.rounding(output):
            self._chain(self._unrounded(output), steps, output)
