"""Lowers the reference model to a graph, every NoNorm folded into the affine operations around it."""

from mobilebert_export.lowering.coordinates import Coordinates
from mobilebert_export.lowering.lower import INPUTS, lower

__all__ = ["INPUTS", "Coordinates", "lower"]
