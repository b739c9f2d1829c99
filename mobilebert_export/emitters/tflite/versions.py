"""Which version of an operator a node needs.

A runtime refuses a version that it does not know. A version understated is worse: an older runtime runs the node and
answers garbage. The rules are those of the runtime's own `GetBuiltinOperatorVersion` (LiteRT,
tflite/converter/tools/versioning/op_version.cc), for the types that this package emits.
"""

from dataclasses import dataclass

import numpy as np
from ai_edge_litert.schema_py_generated import BuiltinOperator

_INT8, _INT16 = np.dtype(np.int8), np.dtype(np.int16)

# Operators of version 1 for real numbers, 2 for int8, 3 for int16.
_BY_WIDTH = frozenset(
    {
        BuiltinOperator.BATCH_MATMUL,
        BuiltinOperator.LOGISTIC,
        BuiltinOperator.MEAN,
        BuiltinOperator.RSQRT,
        BuiltinOperator.SOFTMAX,
        BuiltinOperator.TANH,
    }
)
# Operators whose int8 version is 2, and whose int16 version is another.
_INT16_VERSIONS = {
    BuiltinOperator.ADD: 3,
    BuiltinOperator.GATHER: 4,
    BuiltinOperator.MUL: 4,
    BuiltinOperator.SLICE: 4,
    BuiltinOperator.SPLIT: 4,
    BuiltinOperator.SUB: 5,
    BuiltinOperator.TRANSPOSE: 5,
}
_INT8_VERSION = 2


@dataclass(frozen=True)
class Signature:
    """What a version depends on: the types of the values, and whether the weights have a scale for each channel."""

    code: int
    operand: "np.dtype[np.generic]"
    weight: "np.dtype[np.generic] | None" = None
    per_channel: bool = False
    result: "np.dtype[np.generic] | None" = None


def version_of(signature: Signature) -> int:
    """The version to stamp on an operator of this signature."""
    code, operand = signature.code, signature.operand
    if code == BuiltinOperator.FULLY_CONNECTED:
        # Version 5 is the first that can keep all but the last dimension. 12 is the first with a weight scale for each
        # channel under float activations; runtimes of before take the first scale for all, under integer ones too.
        return 12 if signature.per_channel else 5
    if code == BuiltinOperator.CONV_2D:
        return {_INT8: 3, _INT16: 4}.get(operand, 1)
    if code == BuiltinOperator.DEPTHWISE_CONV_2D:
        return {_INT8: 3, _INT16: 5}.get(operand, 1)
    if code == BuiltinOperator.QUANTIZE:
        return 2 if signature.result == _INT16 else 1
    if code == BuiltinOperator.GELU:
        return 2 if operand == _INT8 else 1
    if code == BuiltinOperator.MUL and operand == _INT8:
        return 3  # 2 would do where the rescaling is below 1
    if code == BuiltinOperator.EMBEDDING_LOOKUP:
        return 4 if signature.per_channel else 1
    if code == BuiltinOperator.DEQUANTIZE:
        if operand == _INT8:
            return 5 if signature.per_channel else 2
        return 3
    if code in _BY_WIDTH:
        return {_INT8: _INT8_VERSION, _INT16: 3}.get(operand, 1)
    if code in _INT16_VERSIONS:
        return {_INT8: _INT8_VERSION, _INT16: _INT16_VERSIONS[code]}.get(operand, 1)
    return 1
