"""The rows of text that a file is verified on."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mobilebert_reference import Encoding, Tokenizer

# [CLS] a [SEP] b [SEP]
SHORTEST_PAIR = 5
# More unknown pieces than this, and the text is in no language that the vocabulary knows.
MOST_UNKNOWN = 0.5
# Texts, and pieces of each, that tell which language it is.
_TEXTS, _LONGEST_TEXT = 64, 64
# A word has no more characters; a stranger's vocabulary may have a piece of millions.
_LONGEST_WORD = 64
_SEED = 0


def verification_rows(tokenizer: "Tokenizer", text: Path, *, length: int, count: int) -> list["Encoding"]:
    """Tokenized rows, padded to `length`: the emptiest one, a full one, then single texts and pairs in turn.

    Args:
        tokenizer: the checkpoint's.
        text: a `.jsonl` file of rows with a `text`. A vocabulary that does not know its language gets rows of its own
            words, if it has any.
        length: tokens of a row, padding included.
        count: how many rows, at least 1.
    """
    texts = [json.loads(line)["text"] for line in text.read_text(encoding="utf-8").splitlines()]
    if unknown_share(tokenizer, texts[:_TEXTS]) > MOST_UNKNOWN:
        texts = list(_made_of_words(tokenizer, len(texts))) or texts
    room_for_pairs = length >= SHORTEST_PAIR
    rows = [tokenizer.encode("", max_length=length), tokenizer.encode(" ".join(texts[:length]), max_length=length)]
    # Evenly over the file: rows of one label may stand together.
    chosen = [texts[index] for index in np.linspace(0, len(texts) - 1, 2 * count).astype(int)]
    for index in range(count - len(rows)):
        pair = chosen[2 * index + 1] if room_for_pairs and index % 2 else None
        rows.append(tokenizer.encode(chosen[2 * index], pair, max_length=length))
    return rows[:count]


def unknown_share(tokenizer: "Tokenizer", texts: Iterable[str]) -> float:
    """The share of the pieces of texts, from 0 to 1, that a vocabulary does not know; of each its first pieces."""
    encoded = (tokenizer.encode(text, max_length=_LONGEST_TEXT, pad=False) for text in texts)
    ids = [
        token
        for row in encoded
        for token, special in zip(row.input_ids, row.special_tokens_mask, strict=True)
        if not special
    ]
    return ids.count(tokenizer.unk_id) / max(len(ids), 1)


def _made_of_words(tokenizer: "Tokenizer", count: int) -> Iterator[str]:
    """Texts of 3 to 20 words of the vocabulary, always the same ones; none if it has no word."""
    words = _words(tokenizer)
    generator = np.random.default_rng(_SEED)
    for _ in range(count if words else 0):
        yield " ".join(words[index] for index in generator.integers(len(words), size=generator.integers(3, 21)))


def _words(tokenizer: "Tokenizer") -> list[str]:
    """The pieces that a text can give alone, which leaves out endings, unused ones and what is normalized away."""
    special = {tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id, tokenizer.unk_id}
    words = []
    for index in range(tokenizer.vocabulary_size):
        piece = tokenizer.id_to_token(index)
        if index not in special and len(piece) <= _LONGEST_WORD:
            ids = tokenizer.encode(piece, max_length=_LONGEST_WORD, pad=False).input_ids
            if ids == (tokenizer.cls_id, index, tokenizer.sep_id):
                words.append(piece)
    return words
