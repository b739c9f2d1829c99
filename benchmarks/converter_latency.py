"""The exporter's files beside TFLiteConverter's, of the same weights: latency in LiteRT, size, nodes and error.

For each precision both files are loaded into this process, with one thread and the default delegate (XNNPACK), and take
turns on the same real texts: ours, theirs, ours, theirs. What slows the machine down slows both. TensorFlow runs in a
child process and is gone before anything is timed. Nothing is kept.
"""

import importlib.util
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import numpy as np
import typer
from full_size import SEQUENCE_LENGTH, SHARED, TRAINED, CheckpointArgument, SeedOption, load, weights_name
from mobilebert_reference import ReferenceModelError
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from mobilebert_export.precisions import Precision

if TYPE_CHECKING:
    from mobilebert_reference import Checkpoint, MobileBertConfig

    from mobilebert_export.runtimes.litert import LiteRtModel

TEXTS = SHARED / "data" / "clinc150_test.jsonl"
PRECISIONS = (Precision.NONE, Precision.FLOAT16, Precision.DYNAMIC)  # those that the converter has too
_RESAMPLES = 10_000

Floats: TypeAlias = NDArray[np.floating]
Rows: TypeAlias = Sequence[Mapping[str, NDArray[np.int32]]]


@dataclass(frozen=True)
class Made:
    """A file, and the CPU seconds that it took to make from a loaded model."""

    content: bytes
    seconds: float


@dataclass(frozen=True)
class Measured:
    """What one file turned out to be.

    Attributes:
        seconds: CPU seconds that it took to make from a loaded model.
        size: in bytes.
        nodes: operators.
        partitions: pieces in which the delegate takes them.
        sqnr: of the logits against the reference in float64, in dB.
        cpu_ms: process CPU time of one inference: the median, in ms.
        wall_ms: wall time of one inference: the median, in ms.
    """

    seconds: float
    size: int
    nodes: int
    partitions: int
    sqnr: float
    cpu_ms: float
    wall_ms: float


@dataclass(frozen=True)
class Ratio:
    """Our median over theirs, below 1 where ours is faster, and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Both files of one precision, and the ratios of their latencies."""

    precision: Precision
    ours: Measured
    theirs: Measured
    cpu: Ratio
    wall: Ratio


