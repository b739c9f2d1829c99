"""The small graph between the model and the emitters: tensors, nodes and nothing else.

A graph is a value: every stage takes one and gives another. Its shapes may hold the symbols `BATCH` and `SEQUENCE`,
so one graph serves every length; `bind` puts numbers in their place. A tensor has the same name here and in every
file that is emitted.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np
from mobilebert_quantization import Affine
from numpy.typing import DTypeLike, NDArray

from mobilebert_export.errors import GraphError
from mobilebert_export.graph.basis import Basis
from mobilebert_export.graph.operators import BATCH, SEQUENCE, Dimension, Operator, Positions, Reshape, Shape

Freedom: TypeAlias = Literal["any", "affine", "scale", "positive", "product"]


@dataclass(frozen=True)
class Tensor:
    """A value that flows along the graph, or a constant.

    Attributes:
        name: the same in the graph and in every emitted file.
        shape: numbers, or symbols where a number is bound later.
        dtype: how it is stored.
        data: the elements of a constant; None for a value that is computed.
        quantization: how the stored integers stand for real numbers; None for a tensor of real numbers.
    """

    name: str
    shape: Shape
    dtype: np.dtype[np.generic]
    data: NDArray[np.generic] | None = field(default=None, repr=False)
    quantization: Affine | None = None

    @property
    def is_constant(self) -> bool:
        """Whether the elements are known before anything runs."""
        return self.data is not None


@dataclass(frozen=True)
class Node:
    """One device operation: an operator, and the names of the tensors it reads and gives."""

    operator: Operator
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class FreeStream:
    """Tensors that share a basis which was free to choose.

    Attributes:
        tensors: in order; the first one is where the basis is chosen.
        freedom: which bases leave the function as it is: `any` invertible matrix and offset; `affine`, a scale and an
            offset for each channel; a `scale`; only a `positive` one, which a ReLU lets pass; or that of a `product` of
            two tensors, queries and keys: a scale of which the second has the inverse, and an offset of the second.
            Where one tensor packs both, it is named twice.
        channels: of the basis.
    """

    tensors: tuple[str, ...]
    freedom: Freedom
    channels: int


@dataclass(frozen=True)
class Graph:
    """Nodes in the order in which they run.

    Attributes:
        tensors: every tensor, by name.
        nodes: each reads only inputs, constants and outputs of earlier nodes.
        inputs: names of the tensors that a caller feeds, in order.
        outputs: what a caller gets, in order: the name of each output, and of the tensor that holds it.
        bases: for a tensor that stands for one of the reference in other coordinates, these coordinates.
        streams: where a basis was free to choose, by the name of the tensor that starts in it.
    """

    tensors: Mapping[str, Tensor]
    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: Mapping[str, str]
    bases: Mapping[str, Basis] = field(default_factory=dict, repr=False)
    streams: Mapping[str, FreeStream] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        known = set(self.inputs) | {name for name, tensor in self.tensors.items() if tensor.is_constant}
        for node in self.nodes:
            if unknown := [name for name in node.inputs if name not in known]:
                raise GraphError(f"node {node.outputs[0]} reads {unknown[0]}, which nothing gives before it")
            if again := [name for name in node.outputs if name in known]:
                raise GraphError(f"tensor {again[0]} is given twice")
            known.update(node.outputs)
        if missing := [
            name for name in (*self.outputs.values(), *known) if name not in known or name not in self.tensors
        ]:
            raise GraphError(f"tensor {missing[0]} is named, but nothing gives it")

    def constants(self) -> Iterator[Tensor]:
        """The tensors whose elements are known, in the order of their names' first use."""
        return (tensor for tensor in self.tensors.values() if tensor.is_constant)

    def bind(self, *, batch: int, sequence: int) -> "Graph":
        """The same graph with numbers for its symbols; the constants are shared, not copied.

        Raises:
            GraphError: there are fewer position embeddings than `sequence`.
        """
        sizes = {BATCH: batch, SEQUENCE: sequence}
        tensors = {name: replace(tensor, shape=bound(tensor.shape, sizes)) for name, tensor in self.tensors.items()}
        nodes = []
        for node in self.nodes:
            if isinstance(node.operator, Positions):
                table = self.tensors[node.inputs[0]].data
                if table is None or len(table) < sequence:
                    raise GraphError(f"expected at least {sequence} position embeddings in {node.inputs[0]}")
                (name,) = node.outputs
                tensors[name] = replace(tensors[name], data=table[None, :sequence])
                del tensors[node.inputs[0]]
            elif isinstance(node.operator, Reshape):
                nodes.append(replace(node, operator=Reshape(bound(node.operator.shape, sizes))))
            else:
                nodes.append(node)
        return replace(self, tensors=tensors, nodes=tuple(nodes))


def bound(shape: Shape, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """The shape with each symbol replaced by its size: `("batch", 4)` with batch 1 is `(1, 4)`."""
    return tuple(sizes[dimension] if isinstance(dimension, str) else dimension for dimension in shape)


def constant(name: str, data: NDArray[np.generic], dtype: DTypeLike | None = None) -> Tensor:
    """A constant tensor, its elements cast to `dtype`."""
    array = np.ascontiguousarray(data, dtype=dtype)
    shape: tuple[Dimension, ...] = array.shape
    return Tensor(name, shape, array.dtype, array)
