"""`--quantize auto`: the cheapest precision within a bound on what it changes."""

import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from mobilebert_reference import Checkpoint, load_checkpoint

from mobilebert_export import auto
from mobilebert_export.calibration import Row
from mobilebert_export.check import FLOORS
from mobilebert_export.check.verify import Reference
from mobilebert_export.errors import EquivalenceError, UsageError
from mobilebert_export.precisions import Precision
from tests.models import VOCABULARY_SIZE, random_model, write_checkpoint
from tests.text import letters, queries

pytestmark = pytest.mark.usefixtures("one_thread")

LENGTH = 12


def chosen(checkpoint: Checkpoint, rows: list[Row], max_drop: float) -> auto.Choice:
    return auto.choose(checkpoint, rows, length=24, max_drop=max_drop, progress=lambda _: None)


def test_cheapest_precision_within_the_bound_is_chosen(demo: Checkpoint) -> None:
    choice = chosen(demo, queries(125), 5)
    assert choice.candidate.fitted.precision is Precision.INT8
    assert choice.reason.startswith(
        "at most 5 % of the answers to 25 held-out rows may change; int8 changes 0.00 % at "
    )
    assert "\n" not in choice.reason


def test_precision_that_would_be_refused_is_not_chosen(demo: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FLOORS, Precision.INT8, 60.0)
    assert chosen(demo, queries(125), 100).candidate.fitted.precision is Precision.DYNAMIC


def test_bound_that_no_precision_keeps_is_an_error(demo: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    for precision in Precision:
        monkeypatch.setitem(FLOORS, precision, 200.0)
    with pytest.raises(EquivalenceError, match=r"got none: int8 changes 0.00 %.* none changes 0.00 %"):
        chosen(demo, queries(125), 5)


@pytest.mark.parametrize("drop", [-1, 101, float("nan")])
def test_drop_that_is_no_percentage_is_an_error(drop: float, demo: Checkpoint) -> None:
    with pytest.raises(UsageError, match="expected a largest drop from 0 to 100 percent"):
        chosen(demo, queries(30), drop)


def test_precision_that_changes_an_answer_is_not_chosen_where_none_may(demo: Checkpoint) -> None:
    rows = queries(125)
    first = demo.tokenizer.encode_batch([rows[0].text], max_length=24)
    logits = Reference(demo).run(first)["logits"][0]
    best, second = np.argsort(logits)[[-1, -2]]
    precisions = []
    # The first held-out row is all but undecided, once this way and once that: the error of rounding decides it.
    for margin in (1e-4, -1e-4):
        model = copy.deepcopy(demo.model)
        with torch.no_grad():
            model.get_parameter("classifier.bias")[second] += float(logits[best] - logits[second]) - margin
        choice = chosen(dataclasses.replace(demo, model=model), rows, 0)
        precision = choice.candidate.fitted.precision
        assert f"{precision.value} changes 0.00 %" in choice.reason
        precisions.append(precision)
    assert len([each for each in precisions if each is Precision.INT8]) == 1


def test_too_few_rows_to_choose_on_are_an_error(demo: Checkpoint) -> None:
    with pytest.raises(UsageError, match="expected 125 rows or more to choose a precision on, got 124"):
        chosen(demo, queries(124), 5)


def test_model_without_answers_cannot_be_chosen_for(tmp_path: Path) -> None:
    model = random_model("MobileBertModel", "near_one", vocab_size=VOCABULARY_SIZE)
    checkpoint = load_checkpoint(write_checkpoint(model, tmp_path / "checkpoint"))
    with pytest.raises(UsageError, match="choose a precision by its name"):
        auto.choose(checkpoint, letters(10, LENGTH), length=LENGTH, max_drop=5, progress=lambda _: None)
