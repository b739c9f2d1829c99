"""The rows of text that a check runs on, with labels where they are known.

A row is one line of JSON. Only `text` is needed; what else is known of it depends on the task:

    {"text": "…", "text_pair": "…"}                     one text, or a pair
    {"text": "…", "label": "name"}                      its class, by name or number; 0 or 1 for the next sentence
    {"text": "…", "label": ["name", "name"]}            those that hold, of several labels at once
    {"text": "…", "label": 2.5}                         the number that a regression should give
    {"text": "…", "choices": ["…", "…"], "label": 1}    multiple choice: the right one, counted from 0
    {"text": "two words", "tags": ["name", "name"]}     the class of each word, parted by white space
    {"text": "a question", "text_pair": "…", "answer": {"text": "…", "start": 0}}
                                                        a piece of the last text, from this character on
"""

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mobilebert_export.errors import DataError

_EXPECTED = 'expected {"text": …}, with "text_pair", "choices", "label", "tags" or "answer" where they are known,'
_FEWEST_CHOICES = 2


@dataclass(frozen=True)
class Span:
    """The answer to a question: a piece of the row's last text, from a character on."""

    text: str
    start: int


@dataclass(frozen=True)
class LabelledRow:
    """A text or a pair of texts, and what the task should answer.

    Attributes:
        text: the first text; the question, where there is one.
        text_pair: the second one.
        label: the class, by name or number; a tuple of those that hold, of several at once; a regression's number.
        tags: the class of each word of `text`, where words are parted by white space.
        answer: where the answer to a question stands.
        choices: the second texts that a model is to choose between.
    """

    text: str
    text_pair: str | None = None
    label: str | float | tuple[str | int, ...] | None = None
    tags: tuple[str | int, ...] | None = None
    answer: Span | None = None
    choices: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """A digest: rows in the order of their keys are in the same order whatever file they stand in."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()

    @property
    def inputs(self) -> "tuple[LabelledRow, ...]":
        """What a model reads, one after the other: the text and each of the choices, or the row itself."""
        return tuple(replace(self, text_pair=choice) for choice in self.choices) or (self,)

    @property
    def texts(self) -> tuple[str, ...]:
        """All that it has."""
        return (self.text, *(() if self.text_pair is None else (self.text_pair,)), *self.choices)

    def without_labels(self) -> "LabelledRow":
        """The text alone."""
        return LabelledRow(self.text, self.text_pair)


def read_rows(path: Path) -> list[LabelledRow]:
    """The rows of a `.jsonl` file. Blank lines are left out, other keys of a row are ignored.

    Raises:
        DataError: the file cannot be read, is not UTF-8, has no row, or has one that is none.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            rows = [_row(line, f"line {number} of {path}") for number, line in enumerate(file, 1) if line.strip()]
    except OSError as error:
        raise DataError(f"expected a .jsonl file of text, got {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"expected UTF-8 text in {path}, got other bytes; convert the file") from error
    if not rows:
        raise DataError(f"expected rows of text in {path}, got none")
    return rows


def chosen(rows: Iterable[LabelledRow], count: int) -> list[LabelledRow]:
    """At most `count` rows, each once, the same ones in the same order whatever order they come in."""
    return [row for _, row in sorted({row.key: row for row in rows}.items())][:count]


def _row(line: str, where: str) -> LabelledRow:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{_EXPECTED} got no JSON in {where}") from error
    if not isinstance(fields, dict) or not isinstance(fields.get("text"), str):
        raise DataError(f"{_EXPECTED} got a row without a text in {where}")
    pair, label, tags = (fields.get(key) for key in ("text_pair", "label", "tags"))
    if not isinstance(pair, str | None):
        raise DataError(f"{_EXPECTED} got a text_pair that is no string in {where}")
    if not (label is None or _is_label(label) or _is_real(label) or _are_labels(label)):
        raise DataError(f"{_EXPECTED} got a label that is no name, no number and no list of such in {where}")
    if not (tags is None or _are_labels(tags)):
        raise DataError(f"{_EXPECTED} got tags that are no list of names or numbers in {where}")
    return LabelledRow(
        fields["text"],
        pair,
        tuple(label) if isinstance(label, list) else label,
        None if tags is None else tuple(tags),
        _answer(fields, where),
        _choices(fields, where),
    )


def _is_label(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def _are_labels(values: object) -> bool:
    return isinstance(values, list) and all(map(_is_label, values))


def _is_real(value: object) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _choices(fields: dict[str, Any], where: str) -> tuple[str, ...]:
    choices = fields.get("choices")
    if choices is None:
        return ()
    if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
        raise DataError(f"{_EXPECTED} got choices that are no list of texts in {where}")
    if len(choices) < _FEWEST_CHOICES or fields.get("text_pair") is not None:
        raise DataError(f"{_EXPECTED} got choices that are fewer than 2, or stand beside a text_pair, in {where}")
    return tuple(choices)


def _answer(fields: dict[str, Any], where: str) -> Span | None:
    answer = fields.get("answer")
    if answer is None:
        return None
    text, start = (answer.get("text"), answer.get("start")) if isinstance(answer, dict) else (None, None)
    context = fields.get("text_pair") or fields["text"]
    if (
        not isinstance(text, str)
        or not isinstance(start, int)
        or start < 0
        or not text
        or context[start : start + len(text)] != text
    ):
        raise DataError(f'{_EXPECTED} got an answer that is no {{"text": …, "start": …}} of the last text in {where}')
    return Span(text, start)
