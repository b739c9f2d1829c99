"""What it takes to fit a full-size model to text: seconds and memory for 200 texts of 128 tokens."""

import json
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Annotated

import typer
from full_size import SEQUENCE_LENGTH, SHARED, TRAINED, CheckpointArgument, SeedOption, load

from mobilebert_export.calibration import CalibrationText, Row, calibrate
from mobilebert_export.precisions import CALIBRATED, Precision

MOST_SECONDS = 180.0
MOST_MEMORY = 2_500_000_000

# getrusage's ru_maxrss is in bytes on macOS and in KiB elsewhere.
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024
# More queries than this make up no text of 128 tokens.
_QUERIES = 64


@dataclass(frozen=True)
class Cost:
    """What one calibration took.

    Attributes:
        precision: that the model was fitted to.
        rows: of text.
        seconds: of wall time.
        cpu_seconds: of all threads.
        peak: bytes of memory, at most, imports and the loaded model included.
    """

    precision: Precision
    rows: int
    seconds: float
    cpu_seconds: float
    peak: int


def main(
    checkpoint: CheckpointArgument = TRAINED,
    random_seed: SeedOption = None,
    precision: Annotated[Precision, typer.Option(help="The precision to fit to.")] = Precision.INT8,
    rows: Annotated[int, typer.Option(min=1, help="Texts.")] = 200,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure what calibrating the full-size model costs in time and memory."""
    if precision not in CALIBRATED:
        raise typer.BadParameter(f"expected a precision that is fitted to text, got {precision.value}")
    model = load(checkpoint, random_seed)
    text = list(islice(_long_texts(), rows))
    started, cpu_started = time.perf_counter(), time.process_time()
    calibrate(model, text, precision, length=SEQUENCE_LENGTH)
    cost = Cost(
        precision=precision,
        rows=len(text),
        seconds=time.perf_counter() - started,
        cpu_seconds=time.process_time() - cpu_started,
        peak=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT,
    )
    if as_json:
        typer.echo(json.dumps(asdict(cost)))
        return
    typer.echo(f"{cost.rows} texts of {SEQUENCE_LENGTH} tokens, {precision.value}:")
    typer.echo(f"{cost.seconds:.0f} s of at most {MOST_SECONDS:.0f} ({cost.cpu_seconds:.0f} CPU s)")
    typer.echo(f"{cost.peak / 1e6:.0f} MB of at most {MOST_MEMORY / 1e6:.0f}, imports and the model included")


def _long_texts() -> Iterator[Row]:
    """Queries in a row, more than fill a text."""
    queries = iter(CalibrationText(SHARED / "data" / "clinc150_train.jsonl"))
    while joined := " ".join(row.text for row in islice(queries, _QUERIES)):
        yield Row(joined)


if __name__ == "__main__":
    typer.run(main)
