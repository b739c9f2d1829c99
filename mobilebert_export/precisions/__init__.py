"""Precisions: how a graph's numbers are stored and computed. Each is a function from a graph to a graph."""

from mobilebert_export.precisions.apply import CALIBRATED, STATIC, Precision, apply
from mobilebert_export.precisions.integer import Recipe

__all__ = ["CALIBRATED", "STATIC", "Precision", "Recipe", "apply"]
