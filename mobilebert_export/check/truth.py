"""What the reference computes on each case, once for all models."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mobilebert_export.check.cases import Case
from mobilebert_export.check.verify import Reference
from mobilebert_export.graph.graph import Graph
from mobilebert_export.graph.graph import bound as bound_shape
from mobilebert_export.graph.operators import BATCH, SEQUENCE

if TYPE_CHECKING:
    from mobilebert_reference import Checkpoint

Outputs = dict[str, NDArray[np.float64]]


class Truth:
    """The reference's outputs in float64, without padded positions and without the batch."""

    def __init__(self, checkpoint: "Checkpoint", graph: Graph) -> None:
        self._reference = Reference(checkpoint)
        self._pad_id = checkpoint.tokenizer.pad_id
        self._shapes = {name: graph.tensors[tensor].shape for name, tensor in graph.outputs.items()}
        self._known: dict[tuple[object, ...], Outputs] = {}

    def of(self, case: Case) -> Outputs:
        """The outputs, by name."""
        # Padding is masked, but for what the trigram shows the last token of it: one position is as good as all.
        width = min(len(case.encoding) + 1, case.width)
        key = (case.encoding.input_ids, case.encoding.token_type_ids, width)
        if key not in self._known:
            given = self._reference.run(case.inputs(self._pad_id, width=width))
            self._known[key] = self.real(given, case)
        return self._known[key]

    def real(self, outputs: Mapping[str, NDArray[np.floating]], case: Case) -> Outputs:
        """Outputs of one row, at the positions that are not padding."""
        return {
            name: np.asarray(outputs[name][0, : len(case.encoding)] if SEQUENCE in shape else outputs[name][0], float)
            for name, shape in self._shapes.items()
        }

    def shapes(self, width: int) -> dict[str, tuple[int, ...]]:
        """The shape of each output for one row of this many tokens."""
        return {name: bound_shape(shape, {BATCH: 1, SEQUENCE: width}) for name, shape in self._shapes.items()}
