"""The metric of each task, for the reference and a model beside each other, on data with labels.

The model is another one than the reference, of the same shape: each column has a number of its own to get right, which
is computed here from the outputs of the PyTorch models.
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mobilebert_reference import Checkpoint, load_checkpoint

from mobilebert_export.check.run import check
from mobilebert_export.check.scores import Metric
from mobilebert_export.errors import DataError
from mobilebert_export.export import export_tflite
from tests.models import VOCABULARY_SIZE, random_model, reference_outputs, write_checkpoint

LENGTH = 16
ROWS = 60
GENERATOR = np.random.default_rng(0)
# Of one token a letter; [CLS] and [SEP] leave room for 14, and the last rows are cut.
TEXTS = [
    " ".join(
        "".join(GENERATOR.choice(list("abcdefgh"), GENERATOR.integers(1, 4))) for _ in range(GENERATOR.integers(2, 5))
    )
    for _ in range(ROWS)
]
Row = dict[str, Any]
SETTINGS: dict[str, dict[str, Any]] = {
    "label": {},
    "labels": {"problem_type": "multi_label_classification"},
    "score": {"id2label": {0: "score"}},
    "choice": {},
    "tags": {},
    "span": {},
}
HEADS = {
    "choice": "MobileBertForMultipleChoice",
    "tags": "MobileBertForTokenClassification",
    "span": "MobileBertForQuestionAnswering",
}


@dataclasses.dataclass(frozen=True)
class Models:
    """A checkpoint, and the file of another one."""

    checkpoint: Checkpoint
    other: Checkpoint
    file: Path


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Models]:
    directory = tmp_path_factory.mktemp("models")
    made: dict[str, Models] = {}

    def of(kind: str) -> Models:
        if kind not in made:
            head = HEADS.get(kind, "MobileBertForSequenceClassification")
            checkpoints = [
                load_checkpoint(
                    write_checkpoint(
                        random_model(head, "near_one", seed=seed, vocab_size=VOCABULARY_SIZE, **SETTINGS[kind]),
                        directory / f"{kind}{seed}",
                    )
                )
                for seed in (0, 1)
            ]
            if kind in {"label", "labels"}:
                for checkpoint in checkpoints:
                    answer_variously(checkpoint)
            file = directory / f"{kind}.tflite"
            export_tflite(checkpoints[1], file, sequence_length=LENGTH)
            made[kind] = Models(checkpoints[0], checkpoints[1], file)
        return made[kind]

    return of


def answer_variously(checkpoint: Checkpoint) -> None:
    """Takes the mean away from the scores: a random model's are next to the same for every text."""
    scores = np.concatenate([outputs(checkpoint, {"text": text})[1]["logits"] for text in TEXTS])
    with torch.no_grad():
        checkpoint.model.get_parameter("classifier.bias").sub_(torch.from_numpy(scores.mean(axis=0)))


def measured(models: Models, rows: Sequence[Row], directory: Path) -> tuple[Metric, ...]:
    data = directory / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (checked,) = check(models.checkpoint, [models.file], data=data, sequence_length=LENGTH).models
    return checked.measured.metrics


def outputs(checkpoint: Checkpoint, row: Row) -> tuple[Any, dict[str, np.ndarray]]:
    """The tokens of a row, and what the PyTorch model makes of it."""
    encoding = checkpoint.tokenizer.encode(row["text"], row.get("text_pair"), max_length=LENGTH, pad=False)
    # A padded position behind the tokens is seen by the trigram of the last one.
    padded = checkpoint.tokenizer.encode(row["text"], row.get("text_pair"), max_length=LENGTH)
    names = ("input_ids", "attention_mask", "token_type_ids")
    inputs = {name: np.array([getattr(padded, name)], np.int32) for name in names}
    return encoding, reference_outputs(checkpoint.model.double(), inputs)


def both(models: Models, metric: Callable[[Checkpoint], float]) -> list[float]:
    return [metric(models.checkpoint), metric(models.other)]


def distinct(rows: Sequence[Row]) -> list[Row]:
    return list({row["text"]: row for row in rows}.values())


def test_label_accuracy(models: Callable[[str], Models], tmp_path: Path) -> None:
    rows = distinct([{"text": text, "label": f"label {index % 5}"} for index, text in enumerate(TEXTS)])
    found = models("label")

    def accuracy(checkpoint: Checkpoint) -> float:
        return float(
            np.mean([row["label"] == f"label {outputs(checkpoint, row)[1]['logits'].argmax()}" for row in rows])
        )

    (metric,) = measured(found, rows, tmp_path)
    assert (metric.kind, metric.name, metric.rows) == ("label", "accuracy", len(rows))
    assert [metric.reference, metric.candidate] == pytest.approx(both(found, accuracy))
    assert metric.low <= metric.candidate - metric.reference <= metric.high
    assert metric.candidate != metric.reference


