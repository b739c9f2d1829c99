"""What may become a `.tflite` file: a checkpoint in one precision, emitted but not yet verified."""

from dataclasses import dataclass

from mobilebert_export.calibration import Progress
from mobilebert_export.emitters.tflite import emit
from mobilebert_export.fitted import Fitted
from mobilebert_export.graph import Graph


@dataclass(frozen=True)
class Candidate:
    """What may become a file.

    Attributes:
        fitted: the checkpoint in a precision.
        quantized: its graph in the precision, bound.
        content: the file.
    """

    fitted: Fitted
    quantized: Graph
    content: bytes


def emitted(fitted: Fitted, *, length: int, progress: Progress = lambda _: None) -> Candidate:
    """A fitted checkpoint as a file of one row of so many tokens."""
    progress(f"writing {fitted.precision.value}")
    quantized = fitted.quantized(length)
    return Candidate(fitted, quantized, emit(quantized, description="mobilebert-export"))
