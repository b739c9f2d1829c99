"""The default gate on as many rows as a check takes, with labels: what only answers and the order of scores show."""

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mobilebert_reference import Checkpoint
from mobilebert_reference.demo import EVALUATION

from mobilebert_export.check.cases import cases
from mobilebert_export.check.data import chosen, read_rows
from mobilebert_export.check.gate import Gate, Verdict
from mobilebert_export.check.measure import Measurement
from mobilebert_export.check.measured import Measured
from mobilebert_export.check.run import ROWS
from mobilebert_export.export import export_tflite
from mobilebert_export.precisions import CALIBRATED, Precision
from tests import mutants
from tests.models import reference_outputs
from tests.text import queries

pytestmark = pytest.mark.slow

LENGTH = 48  # the demo's queries fit
PRECISIONS = [precision.value for precision in Precision]
TEXT = chosen(read_rows(EVALUATION), ROWS)

Export = Callable[[str], Path]


@pytest.fixture(scope="module")
def measurement(demo: Checkpoint) -> Measurement:
    return Measurement(demo, TEXT)


@pytest.fixture(scope="module")
def honest(demo: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """The demo in a precision, exported once."""
    directory = tmp_path_factory.mktemp("honest")

    def export(precision: str) -> Path:
        path = directory / f"{precision}.tflite"
        if not path.exists():
            fit = queries(48) if Precision(precision) in CALIBRATED else None
            export_tflite(demo, path, precision=precision, sequence_length=LENGTH, calibration=fit)
        return path

    return export


def judged(measured: Measured) -> Verdict:
    return Gate.default().judge(measured)


def failing(measured: Measured) -> set[str]:
    return {line.key for line in judged(measured).lines if not line.passed}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_honest_file_passes_and_its_answers_are_judged(
    precision: str, honest: Export, measurement: Measurement
) -> None:
    measured = measurement.of(honest(precision))
    assert failing(measured) == set()
    assert [(metric.name, metric.rows) for metric in measured.metrics] == [("accuracy", ROWS)]
    # Only what float weights are rounded to leaves the order of 150 scores as it is.
    ranked = {"rank"} if precision in {"none", "float16"} else set()
    assert {line.key for line in judged(measured).lines} >= {"kappa", "metric_loss", "reference_kappa", *ranked}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_tenth_of_the_answers_lost_fails_in_every_precision(
    precision: str, honest: Export, measurement: Measurement
) -> None:
    measured = measurement.of(honest(precision))
    (metric,) = measured.metrics
    lost = dataclasses.replace(metric, candidate=metric.reference - 0.1, low=-0.15, high=-0.05)
    assert failing(dataclasses.replace(measured, metrics=(lost,))) == {"metric_loss"}


def nameless(model: Any) -> None:
    """As a stranger's file: no tensor has a name of ours, so nothing but the outputs is compared."""
    for index, tensor in enumerate(model.subgraphs[0].tensors):
        tensor.name = f"tensor {index}".encode()


def changed_bias(change: np.ndarray) -> mutants.Change:
    """The scores of the labels moved, in a stranger's file."""
    moved = mutants.constants(lambda name: name.startswith("logits.bias"), lambda values: values + change)
    return mutants.both(moved, nameless)


def all_scores(checkpoint: Checkpoint) -> tuple[np.ndarray, np.ndarray]:
    """The reference's scores (row, label) of all rows that are run, and which of the rows it gets right."""
    made = cases(checkpoint.tokenizer, TEXT, length=LENGTH, flexible=False)
    each = [case.inputs(checkpoint.tokenizer.pad_id) for case in made]
    inputs = {name: np.concatenate([given[name] for given in each]) for name in each[0]}
    scores = reference_outputs(copy.deepcopy(checkpoint.model).double(), inputs)["logits"]
    names = [checkpoint.config.id2label[index] for index in scores.argmax(axis=1)]
    return scores, np.array([name == case.row.label for name, case in zip(names, made, strict=True)])


@pytest.fixture(scope="module")
def far(demo: Checkpoint) -> Checkpoint:
    """The same labels from scores far from zero: softmax does not see what is added to all, SQNR sees little else."""
    moved = dataclasses.replace(demo, model=copy.deepcopy(demo.model))
    with torch.no_grad():
        moved.model.get_parameter("classifier.bias").add_(1e5)
    return moved


def failing_beside(change: np.ndarray, checkpoint: Checkpoint, directory: Path, precision: str) -> set[str]:
    """What fails once the scores of the labels are moved in an honest file, which passes."""
    measurement = Measurement(checkpoint, TEXT)
    honest = directory / "honest.tflite"
    export_tflite(checkpoint, honest, precision=precision, sequence_length=LENGTH, calibration=queries(48))
    assert failing(measurement.of(honest)) == set()
    return failing(measurement.of(mutants.mutant(honest, directory / "mutant.tflite", changed_bias(change))))


def test_right_answers_that_are_lost_are_seen(far: Checkpoint, tmp_path: Path) -> None:
    """The dozen narrowest ones are made wrong: of all answers too few for kappa."""
    scores, right = all_scores(far)
    scores, labels = scores[right], scores[right].argmax(axis=1)
    second, best = np.sort(scores, axis=1)[:, -2:].T
    change = np.zeros(scores.shape[1])
    for row in np.argsort(best - second)[:12]:
        change[labels[row]] = min(change[labels[row]], second[row] - best[row] - 0.05)
    assert failing_beside(change, far, tmp_path, "dynamic") == {"metric_loss"}


def test_order_of_the_scores_is_seen(far: Checkpoint, tmp_path: Path) -> None:
    """The scores of the labels that are no row's best are moved down: the best of each row stays the best."""
    scores, _ = all_scores(far)
    unused = ~np.isin(np.arange(scores.shape[1]), scores.argmax(axis=1))
    change = -3 * np.random.default_rng(0).random(len(unused)) * unused
    assert failing_beside(change, far, tmp_path, "none") == {"rank"}