def test_micro_f1_of_several_labels(models: Callable[[str], Models], tmp_path: Path) -> None:
    sets = [[], ["label 0"], ["label 1", 3], [0, "label 2", 4]]
    rows = distinct([{"text": text, "label": sets[index % 4]} for index, text in enumerate(TEXTS)])
    found = models("labels")

    def micro_f1(checkpoint: Checkpoint) -> float:
        right = wrong = missed = 0
        for row in rows:
            given = set(np.flatnonzero(outputs(checkpoint, row)[1]["logits"][0] > 0).tolist())
            truth = {int(str(label)[-1]) for label in row["label"]}
            right, wrong, missed = right + len(given & truth), wrong + len(given - truth), missed + len(truth - given)
        return 2 * right / (2 * right + wrong + missed)

    (metric,) = measured(found, rows, tmp_path)
    assert (metric.kind, metric.name, metric.rows) == ("labels", "micro F1", len(rows))
    assert [metric.reference, metric.candidate] == pytest.approx(both(found, micro_f1))
    assert metric.low <= metric.candidate - metric.reference <= metric.high
    assert metric.candidate != metric.reference


def test_correlation_of_a_regression(models: Callable[[str], Models], tmp_path: Path) -> None:
    rows = distinct([{"text": text, "label": index % 7 - 2.5 if index % 2 else 1} for index, text in enumerate(TEXTS)])
    found = models("score")

    def pearson(checkpoint: Checkpoint) -> float:
        scores = [float(outputs(checkpoint, row)[1]["logits"].item()) for row in rows]
        return float(np.corrcoef(scores, [row["label"] for row in rows])[0, 1])

    (metric,) = measured(found, rows, tmp_path)
    assert (metric.kind, metric.name, metric.rows, metric.constant) == ("score", "Pearson", len(rows), 0.0)
    # The file computes in float32.
    assert [metric.reference, metric.candidate] == pytest.approx(both(found, pearson), abs=1e-5)
    assert metric.low <= metric.candidate - metric.reference <= metric.high
    assert metric.candidate != metric.reference


@pytest.mark.parametrize("kind", ["score", "choice"])
def test_order_of_single_scores_is_judged_over_the_rows(
    kind: str, models: Callable[[str], Models], tmp_path: Path
) -> None:
    found = models(kind)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    ranks = []
    for checkpoint in (found.other, found.checkpoint):  # the file's own, and another
        (checked,) = check(checkpoint, [found.file], data=tmp_path / "rows.jsonl", sequence_length=LENGTH).models
        ranks += [(line.subject, line.passed) for line in checked.verdict.lines if line.key == "rank"]
        assert {error.ranked for error in checked.measured.errors} == {error.rows for error in checked.measured.errors}
    assert ranks == [("logits, padded", True), ("logits, padded", False)]  # too few rows are full


