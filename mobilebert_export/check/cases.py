"""The inputs that a model is checked on: rows of data as they are, and rows that show what data may not."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mobilebert_export.check.data import LabelledRow
from mobilebert_export.check.rows import SHORTEST_PAIR
from mobilebert_export.lowering import INPUTS

if TYPE_CHECKING:
    from mobilebert_reference import Encoding, Tokenizer

Padding: TypeAlias = Literal["padded", "unpadded"]

# Full rows cost most and tell most alike; pairs show what token types do.
FULL_ROWS = 4
PAIRS = 16
# What stands around a text: [CLS] before it and [SEP] behind.
_ENDS = 2
# Lengths of a model that takes any: what is run padded is padded to one of these.
_WIDTHS = (16, 32, 64, 128)


@dataclass(frozen=True)
class Case:
    """One row of inputs.

    Attributes:
        row: the text and the labels it came with; no labels where the text is made up of several.
        encoding: its tokens, without padding.
        width: tokens of the row as the model gets it.
        masked: the masked position and the id that stood there, for a model that tells masked tokens.
        again: whether the same row was run before, with more padding: its labels count once.
    """

    row: LabelledRow
    encoding: "Encoding"
    width: int
    masked: tuple[int, int] | None = None
    again: bool = False

    @property
    def padding(self) -> Padding:
        """Whether there is padding behind the tokens."""
        return "padded" if self.width > len(self.encoding) else "unpadded"

    def inputs(self, pad_id: int, *, width: int | None = None) -> dict[str, NDArray[np.int64]]:
        """The model's inputs (1, width)."""
        length = min(len(self.encoding), width or self.width)
        arrays = {}
        for name in INPUTS:
            values = np.full((1, width or self.width), pad_id if name == "input_ids" else 0, np.int64)
            values[0, :length] = getattr(self.encoding, name)[:length]
            arrays[name] = values
        return arrays


def cases(
    tokenizer: "Tokenizer", rows: Sequence[LabelledRow], *, length: int, flexible: bool, mask_tokens: bool = False
) -> list[Case]:
    """What to run.

    A single [CLS], [CLS] [SEP], one token of text, rows that fill the whole length, pairs, and every row of the data.

    Args:
        tokenizer: the checkpoint's.
        rows: of the data, at least one that has tokens.
        length: the longest row that the model takes, in tokens.
        flexible: whether the model takes shorter ones too: each row then runs both as it is and padded.
        mask_tokens: whether to mask a token of each row.
    """
    made = []
    for index, (row, encoding) in enumerate(_encoded(tokenizer, rows, length)):
        case = Case(row, encoding, length)
        if mask_tokens:
            case = _with_mask(case, tokenizer.mask_id)
        if not flexible:
            made.append(case)
            continue
        wider = [width for width in _WIDTHS if len(encoding) < width <= length] or [length]
        made.append(replace(case, width=wider[index % len(wider)]))
        if len(encoding) < length:
            made.append(replace(case, width=len(encoding), again=True))
    return made


def full_rows(tokenizer: "Tokenizer", rows: Sequence[LabelledRow], *, length: int, count: int) -> list[Case]:
    """Rows of the data's text that fill the whole length, every second one a pair."""
    return [Case(row, encoding, length) for row, encoding in _full(tokenizer, rows, length, count)]


def with_tokens(tokenizer: "Tokenizer", rows: Iterable[LabelledRow]) -> Iterator[str]:
    """The texts of rows that have a token: an empty one has none, nor has white space."""
    return (text for row in rows for text in row.texts if _tokens(tokenizer, text, 1))


def _encoded(
    tokenizer: "Tokenizer", rows: Sequence[LabelledRow], length: int
) -> Iterator[tuple[LabelledRow, "Encoding"]]:
    empty = tokenizer.encode("", max_length=length, pad=False)
    yield LabelledRow(""), _cut(empty, 1)
    yield LabelledRow(""), empty
    for row in map(LabelledRow, islice(with_tokens(tokenizer, rows), 1)):
        yield row, _encode(tokenizer, row, min(length, _ENDS + 1))
    yield from _full(tokenizer, rows, length, FULL_ROWS)
    if length >= SHORTEST_PAIR:
        for row, other in list(zip(rows, [*rows[1:], *rows[:1]], strict=True))[:PAIRS]:
            pair = LabelledRow(row.text, other.text)
            yield pair, _encode(tokenizer, pair, length)
    for row in rows:
        for each in row.inputs:
            yield each, _encode(tokenizer, each, length)


def _full(
    tokenizer: "Tokenizer", rows: Sequence[LabelledRow], length: int, count: int
) -> Iterator[tuple[LabelledRow, "Encoding"]]:
    counted = ((text, _tokens(tokenizer, text, length)) for row in rows for text in row.texts)
    texts = [(text, count) for text, count in counted if count]
    for index in range(count):
        start = index * len(texts) // count
        long = LabelledRow(_joined([*texts[start:], *texts[:start]], length))
        pair = LabelledRow(long.text, long.text) if index % 2 and length >= SHORTEST_PAIR else long
        yield pair, _encode(tokenizer, pair, length)


def _joined(texts: Sequence[tuple[str, int]], length: int) -> str:
    """Texts, each given with its number of tokens, until there are `length` of these; over again where they are few."""
    parts: list[str] = []
    tokens = 0
    for text, count in cycle(texts):
        parts.append(text)
        tokens += count
        if tokens >= length:
            break
    return " ".join(parts)


def _tokens(tokenizer: "Tokenizer", text: str, most: int) -> int:
    """How many tokens a text has, up to so many."""
    return len(tokenizer.encode(text, max_length=most + _ENDS, pad=False)) - _ENDS


def _encode(tokenizer: "Tokenizer", row: LabelledRow, length: int) -> "Encoding":
    pair = row.text_pair if length >= SHORTEST_PAIR else None
    return tokenizer.encode(row.text, pair, max_length=length, pad=False)


def _cut(encoding: "Encoding", length: int) -> "Encoding":
    """The first tokens."""
    return replace(encoding, **{name: value[:length] for name, value in vars(encoding).items()})


def _with_mask(case: Case, mask_id: int) -> Case:
    """The middle token of the text hidden behind [MASK]."""
    text = [index for index, special in enumerate(case.encoding.special_tokens_mask) if not special]
    if not text:
        return case
    position = text[len(text) // 2]
    ids = list(case.encoding.input_ids)
    hidden, ids[position] = ids[position], mask_id
    return replace(case, encoding=replace(case.encoding, input_ids=tuple(ids)), masked=(position, hidden))
