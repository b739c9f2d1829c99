"""What defines a WordPiece tokenizer, read from the files of a checkpoint.

Strangers wrote those files: nothing is taken from them that has not been looked at.
"""

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from tokenizers import AddedToken

from mobilebert_reference.errors import TokenizerError
from mobilebert_reference.json_file import read_json_object

__all__ = ["DEFAULT_SPECIAL_TOKENS", "Definition", "read_definition", "read_vocabulary"]

DEFAULT_SPECIAL_TOKENS = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
_ADDED_TOKEN_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
_LARGEST_VOCABULARY = 16 * 2**20  # bytes; 250,000 pieces take about 3 MiB

_T = TypeVar("_T")
_Default = TypeVar("_Default")


@dataclass(frozen=True, kw_only=True)
class Definition:
    """What defines a WordPiece tokenizer, whichever file it comes from.

    Attributes:
        source: The file that gave the pieces.
        pieces: The pieces by id.
        special_tokens: The tokens by their role, as in `DEFAULT_SPECIAL_TOKENS`.
        added_tokens: By id: pieces that are matched whole in a text, and tokens that follow the pieces.
        do_lower_case: Lowercase the text.
        tokenize_chinese_chars: Set Chinese characters apart.
        strip_accents: Take the accents off; None does as `do_lower_case`.
        clean_text: Drop control characters and make every white space a blank.
        wordpieces_prefix: What a piece inside a word begins with.
        max_input_chars_per_word: A longer word is unknown.
    """

    source: Path
    pieces: Sequence[str]
    special_tokens: Mapping[str, str] = field(default_factory=DEFAULT_SPECIAL_TOKENS.copy)
    added_tokens: Mapping[int, AddedToken] = field(default_factory=dict)
    do_lower_case: bool = True
    tokenize_chinese_chars: bool = True
    strip_accents: bool | None = None
    clean_text: bool = True
    wordpieces_prefix: str = "##"
    max_input_chars_per_word: int = 100


def read_definition(directory: Path) -> Definition:
    """Read ``tokenizer.json`` if it is there, else ``vocab.txt``, and the options beside it.

    What ``tokenizer_config.json`` states wins over ``special_tokens_map.json``, and both over ``tokenizer.json``. Only
    the unknown token is that of ``tokenizer.json`` itself: transformers reads it nowhere else.

    Raises:
        TokenizerError: No vocabulary, or a file that cannot be used.
    """
    if (path := directory / "tokenizer.json").is_file():
        definition = _read_tokenizer_json(path)
    elif (path := directory / "vocab.txt").is_file():
        definition = Definition(source=path, pieces=read_vocabulary(path))
    else:
        raise TokenizerError(f"{directory}: expected a tokenizer.json or a vocab.txt, got neither; copy one there")

    special_tokens = dict(definition.special_tokens)
    if (path := directory / "special_tokens_map.json").is_file():
        special_tokens |= _special_tokens(path, read_json_object(path, TokenizerError))
    if (path := directory / "tokenizer_config.json").is_file():
        config = read_json_object(path, TokenizerError)
        special_tokens |= _special_tokens(path, config)
        definition = replace(
            definition,
            added_tokens={**definition.added_tokens, **_added_tokens(path, _indexed(path, config))},
            do_lower_case=_get(path, config, "do_lower_case", bool, definition.do_lower_case),
            tokenize_chinese_chars=_get(
                path, config, "tokenize_chinese_chars", bool, definition.tokenize_chinese_chars
            ),
            # Here null is a value: do as do_lower_case.
            strip_accents=_get(path, config, "strip_accents", bool, None)
            if "strip_accents" in config
            else definition.strip_accents,
        )
    if definition.source.name == "tokenizer.json":
        special_tokens["unk_token"] = definition.special_tokens["unk_token"]
    return replace(definition, special_tokens=special_tokens)


def read_vocabulary(path: Path) -> list[str]:
    """Read a ``vocab.txt``: one piece a line, by id.

    Only line feeds and carriage returns end a line: some pieces are other separators of Unicode.

    Raises:
        TokenizerError: Not readable, not UTF-8, empty, or a line that is empty or was there before.
    """
    try:
        if (size := path.stat().st_size) > _LARGEST_VOCABULARY:
            raise TokenizerError(f"{path}: expected at most {_LARGEST_VOCABULARY} bytes, got {size}")
        pieces = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise TokenizerError(f"{path}: expected UTF-8, got {error.reason} at byte {error.start}") from error
    except OSError as error:
        raise TokenizerError(f"{path}: expected a readable file, got {error.strerror}") from error
    if pieces[-1] == "":
        pieces.pop()
    if not pieces:
        raise TokenizerError(f"{path}: expected one piece a line, got an empty file")
    lines: dict[str, int] = {}
    for line, piece in enumerate(pieces, start=1):
        if piece == "":
            raise TokenizerError(f"{path}: expected one piece a line, got nothing on line {line}; remove the line")
        if piece in lines:
            raise TokenizerError(
                f"{path}: expected each piece once, got {reprlib.repr(piece)} on lines {lines[piece]} and {line}"
            )
        lines[piece] = line
    return pieces


