"""The tokenizer against transformers' MobileBertTokenizerFast, and against files that no one should trust."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mobilebert_reference.errors import TokenizerError
from mobilebert_reference.tokenizer import Encoding, Tokenizer, Truncation
from transformers import MobileBertTokenizerFast

SHARED = Path(__file__).parents[2].parent / "shared"
VOCABULARY = SHARED / "data" / "bert-uncased-vocab.txt"
needs_shared = pytest.mark.skipif(not VOCABULARY.is_file(), reason=f"the shared data is not there: {VOCABULARY}")

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["play", "the", "song", "what", "is", "cafe", "café", "Paris", "paris", "un", "##aff", "##able", "a", "b", "c"]
OTHERS = [
    "##a",
    "##b",
    "##c",
    "##e",
    "##é",
    "e",
    "é",
    "!",
    ",",
    "'",
    "中",
    "文",
    "##文",
    "😀",
    "<",
    ">",
    "1",
    "##1",
    "[",
    "]",
]
SMALL = [*SPECIAL, *WORDS, *OTHERS]

HARD_TEXTS = [
    "",
    " ",
    " \t\r\n ",
    "\u00a0\u2003\u3000",
    "Café ÀÉÎÕÜ naïve façade İstanbul \u017f ß ŒUVRE ǅ",
    "cafe\u0301 e\u0301\u0301\u0301 \u0301",
    "中文字符 and 漢字かなカナ 한국어 𠀀𪜀",
    "emoji 😀👩‍👩‍👧‍👦🏳️‍🌈 flags 🇩🇪 ☃️",
    "control \x00\x01\x07 chars \x7f \x85 \x1b[31m \ufffd \u2028 \u2029",
    "zero\u200bwidth\u200c and\u200d joiners\ufeff \u200e\u200f \u2060 soft\u00adhyphen",
    "a" * 100 + " " + "a" * 101 + " " + "unaffable" * 500,
    "é" * 60 + "中" * 120,
    "[CLS] [SEP] [PAD] [MASK] [UNK]",
    "what[SEP]is [sep] [MASK]ed [ MASK ] [[MASK]]",
    "don't stop!!! ... --- #hash @you $5.99 50% a/b c\\d (e) <f> `g` ~h ^i _j_ ##able ##",
    "ﬁ ﬂ ½ ² ™ … “quotes” \u2018single\u2019 \u2013 — ‽ \u0130 \u1e9e \u03a3\u03c2",
    "مرحبا بالعالم שלום हिन्दी ภาษาไทย Ελληνικά Ωραία ᾳ Привет ё й",
    "\U0001d400\U0001d401 \ue000 \U000f0000 \U0010ffff",
    "1234567890 3.14159 1e-7",
    "the song " * 300,
]
OPTIONS: list[dict[str, bool | None]] = [
    {"do_lower_case": lower, "tokenize_chinese_chars": chinese, "strip_accents": strip}
    for lower in (True, False)
    for chinese in (True, False)
    for strip in (None, True, False)
]


def expected(
    oracle: MobileBertTokenizerFast, text: str, pair: str | None, length: int, truncation: Truncation = "longest_first"
) -> Encoding:
    """What transformers gives, by its batch call: the single call takes an empty second text for none."""
    texts = [text] if pair is None else [(text, pair)]
    out = oracle(
        texts,
        padding="max_length",
        truncation=truncation,
        max_length=length,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        return_token_type_ids=True,
        return_attention_mask=True,
    )
    return Encoding(
        input_ids=tuple(out["input_ids"][0]),
        attention_mask=tuple(out["attention_mask"][0]),
        token_type_ids=tuple(out["token_type_ids"][0]),
        offsets=tuple(out["offset_mapping"][0]),
        sequence_ids=tuple(out.sequence_ids(0)),
        special_tokens_mask=tuple(out["special_tokens_mask"][0]),
    )


def same(
    both: tuple[Tokenizer, MobileBertTokenizerFast], text: str, pair: str | None, length: int, truncation: Truncation
) -> Encoding | None:
    """Assert that the two agree, be it on a row or on that the text cannot be truncated so."""
    ours, oracle = both
    try:
        row = expected(oracle, text, pair, length, truncation)
    except Exception as error:
        if "Truncation error" not in str(error):
            raise
        with pytest.raises(TokenizerError, match="can shorten by"):
            ours.encode(text, pair, max_length=length, truncation=truncation)
        return None
    assert ours.encode(text, pair, max_length=length, truncation=truncation) == row, (text, pair)
    return row


def write(directory: Path, *lines: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "vocab.txt"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The uncased vocabulary of MobileBERT, or a small one where the shared data is not there."""
    return VOCABULARY if VOCABULARY.is_file() else write(tmp_path_factory.mktemp("small"), *SMALL)


