"""Writes a graph as an `.onnx` file."""

from mobilebert_export.emitters.onnx.emit import CURRENT_OPSET, FLOOR_OPSET, emit, refuse_opset

__all__ = ["CURRENT_OPSET", "FLOOR_OPSET", "emit", "refuse_opset"]
