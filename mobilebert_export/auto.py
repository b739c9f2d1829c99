"""Chooses a precision: the cheapest one to run whose measured loss stays within a bound."""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mobilebert_export.calibration import Progress, Row, calibrate
from mobilebert_export.calibration.text import refuse_iterator
from mobilebert_export.candidate import Candidate, emitted
from mobilebert_export.check import FLOORS, verify
from mobilebert_export.check.verify import gives_answers
from mobilebert_export.errors import EquivalenceError, UsageError
from mobilebert_export.fitted import fitted_by
from mobilebert_export.precisions import Precision
from mobilebert_export.precisions.cost import cost
from mobilebert_export.runtimes.litert import LiteRtModel

if TYPE_CHECKING:
    from mobilebert_reference import Checkpoint

# What a CPU runs fast. `int8-full` is for other hardware, and `int16` runs on no delegate.
_CANDIDATES = (Precision.INT8, Precision.DYNAMIC, Precision.FLOAT16, Precision.NONE)
# One row in so many measures the loss, and calibrates nothing.
_HELD_OUT = 5
_MAX_DROP = 0.5
# A fifth of fewer says little of a loss of a percent.
_FEWEST_ROWS = 125


@dataclass(frozen=True)
class _Part:
    """The rows that measure, or the others, read anew each time."""

    rows: Iterable[Row]
    measuring: bool

    def __iter__(self) -> Iterator[Row]:
        return (row for index, row in enumerate(self.rows) if (index % _HELD_OUT == 0) is self.measuring)


@dataclass(frozen=True)
class Choice:
    """The candidate that was chosen, and why, in one line."""

    candidate: Candidate
    reason: str


def choose(
    checkpoint: "Checkpoint", rows: Iterable[Row], *, length: int, max_drop: float | None, progress: Progress
) -> Choice:
    """Measures precisions from the cheapest to run on, and takes the first that stays within the bound and its floor.

    The loss is the share of rows, or positions, whose answer is another than the reference's: no accuracy can drop by
    more. Of two that cost the same, the smaller file comes first.

    Args:
        checkpoint: the reference.
        rows: every fifth measures, the others calibrate; read several times over, memory does not grow with them.
        length: of the file, in tokens.
        max_drop: the largest loss, in percent; None for 0.5.
        progress: is told each step.

    Raises:
        UsageError: there are too few rows, or the model gives no answer that could be compared.
        EquivalenceError: no precision stays within the bound and its floor.
        DataError: the rows cannot be used.
    """
    max_drop = _MAX_DROP if max_drop is None else max_drop
    if not 0 <= max_drop <= 100:  # noqa: PLR2004 - percent; the negation also holds for NaN
        raise UsageError(f"expected a largest drop from 0 to 100 percent, got {max_drop:g}; use another --max-drop")
    refuse_iterator(rows)
    if not gives_answers(checkpoint):
        raise UsageError("expected a head that gives answers, got one without; choose a precision by its name")
    calibrating, measuring = _Part(rows, measuring=False), _Part(rows, measuring=True)
    count = sum(1 for _ in rows)
    if count < _FEWEST_ROWS:
        raise UsageError(f"expected {_FEWEST_ROWS} rows or more to choose a precision on, got {count}")
    held_out = sum(1 for _ in measuring)
    static = calibrate(checkpoint, calibrating, Precision.INT8, length=length, progress=progress)
    coordinates = replace(static, recipe=None, released=0)  # are the same for all
    calibrations = {each: static if each is Precision.INT8 else coordinates for each in _CANDIDATES}
    models = [fitted_by(checkpoint, each, calibrations[each], progress=progress) for each in _CANDIDATES]
    candidates = [emitted(model, length=length, progress=progress) for model in models]
    candidates.sort(key=lambda each: (cost(each.quantized), len(each.content)))
    dearest = cost(candidates[-1].quantized)
    told = []
    for candidate in candidates:
        precision = candidate.fitted.precision
        progress(f"measuring {precision.value}")
        lost, decibels = _measured(candidate, checkpoint, measuring, length)
        told.append(f"{precision.value} changes {lost:.2f} % at {decibels:.0f} dB")
        if lost <= max_drop and decibels >= FLOORS[precision]:
            break
    else:
        raise EquivalenceError(
            f"expected a precision that changes at most {max_drop:g} % of held-out answers, got none: "
            f"{', '.join(told)}; allow more with --max-drop"
        )
    bound = f"at most {max_drop:g} % of the answers to {held_out} held-out rows may change"
    share = cost(candidate.quantized) / dearest
    return Choice(candidate, f"{bound}; {', '.join(told)}; node cost {share:.2f} of the dearest")


def _measured(candidate: Candidate, checkpoint: "Checkpoint", rows: Iterable[Row], length: int) -> tuple[float, float]:
    """The percentage of answers that change, and the SQNR in dB."""
    encoded = (checkpoint.tokenizer.encode(row.text, row.text_pair, max_length=length) for row in rows)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "candidate.tflite"
        path.write_bytes(candidate.content)
        measured = verify(LiteRtModel(path), candidate.fitted.graph, checkpoint, encoded)
    if measured.agreement is None:
        raise AssertionError("a model that gives answers gave none")
    return 100 * (1 - measured.agreement), measured.worst_sqnr
