"""Writes a graph as a `.tflite` file."""

from mobilebert_export.emitters.tflite.emit import emit

__all__ = ["emit"]
