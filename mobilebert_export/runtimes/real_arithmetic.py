"""A `.tflite` file computed in real numbers: its own constants, no rounding between the operators, float64.

What differs between this and the reference is in the file's constants; what differs between this and the file as a
runtime runs it is in its arithmetic. It knows the operators that this package emits. Only for the child process: the
schema's reader trusts the file.
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.schema_py_generated import ActivationFunctionType, BuiltinOperator
from numpy.typing import NDArray

from mobilebert_export.inspection.schema import OPERATORS
from mobilebert_export.runtimes.interface import UnknownOperatorError

Array = NDArray[Any]
Operation = Callable[[Sequence[Array], Any], "Array | list[Array]"]

_TYPES = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.FLOAT16: np.float16,
    schema.TensorType.INT32: np.int32,
    schema.TensorType.INT64: np.int64,
    schema.TensorType.INT16: np.int16,
    schema.TensorType.INT8: np.int8,
}


def compute(path: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Every tensor that is computed, by name, in the order of the nodes.

    Args:
        path: a file of one subgraph.
        inputs: by the names of the signature, or of the tensors.

    Raises:
        UnknownOperatorError: the file cannot be followed.
    """
    with open(path, "rb") as file:  # noqa: PTH123 - a name, from another process
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(file.read(), 0))
    graph = model.subgraphs[0]
    values: dict[int, Array] = {}
    for index, tensor in enumerate(graph.tensors):
        data = model.buffers[tensor.buffer].data
        if data is not None and len(data):
            values[index] = _constant(tensor, data)
    values |= _fed(model, graph, inputs)
    computed: dict[str, Array] = {}
    for node in graph.operators:
        entry = model.operatorCodes[node.opcodeIndex]
        code = max(entry.builtinCode, entry.deprecatedBuiltinCode)
        if code not in _OPERATIONS:
            raise UnknownOperatorError(f"operator {OPERATORS.get(code, code)}")
        operands = [values[index] for index in node.inputs if index != -1]
        given = _OPERATIONS[code](operands, node.builtinOptions)
        for index, value in zip(node.outputs, given if isinstance(given, list) else [given], strict=True):
            fused = getattr(node.builtinOptions, "fusedActivationFunction", ActivationFunctionType.NONE)
            values[index] = np.maximum(value, 0) if fused == ActivationFunctionType.RELU else value
            computed[_text(graph.tensors[index].name)] = values[index]
    return computed


def _constant(tensor: Any, data: Array) -> Array:  # noqa: ANN401 - the schema has no types
    if tensor.type not in _TYPES:
        raise UnknownOperatorError(f"type {tensor.type}")
    stored = np.asarray(data, np.uint8).view(_TYPES[tensor.type]).reshape(tensor.shape)
    parameters = tensor.quantization
    if parameters is not None and parameters.scale is not None and len(parameters.scale):
        shape = [1] * stored.ndim
        if len(parameters.scale) > 1:
            shape[parameters.quantizedDimension] = -1
        zero_point = np.asarray(parameters.zeroPoint, np.float64).reshape(shape)
        scale = np.asarray(parameters.scale, np.float64).reshape(shape)
        return np.asarray((stored.astype(np.float64) - zero_point) * scale)
    return stored.astype(np.float64) if np.issubdtype(stored.dtype, np.floating) else stored


def _fed(model: Any, graph: Any, inputs: Mapping[str, Array]) -> dict[int, Array]:  # noqa: ANN401
    named = {_text(graph.tensors[index].name): int(index) for index in graph.inputs}
    for signature in model.signatureDefs or ():
        named.update({_text(entry.name): int(entry.tensorIndex) for entry in signature.inputs})
    return {named[name]: np.asarray(value) for name, value in inputs.items()}


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _linear(operands: Sequence[Array], _options: object) -> Array:
    y = operands[0] @ operands[1].T
    return np.asarray(y + operands[2] if len(operands) > 2 else y)  # noqa: PLR2004 - values, weight, bias


