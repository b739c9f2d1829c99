"""The WordPiece tokenizer of MobileBERT, on the `tokenizers` library.

A tokenizer is rebuilt from what defines it (pieces, options, special and added tokens) and never taken over as a stored
pipeline: whatever else a ``tokenizer.json`` carries (padding, truncation, another template) has no effect. The result
equals transformers' ``MobileBertTokenizerFast``, also for special tokens written out in a text: ``"[SEP]"`` there is
the separator. ``never_split`` and ``do_basic_tokenize`` are options of the slow tokenizer, which the fast one accepts
and ignores; so does this one. Truncation and padding are on the right, where absolute positions want them.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from mobilebert_reference.errors import TokenizerError
from mobilebert_reference.tokenizer_files import DEFAULT_SPECIAL_TOKENS, Definition, read_definition, read_vocabulary

__all__ = ["Encoding", "Tokenizer", "Truncation"]

Truncation = Literal["longest_first", "only_first", "only_second"]


@dataclass(frozen=True)
class Encoding:
    """One tokenized row ``[CLS] A [SEP]`` or ``[CLS] A [SEP] B [SEP]``; every field has one entry a token.

    Attributes:
        input_ids: Ids into the vocabulary.
        attention_mask: 1 for a token, 0 for padding.
        token_type_ids: 0 for ``[CLS] A [SEP]`` and padding, 1 for ``B [SEP]``.
        offsets: Begin and end of the token in its original text, in characters; (0, 0) where no text stands behind it.
        sequence_ids: 0 for a token of A, 1 for one of B, None for a special token or padding.
        special_tokens_mask: 1 for a special token or padding that was put in, 0 for what the text gave.
    """

    input_ids: tuple[int, ...]
    attention_mask: tuple[int, ...]
    token_type_ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]
    sequence_ids: tuple[int | None, ...]
    special_tokens_mask: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.input_ids)


class Tokenizer:
    """Text to ids and back. Make one with `from_directory` or `from_vocabulary`.

    Attributes:
        vocabulary_size: Number of ids, added tokens included; ids run from 0 to ``vocabulary_size - 1``.
        pad_id, cls_id, sep_id, mask_id, unk_id: Ids of the special tokens.
    """

    def __init__(self, definition: Definition) -> None:
        self._definition = definition
        self._backend = _build(definition)
        self.vocabulary_size: int = self._backend.get_vocab_size()
        ids = {role: self._backend.token_to_id(token) for role, token in definition.special_tokens.items()}
        self.pad_id: int = ids["pad_token"]
        self.cls_id: int = ids["cls_token"]
        self.sep_id: int = ids["sep_token"]
        self.mask_id: int = ids["mask_token"]
        self.unk_id: int = ids["unk_token"]

    @classmethod
    def from_directory(cls, directory: Path, *, vocabulary_size: int | None = None) -> "Tokenizer":
        """Read the tokenizer of a checkpoint: ``tokenizer.json`` if it is there, else ``vocab.txt``.

        Args:
            directory: The checkpoint's; options are read from its ``tokenizer_config.json`` and
                ``special_tokens_map.json`` where these are there.
            vocabulary_size: The model's ``vocab_size``, which the tokenizer must match.

        Raises:
            TokenizerError: No vocabulary, one that cannot be used, or one of another size than the model's.
        """
        definition = read_definition(directory)
        tokenizer = cls(definition)
        if vocabulary_size is not None and tokenizer.vocabulary_size != vocabulary_size:
            raise TokenizerError(
                f"{definition.source}: expected {vocabulary_size} pieces, the model's vocab_size, "
                f"got {tokenizer.vocabulary_size}; use the vocabulary that the model was trained with"
            )
        return tokenizer

    @classmethod
    def from_vocabulary(
        cls,
        path: Path,
        *,
        do_lower_case: bool = True,
        tokenize_chinese_chars: bool = True,
        strip_accents: bool | None = None,
        clean_text: bool = True,
        wordpieces_prefix: str = "##",
        special_tokens: Mapping[str, str] = DEFAULT_SPECIAL_TOKENS,
    ) -> "Tokenizer":
        """Read a ``vocab.txt``: one piece a line, its id the line's number counted from 0.

        Args:
            path: The vocabulary, UTF-8.
            do_lower_case: Lowercase the text.
            tokenize_chinese_chars: Set Chinese characters apart.
            strip_accents: Take the accents off; None does as `do_lower_case`.
            clean_text: Drop control characters and make every white space a blank.
            wordpieces_prefix: What a piece inside a word begins with.
            special_tokens: ``unk_token``, ``sep_token``, ``pad_token``, ``cls_token`` and ``mask_token``; those not
                named are the default ones.

        Raises:
            TokenizerError: The vocabulary cannot be read, or lacks a special token.
        """
        return cls(
            Definition(
                source=path,
                pieces=read_vocabulary(path),
                special_tokens={**DEFAULT_SPECIAL_TOKENS, **special_tokens},
                do_lower_case=do_lower_case,
                tokenize_chinese_chars=tokenize_chinese_chars,
                strip_accents=strip_accents,
                clean_text=clean_text,
                wordpieces_prefix=wordpieces_prefix,
            )
        )

    def encode(
        self,
        text: str,
        text_pair: str | None = None,
        *,
        max_length: int,
        truncation: Truncation = "longest_first",
        pad: bool = True,
    ) -> Encoding:
        """Tokenize one text or a pair of texts.

        Args:
            text: A.
            text_pair: B.
            max_length: The most tokens the row may have, special ones included: at least 2, for a pair at least 3.
            truncation: Which text gives way when the row is too long: the longer one until both are equal, or only
                the one named, which keeps at least one token.
            pad: Fill up to `max_length` on the right.

        Raises:
            TokenizerError: `max_length` is too short, or a text holds a lone surrogate.
        """
        texts = [text] if text_pair is None else [text, text_pair]
        room = max_length - len(texts) - 1
        if room < 0:
            raise TokenizerError(
                f"expected a length of at least {len(texts) + 1} for {len(texts)} text(s) with their special tokens, "
                f"got {max_length}"
            )
        tokenized = [self._tokenize(each) for each in texts]
        lengths = _truncated([len(each.ids) for each in tokenized], room, truncation)

        ids, types = [self.cls_id], [0]
        offsets: list[tuple[int, int]] = [(0, 0)]
        sequences: list[int | None] = [None]
        for sequence, (part, length) in enumerate(zip(tokenized, lengths, strict=True)):
            ids += [*part.ids[:length], self.sep_id]
            types += [sequence] * (length + 1)
            offsets += [*part.offsets[:length], (0, 0)]
            sequences += [sequence] * length + [None]
        padding = max_length - len(ids) if pad else 0
        sequences += [None] * padding
        return Encoding(
            input_ids=tuple(ids + [self.pad_id] * padding),
            attention_mask=tuple([1] * len(ids) + [0] * padding),
            token_type_ids=tuple(types + [0] * padding),
            offsets=tuple(offsets + [(0, 0)] * padding),
            sequence_ids=tuple(sequences),
            special_tokens_mask=tuple(int(sequence is None) for sequence in sequences),
        )

    def encode_batch(
        self, rows: Iterable[str | tuple[str, str]], *, max_length: int, truncation: Truncation = "longest_first"
    ) -> dict[str, npt.NDArray[np.int32]]:
        """Tokenize rows, texts or pairs of texts, each padded to `max_length`.

        Returns:
            ``input_ids``, ``attention_mask`` and ``token_type_ids``, each int32 of shape (rows, max_length).
        """
        encodings = [
            self.encode(*((row,) if isinstance(row, str) else row), max_length=max_length, truncation=truncation)
            for row in rows
        ]
        return {
            name: np.array([getattr(each, name) for each in encodings], dtype=np.int32).reshape(-1, max_length)
            for name in ("input_ids", "attention_mask", "token_type_ids")
        }

    def decode(self, ids: Iterable[int], *, skip_special_tokens: bool = True) -> str:
        """Join the pieces of `ids` to a text; what was lowercased, cleaned or unknown does not come back.

        Raises:
            TokenizerError: An id is not in the vocabulary.
        """
        ids = [int(each) for each in ids]
        for each in ids:
            self.id_to_token(each)  # the library would skip what it does not know
        text: str = self._backend.decode(ids, skip_special_tokens=skip_special_tokens)
        return text

    def id_to_token(self, token_id: int) -> str:
        """Give the piece of an id.

        Raises:
            TokenizerError: The id is not in the vocabulary.
        """
        if not 0 <= token_id < self.vocabulary_size:
            raise TokenizerError(f"expected an id from 0 to {self.vocabulary_size - 1}, got {token_id}")
        token: str = self._backend.id_to_token(token_id)
        return token

    def token_to_id(self, token: str) -> int | None:
        """Give the id of a piece, None for one that is not in the vocabulary."""
        token_id: int | None = self._backend.token_to_id(token)
        return token_id

    def save(self, directory: Path) -> None:
        """Write the files that `from_directory` and transformers' ``MobileBertTokenizerFast`` read.

        They are ``tokenizer.json``, ``tokenizer_config.json``, ``special_tokens_map.json``, and ``vocab.txt``, which
        has no place for added tokens; the same tokenizer gives the same bytes.

        Raises:
            OSError: The directory cannot be written.
        """
        definition = self._definition
        config = {
            "tokenizer_class": "MobileBertTokenizer",
            "do_lower_case": definition.do_lower_case,
            "tokenize_chinese_chars": definition.tokenize_chinese_chars,
            "strip_accents": definition.strip_accents,
            **definition.special_tokens,
        }
        contents = {
            "vocab.txt": "\n".join(definition.pieces),
            "tokenizer.json": self._backend.to_str(pretty=True),
            "tokenizer_config.json": json.dumps(config, indent=2),
            "special_tokens_map.json": json.dumps(dict(definition.special_tokens), indent=2),
        }
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (directory / name).write_text(f"{content}\n", encoding="utf-8", newline="\n")

    def _tokenize(self, text: str) -> tokenizers.Encoding:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise TokenizerError(
                f"expected a text that UTF-8 can hold, got a lone surrogate at character {error.start}"
            ) from error
        return self._backend.encode(text, add_special_tokens=False)


def _truncated(lengths: list[int], room: int, truncation: Truncation) -> list[int]:
    """Give the tokens that each text keeps so that together they fit into `room`.

    >>> _truncated([10, 3], 9, "longest_first")
    [6, 3]
    """
    excess = sum(lengths) - room
    if excess <= 0:
        return lengths
    if room == 0:  # whatever the strategy: the library does so
        return [0] * len(lengths)
    if truncation == "longest_first":
        if len(lengths) == 1:
            return [room]
        shorter = min(*lengths, room // 2)
        return [shorter, room - shorter] if lengths[0] <= lengths[1] else [room - shorter, shorter]
    index = {"only_first": 0, "only_second": 1}[truncation]
    if index >= len(lengths) or lengths[index] <= excess:
        raise TokenizerError(
            f"expected a text that {truncation} can shorten by {excess} tokens, got texts of {lengths} tokens; "
            "allow a greater length or truncate longest_first"
        )
    return [length - excess if i == index else length for i, length in enumerate(lengths)]


def _build(definition: Definition) -> tokenizers.Tokenizer:
    """Assemble the library's pipeline, and make sure that its ids are those of `definition`."""
    source, special = definition.source, definition.special_tokens
    vocabulary = {piece: index for index, piece in enumerate(definition.pieces)}
    added = {token.content for token in definition.added_tokens.values()}
    for role, token in special.items():
        # WordPiece itself looks the unknown token up, and among the pieces only.
        if token not in vocabulary and (token not in added or role == "unk_token"):
            raise TokenizerError(
                f"{source}: expected the {role} {token!r} in the vocabulary, got none; "
                "add it, or name another in tokenizer_config.json"
            )
    if len(set(special.values())) < len(special):
        raise TokenizerError(f"{source}: expected five different special tokens, got {dict(special)}")
    try:
        backend = tokenizers.Tokenizer(
            models.WordPiece(
                vocabulary,
                unk_token=special["unk_token"],
                max_input_chars_per_word=definition.max_input_chars_per_word,
                continuing_subword_prefix=definition.wordpieces_prefix,
            )
        )
        backend.normalizer = normalizers.BertNormalizer(
            clean_text=definition.clean_text,
            handle_chinese_chars=definition.tokenize_chinese_chars,
            strip_accents=definition.strip_accents,
            lowercase=definition.do_lower_case,
        )
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        backend.decoder = decoders.WordPiece(prefix=definition.wordpieces_prefix)
        backend.add_tokens([token for _, token in sorted(definition.added_tokens.items())])
        backend.add_special_tokens([token for token in special.values() if token not in added])
        backend.post_processor = processors.BertProcessing(
            sep=(special["sep_token"], backend.token_to_id(special["sep_token"])),
            cls=(special["cls_token"], backend.token_to_id(special["cls_token"])),
        )
    except Exception as error:  # the library raises nothing narrower
        reason = " ".join(str(error).split())
        raise TokenizerError(f"{source}: expected a WordPiece tokenizer that can be used, got {reason}") from error
    for index, token in definition.added_tokens.items():
        if backend.token_to_id(token.content) != index:
            raise TokenizerError(
                f"{source}: expected an added token to be a piece with its id or to follow the pieces without a gap, "
                f"got id {index} for {token.content!r}"
            )
    return backend
