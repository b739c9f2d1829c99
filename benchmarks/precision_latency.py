"""How fast the precisions of one model run beside float32: one interleaved run in LiteRT on this CPU."""

import json
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from full_size import SEQUENCE_LENGTH, SHARED, TRAINED, CheckpointArgument, SeedOption, load
from rich.console import Console
from rich.table import Table

from mobilebert_export.calibration import CalibrationText
from mobilebert_export.candidate import emitted
from mobilebert_export.check.rows import verification_rows
from mobilebert_export.fitted import fitted
from mobilebert_export.lowering import INPUTS
from mobilebert_export.precisions import Precision
from mobilebert_export.runtimes.litert import LiteRtModel

MEASURED = (Precision.NONE, Precision.FLOAT16, Precision.DYNAMIC, Precision.INT8, Precision.INT8_FULL)
CALIBRATION_ROWS = 200


@dataclass(frozen=True)
class Latency:
    """What one precision takes.

    Attributes:
        precision: of the file.
        cpu: median CPU milliseconds of one inference of 128 tokens.
        wall: median wall milliseconds.
        cpu_ratio: of the medians, over float32.
        wall_ratio: likewise.
        megabytes: size of the file.
        partitions: pieces in which the delegate takes it.
    """

    precision: Precision
    cpu: float
    wall: float
    cpu_ratio: float
    wall_ratio: float
    megabytes: float
    partitions: int


def main(
    checkpoint: CheckpointArgument = TRAINED,
    random_seed: SeedOption = None,
    runs: Annotated[int, typer.Option(min=1, help="Inferences of each file.")] = 60,
    threads: Annotated[int, typer.Option(min=1, help="Of LiteRT.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Measure the precisions in turns, so that a busy minute falls on all of them."""
    model = load(checkpoint, random_seed)
    text = list(islice(CalibrationText(SHARED / "data" / "clinc150_train.jsonl"), CALIBRATION_ROWS))
    test = SHARED / "data" / "clinc150_test.jsonl"
    rows = verification_rows(model.tokenizer, test, length=SEQUENCE_LENGTH, count=8)
    inputs = [{name: np.array([getattr(row, name)]) for name in INPUTS} for row in rows]
    files, sizes = [], []
    with tempfile.TemporaryDirectory() as directory:
        for precision in MEASURED:
            fit = fitted(model, precision, text, length=SEQUENCE_LENGTH, progress=lambda _: None)
            made = emitted(fit, length=SEQUENCE_LENGTH)
            path = Path(directory) / f"{precision.value}.tflite"
            path.write_bytes(made.content)
            files.append(LiteRtModel(path, threads=threads))
            sizes.append(len(made.content) / 1e6)
    taken: list[list[tuple[float, float]]] = [[] for _ in files]
    for run in range(runs):
        for file, times in zip(files, taken, strict=True):
            wall, cpu = time.perf_counter(), time.process_time()
            file.run(inputs[run % len(inputs)])
            times.append((time.process_time() - cpu, time.perf_counter() - wall))
    medians = [[1000 * statistics.median(kind) for kind in zip(*times, strict=True)] for times in taken]
    results = [
        Latency(precision, cpu, wall, cpu / medians[0][0], wall / medians[0][1], size, file.partitions)
        for precision, (cpu, wall), size, file in zip(MEASURED, medians, sizes, files, strict=True)
    ]
    if as_json:
        typer.echo(json.dumps({"runs": runs, "threads": threads, "results": list(map(asdict, results))}))
        return
    table = Table(title=f"{runs} interleaved runs, {threads} thread(s): medians, and their ratios to float32", box=None)
    for column in ("precision", "CPU ms", "ratio", "wall ms", "ratio", "MB", "partitions"):
        table.add_column(column, justify="right")
    for each in results:
        numbers = (f"{each.cpu:.1f}", f"{each.cpu_ratio:.3f}", f"{each.wall:.1f}", f"{each.wall_ratio:.3f}")
        table.add_row(each.precision.value, *numbers, f"{each.megabytes:.2f}", str(each.partitions))
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
