"""What a precision costs a model: accuracy and SQNR on the whole test split, as trained and under every stress.

Beside each stands the same precision without elimination and without bases that are fitted to text: plain post-training
quantization through the same emitter.
"""

import dataclasses
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from mobilebert_reference import Checkpoint, MobileBertForSequenceClassification, load_checkpoint
from mobilebert_reference.demo import CHECKPOINT
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from stress_models import LARGEST_DIFFERENCE, Kind, stress, unchanged

from mobilebert_export.calibration import CalibrationText, Row
from mobilebert_export.calibration.calibrate import full_recipe
from mobilebert_export.calibration.observe import Inputs, batches
from mobilebert_export.check.metrics import sqnr
from mobilebert_export.check.verify import Reference
from mobilebert_export.emitters.tflite import emit
from mobilebert_export.fitted import fitted
from mobilebert_export.graph import Graph
from mobilebert_export.graph.expand import expanded
from mobilebert_export.lowering import lower
from mobilebert_export.precisions import Precision, Recipe, apply
from mobilebert_export.runtimes.litert import LiteRtModel

SHARED = Path(__file__).parents[2] / "shared"
# The longest query of CLINC150 has 40 tokens, most have less than 16: each runs on the shorter file that holds it.
LENGTHS = (16, 48)
CALIBRATION_ROWS = 200
RESAMPLES = 2000
PROOF_TEXTS = 16
QUANTIZED = (Precision.DYNAMIC, Precision.INT8, Precision.INT8_FULL, Precision.INT16)

IDS = "input_ids"

# The models of the issue: as trained, and function-preserving stress with the magnitude of its first token.
STRESSES: tuple[tuple[Kind, float], ...] = (
    (Kind.SCRAMBLE, 0.0),
    (Kind.NEAR_ZERO_GAINS, 0.0),
    (Kind.MASSIVE, 1e3),
    (Kind.MASSIVE, 1e4),
    (Kind.MASSIVE, 1e6),
    (Kind.BOTH, 1e4),
)


@dataclasses.dataclass(frozen=True)
class Result:
    """One row of the table.

    Attributes:
        model: which model.
        precision: how its numbers are stored and computed.
        way: `fitted` to calibration text, or `plain`.
        sqnr: of the logits, in dB.
        same: share of texts with the reference's label.
        accuracy: of the reference, from 0 to 1.
        lost: accuracy lost against the reference, in points.
        interval: of 95 % around it, from a paired bootstrap over the texts.
        megabytes: size of the longer file.
        partitions: pieces in which the CPU delegate takes it.
    """

    model: str
    precision: str
    way: str
    sqnr: float
    same: float
    accuracy: float
    lost: float
    interval: tuple[float, float]
    megabytes: float
    partitions: int


