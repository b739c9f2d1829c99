"""What the exports to every format have in common: the checks before and after, and what is told of the result."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobilebert_export.check import FLOORS, Verification, verify
from mobilebert_export.check.verify import Runnable
from mobilebert_export.errors import EquivalenceError, UsageError
from mobilebert_export.fitted import Fitted
from mobilebert_export.precisions import Precision

if TYPE_CHECKING:
    from mobilebert_reference import Checkpoint, Encoding

VERIFICATION_ROWS = 32
SHORTEST_SEQUENCE = 2  # [CLS] [SEP]


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was put in place.

    Attributes:
        output: the file.
        precision: how its numbers are stored and computed.
        sequence_length: tokens of a row, padding included; None for a file that takes any batch and length.
        size: of the file, in bytes.
        nodes: operators of the file.
        verification: how near it comes to the reference.
        floor: the least SQNR, in dB, that was asked of it.
        calibration_rows: how many rows of text it was fitted to, 0 where the precision needs none.
        rotated: whether the wide residual stream is kept in rotated axes, which a massive token makes worth while.
        integer_nodes: how many nodes compute in integers, by a static precision's recipe.
        released: how many more might have, and keep real numbers because they cost the answer most.
    """

    output: Path
    precision: Precision
    sequence_length: int | None
    size: int
    nodes: int
    verification: Verification
    floor: float
    calibration_rows: int
    rotated: bool
    integer_nodes: int
    released: int

    def to_dict(self) -> dict[str, Any]:
        """The same as one JSON object; equal outputs have no SQNR that JSON could hold, which makes it null."""
        verification = asdict(self.verification)
        verification["sqnr"] = {
            name: value if isfinite(value) else None for name, value in self.verification.sqnr.items()
        }
        return {
            **asdict(self),
            "output": str(self.output),
            "precision": self.precision.value,
            "verification": verification,
        }


def refuse_length(checkpoint: "Checkpoint", length: int) -> None:
    """Says what is wrong with a length.

    Raises:
        UsageError: a row of it holds no text, or the model has too few positions.
    """
    longest = checkpoint.config.max_position_embeddings
    if not SHORTEST_SEQUENCE <= length <= longest:
        limits = f"from {SHORTEST_SEQUENCE} to the model's {longest} positions"
        raise UsageError(f"expected a sequence length {limits}, got {length}; use another --seq-len")


def verified(
    model: Runnable, fitted: Fitted, checkpoint: "Checkpoint", rows: "Sequence[Encoding]"
) -> tuple[Verification, float]:
    """How near a file comes to the reference, and its precision's floor.

    Raises:
        EquivalenceError: it comes out below the floor.
    """
    verification, floor = verify(model, fitted.graph, checkpoint, rows), FLOORS[fitted.precision]
    if not verification.worst_sqnr >= floor:
        # A massive token leaves even float32 few digits for the others, in the checkpoint's own coordinates.
        advice = "try a wider precision" if fitted.calibration else "fit it to text with --calibration"
        raise EquivalenceError(
            f"expected an SQNR of at least {floor:.0f} dB against the reference with {fitted.precision.value}, "
            f"got {verification.worst_sqnr:.1f} dB; nothing was written; {advice}"
        )
    return verification, floor


def told(fitted: Fitted) -> dict[str, Any]:
    """What an export says of the fit."""
    calibration = fitted.calibration
    return {
        "precision": fitted.precision,
        "calibration_rows": calibration.rows if calibration else 0,
        "rotated": calibration.rotated if calibration else False,
        "integer_nodes": len(calibration.recipe.integer) if calibration and calibration.recipe else 0,
        "released": calibration.released if calibration else 0,
    }
