"""A checkpoint fitted to a precision: what every format's files are made from."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mobilebert_export.calibration import Calibration, Progress, Row, calibrate
from mobilebert_export.graph import Graph
from mobilebert_export.lowering import Coordinates, lower
from mobilebert_export.precisions import Precision, apply
from mobilebert_export.precisions.joined import joined

if TYPE_CHECKING:
    from mobilebert_reference import Checkpoint


@dataclass(frozen=True)
class Fitted:
    """A checkpoint in one precision.

    Attributes:
        precision: how its numbers are stored and computed.
        calibration: what it was fitted to; None where the precision needs no text.
        graph: of real numbers, not bound to a length.
    """

    precision: Precision
    calibration: Calibration | None
    graph: Graph

    def quantized(self, length: int | None) -> Graph:
        """The graph in the precision: of one row of so many tokens, or of any batch and length."""
        graph = self.graph if length is None else self.graph.bind(batch=1, sequence=length)
        return apply(graph, self.precision, self.calibration.recipe if self.calibration else None)


def fitted(
    checkpoint: "Checkpoint",
    precision: Precision,
    rows: Iterable[Row] | None,
    *,
    length: int,
    progress: Progress,
) -> Fitted:
    """The checkpoint in a precision, fitted to rows of at most `length` tokens.

    A precision that rounds activations needs them. One of real numbers needs none (None), but for a model with a
    massive token, which float32 itself holds badly in the checkpoint's own coordinates.

    Raises:
        DataError: the rows cannot be used, or an activation is not finite.
    """
    calibration = None
    if rows is not None:
        calibration = calibrate(checkpoint, rows, precision, length=length, progress=progress)
    return fitted_by(checkpoint, precision, calibration, progress=progress)


def fitted_by(
    checkpoint: "Checkpoint", precision: Precision, calibration: Calibration | None, *, progress: Progress
) -> Fitted:
    """The checkpoint in a precision, by a calibration that was made before."""
    progress("lowering the model")
    coordinates = calibration.coordinates if calibration else Coordinates()
    graph = lower(checkpoint.model, checkpoint.config, coordinates=coordinates)
    # Its kernels round a Linear's input as it comes; the other precisions would only pay for the split.
    return Fitted(precision, calibration, joined(graph) if precision is Precision.DYNAMIC else graph)
