"""Reads the text that a model is calibrated on."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mobilebert_export.errors import DataError, UsageError


@dataclass(frozen=True)
class Row:
    """A text, or a pair of texts."""

    text: str
    text_pair: str | None = None


def refuse_iterator(rows: Iterable[Row]) -> None:
    """Calibration reads its rows several times over. Raises UsageError for what can be read once."""
    if iter(rows) is rows:
        raise UsageError("expected rows that can be read several times over, got an iterator; pass a list")


@dataclass(frozen=True)
class CalibrationText:
    """A file of rows: `.jsonl` with `{"text": …, "text_pair": …}`, or plain text with one row a line.

    Other keys of a row are ignored, blank lines are left out. The file is read anew each time it is iterated, so memory
    does not grow with its rows.
    """

    path: Path

    def __iter__(self) -> Iterator[Row]:
        """The rows in order.

        Raises:
            DataError: the file cannot be read, is not UTF-8, has no row, or has a row without a text.
        """
        rows = 0
        try:
            if self.path.exists() and not self.path.is_file():
                raise DataError(f"expected a file of text that can be read twice, got {self.path}, which is none")
            with self.path.open(encoding="utf-8-sig") as file:
                for number, line in enumerate(file, start=1):
                    if line.strip():
                        rows += 1
                        yield self._row(line, number)
        except OSError as error:
            raise DataError(f"expected a file of text to calibrate on, got {self.path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise DataError(f"expected UTF-8 text in {self.path}, got other bytes; convert the file") from error
        if not rows:
            raise DataError(f"expected rows of text in {self.path}, got none")

    def _row(self, line: str, number: int) -> Row:
        where = f"line {number} of {self.path}"
        if self.path.suffix.lower() != ".jsonl":
            if line.lstrip().startswith("{") and _is_json(line):
                raise DataError(f"expected plain text in {where}, got JSON; name a file of rows *.jsonl")
            return Row(line.strip())
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f'expected {{"text": …}} in {where}, got no JSON') from error
        text, pair = (fields.get("text"), fields.get("text_pair")) if isinstance(fields, dict) else (None, None)
        if not isinstance(text, str) or not isinstance(pair, str | None):
            raise DataError(
                f'expected {{"text": …}} in {where}, got a row without a text, or with one that is no string'
            )
        return Row(text, pair)


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
