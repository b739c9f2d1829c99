"""The `.tflite` container: buffers, tensors, operators and signatures of one subgraph, written as a flatbuffer.

Format: schema.fbs of TFLite, version 3, through the object API that LiteRT ships.
"""

from collections.abc import Mapping, Sequence

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from mobilebert_quantization import Affine
from numpy.typing import NDArray

from mobilebert_export.errors import GraphError

SCHEMA_VERSION = 3
FILE_IDENTIFIER = b"TFL3"
SIGNATURE = "serving_default"

_TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.float16): schema.TensorType.FLOAT16,
    np.dtype(np.int64): schema.TensorType.INT64,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.int16): schema.TensorType.INT16,
    np.dtype(np.int8): schema.TensorType.INT8,
}
# Offsets in a flatbuffer are of 31 bits; a sixteenth is left for all that is no constant.
_LARGEST_FILE = 2**31 - 1
_LARGEST_CONSTANTS = _LARGEST_FILE - _LARGEST_FILE // 16
# The last builtin code that fits the signed byte of the first schema; readers of that age look there.
_LAST_OLD_CODE = 127


class ModelFile:
    """Collects the parts of a model with one subgraph; `to_bytes` writes them."""

    def __init__(self, description: str) -> None:
        self._model = schema.ModelT()
        self._model.version = SCHEMA_VERSION
        self._model.description = description
        # Buffer 0 is empty by the format's convention: tensors without data point to it.
        self._model.buffers = [schema.BufferT()]
        self._model.operatorCodes = []
        self._model.signatureDefs = []
        self._subgraph = schema.SubGraphT()
        self._subgraph.name = "main"
        self._subgraph.tensors = []
        self._subgraph.operators = []
        self._model.subgraphs = [self._subgraph]
        self._codes: dict[tuple[int, int], int] = {}

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: np.dtype[np.generic],
        *,
        data: NDArray[np.generic] | None = None,
        quantization: Affine | None = None,
    ) -> int:
        """Adds a tensor and gives its index."""
        tensor = schema.TensorT()
        tensor.name = name
        tensor.shape = np.array(shape, np.int32)
        tensor.type = _TYPES[dtype]
        if data is not None:
            tensor.buffer = self._buffer(data)
        if quantization is not None:
            tensor.quantization = _parameters(quantization)
        self._subgraph.tensors.append(tensor)
        return len(self._subgraph.tensors) - 1

    def operator(
        self, code: int, version: int, inputs: Sequence[int], outputs: Sequence[int], options: object | None = None
    ) -> None:
        """Adds an operator; `options` is the schema's option table of its kind."""
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code(code, version)
        operator.inputs = np.array(inputs, np.int32)
        operator.outputs = np.array(outputs, np.int32)
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            operator.builtinOptions = options
        self._subgraph.operators.append(operator)

    def interface(self, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> None:
        """Names what a caller feeds and gets: the subgraph's order, and the `serving_default` signature."""
        self._subgraph.inputs = np.array(list(inputs.values()), np.int32)
        self._subgraph.outputs = np.array(list(outputs.values()), np.int32)
        signature = schema.SignatureDefT()
        signature.signatureKey = SIGNATURE
        signature.inputs = [_named(name, index) for name, index in inputs.items()]
        signature.outputs = [_named(name, index) for name, index in outputs.items()]
        self._model.signatureDefs.append(signature)

    def to_bytes(self) -> bytes:
        """The file. The same parts give the same bytes.

        Raises:
            GraphError: the constants are larger than a flatbuffer can be.
        """
        size = sum(len(buffer.data) for buffer in self._model.buffers if buffer.data is not None)
        if size > _LARGEST_CONSTANTS:
            raise GraphError(
                f"expected constants of at most {_LARGEST_CONSTANTS} bytes, got {size}; a .tflite holds no more"
            )
        builder = _Builder(min(size + size // 8 + 2**20, _LARGEST_FILE))
        builder.Finish(self._model.Pack(builder), FILE_IDENTIFIER)
        return bytes(builder.Output())

    def _buffer(self, data: NDArray[np.generic]) -> int:
        buffer = schema.BufferT()
        buffer.data = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        self._model.buffers.append(buffer)
        return len(self._model.buffers) - 1

    def _code(self, code: int, version: int) -> int:
        if (code, version) not in self._codes:
            entry = schema.OperatorCodeT()
            entry.builtinCode = code
            entry.deprecatedBuiltinCode = min(code, _LAST_OLD_CODE)
            entry.version = version
            self._model.operatorCodes.append(entry)
            self._codes[code, version] = len(self._model.operatorCodes) - 1
        return self._codes[code, version]


class _Builder(flatbuffers.Builder):  # type: ignore[misc] # flatbuffers ships no types
    """Writes equal vectors once, and the data of a buffer where kernels can read it in place.

    A model has hundreds of equal shapes and of zero points that are all 0: sharing them saves 0.75 MB of the
    full-size model.
    """

    ALIGNMENT = 16  # force_align of Buffer.data in the schema, which the Python code generator leaves out

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: NDArray[np.generic]) -> int:  # noqa: N802 - the name of the method it overrides
        payload = x.tobytes()
        if x.dtype == np.uint8:
            return self._vector(payload, 1, self.ALIGNMENT)
        key = (x.dtype.str, payload)
        if key not in self._written:
            self._written[key] = self._vector(payload, x.itemsize, x.itemsize)
        return self._written[key]

    def _vector(self, payload: bytes, item_size: int, alignment: int) -> int:
        count = len(payload) // item_size
        self.StartVector(item_size, count, alignment)
        self.head -= len(payload)
        self.Bytes[self.head : self.head + len(payload)] = payload
        self.vectorNumElems = count
        return int(self.EndVector())


def _parameters(quantization: Affine) -> object:
    parameters = schema.QuantizationParametersT()
    parameters.scale = quantization.scale
    parameters.zeroPoint = quantization.zero_point
    parameters.quantizedDimension = quantization.axis or 0
    return parameters


def _named(name: str, index: int) -> object:
    entry = schema.TensorMapT()
    entry.name = name
    entry.tensorIndex = index
    return entry
