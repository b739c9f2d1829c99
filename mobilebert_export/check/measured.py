"""What was measured of one model: the value that is judged, printed and reported."""

from dataclasses import dataclass
from pathlib import Path

from mobilebert_export.check.agreement import Agreement
from mobilebert_export.check.cases import Padding
from mobilebert_export.check.comparison import OutputError
from mobilebert_export.check.depth import Depth
from mobilebert_export.check.scores import Metric


@dataclass(frozen=True)
class WorstRow:
    """A row on which the model is far from the reference.

    Attributes:
        text: what was read; a pair has ` | ` between its texts.
        tokens: of the row, without padding.
        padding: whether there was any.
        sqnr: of its worst output, in dB.
        expected: the reference's answer, in words.
        given: the model's.
    """

    text: str
    tokens: int
    padding: Padding
    sqnr: float
    expected: str
    given: str


@dataclass(frozen=True)
class Measured:
    """One model, measured on all rows.

    Attributes:
        model: the file.
        precision: how its numbers are stored and computed, seen from the types in it.
        runtime: what ran it.
        length: tokens of a row; None where the caller sets it.
        rows: how many inputs were run.
        errors: of each output, padded and unpadded apart.
        agreements: of the answers.
        metrics: of the answers that the data knows, as the field scores them.
        unknown: the share of text that the vocabulary does not know.
        cut: the share of rows that its length cuts and the checkpoint would not; None where rows do not tell.
        depth: where it parts from the reference; None where nothing was computed.
        worst: the worst rows first.
        findings: what is wrong with it whatever the floors are, one line each.
        remarks: what the reader should know, one line each.
    """

    model: Path
    precision: str
    runtime: str
    length: int | None = None
    rows: int = 0
    errors: tuple[OutputError, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    metrics: tuple[Metric, ...] = ()
    unknown: float | None = None
    cut: float | None = None
    depth: Depth | None = None
    worst: tuple[WorstRow, ...] = ()
    findings: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
