"""The check as a whole: models, measured and judged."""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobilebert_export.check.cases import with_tokens
from mobilebert_export.check.data import LabelledRow, chosen, read_rows
from mobilebert_export.check.foreign import feeding
from mobilebert_export.check.gate import Gate, Verdict
from mobilebert_export.check.measure import Measurement, file_kind
from mobilebert_export.check.measured import Measured
from mobilebert_export.check.rows import MOST_UNKNOWN, unknown_share, verification_rows
from mobilebert_export.errors import DataError, UsageError
from mobilebert_export.exported import refuse_length
from mobilebert_export.runtimes.child import ChildModel, Limits, ModelFailedError
from mobilebert_export.runtimes.interface import Runtime

if TYPE_CHECKING:
    from mobilebert_reference import Checkpoint

ROWS = 200


@dataclass(frozen=True)
class Checked:
    """A model: what was measured, and what the gate says of it."""

    measured: Measured
    verdict: Verdict


@dataclass(frozen=True)
class CheckReport:
    """All models of one call.

    Attributes:
        checkpoint: the directory of the reference.
        data: where the text came from.
        gate: where the floors came from.
        models: in the order in which they were given.
    """

    checkpoint: Path
    data: str
    gate: str
    models: tuple[Checked, ...]

    @property
    def passed(self) -> bool:
        """Whether every model did."""
        return all(checked.verdict.passed for checked in self.models)

    @property
    def failed_first(self) -> tuple[Checked, ...]:
        """The models in the order in which people want to read of them."""
        return tuple(sorted(self.models, key=lambda checked: checked.verdict.passed))

    def to_dict(self) -> dict[str, Any]:
        """The same as one JSON object; a number that JSON cannot hold is a string: `inf`, `-inf`, `nan`."""
        models = [
            {
                **asdict(checked.measured),
                "model": str(checked.measured.model),
                "passed": checked.verdict.passed,
                "lines": [{**asdict(line), "text": str(line)} for line in checked.verdict.lines],
            }
            for checked in self.models
        ]
        result: dict[str, Any] = _plain(
            {
                "passed": self.passed,
                "checkpoint": str(self.checkpoint),
                "data": self.data,
                "gate": self.gate,
                "models": models,
            }
        )
        return result


def check(
    checkpoint: "Checkpoint",
    models: Sequence[Path | str],
    *,
    data: Path | str | None = None,
    gate: Gate | None = None,
    runtime: Runtime | None = None,
    sequence_length: int | None = None,
    rows: int = ROWS,
    limits: Limits = Limits(),  # noqa: B008 - a frozen value
    progress: Callable[[str], None] = lambda _: None,
) -> CheckReport:
    """Measures models beside their checkpoint and judges them.

    Args:
        checkpoint: the reference.
        models: `.tflite` or `.onnx` files, of this package or of others.
        data: `.jsonl` rows; without any, the demo's queries, with their labels where the checkpoint knows them.
        gate: the floors; the default ones without.
        runtime: what runs the models; LiteRT or ONNX Runtime, by the kind of the file, without.
        sequence_length: tokens of a row that the app feeds. A model of another fixed length fails; without it, one that
            cuts the text does. One that takes any length is checked up to this one; without it, up to all positions.
        rows: the most rows of the data to use, chosen by their content.
        limits: of the child process that runs a model.
        progress: is told each step as it begins.

    Raises:
        UsageError: a file, the data or the gate cannot be used. A model that fails raises nothing: see `passed`.
    """
    if not models:
        raise UsageError("expected a model to check, got none")
    if rows < 1:
        raise UsageError(f"expected at least 1 row of data, got {rows}")
    floors = gate or Gate.default()
    if sequence_length is not None:
        refuse_length(checkpoint, sequence_length)
        floors = floors.of_length(sequence_length)
    source = "the demo's queries" if data is None else str(data)
    text = _default_rows(checkpoint, rows) if data is None else chosen(read_rows(Path(data)), rows)
    if not any(with_tokens(checkpoint.tokenizer, text)):
        raise DataError(f"expected text that has a token in {source}, got {len(text)} row(s) of which none has any")
    files = [Path(model) for model in models]
    if len(files) > 1:  # one alone is looked at soon enough
        for file in files:
            progress(f"looking at {file.name}")
            _refuse_unusable(file, runtime, limits)
    measurement = Measurement(
        checkpoint,
        text,
        progress,
        limits,
        text_must_fit=data is not None or sequence_length is None,
        longest=sequence_length,
    )
    measured = [measurement.of(file, runtime) for file in files]
    return CheckReport(
        checkpoint=checkpoint.directory,
        data=source,
        gate=floors.source,
        models=tuple(Checked(each, floors.judge(each)) for each in measured),
    )


def _refuse_unusable(model: Path, runtime: Runtime | None, limits: Limits) -> None:
    """Says before minutes of work on others what measuring this one would: that it is no model, or takes no text."""
    chosen_runtime, _ = file_kind(model, runtime)
    with suppress(ModelFailedError), ChildModel(model, chosen_runtime, limits=limits) as child:
        feeding(child.inputs)


def _default_rows(checkpoint: "Checkpoint", count: int) -> list[LabelledRow]:
    """The demo's rows; those of the vocabulary's own words where it does not know their language."""
    from mobilebert_reference.demo import EVALUATION

    rows = chosen(read_rows(EVALUATION), count)
    tokenizer = checkpoint.tokenizer
    if unknown_share(tokenizer, (row.text for row in rows)) > MOST_UNKNOWN:
        own = verification_rows(tokenizer, EVALUATION, length=64, count=count)
        return chosen((LabelledRow(tokenizer.decode(row.input_ids)) for row in own), count)
    known = set(checkpoint.config.id2label.values())
    return rows if all(row.label in known for row in rows) else [row.without_labels() for row in rows]


def _plain(value: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
