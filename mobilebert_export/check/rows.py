"""The rows of text that a file is verified on."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mobilebert_reference import Encoding, Tokenizer

# [CLS] a [SEP] b [SEP]
SHORTEST_PAIR = 5
# More unknown pieces than this, and the text is in no language that the vocabulary knows.
_MOST_UNKNOWN = 0.5
_SEED = 0


def verification_rows(tokenizer: "Tokenizer", text: Path, *, length: int, count: int) -> list["Encoding"]:
    """Tokenized rows, padded to `length`: the emptiest one, a full one, then single texts and pairs in turn.

    Args:
        tokenizer: the checkpoint's.
        text: a `.jsonl` file of rows with a `text`. A vocabulary that does not know its language gets rows of its own
            pieces.
        length: tokens of a row, padding included.
        count: how many rows.
    """
    texts = [json.loads(line)["text"] for line in text.read_text(encoding="utf-8").splitlines()]
    if _unknown_share(tokenizer, texts) > _MOST_UNKNOWN:
        texts = list(_made_of_pieces(tokenizer, len(texts)))
    room_for_pairs = length >= SHORTEST_PAIR
    rows = [tokenizer.encode("", max_length=length), tokenizer.encode(" ".join(texts[:length]), max_length=length)]
    # Evenly over the file: rows of one label may stand together.
    chosen = [texts[index] for index in np.linspace(0, len(texts) - 1, 2 * count).astype(int)]
    for index in range(count - len(rows)):
        pair = chosen[2 * index + 1] if room_for_pairs and index % 2 else None
        rows.append(tokenizer.encode(chosen[2 * index], pair, max_length=length))
    return rows


def _unknown_share(tokenizer: "Tokenizer", texts: list[str]) -> float:
    encoded = [tokenizer.encode(text, max_length=64, pad=False) for text in texts[:64]]
    ids = [
        token
        for row in encoded
        for token, special in zip(row.input_ids, row.special_tokens_mask, strict=True)
        if not special
    ]
    return ids.count(tokenizer.unk_id) / max(len(ids), 1)


def _made_of_pieces(tokenizer: "Tokenizer", count: int) -> Iterator[str]:
    """Texts of 3 to 20 pieces of the vocabulary, always the same ones."""
    generator = np.random.default_rng(_SEED)
    special = {tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id, tokenizer.unk_id}
    pieces = [tokenizer.id_to_token(index) for index in range(tokenizer.vocabulary_size) if index not in special]
    words = [piece for piece in pieces if not piece.startswith(("##", "[unused"))] or pieces
    for _ in range(count):
        yield " ".join(generator.choice(words, size=generator.integers(3, 21)))
