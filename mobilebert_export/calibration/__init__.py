"""Calibration: what a model's tensors hold when real text runs through it, and the bases that suit them."""

from mobilebert_export.calibration.equalize import Equalization, equalize
from mobilebert_export.calibration.text import CalibrationText, Row

__all__ = ["CalibrationText", "Equalization", "Row", "equalize"]
