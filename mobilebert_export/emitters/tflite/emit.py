"""From a bound graph to the operators of TFLite: one for each node, but for a few that TFLite has only in parts."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.schema_py_generated import BuiltinOperator
from mobilebert_quantization import bias_parameters, quantize
from numpy.typing import NDArray

from mobilebert_export.emitters.tflite.file import ModelFile
from mobilebert_export.emitters.tflite.single import single
from mobilebert_export.emitters.tflite.versions import Signature, version_of
from mobilebert_export.errors import GraphError
from mobilebert_export.graph import operators as op
from mobilebert_export.graph.expand import expanded
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
        self._graph = expanded(graph)
        self._file = ModelFile(description)
        self._index: dict[str, int] = {}
        self._kernels = _kernels(self._graph)

    def emit(self) -> bytes:
        inputs = {name: self._tensor(name) for name in self._graph.inputs}
        for node in self._graph.nodes:
            self._node(node)
        outputs = {output: self._index[name] for output, name in self._graph.outputs.items()}
        self._file.interface(inputs, outputs)
        return self._file.to_bytes()

    def _node(self, node: Node) -> None:
        """Writes the operator, or operators, of one node."""
        if (alone := single(node.operator)) is not None:
            self._simple(node, *alone)
            return
        match node.operator:
            case op.Gather():
                if self._scaled_apart(node.inputs[0]):
                    self._embedding_lookup(node)
                else:
                    self._simple(node, BuiltinOperator.GATHER, schema.GatherOptionsT())
            case op.Linear(activation=activation):
                options = schema.FullyConnectedOptionsT()
                options.fusedActivationFunction = _FUSED[activation]
                options.keepNumDims = True
                values = self._graph.tensors[node.inputs[0]]
                options.asymmetricQuantizeInputs = values.quantization is None and self._weight(node) is not None
                self._simple(node, BuiltinOperator.FULLY_CONNECTED, options)
            case op.Convolution():
                self._convolution(node)
            case op.Multiply():
                if self._scaled_apart(node.inputs[1]):
                    self._factors(node)
                else:
                    self._simple(node, BuiltinOperator.MUL, schema.MulOptionsT())
            case op.Mean():
                reducer = schema.ReducerOptionsT()
                reducer.keepDims = True
                self._with_integers(node, BuiltinOperator.MEAN, [[len(self._shape(node.inputs[0])) - 1]], reducer)
            case op.Reshape(shape=shape):
                self._reshape(self._tensor(node.inputs[0]), self._tensor(node.outputs[0]), shape)
            case op.Transpose(permutation=permutation):
                self._with_integers(node, BuiltinOperator.TRANSPOSE, [permutation], schema.TransposeOptionsT())
            case op.Split(axis=axis):
                self._split(node, axis)
            case op.First():
                shape = self._graph.tensors[node.outputs[0]].shape
                begin = [0] * len(shape)
                self._with_integers(node, BuiltinOperator.SLICE, [begin, shape], schema.SliceOptionsT())
            case _:
                raise GraphError(f"expected a bound graph of operators that TFLite has, got {node.operator}")

    def _simple(self, node: Node, code: int, options: object | None) -> None:
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
        result = self._graph.tensors[node.outputs[0]].dtype
        signature = Signature(code, first.dtype, weight.dtype if weight else None, per_channel, result)
        self._file.operator(code, version_of(signature), inputs, outputs, options)

    def _convolution(self, node: Node) -> None:
        """A convolution over one dimension, as one of height 1 over two."""
        values, weight, bias = node.inputs
        (output,) = node.outputs
        batch, sequence, width = self._shape(values)
        channels = self._shape(output)[2]
        image, result = f"{output}.image", f"{output}.result"
        row = self._like(values, image, (batch, 1, sequence, width))
        convolved = self._like(output, result, (batch, 1, sequence, channels))
        self._reshape(self._tensor(values), row, (batch, 1, sequence, width))
        options = schema.Conv2DOptionsT()
        options.padding = schema.Padding.SAME
        options.strideH = options.strideW = 1
        inputs = [row, self._tensor(weight), self._tensor(bias)]
        self._write(BuiltinOperator.CONV_2D, node, inputs, [convolved], options)
        self._reshape(convolved, self._tensor(output), (batch, sequence, channels))

    def _factors(self, node: Node) -> None:
        """A factor for each channel, in integers: the one operator with a scale for each channel is a convolution."""
        values, factors = node.inputs
        (output,) = node.outputs
        shape = self._shape(values)
        channels = shape[-1]
        image = (1, 1, int(np.prod(shape[:-1])), channels)
        tensor, activation = self._graph.tensors[factors], self._graph.tensors[values].quantization
        if tensor.quantization is None or activation is None:
            raise GraphError(f"expected factors and values in integers at {output}, got real ones")
        scales = replace(tensor.quantization, axis=3)
        kernel = self._file.tensor(factors, (1, 1, 1, channels), tensor.dtype, data=tensor.data, quantization=scales)
        # Without a bias LiteRT 2.3 crashes.
        unit = bias_parameters(np.zeros(channels), activation=activation, weight=tensor.quantization)
        zeros = quantize(np.zeros(channels), unit)
        bias = self._file.tensor(f"{factors}.bias", (channels,), zeros.dtype, data=zeros, quantization=unit)
        row = self._like(values, f"{output}.image", image)
        result = self._like(output, f"{output}.result", image)
        self._reshape(self._tensor(values), row, image)
        options = schema.DepthwiseConv2DOptionsT()
        options.padding = schema.Padding.VALID
        options.strideH = options.strideW = options.depthMultiplier = 1
        self._write(BuiltinOperator.DEPTHWISE_CONV_2D, node, [row, kernel, bias], [result], options)
        self._reshape(result, self._tensor(output), shape)

    def _embedding_lookup(self, node: Node) -> None:
        """A gather from a table with a scale for each row, which gives real numbers; its ids have one dimension."""
        table, ids = node.inputs
        (output,) = node.outputs
        batch, sequence = self._shape(ids)
        width = self._shape(output)[2]
        flat = self._file.tensor(f"{ids}.flat", (batch * sequence,), np.dtype(np.int32))
        rows = self._like(output, f"{output}.rows", (batch * sequence, width))
        self._reshape(self._tensor(ids), flat, (batch * sequence,))
        self._write(BuiltinOperator.EMBEDDING_LOOKUP, node, [flat, self._tensor(table)], [rows], None)
        self._reshape(rows, self._tensor(output), (batch, sequence, width))

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

    def _like(self, model: str, name: str, shape: Sequence[int]) -> int:
        """The index of a new tensor between the operators of one node, stored as one of the graph's is."""
        tensor = self._graph.tensors[model]
        return self._file.tensor(name, shape, tensor.dtype, quantization=tensor.quantization)

    def _scaled_apart(self, name: str) -> bool:
        """Whether each row, or channel, of a tensor has a scale of its own."""
        quantization = self._graph.tensors[name].quantization
        return quantization is not None and quantization.axis is not None

    def _integers(self, values: Sequence[int | str]) -> int:
        """The index of a constant vector of int32, shared by all that need the same one."""
        data: NDArray[np.int32] = np.array(values, np.int32)
        name = f"integers.{'_'.join(map(str, values))}"
        if name not in self._index:
            self._index[name] = self._file.tensor(name, data.shape, data.dtype, data=data)
        return self._index[name]

    def _weight(self, node: Node) -> Tensor | None:
        """The quantized weight of a Linear or a convolution, or the quantized factors of a product."""
        if not isinstance(node.operator, op.Linear | op.Convolution | op.Multiply):
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
