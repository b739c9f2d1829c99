"""Functions that ONNX got late, or that changed their form: written as the opset has them.

Sources: the operators' definitions and function bodies in ONNX's Operators.md.
"""

from collections.abc import Callable, Sequence

import numpy as np

from mobilebert_export.emitters.onnx.file import ModelFile
from mobilebert_export.graph import operators as op

# The first opset with an operator, or with its present form.
LAYER_NORMALIZATION = 17
_AXES_AS_INPUT = 18
_PARTS_AS_ATTRIBUTE = 18
_GELU = 20


def split(file: ModelFile, values: str, outputs: Sequence[str], axis: int) -> None:
    """Equal parts along an axis."""
    counted = {"num_outputs": len(outputs)} if file.opset >= _PARTS_AS_ATTRIBUTE else {}
    file.node("Split", [values], *outputs, axis=axis, **counted)


def activation(file: ModelFile, function: op.Function, values: str, output: str) -> None:
    """An activation function, element by element."""
    match function:
        case "relu" | "sigmoid" | "tanh":
            file.node(function.capitalize(), [values], output)
        case "rsqrt":
            file.node("Reciprocal", [file.node("Sqrt", [values], f"{output}.root")], output)
        case "silu":
            file.node("Mul", [values, file.node("Sigmoid", [values], f"{output}.gate")], output)
        case "gelu" | "gelu_new" if file.opset >= _GELU:
            file.node("Gelu", [values], output, approximate="tanh" if function == "gelu_new" else "none")
        case "gelu":
            _half_gated(file, values, output, _erf)
        case "gelu_new":
            _half_gated(file, values, output, _tanh)


def mean(file: ModelFile, values: str, output: str) -> None:
    """The mean over the last axis, which stays with length 1."""
    if file.opset >= _AXES_AS_INPUT:
        file.node("ReduceMean", [values, file.constant("integers.-1", np.array([-1]))], output, keepdims=1)
    else:
        file.node("ReduceMean", [values], output, axes=[-1], keepdims=1)


def _half_gated(file: ModelFile, values: str, output: str, gate: Callable[[ModelFile, str, str], str]) -> None:
    """The product x · (1 + gate(x)) / 2."""
    open_ = file.node("Add", [gate(file, values, output), _number(file, 1.0)], f"{output}.open")
    gated = file.node("Mul", [values, open_], f"{output}.gated")
    file.node("Mul", [gated, _number(file, 0.5)], output)


def _erf(file: ModelFile, values: str, output: str) -> str:
    """The gate erf(x / √2) of the exact gelu."""
    scaled = file.node("Div", [values, _number(file, float(np.sqrt(2)))], f"{output}.scaled")
    return file.node("Erf", [scaled], f"{output}.erf")


def _tanh(file: ModelFile, values: str, output: str) -> str:
    """The gate tanh(√(2/π) (x + 0.044715 x³)): Hendrycks and Gimpel 2016 (arXiv 1606.08415), section 2."""
    square = file.node("Mul", [values, values], f"{output}.square")
    cube = file.node("Mul", [square, values], f"{output}.cube")
    bent = file.node("Mul", [cube, _number(file, 0.044715)], f"{output}.bent")
    summed = file.node("Add", [values, bent], f"{output}.summed")
    scaled = file.node("Mul", [summed, _number(file, float(np.sqrt(2 / np.pi)))], f"{output}.scaled")
    return file.node("Tanh", [scaled], f"{output}.tanh")


def _number(file: ModelFile, number: float) -> str:
    """A constant float32, shared by all that need the same one."""
    return file.constant(f"number.{number!r}", np.array(number, np.float32))
