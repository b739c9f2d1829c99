"""What a model's outputs say, in the terms of its task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mobilebert_export.check.cases import Case
from mobilebert_export.errors import DataError

if TYPE_CHECKING:
    from mobilebert_reference import MobileBertConfig

Values = Mapping[str, NDArray[np.floating]]
Kind: TypeAlias = Literal[
    "label", "labels", "score", "choice", "next sentence", "tags", "span", "masked token", "masked token, top 5"
]
# Answers of one kind, as numbers that are equal where the answers are; a score is the number itself.
Answer: TypeAlias = tuple[float, ...]

TOP = 5
UNKNOWN = -1
_LONGEST_SPAN = 30
# Products of larger scores do not add up in float64.
_LARGEST_SCORE = 1e100
_MOST_POSITIONS = 2**20
_SHOWN = 12


@dataclass(frozen=True)
class Task:
    """A head, and how its outputs are read.

    Attributes:
        head: its class in the reference model.
        config: the checkpoint's.
    """

    head: str
    config: "MobileBertConfig"

    @property
    def masks_tokens(self) -> bool:
        """Whether it tells what stands behind [MASK]."""
        return self.head in {"MobileBertForMaskedLM", "MobileBertForPreTraining"}

    @property
    def chooses(self) -> bool:
        """Whether it scores one choice at a time."""
        return self.head == "MobileBertForMultipleChoice"

    def answers(self, values: Values, case: Case) -> dict[Kind, Answer]:
        """What the outputs (positions first, for those that have them) answer to a row."""
        match self.head:
            case "MobileBertForSequenceClassification" if self._problem == "multi_label_classification":
                return {"labels": tuple((values["logits"] > 0).astype(int).tolist())}
            case "MobileBertForSequenceClassification" if self._problem == "single_label_classification":
                return {"label": (int(values["logits"].argmax()),)}
            case "MobileBertForSequenceClassification" | "MobileBertForMultipleChoice":
                return {"score": tuple(values["logits"].tolist())}
            case "MobileBertForNextSentencePrediction":
                return {"next sentence": (int(values["logits"].argmax()),)}
            case "MobileBertForTokenClassification":
                return {"tags": tuple(values["logits"].argmax(-1).tolist())}
            case "MobileBertForQuestionAnswering":
                return {"span": _best_span(values["start_logits"], values["end_logits"], case)}
            case "MobileBertForMaskedLM":
                return _masked(values["logits"], case)
            case "MobileBertForPreTraining":
                following = int(values["seq_relationship_logits"].argmax())
                return {"next sentence": (following,), **_masked(values["prediction_logits"], case)}
        return {}

    def truth(self, case: Case) -> dict[Kind, Answer]:
        """What the data says the answers should be; `UNKNOWN` where it says nothing.

        Raises:
            DataError: a label is none of the model's.
        """
        row = case.row
        match self.head:
            case "MobileBertForSequenceClassification":
                return {} if row.label is None else self._labels(row.label)
            case "MobileBertForMultipleChoice":
                return {} if row.label is None else {"choice": (_choice(row.label, row.choices),)}
            case "MobileBertForNextSentencePrediction" | "MobileBertForPreTraining":
                truth: dict[Kind, Answer] = {}
                if row.label is not None:
                    if row.label not in {0, 1}:
                        raise DataError(
                            f"expected 0 or 1, whether the next sentence follows, got the label {str(row.label)[:80]!r}"
                        )
                    truth["next sentence"] = (1 if row.label == 1 else 0,)
                return truth if case.masked is None else {**truth, "masked token": (case.masked[1],)}
            case "MobileBertForMaskedLM":
                return {} if case.masked is None else {"masked token": (case.masked[1],)}
            case "MobileBertForTokenClassification":
                return {} if row.tags is None else self._tags(case, row.tags)
            case "MobileBertForQuestionAnswering":
                return {} if row.answer is None else _answer_span(case)
        return {}

    def in_words(self, kind: Kind, answer: Answer) -> str:
        """An answer for people; of a long one its beginning."""
        match kind:
            case "label" | "tags":
                words = [self.config.id2label[int(index)] for index in answer[:_SHOWN]]
            case "labels":
                held = [name for index, name in self.config.id2label.items() if answer[index]]
                return " ".join(held[:_SHOWN]) + (" ..." if len(held) > _SHOWN else "") or "none"
            case "score":
                words = [f"{score:.4g}" for score in answer[:_SHOWN]]
            case "span":
                words = ["positions {} to {}".format(*span_ends(answer))]
            case _:
                words = [str(index) for index in answer[:_SHOWN]]
        return " ".join(words) + (" ..." if len(answer) > _SHOWN else "")

    @property
    def _problem(self) -> str:
        """What a sequence classifier decides; where its configuration does not say, as its loss takes it."""
        default = "regression" if self.config.num_labels == 1 else "single_label_classification"
        return self.config.problem_type or default

    def _labels(self, label: object) -> dict[Kind, Answer]:
        """What a sequence classifier should answer."""
        if self._problem == "multi_label_classification":
            held = {self._class(each) for each in (label if isinstance(label, tuple) else (label,))}
            return {"labels": tuple(int(index in held) for index in self.config.id2label)}
        if self._problem == "single_label_classification":
            return {"label": (self._class(label),)}
        regression = "as label, for a regression of one number"
        if self.config.num_labels > 1 or not isinstance(label, int | float):
            raise DataError(f"expected a number {regression}, got {str(label)[:80]!r}")
        if abs(label) > _LARGEST_SCORE:
            size = f"from {-_LARGEST_SCORE:g} to {_LARGEST_SCORE:g}"
            raise DataError(f"expected a number {size} {regression}, got {str(label)[:80]!r}")
        return {"score": (float(label),)}

    def _class(self, label: object) -> int:
        names = {name: index for index, name in self.config.id2label.items()}
        index = names.get(label) if isinstance(label, str) else label
        if not isinstance(index, int) or index not in self.config.id2label:
            raise DataError(f"expected one of the model's {self.config.num_labels} labels, got {str(label)[:80]!r}")
        return index

    def _tags(self, case: Case, tags: Sequence[str | int]) -> dict[Kind, Answer]:
        """The class of the first piece of each word; nothing where none of them was kept."""
        words = case.row.text.split()
        if len(words) != len(tags):
            raise DataError(f"expected a tag for each of {len(words)} words, got {len(tags)}: {case.row.text[:80]!r}")
        starts: dict[int, int] = {}
        position = 0
        for word, tag in zip(words, tags, strict=True):
            position = case.row.text.index(word, position)
            starts[position] = self._class(tag)
            position += len(word)
        encoding = case.encoding
        truth = tuple(
            starts.get(begin, UNKNOWN) if sequence == 0 else UNKNOWN
            for (begin, _), sequence in zip(encoding.offsets, encoding.sequence_ids, strict=True)
        )
        return {"tags": truth} if set(truth) != {UNKNOWN} else {}


def _choice(label: object, choices: Sequence[str]) -> int:
    if not isinstance(label, int) or not 0 <= label < len(choices):
        raise DataError(f"expected the number of one of {len(choices)} choices as label, got {str(label)[:80]!r}")
    return label


def span_ends(answer: Answer) -> tuple[int, int]:
    """The first and the last position of a span."""
    first, last = divmod(int(answer[0]), _MOST_POSITIONS)
    return first, last


def _masked(logits: NDArray[np.floating], case: Case) -> dict[Kind, Answer]:
    if case.masked is None:
        return {}
    scores = logits[case.masked[0]]
    best = np.argsort(-scores, kind="stable")[:TOP]
    return {"masked token": (int(best[0]),), "masked token, top 5": tuple(sorted(map(int, best)))}


def _best_span(start: NDArray[np.floating], end: NDArray[np.floating], case: Case) -> Answer:
    """The best answer within the last text; the first position alone where there is no text."""
    asked = max((sequence for sequence in case.encoding.sequence_ids if sequence is not None), default=None)
    inside = [index for index, sequence in enumerate(case.encoding.sequence_ids) if sequence == asked]
    if asked is None:
        return (0,)
    first, last = inside[0], inside[-1] + 1
    scores = start[first:last, None] + end[None, first:last]
    reach = np.subtract.outer(np.arange(last - first), np.arange(last - first))
    scores = np.where((reach <= 0) & (reach > -_LONGEST_SPAN), scores, -np.inf)
    begin, stop = np.unravel_index(int(scores.argmax()), scores.shape)
    return (_span(first + int(begin), first + int(stop)),)


def _answer_span(case: Case) -> dict[Kind, Answer]:
    """The positions of the tokens that hold the answer; nothing where some of it was cut off."""
    answer = case.row.answer
    if answer is None:
        return {}
    sequence = 0 if case.row.text_pair is None else 1
    held = [
        index
        for index, ((begin, end), which) in enumerate(
            zip(case.encoding.offsets, case.encoding.sequence_ids, strict=True)
        )
        if which == sequence and begin < answer.start + len(answer.text) and end > answer.start
    ]
    whole = held and case.encoding.offsets[held[-1]][1] >= answer.start + len(answer.text.rstrip())
    return {"span": (_span(held[0], held[-1]),)} if whole else {}


def _span(first: int, last: int) -> int:
    """Two positions as one number: a span is right as a whole or not at all."""
    return first * _MOST_POSITIONS + last
