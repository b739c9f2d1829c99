"""What a `.tflite` file holds, read without running it and without trusting it."""

from mobilebert_export.inspection.model import read
from mobilebert_export.inspection.summary import (
    Constants,
    ModelSummary,
    OperatorCount,
    Quantization,
    QuantizedTensors,
    Signature,
    Value,
)

__all__ = [
    "Constants",
    "ModelSummary",
    "OperatorCount",
    "Quantization",
    "QuantizedTensors",
    "Signature",
    "Value",
    "read",
]
