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
from mobilebert_export.errors import UsageError
from mobilebert_export.precisions import Precision
from tests.models import VOCABULARY_SIZE, random_model, write_checkpoint
from tests.text import letters, queries

pytestmark = pytest.mark.usefixtures("one_thread")

LENGTH = 12


def chosen(checkpoint: Checkpoint, rows: list[Row], max_drop: float) -> auto.Choice:
    return auto.choose(checkpoint, rows, length=24, max_drop=max_drop, progress=lambda _: None)


def test_cheapest_precision_within_the_bound_is_chosen(demo: Checkpoint) -> None:
    choice = chosen(demo, queries(100), 5)
    assert choice.candidate.fitted.precision is Precision.INT8
    assert choice.reason.startswith(
        "at most 5 % of the answers to 20 held-out rows may change; int8 changes 0.00 % at "
    )
    assert "\n" not in choice.reason


def test_precision_that_would_be_refused_is_not_chosen(demo: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FLOORS, Precision.INT8, 60.0)
    assert chosen(demo, queries(100), 100).candidate.fitted.precision is Precision.DYNAMIC


@pytest.mark.parametrize("drop", [-1, 101, float("nan")])
def test_drop_that_is_no_percentage_is_an_error(drop: float, demo: Checkpoint) -> None:
    with pytest.raises(UsageError, match="expected a largest drop from 0 to 100 percent"):
        chosen(demo, queries(30), drop)


def test_precision_that_changes_an_answer_is_not_chosen_where_none_may(
    demo: Checkpoint,
) -> None:
    rows = queries(100)
    first = demo.tokenizer.encode_batch([rows[0].text], max_length=24)
    logits = Reference(demo).run(first)["logits"][0]
    best, second = np.argsort(logits)[[-1, -2]]
    model = copy.deepcopy(demo.model)
    with torch.no_grad():  # the first held-out row is all but undecided now, and a rounded model decides otherwise
        model.get_parameter("classifier.bias")[second] += float(logits[best] - logits[second]) - 1e-4
    undecided = dataclasses.replace(demo, model=model)
    none, some_drop = chosen(undecided, rows, 0), chosen(undecided, rows, 100)
    assert some_drop.candidate.fitted.precision is Precision.INT8
    assert none.candidate.fitted.precision is not Precision.INT8
    assert "int8 changes" in none.reason
    assert f"{none.candidate.fitted.precision.value} changes 0.00 %" in none.reason


def test_too_few_rows_to_choose_on_are_an_error(demo: Checkpoint) -> None:
    with pytest.raises(UsageError, match="expected 100 rows or more to choose a precision on"):
        chosen(demo, queries(95), 5)


def test_model_without_answers_cannot_be_chosen_for(tmp_path: Path) -> None:
    model = random_model("MobileBertModel", "near_one", vocab_size=VOCABULARY_SIZE)
    checkpoint = load_checkpoint(write_checkpoint(model, tmp_path / "checkpoint"))
    with pytest.raises(UsageError, match="choose a precision by its name"):
        auto.choose(checkpoint, letters(10, LENGTH), length=LENGTH, max_drop=5, progress=lambda _: None)
