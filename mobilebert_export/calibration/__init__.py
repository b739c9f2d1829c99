"""Calibration: what a model's tensors hold when real text runs through it, and the coordinates and scales that suit."""

from mobilebert_export.calibration.calibrate import Calibration, Progress, calibrate
from mobilebert_export.calibration.text import CalibrationText, Row

__all__ = ["Calibration", "CalibrationText", "Progress", "Row", "calibrate"]
