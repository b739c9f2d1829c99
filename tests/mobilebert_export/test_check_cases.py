"""Which rows are run: those of the data, the shortest, and some that fill the whole length."""

from collections import Counter

import pytest
from mobilebert_reference import Checkpoint, Tokenizer
from mobilebert_reference.demo import EVALUATION

from mobilebert_export.check.cases import Case, cases, full_rows, with_tokens
from mobilebert_export.check.data import LabelledRow, chosen, read_rows

LENGTH = 32
ROWS = chosen(read_rows(EVALUATION), 24)
EMPTY = [LabelledRow(" " * count) for count in range(300)]


@pytest.fixture(scope="module")
def tokenizer(demo: Checkpoint) -> Tokenizer:
    return demo.tokenizer


def full(made: list[Case], length: int) -> list[Case]:
    return [case for case in made if len(case.encoding) == case.width == length]


@pytest.mark.parametrize(
    "rows",
    [ROWS, ROWS[:1], [*EMPTY, ROWS[0]], [LabelledRow("", "a pair")], [LabelledRow("", choices=("", "of choices"))]],
    ids=["usual", "one", "most are empty", "second text", "choices"],
)
@pytest.mark.parametrize("length", [2, 3, 4, 5, LENGTH, 128])
def test_rows_that_fill_the_length_and_rows_of_one_token_are_always_there(
    rows: list[LabelledRow], length: int, tokenizer: Tokenizer
) -> None:
    made = cases(tokenizer, rows, length=length, flexible=False)
    assert len(full(made, length)) >= 4
    assert len(full(full_rows(tokenizer, rows, length=128, count=2), 128)) == 2
    short = [case.encoding.input_ids for case in made if len(case.encoding) <= 3]
    assert {(tokenizer.cls_id,), (tokenizer.cls_id, tokenizer.sep_id)} <= set(short)
    ends = [(ids[0], ids[-1]) for ids in short if len(ids) == 3]
    assert length < 3 or (tokenizer.cls_id, tokenizer.sep_id) in ends


def test_rows_that_fill_the_length_differ(tokenizer: Tokenizer) -> None:
    made = cases(tokenizer, ROWS, length=LENGTH, flexible=False)
    assert len({case.encoding.input_ids for case in full(made, LENGTH)}) >= 4
    assert {1 in case.encoding.token_type_ids for case in full(made, LENGTH)} == {True, False}


def test_text_that_fills_the_length_is_not_repeated(tokenizer: Tokenizer) -> None:
    long = LabelledRow("hello " * 1000)
    made = cases(tokenizer, [long], length=128, flexible=False)
    assert max(len(case.row.text) for case in made) == len(long.text)
    short = cases(tokenizer, [LabelledRow("hello")], length=128, flexible=False)
    assert max(len(case.row.text.split()) for case in short) == 128


def test_text_without_a_token_is_told(tokenizer: Tokenizer) -> None:
    rows = [
        LabelledRow("a"),
        LabelledRow("", "b"),
        LabelledRow(" ", choices=("", "c")),
        LabelledRow("\u200b\n"),
        *EMPTY,
    ]
    assert list(with_tokens(tokenizer, rows)) == ["a", "b", "c"]


def test_rows_of_any_length_are_padded_to_every_width_that_holds_them(tokenizer: Tokenizer) -> None:
    made = cases(tokenizer, ROWS, length=128, flexible=True)
    short = [case for case in made if len(case.encoding) < 16]
    assert all(case.width == len(case.encoding) for case in short if case.again)
    widths = Counter(case.width for case in short if not case.again)
    assert set(widths) == {16, 32, 64, 128}
    assert max(widths.values()) <= 2 * min(widths.values())  # in turn, but for the rows that are longer
