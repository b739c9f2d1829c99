"""What may become a `.tflite` file: a checkpoint in one precision, emitted but not yet verified."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mobilebert_export.calibration import Calibration, Progress, Row
from mobilebert_export.emitters.tflite import emit
from mobilebert_export.fitted import Fitted, fitted, fitted_by
from mobilebert_export.graph import Graph
from mobilebert_export.precisions import Precision

if TYPE_CHECKING:
    from mobilebert_reference import Checkpoint


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

    @property
    def precision(self) -> Precision:
        """How its numbers are stored and computed."""
        return self.fitted.precision

    @property
    def calibration(self) -> Calibration | None:
        """What it was fitted to; None where the precision needs no text."""
        return self.fitted.calibration

    @property
    def graph(self) -> Graph:
        """Of real numbers, not bound to a length."""
        return self.fitted.graph


def prepared(
    checkpoint: "Checkpoint",
    precision: Precision,
    rows: Iterable[Row],
    *,
    length: int,
    progress: Progress,
) -> Candidate:
    """The checkpoint in a precision, which is fitted to the rows if it rounds activations.

    Raises:
        DataError: the rows cannot be used, or an activation is not finite.
    """
    return _emitted(fitted(checkpoint, precision, rows, length=length, progress=progress), length, progress)


def emitted(
    checkpoint: "Checkpoint",
    precision: Precision,
    calibration: Calibration | None,
    *,
    length: int,
    progress: Progress = lambda _: None,
) -> Candidate:
    """The checkpoint in a precision, by a calibration that was made before."""
    return _emitted(fitted_by(checkpoint, precision, calibration, progress=progress), length, progress)


def _emitted(model: Fitted, length: int, progress: Progress) -> Candidate:
    progress(f"writing {model.precision.value}")
    quantized = model.quantized(length)
    return Candidate(model, quantized, emit(quantized, description="mobilebert-export"))
