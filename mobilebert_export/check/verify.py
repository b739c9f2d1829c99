"""Compares an emitted file with the reference, before the file is put in place."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from mobilebert_export.check.metrics import agreement, sqnr
from mobilebert_export.graph.graph import Graph
from mobilebert_export.graph.operators import SEQUENCE
from mobilebert_export.lowering import INPUTS
from mobilebert_export.precisions import Precision

if TYPE_CHECKING:
    from mobilebert_reference import Checkpoint, Encoding

Outputs = Mapping[str, NDArray[np.floating]]

# The least SQNR, in dB, at which a file is put in place. Float arithmetic gives more than 110 and float16 weights
# more than 60 where a checkpoint's own values fit float32; less means a fault, or values that do not. With int8
# weights it depends on the checkpoint: at 20 dB a tenth of the signal is noise, at 15 dB a sixth.
FLOORS = {
    Precision.NONE: 90.0,
    Precision.FLOAT16: 45.0,
    Precision.DYNAMIC: 20.0,
    Precision.INT8: 18.0,
    Precision.INT8_FULL: 15.0,
    Precision.INT16: 20.0,
}

# Outputs that hold an answer: the largest entry along this axis. The others are representations, or a single score.
_ANSWER_AXIS = {
    "logits": -1,
    "prediction_logits": -1,
    "seq_relationship_logits": -1,
    "start_logits": 0,
    "end_logits": 0,
}


class Runnable(Protocol):
    """A loaded model that takes int32 inputs (1, sequence)."""

    def run(self, inputs: Mapping[str, NDArray[np.integer]]) -> dict[str, NDArray[np.floating]]:
        """The outputs by name."""


@dataclass(frozen=True)
class Verification:
    """How near a file comes to the reference.

    Attributes:
        rows: how many rows of text were compared.
        sqnr: in dB, for each output, over all rows and all positions that are not padding.
        agreement: the share of rows, or of positions, with the same answer; None where the outputs hold none.
    """

    rows: int
    sqnr: Mapping[str, float]
    agreement: float | None

    @property
    def worst_sqnr(self) -> float:
        """The SQNR of the output that is furthest from the reference."""
        return min(self.sqnr.values())


def verify(model: Runnable, graph: Graph, checkpoint: "Checkpoint", rows: Sequence["Encoding"]) -> Verification:
    """Runs the file and the reference on the same rows.

    Args:
        model: the emitted file, loaded.
        graph: what was emitted, before its length was bound: it knows which outputs run along the sequence.
        checkpoint: the reference, which is run in float64.
        rows: tokenized rows, padded to the file's length.
    """
    reference = Reference(checkpoint)
    truth: dict[str, list[NDArray[np.floating]]] = {name: [] for name in graph.outputs}
    given: dict[str, list[NDArray[np.floating]]] = {name: [] for name in graph.outputs}
    for row in rows:
        length = sum(row.attention_mask)
        # Padding is masked, but for what the trigram shows the last token of it: one position is as good as all.
        expected = reference.run({name: np.array([getattr(row, name)[: length + 1]]) for name in INPUTS})
        got = model.run({name: np.array([getattr(row, name)]) for name in INPUTS})
        for name, tensor in graph.outputs.items():
            along_sequence = SEQUENCE in graph.tensors[tensor].shape
            truth[name].append(expected[name][0, :length] if along_sequence else expected[name][0])
            given[name].append(got[name][0, :length] if along_sequence else got[name][0])
    return Verification(
        rows=len(rows),
        sqnr={name: sqnr(_flat(truth[name]), _flat(given[name])) for name in truth},
        agreement=_agreement(truth, given),
    )


class Reference:
    """The reference model in float64, on numpy arrays."""

    def __init__(self, checkpoint: "Checkpoint") -> None:
        self._model = copy.deepcopy(checkpoint.model).double()
        self._choices = type(checkpoint.model).__name__ == "MobileBertForMultipleChoice"

    def run(self, inputs: Mapping[str, NDArray[np.integer]]) -> dict[str, NDArray[np.floating]]:
        """The outputs by name, for inputs (batch, sequence)."""
        import torch

        tensors = {name: torch.from_numpy(np.asarray(values, np.int64)) for name, values in inputs.items()}
        if self._choices:  # (batch, choices, sequence): each row is a question with one choice
            tensors = {name: tensor[:, None] for name, tensor in tensors.items()}
        with torch.no_grad():
            result = self._model(**tensors)
        values = {name: getattr(result, name) for name in vars(result)}
        return {name: value.numpy() for name, value in values.items() if isinstance(value, torch.Tensor)}


def _flat(values: Sequence[NDArray[np.floating]]) -> NDArray[np.floating]:
    return np.concatenate([value.ravel() for value in values])


def _agreement(
    truth: Mapping[str, Sequence[NDArray[np.floating]]], given: Mapping[str, Sequence[NDArray[np.floating]]]
) -> float | None:
    expected, got = [], []
    for name, axis in _ANSWER_AXIS.items():
        for value, candidate in zip(truth.get(name, ()), given.get(name, ()), strict=True):
            if value.shape[axis] > 1:
                expected.append(np.atleast_1d(value.argmax(axis)).ravel())
                got.append(np.atleast_1d(candidate.argmax(axis)).ravel())
    return agreement(np.concatenate(expected), np.concatenate(got)) if expected else None
