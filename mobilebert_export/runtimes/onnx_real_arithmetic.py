"""An `.onnx` file without its rounding: its own constants, real numbers between the operators.

What `mobilebert_export.runtimes.real_arithmetic` is to a `.tflite` file, but for float32: ONNX Runtime computes it.
Files that keep rounding apart from computing are known, as this package and most tools write them: QuantizeLinear and
DequantizeLinear around the operators, or DynamicQuantizeLinear before MatMulInteger.
"""

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mobilebert_export.runtimes.interface import UnknownOperatorError

_ROUND_AND_COMPUTE = frozenset({"ConvInteger", "QLinearConv", "QLinearMatMul"})
_ZERO_POINT = 3  # of the second factor, the last input of MatMulInteger


def without_rounding(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with real numbers where it had stored integers.

    Raises:
        UnknownOperatorError: it has an operator that rounds and computes at once.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = [
        new
        for index, node in enumerate(model.graph.node)
        for new in _real(node, constants, f"without_rounding.{index}")
    ]
    real = onnx.ModelProto()
    real.CopyFrom(model)
    del real.graph.node[:]
    del real.graph.value_info[:]  # they say the types of what was stored
    real.graph.node.extend(nodes)
    return real


def _real(node: onnx.NodeProto, constants: dict[str, TensorProto], prefix: str) -> Iterator[onnx.NodeProto]:
    match node.op_type:
        case "QuantizeLinear":
            kind = "Relu" if _starts_at_zero(node, constants) else "Identity"
            yield helper.make_node(kind, node.input[:1], node.output)
        case "DequantizeLinear" if node.input[0] not in constants:
            yield helper.make_node("Identity", node.input[:1], node.output)
        case "DynamicQuantizeLinear":
            rounded, scale, zero_point = node.output
            yield helper.make_node("Identity", node.input, [rounded])
            for name, value in ((scale, 1.0), (zero_point, 0.0)):
                yield helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array(value, "f4")))
        case "MatMulInteger":
            weight = f"{prefix}.weight"
            yield helper.make_node("Cast", node.input[1:2], [weight], to=TensorProto.FLOAT)
            if len(node.input) > _ZERO_POINT:
                zero_point, moved = f"{prefix}.zero_point", f"{prefix}.moved"
                yield helper.make_node("Cast", node.input[_ZERO_POINT:], [zero_point], to=TensorProto.FLOAT)
                yield helper.make_node("Sub", [weight, zero_point], [moved])
                weight = moved
            yield helper.make_node("MatMul", [node.input[0], weight], node.output)
        case kind if kind in _ROUND_AND_COMPUTE or node.domain not in {"", "ai.onnx"}:
            raise UnknownOperatorError(f"operator {node.domain or 'ai.onnx'}.{kind}")
        case _:
            yield node


def _starts_at_zero(node: onnx.NodeProto, constants: dict[str, TensorProto]) -> bool:
    """Whether the least stored integer stands for 0: tools leave out the ReLU that such a rounding is."""
    if len(node.input) < 3 or node.input[2] not in constants:  # noqa: PLR2004 - values, scale, zero point
        return False
    zero_point = numpy_helper.to_array(constants[node.input[2]])
    return bool(np.issubdtype(zero_point.dtype, np.integer) and np.all(zero_point == np.iinfo(zero_point.dtype).min))
