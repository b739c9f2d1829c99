"""Finds out how to feed a model that somebody else has named: by name, else by position, and by type."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mobilebert_export.errors import ModelFileError
from mobilebert_export.lowering import INPUTS
from mobilebert_export.runtimes.interface import Port

_IDS, _MASK, _TYPES = INPUTS
# What exporters call the inputs, without prefixes and suffixes.
_WORDINGS = {
    _IDS: {"input_ids", "input_word_ids", "word_ids", "token_ids", "ids", "tokens", "inputids"},
    _MASK: {"attention_mask", "input_mask", "mask", "attentionmask", "inputmask"},
    _TYPES: {"token_type_ids", "input_type_ids", "segment_ids", "type_ids", "segments", "tokentypeids", "segmentids"},
}
_NUMBERS = frozenset({"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64"})
_DECORATION = re.compile(r"^(serving_default|inputs?|args_\d+|model)[_./](?=.)|[:_./](0|\d+)$|_?placeholder$")
_RANK = 2  # (batch, sequence)
_MOST_ROWS = 64  # at once: what is fed to a model is repeated in this process


@dataclass(frozen=True)
class Feeding:
    """How to call a model.

    Attributes:
        ports: for each of the model's inputs, in its own words, the one of ours that goes there.
        batch: rows that the model takes at once; all get the same row.
        length: tokens of a row; None if the caller sets it.
        by_position: whether the names told nothing and the order was taken for ours.
    """

    ports: Mapping[Port, str]
    batch: int
    length: int | None
    by_position: bool

    def arrays(self, inputs: Mapping[str, NDArray[np.int64]]) -> dict[str, NDArray[np.generic]]:
        """The model's inputs, for ours (1, width)."""
        return {
            port.name: np.repeat(inputs[name], self.batch, axis=0).astype(port.dtype)
            for port, name in self.ports.items()
        }


def feeding(inputs: Sequence[Port]) -> Feeding:
    """How to feed a model with these inputs.

    Raises:
        ModelFileError: it cannot be fed; says what it takes.
    """
    found = f"found inputs {'; '.join(map(str, inputs)) or 'none'}"
    expected = f"expected a model that takes {', '.join(INPUTS)}"
    if unusable := [port for port in inputs if port.dtype not in _NUMBERS or len(port.shape) != _RANK]:
        raise ModelFileError(f"{expected} of shape (batch, sequence), {found}; {unusable[0].name} cannot be fed")
    named = {port: name for port in inputs if (name := _meaning(port.name)) is not None}
    by_position = len(named) < len(inputs)
    if by_position:
        if named or not 1 <= len(inputs) <= len(INPUTS):
            raise ModelFileError(f"{expected}, {found}")
        named = dict(zip(inputs, INPUTS, strict=False))
    if _IDS not in named.values() or len(set(named.values())) < len(named):
        raise ModelFileError(f"{expected}, each once, {found}")
    batches, lengths = ({port.shape[axis] for port in inputs} - {-1} for axis in (0, 1))
    if len(batches) > 1 or len(lengths) > 1 or 0 in batches | lengths:
        raise ModelFileError(f"{expected} of one shape (batch, sequence), {found}")
    batch = next(iter(batches), 1)
    if not 1 <= batch <= _MOST_ROWS:
        raise ModelFileError(f"{expected} of at most {_MOST_ROWS} rows at once, {found}")
    return Feeding(named, batch, next(iter(lengths), None), by_position)


def outputs(
    given: Mapping[str, NDArray[np.generic]], expected: Mapping[str, tuple[int, ...]]
) -> dict[str, NDArray[np.floating]]:
    """A model's first row of outputs under our names: by name, else by the only shape that fits, else by position.

    Args:
        given: what the model gave, batch first.
        expected: the shape of each output of ours, with a batch of 1.

    Raises:
        ModelFileError: the outputs are those of another task.
    """
    found = "; ".join(f"{name} {list(values.shape)}" for name, values in given.items()) or "none"
    error = ModelFileError(
        "expected the outputs of the checkpoint's task, "
        f"{'; '.join(f'{name} {list(shape)}' for name, shape in expected.items())}, found {found}"
    )
    rows = {name: values[:1] for name, values in given.items() if values.ndim}
    matched: dict[str, NDArray[np.floating]] = {}
    for name, shape in expected.items():
        fitting = [other for other in rows if _same_shape(rows[other].shape, shape)]
        chosen = [other for other in fitting if _plain(other) == name] or fitting
        if not chosen or (len(chosen) > 1 and len(given) != len(expected)):
            raise error
        matched[name] = np.asarray(rows.pop(chosen[0]), np.float64).reshape(shape)
    return matched


def _meaning(name: str) -> str | None:
    plain = _plain(name)
    return next((ours for ours, wordings in _WORDINGS.items() if plain in wordings), None)


def _plain(name: str) -> str:
    """A name without what exporters put around it: `serving_default_input_ids:0` is `input_ids`."""
    plain = name.lower().strip()
    if any(plain in wordings for wordings in _WORDINGS.values()):
        return plain
    while (shorter := _DECORATION.sub("", plain)) != plain:
        plain = shorter
        if any(plain in wordings for wordings in _WORDINGS.values()):
            break
    return plain


def _same_shape(given: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    return [size for size in given if size != 1] == [size for size in expected if size != 1]