@pytest.fixture(scope="module")
def tokenizer(vocabulary: Path) -> Tokenizer:
    return Tokenizer.from_vocabulary(vocabulary)


@pytest.fixture(scope="module")
def oracle(vocabulary: Path) -> MobileBertTokenizerFast:
    return MobileBertTokenizerFast(vocab_file=str(vocabulary))


@pytest.fixture(scope="module")
def both(tokenizer: Tokenizer, oracle: MobileBertTokenizerFast) -> tuple[Tokenizer, MobileBertTokenizerFast]:
    return tokenizer, oracle


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A directory with all four files of a small tokenizer."""
    directory = tmp_path / "saved"
    Tokenizer.from_vocabulary(write(tmp_path, *SMALL)).save(directory)
    return directory


# Equal to transformers


@needs_shared
@pytest.mark.parametrize("split", ["train", "val", "test", "oos_test"])
def test_clinc150_is_tokenized_as_by_transformers(
    tokenizer: Tokenizer, oracle: MobileBertTokenizerFast, split: str
) -> None:
    lines = (SHARED / "data" / f"clinc150_{split}.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    rows = [tokenizer.encode(text, max_length=16) for text in texts]
    theirs = oracle(texts, padding="max_length", truncation=True, max_length=16, return_offsets_mapping=True)
    assert [list(row.input_ids) for row in rows] == theirs["input_ids"]
    assert [list(row.attention_mask) for row in rows] == theirs["attention_mask"]
    assert [list(row.token_type_ids) for row in rows] == theirs["token_type_ids"]
    assert [list(row.offsets) for row in rows] == theirs["offset_mapping"]
    assert 0 < sum(row.attention_mask[-1] for row in rows) < len(rows)  # long rows and short ones took part


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("source", ["vocab.txt", "tokenizer.json"])
def test_hard_texts_are_tokenized_as_by_transformers(
    vocabulary: Path, tmp_path: Path, options: dict[str, Any], source: str
) -> None:
    oracle = MobileBertTokenizerFast(vocab_file=str(vocabulary), **options)
    if source == "vocab.txt":
        ours = Tokenizer.from_vocabulary(vocabulary, **options)
    else:
        oracle.save_pretrained(tmp_path)
        ours = Tokenizer.from_directory(tmp_path)
    for index, text in enumerate(HARD_TEXTS):
        for length in (2, 3, 32, 512):
            assert ours.encode(text, max_length=length) == expected(oracle, text, None, length), text
        pair = HARD_TEXTS[index - 1]
        for length in (3, 4, 37, 512):
            assert ours.encode(text, pair, max_length=length) == expected(oracle, text, pair, length), (text, pair)


def test_options_change_the_tokens(tmp_path: Path) -> None:
    path = write(tmp_path, *SMALL)

    def pieces(text: str, **options: Any) -> list[str]:
        ours = Tokenizer.from_vocabulary(path, **options)
        return [ours.id_to_token(each) for each in ours.encode(text, max_length=64, pad=False).input_ids[1:-1]]

    assert pieces("Paris Café") == ["paris", "cafe"]
    assert pieces("Paris", do_lower_case=False) == ["Paris"]
    assert pieces("café", do_lower_case=False) == ["café"]
    assert pieces("café", strip_accents=False) == ["café"]
    assert pieces("café", do_lower_case=False, strip_accents=True) == ["cafe"]
    assert pieces("中文") == ["中", "文"]
    assert pieces("中文", tokenize_chinese_chars=False) == ["中", "##文"]
    assert pieces("a\u200bb") == ["a", "##b"]
    assert pieces("a\u200bb", clean_text=False) == ["[UNK]"]
    assert pieces("unaffable", wordpieces_prefix="@@") == ["[UNK]"]


@settings(max_examples=300, deadline=None)
@given(
    text=st.text(max_size=60),
    pair=st.none() | st.text(max_size=60),
    length=st.integers(3, 48),
    truncation=st.sampled_from(["longest_first", "only_first", "only_second"]),
)
@example(text="a b c a b", pair="a b c a b", length=8, truncation="longest_first")
@example(text="a b c", pair="a b c", length=3, truncation="only_second")
def test_any_text_is_tokenized_as_by_transformers(
    both: tuple[Tokenizer, MobileBertTokenizerFast], text: str, pair: str | None, length: int, truncation: Truncation
) -> None:
    same(both, text, pair, length, truncation)


@pytest.mark.parametrize("truncation", ["longest_first", "only_first", "only_second"])
@pytest.mark.parametrize("lengths", [(9, 4), (4, 9), (7, 7), (1, 12), (12, 1), (0, 9), (9, 0)])
def test_each_truncation_is_that_of_transformers(
    both: tuple[Tokenizer, MobileBertTokenizerFast], lengths: tuple[int, int], truncation: Truncation
) -> None:
    rows = [same(both, "a " * lengths[0], "b " * lengths[1], length, truncation) for length in range(3, 20)]
    cut = [row for row in rows if row is not None and sum(row.attention_mask) < sum(lengths) + 3]
    shortened = {"longest_first": max(lengths), "only_first": lengths[0], "only_second": lengths[1]}[truncation]
    assert cut or shortened <= 1


# Rows


def test_a_row_too_short_for_its_special_tokens_is_an_error(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("a", max_length=2).input_ids == (tokenizer.cls_id, tokenizer.sep_id)
    assert len(tokenizer.encode("a", "b", max_length=3)) == 3
    for length in (1, 0, -1):
        with pytest.raises(TokenizerError, match=f"at least 2 .*got {length}"):
            tokenizer.encode("a", max_length=length)
    with pytest.raises(TokenizerError, match=r"at least 3 .*got 2"):
        tokenizer.encode("a", "b", max_length=2)


def test_without_padding_a_row_is_as_long_as_its_text(tokenizer: Tokenizer) -> None:
    row = tokenizer.encode("the song", max_length=10, pad=False)
    assert len(row) == 4
    padded = tokenizer.encode("the song", max_length=10)
    assert len(padded) == 10
    assert padded.input_ids == row.input_ids + (tokenizer.pad_id,) * 6


def test_offsets_cut_the_words_out_of_the_original_text(tokenizer: Tokenizer) -> None:
    text = "Café\u200b  😀 the\tSONG"
    row = tokenizer.encode(text, max_length=32, pad=False)
    words = [text[begin:end] for begin, end in row.offsets[1:-1]]
    assert words[0].startswith("Caf")
    assert words[-3:] == ["😀", "the", "SONG"]


def test_a_batch_is_its_rows(tokenizer: Tokenizer) -> None:
    batch = tokenizer.encode_batch(["the song", ("what is", "the song")], max_length=9)
    rows = [tokenizer.encode("the song", max_length=9), tokenizer.encode("what is", "the song", max_length=9)]
    for name in ("input_ids", "attention_mask", "token_type_ids"):
        assert batch[name].dtype == np.int32
        np.testing.assert_array_equal(batch[name], [getattr(row, name) for row in rows])
    assert tokenizer.encode_batch([], max_length=9)["input_ids"].shape == (0, 9)


def test_a_text_with_a_lone_surrogate_is_an_error(tokenizer: Tokenizer) -> None:
    with pytest.raises(TokenizerError, match="lone surrogate at character 2"):
        tokenizer.encode("a \ud800", max_length=8)


def test_decoding_is_that_of_transformers(tokenizer: Tokenizer, oracle: MobileBertTokenizerFast) -> None:
    for text in HARD_TEXTS:
        ids = tokenizer.encode(text, max_length=64).input_ids
        for skip in (True, False):
            theirs = oracle.decode(ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False)
            assert tokenizer.decode(ids, skip_special_tokens=skip) == theirs


def test_ids_and_pieces_are_those_of_the_file(saved: Path) -> None:
    tokenizer = Tokenizer.from_directory(saved)
    assert tokenizer.vocabulary_size == len(SMALL)
    assert [tokenizer.id_to_token(index) for index in range(len(SMALL))] == SMALL
    assert [tokenizer.token_to_id(piece) for piece in SMALL] == list(range(len(SMALL)))
    assert tokenizer.token_to_id("no such piece") is None
    special = (tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id)
    assert special == (0, 1, 2, 3, 4)
    for unknown in (-1, len(SMALL), 2**40):
        with pytest.raises(TokenizerError, match=f"from 0 to {len(SMALL) - 1}, got {unknown}"):
            tokenizer.id_to_token(unknown)
        with pytest.raises(TokenizerError):
            tokenizer.decode([5, unknown])


# Files: what is saved, and what others saved


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_what_is_saved_reads_the_same_here_and_in_transformers(tmp_path: Path, options: dict[str, Any]) -> None:
    ours = Tokenizer.from_vocabulary(write(tmp_path, *SMALL), **options)
    both, text_only = tmp_path / "both", tmp_path / "text_only"
    ours.save(both)
    ours.save(text_only)
    (text_only / "tokenizer.json").unlink()
    for directory in (both, text_only):
        again = Tokenizer.from_directory(directory, vocabulary_size=len(SMALL))
        theirs = MobileBertTokenizerFast.from_pretrained(directory)
        for text in HARD_TEXTS:
            row = ours.encode(text, "What is CAFÉ", max_length=40)
            assert again.encode(text, "What is CAFÉ", max_length=40) == row
            assert expected(theirs, text, "What is CAFÉ", 40) == row


def test_saving_gives_the_same_bytes_each_time(saved: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_directory(saved)
    tokenizer.save(tmp_path / "again")
    tokenizer.save(tmp_path / "again")  # over itself
    files = {path.name: path.read_bytes() for path in saved.iterdir()}
    assert set(files) == {"vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"}
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == files


def test_other_special_tokens_come_from_the_configuration(tmp_path: Path) -> None:
    names = {
        "unk_token": "<unk>",
        "sep_token": "</s>",
        "pad_token": "<pad>",
        "cls_token": "<s>",
        "mask_token": "<mask>",
    }
    path = write(tmp_path, *names.values(), *WORDS, *OTHERS)
    theirs = MobileBertTokenizerFast(vocab_file=str(path), **names)
    ours = Tokenizer.from_vocabulary(path, special_tokens=names)
    theirs.save_pretrained(tmp_path / "theirs")
    (tmp_path / "theirs" / "vocab.txt").unlink()
    only_map = tmp_path / "map"
    ours.save(only_map)
    (only_map / "tokenizer_config.json").unlink()
    text = "what<mask> is</s> [SEP] 中"
    row = expected(theirs, text, "a <s>", 24)
    for tokenizer in (ours, Tokenizer.from_directory(tmp_path / "theirs"), Tokenizer.from_directory(only_map)):
        assert tokenizer.encode(text, "a <s>", max_length=24) == row
        assert tokenizer.mask_id == 4


@pytest.mark.parametrize("with_json", [True, False])
def test_added_tokens_of_a_fine_tuned_tokenizer_are_kept(tmp_path: Path, with_json: bool) -> None:
    theirs = MobileBertTokenizerFast(vocab_file=str(write(tmp_path, *SMALL)))
    theirs.add_tokens(["playsong"])
    theirs.add_special_tokens({"additional_special_tokens": ["[E1]", "[E2]"]})
    theirs.save_pretrained(tmp_path / "theirs")
    if not with_json:
        (tmp_path / "theirs" / "tokenizer.json").unlink()
    ours = Tokenizer.from_directory(tmp_path / "theirs", vocabulary_size=len(SMALL) + 3)
    ours.save(tmp_path / "ours")
    text = "play [E1]PLAYSONG[E2] the [e1] song"
    row = ours.encode(text, max_length=20)
    assert len(SMALL) in row.input_ids
    assert row == expected(theirs, text, None, 20)
    assert row == expected(MobileBertTokenizerFast.from_pretrained(tmp_path / "ours"), text, None, 20)
    assert row == Tokenizer.from_directory(tmp_path / "ours").encode(text, max_length=20)


def test_options_of_the_configuration_win_over_tokenizer_json(saved: Path) -> None:
    config = read_json(saved / "tokenizer_config.json")
    (saved / "tokenizer_config.json").write_text(json.dumps({**config, "do_lower_case": False, "strip_accents": False}))
    ours, theirs = Tokenizer.from_directory(saved), MobileBertTokenizerFast.from_pretrained(saved)
    row = ours.encode("Paris café CAFÉ", max_length=12)
    assert ours.token_to_id("Paris") in row.input_ids
    assert row == expected(theirs, "Paris café CAFÉ", None, 12)


def test_without_a_configuration_tokenizer_json_speaks_for_itself(tmp_path: Path) -> None:
    Tokenizer.from_vocabulary(write(tmp_path, *SMALL), do_lower_case=False, strip_accents=False).save(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / "vocab.txt").unlink()
    ours = Tokenizer.from_directory(tmp_path)
    assert [ours.id_to_token(each) for each in ours.encode("Paris café", max_length=4).input_ids[1:3]] == [
        "Paris",
        "café",
    ]


def test_padding_truncation_and_template_of_tokenizer_json_have_no_effect(saved: Path) -> None:
    row = Tokenizer.from_directory(saved).encode("what is the song", "play", max_length=12)
    document = read_json(saved / "tokenizer.json")
    document["truncation"] = {"direction": "Left", "max_length": 3, "strategy": "OnlyFirst", "stride": 1}
    document["padding"] = {
        "strategy": {"Fixed": 64}, "direction": "Left", "pad_to_multiple_of": 7,
        "pad_id": 9, "pad_type_id": 1, "pad_token": "the",
    }  # fmt: skip
    document["post_processor"] = None
    document["decoder"] = {"type": "ByteLevel"}
    (saved / "tokenizer.json").write_text(json.dumps(document))
    assert Tokenizer.from_directory(saved).encode("what is the song", "play", max_length=12) == row


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("end", [True, False])
def test_line_ends_of_a_vocabulary_do_not_matter(tmp_path: Path, newline: str, end: bool) -> None:
    pieces = [*SMALL, "\u2028", "\u0085", "\x0c"]  # Unicode and Python would end a line there
    path = tmp_path / "vocab.txt"
    path.write_bytes((newline.join(pieces) + newline * end).encode())
    tokenizer = Tokenizer.from_vocabulary(path)
    assert [tokenizer.id_to_token(index) for index in range(tokenizer.vocabulary_size)] == pieces


# Files that cannot be used


def one_line_error(directory: Path, *parts: str, vocabulary_size: int | None = None) -> None:
    with pytest.raises(TokenizerError) as caught:
        Tokenizer.from_directory(directory, vocabulary_size=vocabulary_size)
    message = str(caught.value)
    assert "\n" not in message
    for part in (str(directory), *parts):
        assert part in message


def test_a_directory_without_a_vocabulary_is_an_error(tmp_path: Path) -> None:
    one_line_error(tmp_path, "tokenizer.json", "vocab.txt")
    one_line_error(tmp_path / "nowhere", "tokenizer.json", "vocab.txt")


@pytest.mark.parametrize("source", ["vocab.txt", "tokenizer.json"])
@pytest.mark.parametrize("size", [len(SMALL) - 1, len(SMALL) + 1])
def test_a_vocabulary_of_another_size_than_the_model_is_an_error(saved: Path, source: str, size: int) -> None:
    if source == "vocab.txt":
        (saved / "tokenizer.json").unlink()
    one_line_error(saved, source, f"expected {size} pieces", f"got {len(SMALL)}", vocabulary_size=size)


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"", ["empty file"]),
        (b"[PAD]\n[UNK]\n\xff\xfe\n", ["UTF-8", "at byte 12"]),
        ("\n".join([*SMALL, "the"]).encode(), ["'the'", "lines 7 and 41"]),
        ("\n".join([*SMALL[:7], "", *SMALL[7:]]).encode(), ["line 8"]),
        ("\n".join(piece for piece in SMALL if piece != "[SEP]").encode(), ["sep_token", "[SEP]"]),
        ("\n".join(piece for piece in SMALL if piece != "[UNK]").encode(), ["unk_token", "[UNK]"]),
    ],
    ids=["empty", "not UTF-8", "a piece twice", "an empty line", "no separator", "no unknown token"],
)
def test_an_unusable_vocabulary_is_an_error(tmp_path: Path, content: bytes, parts: list[str]) -> None:
    (tmp_path / "vocab.txt").write_bytes(content)
    one_line_error(tmp_path, "vocab.txt", *parts)


def change(*keys: str, to: Any) -> Callable[[Any], None]:
    """Make a function that sets a value inside a document."""

    def apply(document: Any) -> None:
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = to

    return apply


@pytest.mark.parametrize(
    ("corrupt", "part"),
    [
        (change("model", "type", to="BPE"), "WordPiece"),
        (change("model", to=None), "WordPiece"),
        (change("model", to=[1]), "model of type dict"),
        (change("normalizer", to=None), "BertNormalizer"),
        (change("normalizer", "type", to="Sequence"), "BertNormalizer"),
        (change("normalizer", "lowercase", to="yes"), "lowercase of type bool"),
        (change("pre_tokenizer", "type", to="Whitespace"), "BertPreTokenizer"),
        (change("model", "vocab", to={}), "empty"),
        (change("model", "vocab", "the", to=5), "each id from 0 to 39"),
        (change("model", "vocab", "the", to=-1), "each id from 0 to 39"),
        (change("model", "vocab", "the", to=10**30), "each id from 0 to 39"),
        (change("model", "vocab", "the", to=True), "each id from 0 to 39"),
        (change("model", "vocab", "the", to=6.0), "each id from 0 to 39"),
        (change("model", "vocab", "the", to=None), "each id from 0 to 39"),
        (change("model", "vocab", to={"": 0}), "each id from 0 to 0"),
        (change("model", "vocab", to={"\ud800": 0, **{piece: i for i, piece in enumerate(SMALL, 1)}}), "can be used"),
        (change("model", "unk_token", to="<nowhere>"), "<nowhere>"),
        (change("model", "unk_token", to="[CLS]"), "five different special tokens"),
        (change("model", "max_input_chars_per_word", to=-1), "can be used"),
        (change("model", "max_input_chars_per_word", to="100"), "max_input_chars_per_word of type int"),
        (change("model", "continuing_subword_prefix", to=3), "continuing_subword_prefix of type str"),
        (change("added_tokens", to={"a": 1}), "added_tokens of type list"),
        (change("added_tokens", to=[7]), "added token"),
        (change("added_tokens", to=[{"id": 0, "content": "new"}]), "'new'"),
        (change("added_tokens", to=[{"id": 99, "content": "new"}]), "id 99"),
        (change("added_tokens", to=[{"id": 40, "content": ""}]), "id 40"),
        (change("added_tokens", to=[{"id": "40", "content": "new"}]), "id of type int"),
        (change("added_tokens", to=[{"id": 40, "content": "\ud800"}]), "Unicode"),
        (change("added_tokens", to=[{"id": 40, "content": "new", "lstrip": 1}]), "lstrip of type bool"),
    ],
)
def test_an_unusable_tokenizer_json_is_an_error(saved: Path, corrupt: Callable[[Any], None], part: str) -> None:
    document = read_json(saved / "tokenizer.json")
    corrupt(document)
    (saved / "tokenizer.json").write_text(json.dumps(document))
    one_line_error(saved, "tokenizer.json", part)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"])
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"],
    ids=["empty", "cut off", "a list", "null", "not UTF-8", "deep", "a huge number"],
)
def test_a_file_that_is_no_json_object_is_an_error(saved: Path, name: str, content: bytes) -> None:
    (saved / name).write_bytes(content)
    one_line_error(saved, name, "expected")


@pytest.mark.parametrize(
    ("config", "part"),
    [
        ({"do_lower_case": "yes"}, "do_lower_case of type bool"),
        ({"cls_token": 5}, "cls_token of type str"),
        ({"cls_token": {"content": 5}}, "content of type str"),
        ({"cls_token": "[SEP]"}, "five different special tokens"),
        ({"cls_token": "<\n>"}, "cls_token"),
        ({"added_tokens_decoder": []}, "added_tokens_decoder of type dict"),
        ({"added_tokens_decoder": {"x": {"content": "a"}}}, "id of type int"),
        ({"added_tokens_decoder": {"9" * 5000: {"content": "a"}}}, "id of type int"),
        ({"added_tokens_decoder": {"40": "a"}}, "added token"),
    ],
)
def test_an_unusable_configuration_is_an_error(saved: Path, config: dict[str, Any], part: str) -> None:
    (saved / "tokenizer_config.json").write_text(json.dumps(config))
    one_line_error(saved, part)


def test_a_file_beyond_any_vocabulary_is_not_read(saved: Path) -> None:
    with (saved / "tokenizer.json").open("r+b") as file:
        file.truncate(2**40)  # a hole on the disk, a terabyte in memory
    one_line_error(saved, "tokenizer.json", "at most")


def test_an_option_that_is_null_is_not_stated(saved: Path) -> None:
    (saved / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": None, "cls_token": None}))
    tokenizer = Tokenizer.from_directory(saved)
    assert tokenizer.encode("THE", max_length=3).input_ids[1] == tokenizer.token_to_id("the")


def test_links_are_followed_as_the_hub_cache_has_them(saved: Path, tmp_path: Path) -> None:
    shutil.move(saved / "tokenizer.json", tmp_path / "blob")
    (saved / "tokenizer.json").symlink_to(tmp_path / "blob")
    (saved / "vocab.txt").unlink()
    assert Tokenizer.from_directory(saved).vocabulary_size == len(SMALL)


def test_the_tokenizer_loads_without_torch_and_transformers() -> None:
    code = (
        "import sys, mobilebert_reference.tokenizer as t; print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
