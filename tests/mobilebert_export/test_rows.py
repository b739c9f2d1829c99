"""The rows of text that a file is verified on."""

from pathlib import Path

import pytest
from mobilebert_reference import Encoding, Tokenizer, load_checkpoint
from mobilebert_reference.demo import CHECKPOINT, EVALUATION

from mobilebert_export.check.rows import SHORTEST_PAIR, verification_rows

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["модель", "слово", "язык", "текст", "ответ"]
RUSSIAN = [*WORDS, "##ль", "##ы", "[unused1]", "ёж"]  # the last one is normalized to another
HUGE = "x" * 12_000_000


@pytest.fixture(scope="module")
def demo() -> Tokenizer:
    return load_checkpoint(CHECKPOINT).tokenizer


def of_pieces(directory: Path, pieces: list[str]) -> Tokenizer:
    path = directory / "vocab.txt"
    path.write_text("\n".join([*SPECIAL, *pieces]) + "\n", encoding="utf-8")
    return Tokenizer.from_vocabulary(path)


def text_ids(row: Encoding) -> list[int]:
    return [token for token, special in zip(row.input_ids, row.special_tokens_mask, strict=True) if not special]


def assert_extremes_first(rows: list[Encoding], tokenizer: Tokenizer, length: int) -> None:
    padding = [tokenizer.pad_id] * (length - 2)
    assert rows[0].input_ids == (tokenizer.cls_id, tokenizer.sep_id, *padding)
    assert sum(rows[0].attention_mask) == 2
    assert sum(rows[1].attention_mask) == length
    assert {len(row) for row in rows} == {length}


@pytest.mark.parametrize("length", [2, 3, 4, 5, 16, 128, 512])
def test_emptiest_row_first_then_a_full_one(length: int, demo: Tokenizer) -> None:
    assert_extremes_first(verification_rows(demo, EVALUATION, length=length, count=32), demo, length)


@pytest.mark.parametrize("length", [2, 3, 4, 5, 16, 128])
def test_pairs_where_both_texts_have_room(length: int, demo: Tokenizer) -> None:
    rows = verification_rows(demo, EVALUATION, length=length, count=32)
    pairs = [row for row in rows if 1 in row.token_type_ids]
    assert len(pairs) == (15 if length >= SHORTEST_PAIR else 0)
    for row in pairs:
        assert {0, 1} <= set(row.sequence_ids)


@pytest.mark.parametrize("length", [16, 128])
def test_rows_differ(length: int, demo: Tokenizer) -> None:
    rows = verification_rows(demo, EVALUATION, length=length, count=32)
    assert len({row.input_ids for row in rows}) == 32


@pytest.mark.parametrize("count", [1, 2, 3, 32, 1000])
def test_as_many_rows_as_asked(count: int, demo: Tokenizer) -> None:
    assert len(verification_rows(demo, EVALUATION, length=16, count=count)) == count


def test_known_language_is_read_from_the_file(demo: Tokenizer) -> None:
    rows = verification_rows(demo, EVALUATION, length=64, count=32)
    ids = [token for row in rows for token in text_ids(row)]
    assert ids.count(demo.unk_id) < len(ids) / 10


@pytest.mark.parametrize("length", [2, 3, 4, 5, 16])
def test_foreign_vocabulary_gets_its_own_pieces(length: int, tmp_path: Path) -> None:
    tokenizer = of_pieces(tmp_path, RUSSIAN)
    rows = verification_rows(tokenizer, EVALUATION, length=length, count=32)
    assert_extremes_first(rows, tokenizer, length)
    whole_words = range(len(SPECIAL), len(SPECIAL) + len(WORDS))
    assert {token for row in rows for token in text_ids(row)} == (set(whole_words) if length > 2 else set())


@pytest.mark.parametrize(
    "pieces", [[], ["##a", "##b"], [HUGE]], ids=["only special", "only endings", "only a huge one"]
)
def test_vocabulary_without_a_word_gets_unknown_ones(pieces: list[str], tmp_path: Path) -> None:
    tokenizer = of_pieces(tmp_path, pieces)
    rows = verification_rows(tokenizer, EVALUATION, length=16, count=8)
    assert_extremes_first(rows, tokenizer, 16)
    assert {token for row in rows for token in text_ids(row)} == {tokenizer.unk_id}


def test_huge_piece_is_left_out(tmp_path: Path) -> None:
    words = [f"w{index}" for index in range(2000)]
    tokenizer = of_pieces(tmp_path, [HUGE, *words])
    rows = verification_rows(tokenizer, EVALUATION, length=16, count=32)
    assert len({row.input_ids for row in rows[2:]}) == 30
    tokens = {token for row in rows for token in text_ids(row)}
    assert len(tokens) > 100
    assert tokens <= set(range(len(SPECIAL) + 1, len(SPECIAL) + 1 + len(words)))


@pytest.mark.parametrize("pieces", [RUSSIAN, ["a", "b"]], ids=["foreign", "letters"])
def test_rows_are_the_same_every_time(pieces: list[str], tmp_path: Path) -> None:
    tokenizer = of_pieces(tmp_path, pieces)
    first, second = (verification_rows(tokenizer, EVALUATION, length=16, count=32) for _ in range(2))
    assert first == second
