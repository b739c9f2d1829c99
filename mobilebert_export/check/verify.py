"""Compares an emitted file with the reference, before the file is put in place."""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from mobilebert_export.check.metrics import Energies
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


# [CLS] [SEP], and a position that is padding.
_EMPTY_ROW = 3


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


def verify(model: Runnable, graph: Graph, checkpoint: "Checkpoint", rows: Iterable["Encoding"]) -> Verification:
    """Runs the file and the reference on the same rows.

    Args:
        model: the emitted file, loaded.
        graph: what was emitted, before its length was bound: it knows which outputs run along the sequence.
        checkpoint: the reference, which is run in float64.
        rows: tokenized rows, padded to the file's length; memory does not grow with them.
    """
    reference = Reference(checkpoint)
    energies = dict.fromkeys(graph.outputs, Energies())
    count = same = answers = 0
    for row in rows:
        count += 1
        length = sum(row.attention_mask)
        # Padding is masked, but for what the trigram shows the last token of it: one position is as good as all.
        expected = reference.run({name: np.array([getattr(row, name)[: length + 1]]) for name in INPUTS})
        got = model.run({name: np.array([getattr(row, name)]) for name in INPUTS})
        for name, tensor in graph.outputs.items():
            kept = slice(length) if SEQUENCE in graph.tensors[tensor].shape else slice(None)
            truth, given = expected[name][0, kept], got[name][0, kept]
            energies[name] += Energies.of(truth, given)
            if (answer := _answer(name, truth)) is not None:
                same += int(np.sum(answer == _answer(name, given)))
                answers += answer.size
    return Verification(
        rows=count,
        sqnr={name: each.sqnr for name, each in energies.items()},
        agreement=same / answers if answers else None,
    )


def gives_answers(checkpoint: "Checkpoint") -> bool:
    """Whether the model chooses between labels, positions or tokens: others give scores or representations."""
    row = checkpoint.tokenizer.encode("", max_length=_EMPTY_ROW)
    outputs = Reference(checkpoint).run({name: np.array([getattr(row, name)]) for name in INPUTS})
    return any(_answer(name, values[0]) is not None for name, values in outputs.items())


def _answer(name: str, values: NDArray[np.floating]) -> NDArray[np.integer] | None:
    """The best of the choices that one row's output holds; None where it holds none."""
    axis = _ANSWER_AXIS.get(name)
    return None if axis is None or values.shape[axis] == 1 else np.atleast_1d(values.argmax(axis))


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
