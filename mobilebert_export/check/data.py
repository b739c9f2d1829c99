"""The rows of text that a check runs on, with labels where they are known."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilebert_export.errors import DataError

_EXPECTED = 'expected {"text": …}, with "text_pair", "label", "tags" or "answer" where they are known,'


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
        label: the class, by name or number, of a classifier; 0 or 1 for the next sentence.
        tags: the class of each word of `text`, where words are parted by white space.
        answer: where the answer to a question stands.
    """

    text: str
    text_pair: str | None = None
    label: str | int | None = None
    tags: tuple[str | int, ...] | None = None
    answer: Span | None = None

    @property
    def key(self) -> str:
        """A digest: rows in the order of their keys are in the same order whatever file they stand in."""
        parts = [
            self.text,
            self.text_pair,
            self.label,
            self.tags,
            self.answer and (self.answer.text, self.answer.start),
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def without_labels(self) -> "LabelledRow":
        """The text alone."""
        return LabelledRow(self.text, self.text_pair)


def read_rows(path: Path) -> list[LabelledRow]:
    """The rows of a `.jsonl` file. Blank lines are left out, other keys of a row are ignored.

    Raises:
        DataError: the file cannot be read, is not UTF-8, has no row, or has one that is none.
    """
    try:
        with path.open(encoding="utf-8") as file:
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
    if not (label is None or _is_label(label)):
        raise DataError(f"{_EXPECTED} got a label that is neither a name nor a number in {where}")
    if not (tags is None or (isinstance(tags, list) and all(map(_is_label, tags)))):
        raise DataError(f"{_EXPECTED} got tags that are no list of names or numbers in {where}")
    return LabelledRow(fields["text"], pair, label, None if tags is None else tuple(tags), _answer(fields, where))


def _is_label(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def _answer(fields: dict[str, Any], where: str) -> Span | None:
    answer = fields.get("answer")
    if answer is None:
        return None
    text, start = (answer.get("text"), answer.get("start")) if isinstance(answer, dict) else (None, None)
    context = fields.get("text_pair") or fields["text"]
    if (
        not isinstance(text, str)
        or not isinstance(start, int)
        or not text
        or context[start : start + len(text)] != text
    ):
        raise DataError(f'{_EXPECTED} got an answer that is no {{"text": …, "start": …}} of the last text in {where}')
    return Span(text, start)
