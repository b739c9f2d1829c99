"""Runs a graph on calibration text and keeps a few numbers of each tensor, however many rows pass."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from mobilebert_export.calibration.text import Row
from mobilebert_export.errors import DataError
from mobilebert_export.graph.executor import execute
from mobilebert_export.graph.graph import Graph
from mobilebert_export.graph.operators import BATCH, SEQUENCE, Shape

if TYPE_CHECKING:
    from mobilebert_reference import Tokenizer

Inputs = dict[str, NDArray[np.int32]]

# Rows that run together; more make it no faster.
_BATCH = 16
# [CLS] and [SEP] alone, or with one token between them, say little of what text does.
_SHORTEST_ROW = 4


class NotFiniteError(DataError):
    """An activation is NaN or infinite.

    Attributes:
        tensor: its name.
        row: of the text, from 0.
    """

    def __init__(self, tensor: str, row: int) -> None:
        super().__init__(f"expected finite activations, got NaN or infinity in {tensor} at calibration row {row + 1}")
        self.tensor, self.row = tensor, row


class Observer(Protocol):
    """What is kept of a tensor."""

    def update(self, values: NDArray[np.floating]) -> "Observer":
        """With more values (tokens, channels)."""


Kept = TypeVar("Kept", bound=Observer)


def batches(tokenizer: "Tokenizer", rows: Iterable[Row], *, length: int) -> Iterator[Inputs]:
    """Tokenized rows in small batches, each padded to its longest and by one position more, which the trigram looks at.

    Raises:
        DataError: no row has two tokens of text, though `length` leaves room for them.
    """
    remaining = iter(rows)
    told_anything = False
    while group := list(islice(remaining, _BATCH)):
        encoded = [tokenizer.encode(row.text, row.text_pair, max_length=length, pad=False) for row in group]
        longest = max(len(row) for row in encoded)
        told_anything |= longest >= min(_SHORTEST_ROW, length)
        pairs = [row.text if row.text_pair is None else (row.text, row.text_pair) for row in group]
        yield tokenizer.encode_batch(pairs, max_length=min(longest + 1, length))
    if not told_anything:
        raise DataError("expected text to calibrate on, got no row with two tokens of text; use another --calibration")


def observe(
    graph: Graph,
    inputs: Iterable[Inputs],
    tensors: Mapping[str, Callable[[int], Kept]],
    *,
    dtype: torch.dtype = torch.float64,
) -> dict[str, Kept]:
    """What each tensor holds on the inputs. Padded positions are left out.

    Args:
        graph: not bound to a length.
        inputs: batches of rows.
        tensors: for each tensor to look at, what makes its empty observer for a number of channels.
        dtype: what the graph computes in.

    Raises:
        NotFiniteError: an activation is NaN or infinite.
    """
    kept: dict[str, Kept] = {}
    first_row = 0
    for batch in inputs:
        mask = batch["attention_mask"].astype(bool)

        def look(name: str, values: NDArray[np.floating], mask: NDArray[np.bool_] = mask, row: int = first_row) -> None:
            if name not in tensors:
                return
            if not np.isfinite(values).all():
                raise NotFiniteError(name, row + int(np.argwhere(~np.isfinite(values))[0][0]))
            tokens = _tokens(values, graph.tensors[name].shape, mask)
            before = kept.get(name) or tensors[name](tokens.shape[-1])
            kept[name] = before.update(tokens)  # type: ignore[assignment] # an observer's update gives its own kind

        execute(graph, batch, dtype=dtype, observe=look)
        first_row += len(mask)
    return kept


def outputs(
    graph: Graph,
    inputs: Iterable[Inputs],
    *,
    dtype: torch.dtype = torch.float64,
    known: Mapping[str, NDArray[np.floating]] | None = None,
) -> NDArray[np.floating]:
    """All outputs at all positions that are not padding, in a row. For `dtype` and `known` see `execute`."""
    values = []
    for batch in inputs:
        mask = batch["attention_mask"].astype(bool)
        given = execute(graph, batch, dtype=dtype, known=known).values()
        values += [(value[mask] if value.shape[:2] == mask.shape else value).ravel() for value in given]
    return np.concatenate(values)


def _tokens(values: NDArray[np.floating], shape: Shape, mask: NDArray[np.bool_]) -> NDArray[np.floating]:
    """Rows (n, channels) of the positions that are not padding; the last axis is left as it is."""
    positions = shape.index(SEQUENCE) if SEQUENCE in shape[:-1] else None
    if positions is None or shape[0] != BATCH:
        return values.reshape(-1, values.shape[-1])
    kept = np.moveaxis(values, positions, 1)[mask]
    return kept.reshape(-1, values.shape[-1])


def few(batch: Inputs, tokens: int = 512) -> Inputs:
    """The first rows of a batch, as many as have this many tokens, but at least one: enough to compare errors on."""
    rows, length = batch["attention_mask"].shape
    return {name: values[: max(1, min(rows, tokens // length))] for name, values in batch.items()}