def _read_tokenizer_json(path: Path) -> Definition:
    """Take the definition out of a ``tokenizer.json``, the file of the `tokenizers` library."""
    document = read_json_object(path, TokenizerError)
    parts = {name: _get(path, document, name, dict, {}) for name in ("model", "normalizer", "pre_tokenizer")}
    kinds = {"model": "WordPiece", "normalizer": "BertNormalizer", "pre_tokenizer": "BertPreTokenizer"}
    for name, kind in kinds.items():
        if parts[name].get("type") != kind:
            raise TokenizerError(
                f"{path}: expected a WordPiece tokenizer, whose {name} is a {kind}, "
                f"got {reprlib.repr(parts[name].get('type'))}; if there is a vocab.txt, remove this file to use that"
            )
    model, normalizer = parts["model"], parts["normalizer"]
    return Definition(
        source=path,
        pieces=_pieces(path, _get(path, model, "vocab", dict, {})),
        special_tokens={**DEFAULT_SPECIAL_TOKENS, "unk_token": _get(path, model, "unk_token", str, "[UNK]")},
        added_tokens=_added_tokens(path, _get(path, document, "added_tokens", list, [])),
        do_lower_case=_get(path, normalizer, "lowercase", bool, True),
        tokenize_chinese_chars=_get(path, normalizer, "handle_chinese_chars", bool, True),
        strip_accents=_get(path, normalizer, "strip_accents", bool, None),
        clean_text=_get(path, normalizer, "clean_text", bool, True),
        wordpieces_prefix=_get(path, model, "continuing_subword_prefix", str, "##"),
        max_input_chars_per_word=_get(path, model, "max_input_chars_per_word", int, 100),
    )


def _pieces(path: Path, vocabulary: dict[str, Any]) -> list[str]:
    """Order pieces by their ids, which must run from 0 without a gap."""
    pieces = [""] * len(vocabulary)
    for piece, index in vocabulary.items():
        # An index that came before leaves another place empty, and so does an empty piece.
        if type(index) is not int or not 0 <= index < len(pieces) or piece == "" or pieces[index]:
            raise TokenizerError(
                f"{path}: expected each id from 0 to {len(pieces) - 1} for one piece, "
                f"got {reprlib.repr(index)} for {reprlib.repr(piece)}"
            )
        pieces[index] = piece
    if not pieces:
        raise TokenizerError(f"{path}: expected a vocabulary, got an empty one")
    return pieces


def _special_tokens(path: Path, config: dict[str, Any]) -> dict[str, str]:
    """Pick the special tokens that are stated, each a string or an object with its ``content``."""
    stated = {}
    for name in DEFAULT_SPECIAL_TOKENS:
        holder, key = (config[name], "content") if isinstance(config.get(name), dict) else (config, name)
        token = _get(path, holder, key, str, None)
        if token is not None:
            stated[name] = token
    return stated


def _indexed(path: Path, config: dict[str, Any]) -> Iterable[object]:
    """Bring ``added_tokens_decoder``, objects by their ids, to the shape that ``tokenizer.json`` has."""
    for key, entry in _get(path, config, "added_tokens_decoder", dict, {}).items():
        index = int(key) if key.isdecimal() and len(key) < len(str(2**31)) else key
        yield {**entry, "id": index} if isinstance(entry, dict) else entry


def _added_tokens(path: Path, entries: Iterable[object]) -> dict[int, AddedToken]:
    added_tokens = {}
    for entry in entries:
        if not isinstance(entry, dict):
            raise TokenizerError(f"{path}: expected each added token to be an object, got {reprlib.repr(entry)}")
        index, content = _get(path, entry, "id", int, -1), _get(path, entry, "content", str, "")
        flags = {flag: _get(path, entry, flag, bool, False) for flag in _ADDED_TOKEN_FLAGS}
        try:
            added_tokens[index] = AddedToken(content, **flags)
        except UnicodeEncodeError as error:
            raise TokenizerError(f"{path}: expected added tokens of Unicode characters, got {content!r}") from error
    return added_tokens


def _get(path: Path, holder: dict[str, Any], name: str, kind: type[_T], default: _Default) -> _T | _Default:
    """Get a field of a JSON object and look at its type; one that is absent or null is the default."""
    value = holder.get(name)
    if value is None:
        return default
    if type(value) is not kind:  # not isinstance: true is no number
        raise TokenizerError(f"{path}: expected {name} of type {kind.__name__}, got {reprlib.repr(value)}")
    return value
