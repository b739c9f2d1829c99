"""Where each field stands in its table, in the order of TFLite's schema.fbs (version 3), and the names of its enums.

Only the fields up to the last one that is read are listed.
"""

from typing import Final

from ai_edge_litert.schema_py_generated import BuiltinOperator, QuantizationDetails, TensorType

IDENTIFIER: Final = b"TFL3"

OPERATORS: Final[dict[int, str]] = {code: name for name, code in vars(BuiltinOperator).items() if isinstance(code, int)}
CUSTOM: Final[int] = BuiltinOperator.CUSTOM
BLOCKWISE_QUANTIZATION: Final[int] = QuantizationDetails.BlockwiseQuantization
TYPES: Final[dict[int, str]] = {code: name.lower() for name, code in vars(TensorType).items() if isinstance(code, int)}


class Model:
    """The root."""

    VERSION, OPERATOR_CODES, SUBGRAPHS, DESCRIPTION, BUFFERS, METADATA_BUFFER, METADATA, SIGNATURE_DEFS = range(8)


class OperatorCode:
    """An operator and its version, which nodes refer to."""

    DEPRECATED_BUILTIN_CODE, CUSTOM_CODE, VERSION, BUILTIN_CODE = range(4)


class SubGraph:
    """Tensors, and nodes that refer to them by their place."""

    TENSORS, INPUTS, OUTPUTS, OPERATORS = range(4)


class Operator:
    """A node."""

    OPCODE_INDEX, INPUTS, OUTPUTS = range(3)


class Tensor:
    """A tensor; its elements, if they are known, stand in a buffer."""

    SHAPE, TYPE, BUFFER, NAME, QUANTIZATION, IS_VARIABLE, SPARSITY, SHAPE_SIGNATURE = range(8)


class QuantizationParameters:
    """Scales and zero points of a tensor."""

    MIN, MAX, SCALE, ZERO_POINT, DETAILS_TYPE = range(5)


class Buffer:
    """Bytes: in the flatbuffer, or behind it."""

    DATA, OFFSET, SIZE = range(3)


class Metadata:
    """A named buffer that no tensor refers to."""

    NAME, BUFFER = range(2)


class SignatureDef:
    """A way to call a subgraph. The schema has retired the place before the last."""

    INPUTS, OUTPUTS, SIGNATURE_KEY, _, SUBGRAPH_INDEX = range(5)


class TensorMap:
    """A signature's name for a tensor."""

    NAME, TENSOR_INDEX = range(2)
