"""The main job: a checkpoint in, a verified file out."""

import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobilebert_export.calibration import CalibrationText, Equalization, Row, equalize
from mobilebert_export.check import FLOORS, Verification, verify
from mobilebert_export.check.rows import verification_rows
from mobilebert_export.emitters.tflite import emit
from mobilebert_export.errors import EquivalenceError, UsageError
from mobilebert_export.files import placed_whole
from mobilebert_export.graph import Graph
from mobilebert_export.lowering import lower
from mobilebert_export.precisions import Precision, apply
from mobilebert_export.runtimes.litert import LiteRtModel

if TYPE_CHECKING:
    from mobilebert_reference import Checkpoint

VERIFICATION_ROWS = 32
SHORTEST_SEQUENCE = 2  # [CLS] [SEP]

# The precisions that round activations, and so depend on what these are.
CALIBRATED = frozenset({Precision.DYNAMIC})

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Export:
    """What was put in place.

    Attributes:
        output: the file.
        precision: how its numbers are stored and computed.
        sequence_length: tokens of a row, padding included.
        size: of the file, in bytes.
        nodes: operators of the file.
        partitions: pieces in which LiteRT's CPU delegate takes them.
        verification: how near it comes to the reference.
        floor: the least SQNR, in dB, that was asked of it.
        calibration_rows: how many rows of text it was fitted to, 0 where the precision needs none.
        rotated: whether the wide residual stream is kept in rotated axes, which a massive token makes worth while.
    """

    output: Path
    precision: Precision
    sequence_length: int
    size: int
    nodes: int
    partitions: int
    verification: Verification
    floor: float
    calibration_rows: int
    rotated: bool

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


def export_tflite(
    checkpoint: "Checkpoint",
    output: str | os.PathLike[str],
    *,
    precision: Precision | str = Precision.NONE,
    calibration: Iterable[Row] | None = None,
    sequence_length: int = 128,
    overwrite: bool = False,
    progress: Progress = lambda _: None,
) -> Export:
    """Lowers, emits, verifies and places a `.tflite` file.

    Args:
        checkpoint: as `mobilebert_reference.load_checkpoint` gives it.
        output: where the file goes; nothing is there before it has been verified.
        precision: how numbers are stored and computed, a `Precision` or its name.
        calibration: rows of text like those that the model will meet, which are read several times over. A precision
            that
            rounds activations is fitted to them; without any, to the queries that the demo was trained on.
        sequence_length: tokens of a row, padding included, from 2 to the model's positions.
        overwrite: replace a file that is there.
        progress: is told each step as it begins.

    Raises:
        UsageError: the length, the output or the calibration cannot be used.
        EquivalenceError: the file comes out further from the reference than its precision's floor;
            nothing is put in place.
    """
    from mobilebert_reference.demo import CALIBRATION, EVALUATION

    if precision not in list(Precision):
        raise UsageError(f"expected a precision of {', '.join(Precision)}, got {precision}")
    output, precision = Path(output), Precision(precision)
    longest = checkpoint.config.max_position_embeddings
    if not SHORTEST_SEQUENCE <= sequence_length <= longest:
        limits = f"from {SHORTEST_SEQUENCE} to the model's {longest} positions"
        raise UsageError(f"expected a sequence length {limits}, got {sequence_length}; use another --seq-len")
    with placed_whole(output, overwrite=overwrite) as file:
        equalization = None
        if precision in CALIBRATED:
            progress("calibrating")
            rows = CalibrationText(CALIBRATION) if calibration is None else calibration
            equalization = equalize(checkpoint, rows, partial(apply, precision=precision), length=sequence_length)
        progress("lowering the model")
        graph = lowered(checkpoint, equalization)
        progress(f"writing {precision.value}")
        content = emit(apply(graph.bind(batch=1, sequence=sequence_length), precision), description="mobilebert-export")
        file.write(content)
        progress("comparing with the reference")
        model = LiteRtModel(file.path)
        texts = verification_rows(checkpoint.tokenizer, EVALUATION, length=sequence_length, count=VERIFICATION_ROWS)
        verification = verify(model, graph, checkpoint, texts)
        floor = FLOORS[precision]
        if not verification.worst_sqnr >= floor:
            raise EquivalenceError(
                f"expected an SQNR of at least {floor:.0f} dB against the reference with {precision.value}, "
                f"got {verification.worst_sqnr:.1f} dB; nothing was written; try a wider precision"
            )
        return Export(
            output=output,
            precision=precision,
            sequence_length=sequence_length,
            size=len(content),
            nodes=model.nodes,
            partitions=model.partitions,
            verification=verification,
            floor=floor,
            calibration_rows=equalization.rows if equalization else 0,
            rotated=equalization.rotated if equalization else False,
        )


def lowered(checkpoint: "Checkpoint", equalization: Equalization | None) -> Graph:
    """The checkpoint's graph, its streams in the bases that were chosen for it."""
    if equalization is None:
        return lower(checkpoint.model, checkpoint.config)
    bases, rescale = equalization.bases, equalization.rescale
    return lower(checkpoint.model, checkpoint.config, bases=bases, rescale=rescale)