def _convolution(operands: Sequence[Array], options: Any) -> Array:  # noqa: ANN401
    """Kernel (out, height, width, in) over (batch, height, width, in), stride 1, zeros past the ends."""
    x, kernel = operands[:2]
    if (options.strideH, options.strideW, options.padding) != (1, 1, schema.Padding.SAME):
        raise UnknownOperatorError("a convolution with strides or without padding")
    _, height, width, _ = kernel.shape
    around = [((size - 1) // 2, size // 2) for size in (height, width)]
    padded = np.pad(x, [(0, 0), *around, (0, 0)])
    y = np.zeros((*x.shape[:3], len(kernel)))
    for i in range(height):
        for j in range(width):
            y += padded[:, i : i + x.shape[1], j : j + x.shape[2]] @ kernel[:, i, j].T
    return np.asarray(y + operands[2] if len(operands) > 2 else y)  # noqa: PLR2004


def _matrix_product(operands: Sequence[Array], options: Any) -> Array:  # noqa: ANN401
    a, b = operands
    a, b = (a.swapaxes(-1, -2) if options.adjX else a), (b.swapaxes(-1, -2) if options.adjY else b)
    return np.asarray(a @ b)


def _softmax(operands: Sequence[Array], options: Any) -> Array:  # noqa: ANN401
    scores = options.beta * operands[0]
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def _gelu(operands: Sequence[Array], options: Any) -> Array:  # noqa: ANN401
    from math import erf

    x = operands[0]
    if options.approximate:
        return np.asarray(x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))))
    return np.asarray(x / 2 * (1 + np.vectorize(erf)(x / np.sqrt(2))))


def _gather(operands: Sequence[Array], options: Any) -> Array:  # noqa: ANN401
    if options is not None and (options.axis or options.batchDims):
        raise UnknownOperatorError("a gather along another axis than the first")
    return np.asarray(operands[0][operands[1]])


def _mean(operands: Sequence[Array], options: Any) -> Array:  # noqa: ANN401
    axes = tuple(int(axis) for axis in np.atleast_1d(operands[1]))
    return np.asarray(operands[0].mean(axis=axes, keepdims=bool(options.keepDims)))


def _slice(operands: Sequence[Array], _options: object) -> Array:
    x, begins, sizes = operands
    ranges = tuple(
        slice(int(begin), None if size == -1 else int(begin + size)) for begin, size in zip(begins, sizes, strict=True)
    )
    return np.asarray(x[ranges])


def _reshape(operands: Sequence[Array], options: Any) -> Array:  # noqa: ANN401
    shape = [int(size) for size in (operands[1] if len(operands) > 1 else options.newShape)]
    if -1 not in shape and prod(shape) != operands[0].size:
        raise UnknownOperatorError("a reshape to another size")
    return operands[0].reshape(shape)


def _split(operands: Sequence[Array], options: Any) -> list[Array]:  # noqa: ANN401
    return np.split(operands[1], options.numSplits, axis=int(np.atleast_1d(operands[0])[0]))


_OPERATIONS: dict[int, Operation] = {
    BuiltinOperator.ADD: lambda x, _: np.asarray(x[0] + x[1]),
    BuiltinOperator.BATCH_MATMUL: _matrix_product,
    BuiltinOperator.CONV_2D: _convolution,
    BuiltinOperator.DEQUANTIZE: lambda x, _: x[0],
    BuiltinOperator.EMBEDDING_LOOKUP: lambda x, _: np.asarray(x[1][x[0]]),
    BuiltinOperator.FULLY_CONNECTED: _linear,
    BuiltinOperator.GATHER: _gather,
    BuiltinOperator.GELU: _gelu,
    BuiltinOperator.LOGISTIC: lambda x, _: np.asarray(1 / (1 + np.exp(-x[0]))),
    BuiltinOperator.MEAN: _mean,
    BuiltinOperator.MUL: lambda x, _: np.asarray(x[0] * x[1]),
    BuiltinOperator.QUANTIZE: lambda x, _: x[0],
    BuiltinOperator.RELU: lambda x, _: np.maximum(x[0], 0),
    BuiltinOperator.RESHAPE: _reshape,
    BuiltinOperator.RSQRT: lambda x, _: np.asarray(1 / np.sqrt(x[0])),
    BuiltinOperator.SLICE: _slice,
    BuiltinOperator.SOFTMAX: _softmax,
    BuiltinOperator.SPLIT: _split,
    BuiltinOperator.SQUARED_DIFFERENCE: lambda x, _: np.asarray((x[0] - x[1]) ** 2),
    BuiltinOperator.SUB: lambda x, _: np.asarray(x[0] - x[1]),
    BuiltinOperator.TANH: lambda x, _: np.tanh(x[0]),
    BuiltinOperator.TRANSPOSE: lambda x, _: np.transpose(x[0], x[1]),
}
