"""What a precision costs a model: accuracy and SQNR on the whole test split, as trained and under every stress.

Beside each stands the same precision without elimination and without bases that are fitted to text: plain post-training
quantization through the same emitter.
"""

import dataclasses
import json
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
from stress_models import Kind, stress

from mobilebert_export.calibration import CalibrationText, equalize
from mobilebert_export.check.metrics import agreement, sqnr
from mobilebert_export.check.verify import Reference
from mobilebert_export.emitters.tflite import emit
from mobilebert_export.graph import Graph
from mobilebert_export.lowering import lower
from mobilebert_export.precisions import Precision, apply
from mobilebert_export.runtimes.litert import LiteRtModel

SHARED = Path(__file__).parents[2] / "shared"
# The longest query of CLINC150 has 40 tokens.
LENGTH = 48
CALIBRATION_ROWS = 200
RESAMPLES = 2000

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
        way: `fitted` to calibration text, or `plain`.
        sqnr: of the logits, in dB.
        same: share of texts with the reference's label.
        accuracy: of the reference, from 0 to 1.
        lost: accuracy lost against the reference, in points.
        interval: of 95 % around it, from a paired bootstrap over the texts.
        megabytes: size of the file.
    """

    model: str
    way: str
    sqnr: float
    same: float
    accuracy: float
    lost: float
    interval: tuple[float, float]
    megabytes: float


def main(
    checkpoint: Annotated[Path | None, typer.Argument(help="A CLINC150 classifier. Default: the demo model.")] = None,
    rows: Annotated[int, typer.Option(help="Texts of the test split; all of them by default.")] = 4500,
    precision: Annotated[Precision, typer.Option(help="The precision to measure.")] = Precision.DYNAMIC,
    json_output: Annotated[bool, typer.Option("--json", help="Print the results as one JSON object.")] = False,
) -> None:
    """Measure a precision on CLINC150, on the model as it is and under stress."""
    trained = load_checkpoint(checkpoint or CHECKPOINT)
    test = list(islice(_rows(SHARED / "data" / "clinc150_test.jsonl"), rows))
    results: list[Result] = []
    console = Console(stderr=True)
    for name, model in _models(trained):
        console.print(f"{name} …")
        results += _measure(name, model, test, precision)
    if json_output:
        typer.echo(
            json.dumps(
                {"precision": precision.value, "rows": len(test), "results": list(map(dataclasses.asdict, results))}
            )
        )
    else:
        Console().print(_table(results, precision, len(test)))


def _models(trained: Checkpoint) -> Iterator[tuple[str, Checkpoint]]:
    if not isinstance(trained.model, MobileBertForSequenceClassification):
        raise typer.BadParameter(f"expected a sequence classifier, got {type(trained.model).__name__}")
    yield "trained", trained
    for kind, magnitude in STRESSES:
        stressed = stress(trained.model, kind, magnitude=magnitude, seed=0).stressed
        name = f"{kind.value} {magnitude:.0e}" if magnitude else kind.value
        yield name, dataclasses.replace(trained, model=stressed)


def _measure(
    name: str, checkpoint: Checkpoint, test: Sequence[dict[str, str]], precision: Precision
) -> Iterator[Result]:
    inputs = [checkpoint.tokenizer.encode_batch([row["text"]], max_length=LENGTH) for row in test]
    reference = Reference(checkpoint)
    truth = np.concatenate([reference.run(each)["logits"] for each in inputs])
    labels = np.array([checkpoint.config.label2id[row["label"]] for row in test])
    for way, graph in _graphs(checkpoint, precision):
        content = emit(apply(graph.bind(batch=1, sequence=LENGTH), precision))
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "model.tflite"
            path.write_bytes(content)
            model = LiteRtModel(path)
            given = np.concatenate([model.run(each)["logits"] for each in inputs])
        yield _result(name, way, truth, given, labels, len(content) / 1e6)


def _graphs(checkpoint: Checkpoint, precision: Precision) -> Iterator[tuple[str, Graph]]:
    lowered: Callable[..., Graph] = partial(lower, checkpoint.model, checkpoint.config)
    text = list(islice(CalibrationText(SHARED / "data" / "clinc150_train.jsonl"), 0, None, 15000 // CALIBRATION_ROWS))
    fitted = equalize(checkpoint, text, partial(apply, precision=precision), length=LENGTH)
    yield "fitted", lowered(bases=fitted.bases, rescale=fitted.rescale)
    yield "plain", lowered(eliminate=False)


def _result(
    name: str,
    way: str,
    truth: NDArray[np.floating],
    given: NDArray[np.floating],
    labels: NDArray[np.integer],
    megabytes: float,
) -> Result:
    before, after = truth.argmax(1), given.argmax(1)
    lost = (before == labels).astype(float) - (after == labels)
    samples = np.random.default_rng(0).integers(0, len(lost), (RESAMPLES, len(lost)))
    low, high = np.percentile(100 * lost[samples].mean(axis=1), [2.5, 97.5])
    return Result(
        model=name,
        way=way,
        sqnr=sqnr(truth, given),
        same=agreement(before, after),
        accuracy=float(np.mean(before == labels)),
        lost=100 * float(lost.mean()),
        interval=(float(low), float(high)),
        megabytes=megabytes,
    )


def _rows(path: Path) -> Iterator[dict[str, str]]:
    if not path.is_file():
        raise typer.BadParameter(f"expected CLINC150 at {path}; it is not part of the repository")
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def _table(results: Sequence[Result], precision: Precision, rows: int) -> Table:
    table = Table(title=f"{precision.value}, {rows:,} test texts of at most {LENGTH} tokens", box=None)
    for column in ("model", "way", "SQNR", "same", "accuracy", "lost (95 %)", "MB"):
        table.add_column(column, justify="left" if column in {"model", "way"} else "right", no_wrap=True)
    for result in results:
        low, high = result.interval
        table.add_row(
            result.model,
            result.way,
            f"{result.sqnr:.1f}",
            f"{100 * result.same:.2f} %",
            f"{100 * result.accuracy:.2f} %",
            f"{result.lost:.2f} ({low:.2f}…{high:.2f})",
            f"{result.megabytes:.2f}",
        )
    return table


if __name__ == "__main__":
    typer.run(main)
