"""The main job: a checkpoint in, a verified file out."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mobilebert_export.auto import choose
from mobilebert_export.calibration import CalibrationText, Progress, Row
from mobilebert_export.candidate import emitted
from mobilebert_export.check.rows import verification_rows
from mobilebert_export.errors import UsageError
from mobilebert_export.exported import VERIFICATION_ROWS, Exported, refuse_length, told, verified
from mobilebert_export.files import placed_whole
from mobilebert_export.fitted import fitted
from mobilebert_export.precisions import CALIBRATED, Precision
from mobilebert_export.runtimes.litert import LiteRtModel

if TYPE_CHECKING:
    from mobilebert_reference import Checkpoint

AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class Export(Exported):
    """What was put in place.

    Attributes:
        partitions: pieces in which LiteRT's CPU delegate takes the operators.
        reason: why `auto` chose this precision; None where it was asked for.
    """

    partitions: int
    reason: str | None


def export_tflite(
    checkpoint: "Checkpoint",
    output: str | os.PathLike[str],
    *,
    precision: Precision | str = Precision.NONE,
    max_drop: float | None = None,
    calibration: Iterable[Row] | None = None,
    sequence_length: int = 128,
    overwrite: bool = False,
    progress: Progress = lambda _: None,
) -> Export:
    """Lowers, emits, verifies and places a `.tflite` file.

    Args:
        checkpoint: as `mobilebert_reference.load_checkpoint` gives it.
        output: where the file goes; nothing is there before it has been verified.
        precision: how numbers are stored and computed, a `Precision` or its name; or `auto`, for the cheapest one to
            run that changes few enough answers.
        max_drop: how many answers `auto` may change, in percent of those that it measures; None for 0.5.
        calibration: rows of text like those that the model will meet, which are read several times over. A precision
            that rounds activations is fitted to them; without any, to the queries that the demo was trained on. One of
            real numbers is fitted only if they are given, which a model with a massive token may need.
        sequence_length: tokens of a row, padding included, from 2 to the model's positions.
        overwrite: replace a file that is there.
        progress: is told each step as it begins.

    Raises:
        UsageError: the length, the output or the calibration cannot be used.
        EquivalenceError: the file comes out further from the reference than its precision's floor;
            nothing is put in place.
    """
    from mobilebert_reference.demo import CALIBRATION, EVALUATION

    if precision not in [AUTO, *Precision]:
        raise UsageError(f"expected a precision of {AUTO}, {', '.join(Precision)}, got {precision}")
    if max_drop is not None and precision != AUTO:
        raise UsageError(f"expected {AUTO} with a largest drop, got {Precision(precision).value}; leave out --max-drop")
    refuse_length(checkpoint, sequence_length)
    output = Path(output)
    text = CalibrationText(CALIBRATION) if calibration is None else calibration
    with placed_whole(output, overwrite=overwrite) as file:
        if precision == AUTO:
            choice = choose(checkpoint, text, length=sequence_length, max_drop=max_drop, progress=progress)
            candidate, reason = choice.candidate, choice.reason
        else:
            rows = text if precision in CALIBRATED else calibration
            model = fitted(checkpoint, Precision(precision), rows, length=sequence_length, progress=progress)
            candidate, reason = emitted(model, length=sequence_length, progress=progress), None
        file.write(candidate.content)
        progress("comparing with the reference")
        runtime = LiteRtModel(file.path)
        texts = verification_rows(checkpoint.tokenizer, EVALUATION, length=sequence_length, count=VERIFICATION_ROWS)
        verification, floor = verified(runtime, candidate.fitted, checkpoint, texts)
        return Export(
            output=output,
            sequence_length=sequence_length,
            size=len(candidate.content),
            nodes=runtime.nodes,
            partitions=runtime.partitions,
            verification=verification,
            floor=floor,
            reason=reason,
            **told(candidate.fitted),
        )
