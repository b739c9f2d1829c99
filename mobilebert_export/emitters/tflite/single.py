"""The nodes that are exactly one operator of TFLite, with the node's own inputs and outputs."""

from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.schema_py_generated import BuiltinOperator

from mobilebert_export.graph import operators as op

_FUNCTIONS: dict[op.Function, int] = {
    "relu": BuiltinOperator.RELU,
    "tanh": BuiltinOperator.TANH,
    "sigmoid": BuiltinOperator.LOGISTIC,
    "rsqrt": BuiltinOperator.RSQRT,
    "gelu": BuiltinOperator.GELU,
    "gelu_new": BuiltinOperator.GELU,
}


def single(operator: op.Operator) -> tuple[int, object | None] | None:
    """The builtin code and the option table of a node's operator; None where TFLite has it otherwise."""
    match operator:
        case op.Add():
            addition = schema.AddOptionsT()
            addition.potScaleInt16 = False  # any scale, not powers of two alone
            return BuiltinOperator.ADD, addition
        case op.Subtract():
            subtraction = schema.SubOptionsT()
            subtraction.potScaleInt16 = False
            return BuiltinOperator.SUB, subtraction
        case op.MatMul(transpose_right=transposed):
            product = schema.BatchMatMulOptionsT()
            product.adjY = transposed
            return BuiltinOperator.BATCH_MATMUL, product
        case op.Softmax():
            softmax = schema.SoftmaxOptionsT()
            softmax.beta = 1.0
            return BuiltinOperator.SOFTMAX, softmax
        case op.Quantize():
            return BuiltinOperator.QUANTIZE, schema.QuantizeOptionsT()
        case op.Dequantize():
            return BuiltinOperator.DEQUANTIZE, schema.DequantizeOptionsT()
        case op.Activation(function=function) if function in _FUNCTIONS:
            gelu = schema.GeluOptionsT()
            gelu.approximate = function == "gelu_new"
            return _FUNCTIONS[function], gelu if function.startswith("gelu") else None
    return None
