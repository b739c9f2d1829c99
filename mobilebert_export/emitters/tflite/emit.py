"""From a bound graph to the operators of TFLite: one for each node, but for a few that TFLite has only in parts."""

from collections.abc import Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.schema_py_generated import BuiltinOperator
from numpy.typing import NDArray
from typing_extensions import assert_never

from mobilebert_export.emitters.tflite.file import ModelFile
from mobilebert_export.emitters.tflite.versions import Signature, version_of
from mobilebert_export.errors import GraphError
from mobilebert_export.graph import operators as op
from mobilebert_export.graph.graph import Graph, Node, Tensor

_FUSED = {"none": schema.ActivationFunctionType.NONE, "relu": schema.ActivationFunctionType.RELU}


def emit(graph: Graph, *, description: str = "") -> bytes:
    """The graph as a `.tflite` file with a `serving_default` signature.

    Args:
        graph: bound: every shape is of numbers.
        description: stands in the file, for people.

    Returns:
        The file. Each of its tensors has the graph's name for it; the same graph gives the same bytes.

    Raises:
        GraphError: the graph is not bound, or too large for a flatbuffer (2 GB).
    """
    return _Emitter(graph, description).emit()


class _Emitter:
    def __init__(self, graph: Graph, description: str) -> None:
        self._graph = graph
        self._file = ModelFile(description)
        self._index: dict[str, int] = {}
        self._kernels = _kernels(graph)

    def emit(self) -> bytes:
        inputs = {name: self._tensor(name) for name in self._graph.inputs}
        for node in self._graph.nodes:
            self._node(node)
        outputs = {output: self._index[name] for output, name in self._graph.outputs.items()}
        self._file.interface(inputs, outputs)
        return self._file.to_bytes()

    def _node(self, node: Node) -> None:
        """Writes the operator, or operators, of one node."""
        match node.operator:
            case op.Gather():
                if self._graph.tensors[node.inputs[0]].quantization is None:
                    self._simple(node, BuiltinOperator.GATHER, schema.GatherOptionsT())
                else:
                    self._embedding_lookup(node)
            case op.Linear(activation=activation):
                options = schema.FullyConnectedOptionsT()
                options.fusedActivationFunction = _FUSED[activation]
                options.keepNumDims = True
                options.asymmetricQuantizeInputs = self._weight(node) is not None
                self._simple(node, BuiltinOperator.FULLY_CONNECTED, options)
            case op.Convolution():
                self._convolution(node)
            case op.Add():
                self._simple(node, BuiltinOperator.ADD, schema.AddOptionsT())
            case op.Multiply():
                self._simple(node, BuiltinOperator.MUL, schema.MulOptionsT())
            case op.MatMul(transpose_right=transposed):
                product = schema.BatchMatMulOptionsT()
                product.adjY = transposed
                self._simple(node, BuiltinOperator.BATCH_MATMUL, product)
            case op.Softmax():
                softmax = schema.SoftmaxOptionsT()
                softmax.beta = 1.0
                self._simple(node, BuiltinOperator.SOFTMAX, softmax)
            case op.Activation():
                self._activation(node, node.operator.function)
            case op.LayerNorm(epsilon=epsilon):
                self._layer_norm(node, epsilon)
            case op.Reshape(shape=shape):
                self._reshape(self._tensor(node.inputs[0]), self._tensor(node.outputs[0]), shape)
            case op.Transpose(permutation=permutation):
                self._with_integers(node, BuiltinOperator.TRANSPOSE, [permutation], schema.TransposeOptionsT())
            case op.Split(axis=axis):
                self._split(node, axis)
            case op.First(axis=axis):
                shape = self._graph.tensors[node.outputs[0]].shape
                begin = [0] * len(shape)
                self._with_integers(node, BuiltinOperator.SLICE, [begin, shape], schema.SliceOptionsT())
            case op.Dequantize():
                self._simple(node, BuiltinOperator.DEQUANTIZE, schema.DequantizeOptionsT())
            case op.Positions():
                raise GraphError("expected a bound graph, got one whose positions depend on the length")
            case _:
                assert_never(node.operator)

    def _simple(self, node: Node, code: int, options: object) -> None:
        """An operator that takes just the node's inputs and gives just its outputs."""
        inputs = [self._tensor(name) for name in node.inputs]
        self._write(code, node, inputs, [self._tensor(name) for name in node.outputs], options)

    def _with_integers(self, node: Node, code: int, settings: Sequence[Sequence[int | str]], options: object) -> None:
        """An operator whose settings are tensors of integers behind its input."""
        inputs = [self._tensor(node.inputs[0]), *(self._integers(values) for values in settings)]
        self._write(code, node, inputs, [self._tensor(node.outputs[0])], options)

    def _write(self, code: int, node: Node, inputs: Sequence[int], outputs: Sequence[int], options: object) -> None:
        weight = self._weight(node)
        first = self._graph.tensors[node.inputs[0]]
        parameters = (weight or first).quantization
        per_channel = parameters is not None and parameters.axis is not None
        signature = Signature(code, first.dtype, weight.dtype if weight else None, per_channel)
        self._file.operator(code, version_of(signature), inputs, outputs, options)

    def _convolution(self, node: Node) -> None:
        """A convolution over one dimension, as one of height 1 over two."""
        values, weight, bias = node.inputs
        (output,) = node.outputs
        batch, sequence, width = self._shape(values)
        channels = self._shape(output)[2]
        image, result = f"{output}.image", f"{output}.result"
        row = self._value(image, (batch, 1, sequence, width))
        convolved = self._value(result, (batch, 1, sequence, channels))
        self._reshape(self._tensor(values), row, (batch, 1, sequence, width))
        options = schema.Conv2DOptionsT()
        options.padding = schema.Padding.SAME
        options.strideH = options.strideW = 1
        inputs = [row, self._tensor(weight), self._tensor(bias)]
        self._write(BuiltinOperator.CONV_2D, node, inputs, [convolved], options)
        self._reshape(convolved, self._tensor(output), (batch, sequence, channels))

    def _embedding_lookup(self, node: Node) -> None:
        """A gather from a table with a scale for each row, which gives real numbers; its ids have one dimension."""
        table, ids = node.inputs
        (output,) = node.outputs
        batch, sequence = self._shape(ids)
        width = self._shape(output)[2]
        flat = self._file.tensor(f"{ids}.flat", (batch * sequence,), np.dtype(np.int32))
        rows = self._value(f"{output}.rows", (batch * sequence, width))
        self._reshape(self._tensor(ids), flat, (batch * sequence,))
        self._write(BuiltinOperator.EMBEDDING_LOOKUP, node, [flat, self._tensor(table)], [rows], None)
        self._reshape(rows, self._tensor(output), (batch, sequence, width))

    def _activation(self, node: Node, function: op.Function) -> None:
        match function:
            case "relu":
                self._simple(node, BuiltinOperator.RELU, None)
            case "tanh":
                self._simple(node, BuiltinOperator.TANH, None)
            case "gelu" | "gelu_new":
                options = schema.GeluOptionsT()
                options.approximate = function == "gelu_new"
                self._simple(node, BuiltinOperator.GELU, options)
            case "silu":
                values = self._tensor(node.inputs[0])
                gate = self._value(f"{node.outputs[0]}.gate", self._shape(node.inputs[0]))
                self._write(BuiltinOperator.LOGISTIC, node, [values], [gate], None)
                output = self._tensor(node.outputs[0])
                self._write(BuiltinOperator.MUL, node, [values, gate], [output], schema.MulOptionsT())

    def _layer_norm(self, node: Node, epsilon: float) -> None:
        """(x - mean) / √(variance + ε) · weight + bias, which TFLite has only in parts."""
        values, weight, bias = (self._tensor(name) for name in node.inputs)
        (output,) = node.outputs
        shape = self._shape(output)
        narrow = (*shape[:-1], 1)
        axis = self._integers([len(shape) - 1])
        reducer = schema.ReducerOptionsT()
        reducer.keepDims = True

        def step(name: str, code: int, inputs: list[int], shape: Sequence[int], options: object | None) -> int:
            result = self._value(f"{output}.{name}", shape)
            self._write(code, node, inputs, [result], options)
            return result

        mean = step("mean", BuiltinOperator.MEAN, [values, axis], narrow, reducer)
        centred = step("centred", BuiltinOperator.SUB, [values, mean], shape, schema.SubOptionsT())
        squares = step(
            "squares", BuiltinOperator.SQUARED_DIFFERENCE, [values, mean], shape, schema.SquaredDifferenceOptionsT()
        )
        variance = step("variance", BuiltinOperator.MEAN, [squares, axis], narrow, reducer)
        offset = self._file.tensor(
            f"{output}.epsilon", (1,), np.dtype(np.float32), data=np.array([epsilon], np.float32)
        )
        safe = step("safe_variance", BuiltinOperator.ADD, [variance, offset], narrow, schema.AddOptionsT())
        inverse = step("inverse_deviation", BuiltinOperator.RSQRT, [safe], narrow, None)
        normalized = step("normalized", BuiltinOperator.MUL, [centred, inverse], shape, schema.MulOptionsT())
        scaled = step("scaled", BuiltinOperator.MUL, [normalized, weight], shape, schema.MulOptionsT())
        self._write(BuiltinOperator.ADD, node, [scaled, bias], [self._tensor(output)], schema.AddOptionsT())

    def _split(self, node: Node, axis: int) -> None:
        options = schema.SplitOptionsT()
        options.numSplits = len(node.outputs)
        inputs = [self._integers([axis]), self._tensor(node.inputs[0])]
        self._write(BuiltinOperator.SPLIT, node, inputs, [self._tensor(name) for name in node.outputs], options)

    def _reshape(self, values: int, output: int, shape: Sequence[int | str]) -> None:
        options = schema.ReshapeOptionsT()
        options.newShape = np.array(shape, np.int32)
        self._file.operator(BuiltinOperator.RESHAPE, 1, [values, self._integers(shape)], [output], options)

    def _tensor(self, name: str) -> int:
        """The index of one of the graph's tensors, which is added when it is first used."""
        if name not in self._index:
            tensor: Tensor = self._graph.tensors[name]
            self._index[name] = self._file.tensor(
                name, self._shape(name), tensor.dtype, data=tensor.data, quantization=tensor.quantization
            )
        return self._index[name]

    def _value(self, name: str, shape: Sequence[int]) -> int:
        """The index of a new float32 tensor between the operators of one node."""
        return self._file.tensor(name, shape, np.dtype(np.float32))

    def _integers(self, values: Sequence[int | str]) -> int:
        """The index of a constant vector of int32, shared by all that need the same one."""
        data: NDArray[np.int32] = np.array(values, np.int32)
        name = f"integers.{'_'.join(map(str, values))}"
        if name not in self._index:
            self._index[name] = self._file.tensor(name, data.shape, data.dtype, data=data)
        return self._index[name]

    def _weight(self, node: Node) -> Tensor | None:
        """The quantized weight of a Linear or a convolution."""
        if not isinstance(node.operator, op.Linear | op.Convolution):
            return None
        weight = self._graph.tensors[node.inputs[1]]
        return weight if weight.quantization is not None else None

    def _shape(self, name: str) -> tuple[int, ...]:
        shape = self._graph.tensors[name].shape
        if any(isinstance(size, str) for size in shape):
            raise GraphError(f"expected a bound graph, got tensor {name} of shape {shape}")
        sizes = tuple(int(size) for size in shape)
        return (sizes[0], 1, *sizes[1:]) if name in self._kernels else sizes


def _kernels(graph: Graph) -> frozenset[str]:
    """The weights of convolutions, as stored and as read: TFLite has them with a height, which is 1 here."""
    read = {node.inputs[1] for node in graph.nodes if isinstance(node.operator, op.Convolution)}
    stored = {
        node.inputs[0] for node in graph.nodes if isinstance(node.operator, op.Dequantize) and node.outputs[0] in read
    }
    return frozenset(read | stored)