def test_accuracy_of_choices(models: Callable[[str], Models], tmp_path: Path) -> None:
    rows: list[Row] = [
        {"text": "abc", "choices": [TEXTS[index], TEXTS[index - 1], "h"][: 2 + index % 2], "label": index % 2}
        for index in range(ROWS // 2)
    ]
    found = models("choice")

    def accuracy(checkpoint: Checkpoint) -> float:
        best = [
            np.argmax(
                [
                    outputs(checkpoint, {"text": row["text"], "text_pair": each})[1]["logits"].item()
                    for each in row["choices"]
                ]
            )
            for row in rows
        ]
        return float(np.mean([row["label"] == each for row, each in zip(rows, best, strict=True)]))

    (metric,) = measured(found, rows, tmp_path)
    assert (metric.kind, metric.name, metric.rows) == ("choice", "accuracy", len(rows))
    assert [metric.reference, metric.candidate] == pytest.approx(both(found, accuracy))
    assert metric.candidate != metric.reference


def test_accuracy_of_tags(models: Callable[[str], Models], tmp_path: Path) -> None:
    rows = distinct([{"text": text, "tags": [len(word) for word in text.split()]} for text in TEXTS])
    found = models("tags")

    def accuracy(checkpoint: Checkpoint) -> float:
        right = []
        for row in rows:
            encoding, given = outputs(checkpoint, row)
            words = iter(row["tags"])
            for (begin, end), tags in zip(encoding.offsets, given["logits"][0], strict=False):
                if end and (begin == 0 or row["text"][begin - 1] == " "):  # the first letter of a word
                    right.append(tags.argmax() == next(words))
        return float(np.mean(right))

    (metric,) = measured(found, rows, tmp_path)
    assert (metric.kind, metric.name, metric.rows) == ("tags", "accuracy", len(rows))
    assert [metric.reference, metric.candidate] == pytest.approx(both(found, accuracy))
    assert metric.candidate != metric.reference


def test_exact_match_and_f1_of_spans(models: Callable[[str], Models], tmp_path: Path) -> None:
    rows: list[Row] = []
    for text in dict.fromkeys(TEXTS):
        context = f"a {text}"[:11]
        rows.append({"text": "h", "text_pair": context, "answer": {"text": context[2:5], "start": 2}})
    found = models("span")

    def scores(checkpoint: Checkpoint) -> tuple[float, float]:
        exact, f1 = [], []
        for row in rows:
            encoding, given = outputs(checkpoint, row)
            inside = [index for index, sequence in enumerate(encoding.sequence_ids) if sequence == 1]
            starts, ends = given["start_logits"][0], given["end_logits"][0]
            pairs = [(i, j) for i in inside for j in inside if i <= j]
            first, last = max(pairs, key=lambda pair: starts[pair[0]] + ends[pair[1]])
            answer = set(range(first, last + 1))
            truth = {index for index in inside if encoding.offsets[index][0] in range(2, 5)}
            exact.append(answer == truth)
            f1.append(2 * len(answer & truth) / (len(answer) + len(truth)))
        return float(np.mean(exact)), float(np.mean(f1))

    match, overlap = measured(found, rows, tmp_path)
    assert [(each.kind, each.name, each.rows) for each in (match, overlap)] == [
        ("span", "exact match", len(rows)),
        ("span", "token F1", len(rows)),
    ]
    expected = [scores(checkpoint) for checkpoint in (found.checkpoint, found.other)]
    assert [(match.reference, overlap.reference), (match.candidate, overlap.candidate)] == [
        pytest.approx(each) for each in expected
    ]
    assert match.candidate != match.reference


def test_answer_that_is_cut_off_counts_nowhere(models: Callable[[str], Models], tmp_path: Path) -> None:
    context = "abcdefgh abcdefgh"
    kept = {"text": "a", "text_pair": context, "answer": {"text": "bc", "start": 1}}
    cut = {"text": "b", "text_pair": context, "answer": {"text": "abcdefgh", "start": 9}}
    assert {metric.rows for metric in measured(models("span"), [kept, cut], tmp_path)} == {1}


def test_tags_of_an_empty_text_count_nowhere(models: Callable[[str], Models], tmp_path: Path) -> None:
    assert measured(models("tags"), [{"text": "", "tags": []}, {"text": "a"}], tmp_path) == ()


@pytest.mark.parametrize(
    ("kind", "row", "said"),
    [
        ("label", {"label": "nonsense"}, "one of the model's 5 labels, got 'nonsense'"),
        ("label", {"label": 5}, "one of the model's 5 labels, got '5'"),
        ("label", {"label": 1.5}, "one of the model's 5 labels, got '1.5'"),
        ("label", {"label": ["label 0"]}, "one of the model's 5 labels"),
        ("labels", {"label": ["label 0", "nonsense"]}, "one of the model's 5 labels, got 'nonsense'"),
        ("score", {"label": "good"}, "a number as label, for a regression of one number, got 'good'"),
        ("score", {"label": [1]}, "a number as label"),
        ("score", {"label": 10**400}, "expected a number from -1e[+]100 to 1e[+]100 as label, .* got '1000"),
        ("score", {"label": -1e308}, "expected a number from -1e[+]100 to 1e[+]100 as label, .* got '-1e[+]308'"),
        ("choice", {"choices": ["a", "b"], "label": 2}, "the number of one of 2 choices as label, got '2'"),
        ("choice", {"choices": ["a", "b"], "label": "b"}, "the number of one of 2 choices as label, got 'b'"),
        ("choice", {"label": 0}, "the number of one of 0 choices"),
        ("choice", {"choices": ["a"], "label": 0}, "fewer than 2"),
        ("choice", {"choices": ["a", 1], "label": 0}, "no list of texts"),
        ("choice", {"choices": ["a", "b"], "text_pair": "c"}, "beside a text_pair"),
        ("tags", {"tags": ["label 0"]}, "expected a tag for each of 2 words, got 1"),
        ("tags", {"tags": ["label 0", "nonsense"]}, "one of the model's 5 labels, got 'nonsense'"),
        ("tags", {"tags": "label 0"}, "no list of names or numbers"),
        ("span", {"answer": {"text": "b", "start": 5}}, "of the last text"),
        ("span", {"answer": {"text": "b", "start": -1}}, "of the last text"),
        ("label", {"label": {"a": 1}}, "no list of such"),
        ("label", {"label": True}, "no list of such"),
    ],
)
def test_label_that_the_model_does_not_know_is_named(
    kind: str, row: Row, said: str, models: Callable[[str], Models], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=said):
        measured(models(kind), [{"text": "a b", **row}], tmp_path)
