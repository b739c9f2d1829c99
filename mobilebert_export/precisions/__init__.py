"""Precisions: how a graph's numbers are stored and computed. Each is a function from a graph to a graph."""

from mobilebert_export.precisions.apply import PRECISIONS, Precision, apply

__all__ = ["PRECISIONS", "Precision", "apply"]