def main(
    checkpoint: CheckpointArgument = TRAINED,
    random_seed: SeedOption = None,
    runs: Annotated[int, typer.Option(min=30, help="Timed runs of each file.")] = 60,
    texts: Annotated[int, typer.Option(min=1, help="CLINC150 test texts to compare and to run on.")] = 32,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Compare the exporter's files of the full-size model with those of TFLiteConverter."""
    if importlib.util.find_spec("tensorflow") is None:
        raise typer.BadParameter("expected TensorFlow, found none; install mobilebert-export[tensorflow]")
    if not TEXTS.is_file():
        raise typer.BadParameter(f"{TEXTS}: expected the CLINC150 test split, found none")
    try:
        model = load(checkpoint, random_seed)
    except ReferenceModelError as error:
        raise typer.BadParameter(str(error)) from error
    comparisons = compare(model, texts=texts, runs=runs)
    if as_json:
        results = {"weights": weights_name(checkpoint, random_seed), "texts": texts, "runs": runs}
        typer.echo(json.dumps({**results, "comparisons": [asdict(each) for each in comparisons]}, indent=2))
    else:
        _print(comparisons)


def compare(checkpoint: "Checkpoint", *, texts: int, runs: int) -> list[Comparison]:
    """Makes both files of every precision and measures them, one precision after the other."""
    from mobilebert_export.check.verify import Reference

    lines = TEXTS.read_text(encoding="utf-8").splitlines()
    chosen = np.linspace(0, len(lines) - 1, texts).astype(
        int
    )  # over the whole file: texts of one intent stand together
    batch = checkpoint.tokenizer.encode_batch(
        (json.loads(lines[index])["text"] for index in chosen), max_length=SEQUENCE_LENGTH
    )
    rows = [{name: values[[row]] for name, values in batch.items()} for row in range(texts)]
    truth = np.concatenate([Reference(checkpoint).run(row)["logits"] for row in rows])

    weights = {name: tensor.float().numpy() for name, tensor in checkpoint.model.state_dict().items()}
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as pool:
        converted = [pool.submit(_converted, weights, checkpoint.config, each.value).result() for each in PRECISIONS]
    comparisons = []
    for precision, theirs in zip(PRECISIONS, converted, strict=True):
        files = (_exported(checkpoint, precision), theirs)
        comparisons.append(_compared(precision, files, rows, truth, runs))
    return comparisons


def _converted(weights: Mapping[str, Floats], config: "MobileBertConfig", precision: str) -> Made:
    """TFLiteConverter's file. To be run in a child process."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from converter_model import convert

    started = time.process_time()
    content = convert(weights, config, precision, sequence=SEQUENCE_LENGTH)
    return Made(content, time.process_time() - started)


def _exported(checkpoint: "Checkpoint", precision: Precision) -> Made:
    """The exporter's file."""
    from mobilebert_export.emitters.tflite import emit
    from mobilebert_export.lowering import lower
    from mobilebert_export.precisions import apply

    started = time.process_time()
    graph = lower(checkpoint.model, checkpoint.config).bind(batch=1, sequence=SEQUENCE_LENGTH)
    content = emit(apply(graph, precision))
    return Made(content, time.process_time() - started)


def _compared(precision: Precision, files: tuple[Made, Made], rows: Rows, truth: Floats, runs: int) -> Comparison:
    from mobilebert_export.check.metrics import sqnr
    from mobilebert_export.runtimes.litert import LiteRtModel

    with tempfile.TemporaryDirectory() as directory:
        models = []
        for index, file in enumerate(files):
            path = Path(directory, f"{index}.tflite")
            path.write_bytes(file.content)
            models.append(LiteRtModel(path, threads=1))
        # The runs that give the error warm both up for the timed ones.
        logits = [np.concatenate([model.run(row)["logits"] for row in rows]) for model in models]
        cpu, wall = _take_turns(models, rows, runs)
    ours, theirs = (
        Measured(
            seconds=file.seconds,
            size=len(file.content),
            nodes=model.nodes,
            partitions=model.partitions,
            sqnr=sqnr(truth, logits[index]),
            cpu_ms=float(np.median(cpu[index])),
            wall_ms=float(np.median(wall[index])),
        )
        for index, (file, model) in enumerate(zip(files, models, strict=True))
    )
    return Comparison(precision, ours, theirs, cpu=_ratio(*cpu), wall=_ratio(*wall))


def _take_turns(models: Sequence["LiteRtModel"], rows: Rows, runs: int) -> tuple[Floats, Floats]:
    """CPU and wall time of each inference in ms, (models, runs) each. The models run in turns."""
    cpu, wall = np.empty((2, len(models), runs))
    for run in range(runs):
        for index, model in enumerate(models):
            wall_start, cpu_start = time.perf_counter(), time.process_time()
            model.run(rows[run % len(rows)])
            cpu[index, run], wall[index, run] = time.process_time() - cpu_start, time.perf_counter() - wall_start
    return 1e3 * cpu, 1e3 * wall


def _ratio(ours: Floats, theirs: Floats) -> Ratio:
    """The ratio of medians; its interval by the percentile bootstrap over turns (Efron and Tibshirani 1993, ch. 13)."""
    turns = np.random.default_rng(0).integers(0, len(ours), (_RESAMPLES, len(ours)))
    resampled = np.median(ours[turns], axis=1) / np.median(theirs[turns], axis=1)
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Ratio(float(np.median(ours) / np.median(theirs)), float(low), float(high))


def _print(comparisons: Sequence[Comparison]) -> None:
    files = Table("precision", "made by", title="Files")
    for column in ("CPU s to make", "MB", "nodes", "partitions", "SQNR, dB"):
        files.add_column(column, justify="right")
    latencies = Table("precision", "clock", title="One inference, one thread: medians in ms, and their ratio")
    for column in ("exporter", "converter", "ratio", "95 % interval"):
        latencies.add_column(column, justify="right")
    for each in comparisons:
        for maker, file in (("exporter", each.ours), ("converter", each.theirs)):
            sizes = (f"{file.seconds:.1f}", f"{file.size / 1e6:.2f}", f"{file.nodes}", f"{file.partitions}")
            files.add_row(each.precision.value, maker, *sizes, f"{file.sqnr:.1f}")
        for clock, ours, theirs, ratio in (
            ("CPU", each.ours.cpu_ms, each.theirs.cpu_ms, each.cpu),
            ("wall", each.ours.wall_ms, each.theirs.wall_ms, each.wall),
        ):
            interval = f"{ratio.low:.3f} to {ratio.high:.3f}"
            latencies.add_row(
                each.precision.value, clock, f"{ours:.1f}", f"{theirs:.1f}", f"{ratio.value:.3f}", interval
            )
    console = Console()
    console.print(files, latencies)


if __name__ == "__main__":
    typer.run(main)