def main(
    checkpoint: Annotated[Path | None, typer.Argument(help="A CLINC150 classifier. Default: the demo model.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="Texts of the test split, evenly over it. Default: all.")] = 4500,
    precision: Annotated[
        list[Precision] | None, typer.Option(help="Precisions to measure. Default: all quantized.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Also write the table there.")] = None,
) -> None:
    """Measure what precisions cost on CLINC150, on the model as it is and under stress."""
    trained = load_checkpoint(checkpoint or CHECKPOINT)
    every = list(_rows(SHARED / "data" / "clinc150_test.jsonl"))
    test = [every[index] for index in np.linspace(0, len(every) - 1, min(rows, len(every))).astype(int)]
    results: list[Result] = []
    console = Console(stderr=True)
    for name, model in _models(trained):
        for result in _measure(name, model, test, precision or QUANTIZED):
            console.print(
                f"{name}, {result.precision}, {result.way}: {result.sqnr:.1f} dB, {result.lost:.2f} points lost"
            )
            results.append(result)
    shown = Console(width=120, record=True)
    shown.print(_table(results, len(test)))
    if output is not None:
        lines = [" ".join(["python", *sys.argv]), *shown.export_text().splitlines()]
        output.write_text("".join(f"{line.rstrip()}\n" for line in lines), encoding="utf-8")


def _models(trained: Checkpoint) -> Iterator[tuple[str, Checkpoint]]:
    if not isinstance(trained.model, MobileBertForSequenceClassification):
        raise typer.BadParameter(f"expected a sequence classifier, got {type(trained.model).__name__}")
    yield "trained", trained
    for kind, magnitude in STRESSES:
        made = stress(trained.model, kind, magnitude=magnitude, seed=0)
        if not unchanged(made, trained.tokenizer, texts=PROOF_TEXTS) <= LARGEST_DIFFERENCE:
            raise RuntimeError(f"expected {kind.value} to leave the function as it is, got another one")
        name = f"{kind.value} {magnitude:.0e}" if magnitude else kind.value
        yield name, dataclasses.replace(trained, model=made.stressed)


def _measure(
    name: str, checkpoint: Checkpoint, test: Sequence[dict[str, str]], precisions: Sequence[Precision]
) -> Iterator[Result]:
    groups = _by_length(checkpoint, [row["text"] for row in test])
    order = np.concatenate([places for places, _ in groups.values()])
    reference = Reference(checkpoint)
    truth = np.concatenate([reference.run(inputs)["logits"] for _, inputs in groups.values()])
    labels = np.array([checkpoint.config.label2id[test[place]["label"]] for place in order])
    text = list(islice(CalibrationText(SHARED / "data" / "clinc150_train.jsonl"), 0, None, 15000 // CALIBRATION_ROWS))
    for precision in precisions:
        for way, make in (("fitted", _fitted), ("plain", _plain)):
            graph, recipe = make(checkpoint, text, precision)
            given = []
            for length, (_, inputs) in groups.items():
                content = emit(apply(graph.bind(batch=1, sequence=length), precision, recipe))
                with tempfile.TemporaryDirectory() as directory:
                    path = Path(directory) / "model.tflite"
                    path.write_bytes(content)
                    model = LiteRtModel(path)
                    each = [{key: values[[row]] for key, values in inputs.items()} for row in range(len(inputs[IDS]))]
                    given += [model.run(row)["logits"] for row in each]
            size = len(content) / 1e6
            result = _result(name, precision, way, truth, np.concatenate(given), labels)
            yield dataclasses.replace(result, megabytes=size, partitions=model.partitions)


def _by_length(checkpoint: Checkpoint, texts: Sequence[str]) -> dict[int, tuple[NDArray[np.intp], Inputs]]:
    """For each length, the places of the texts that it holds and no shorter one does, and their padded inputs."""
    longest = max(LENGTHS)
    tokens = np.array([len(checkpoint.tokenizer.encode(text, max_length=longest, pad=False)) for text in texts])
    groups, shorter = {}, 0
    for length in LENGTHS:
        places = np.flatnonzero((tokens > shorter) & (tokens <= length))
        if len(places):
            groups[length] = (
                places,
                checkpoint.tokenizer.encode_batch([texts[i] for i in places.tolist()], max_length=length),
            )
        shorter = length
    return groups


def _fitted(checkpoint: Checkpoint, text: Sequence[Row], precision: Precision) -> tuple[Graph, Recipe | None]:
    made = fitted(checkpoint, precision, text, length=max(LENGTHS), progress=lambda _: None)
    return made.graph, made.calibration.recipe if made.calibration else None


def _plain(checkpoint: Checkpoint, text: Sequence[Row], precision: Precision) -> tuple[Graph, Recipe | None]:
    graph: Callable[..., Graph] = partial(lower, checkpoint.model, checkpoint.config, eliminate=False)
    if precision is Precision.DYNAMIC:
        return graph(), None
    inputs = batches(checkpoint.tokenizer, text, length=max(LENGTHS))
    return graph(), full_recipe(expanded(graph(dtype=np.float64)), inputs, precision)


def _result(
    name: str,
    precision: Precision,
    way: str,
    truth: NDArray[np.floating],
    given: NDArray[np.floating],
    labels: NDArray[np.integer],
) -> Result:
    before, after = truth.argmax(1), given.argmax(1)
    lost = (before == labels).astype(float) - (after == labels)
    samples = np.random.default_rng(0).integers(0, len(lost), (RESAMPLES, len(lost)))
    low, high = np.percentile(100 * lost[samples].mean(axis=1), [2.5, 97.5])
    return Result(
        model=name,
        precision=precision.value,
        way=way,
        sqnr=sqnr(truth, given),
        same=float(np.mean(before == after)),
        accuracy=float(np.mean(before == labels)),
        lost=100 * float(lost.mean()),
        interval=(float(low), float(high)),
        megabytes=0.0,
        partitions=0,
    )


def _rows(path: Path) -> Iterator[dict[str, str]]:
    if not path.is_file():
        raise typer.BadParameter(f"expected CLINC150 at {path}; it is not part of the repository")
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def _table(results: Sequence[Result], rows: int) -> Table:
    table = Table(title=f"{rows:,} test texts; points of accuracy lost against the float64 reference", box=None)
    for column in ("model", "precision", "way", "SQNR", "same", "accuracy", "lost (95 %)", "MB", "parts"):
        left = column in {"model", "precision", "way"}
        table.add_column(column, justify="left" if left else "right", no_wrap=True)
    for result in results:
        low, high = result.interval
        table.add_row(
            result.model,
            result.precision,
            result.way,
            f"{result.sqnr:.1f}",
            f"{100 * result.same:.2f} %",
            f"{100 * result.accuracy:.2f} %",
            f"{result.lost:.2f} ({low:.2f}…{high:.2f})",
            f"{result.megabytes:.2f}",
            str(result.partitions),
        )
    return table


if __name__ == "__main__":
    typer.run(main)
