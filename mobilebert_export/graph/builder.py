"""Writes a graph one node at a time and infers every shape."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import DTypeLike, NDArray
from typing_extensions import assert_never

from mobilebert_export.errors import GraphError, UsageError
from mobilebert_export.graph import operators as op
from mobilebert_export.graph.basis import Basis
from mobilebert_export.graph.graph import Freedom, FreeStream, Graph, Node, Tensor, constant
from mobilebert_export.graph.operators import Dimension, Operator, Shape


class GraphBuilder:
    """Collects tensors and nodes; `finish` gives the graph.

    Real-valued constants are stored as `dtype`, whatever they were computed in.
    """

    def __init__(self, dtype: DTypeLike) -> None:
        self.dtype = np.dtype(dtype)
        self._tensors: dict[str, Tensor] = {}
        self._nodes: list[Node] = []
        self._inputs: list[str] = []
        self._bases: dict[str, Basis] = {}
        self._streams: dict[str, FreeStream] = {}

    def input(self, name: str, shape: Shape) -> str:
        """An int32 tensor that the caller feeds."""
        self._inputs.append(name)
        return self._add(Tensor(name, shape, np.dtype(np.int32)))

    def constant(self, name: str, values: NDArray[np.floating]) -> str:
        """A constant of real numbers.

        Raises:
            UsageError: a value is not finite, or not once it is stored: the checkpoint's weights are out of all bounds.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            tensor = constant(name, values, self.dtype)
        if not np.all(np.isfinite(np.asarray(tensor.data, self.dtype))):
            raise UsageError(f"expected weights that fit {self.dtype}, got some that overflow in {name}")
        return self._add(tensor)

    def node(self, operator: Operator, *inputs: str, name: str) -> str:
        """A node with one output, called `name`."""
        (output,) = self.node_with(operator, *inputs, names=(name,))
        return output

    def node_with(self, operator: Operator, *inputs: str, names: tuple[str, ...]) -> tuple[str, ...]:
        """A node with one output for each of `names`."""
        tensors = [self._tensors[name] for name in inputs]
        shape = output_shape(operator, [tensor.shape for tensor in tensors], parts=len(names))
        for name in names:
            self._add(Tensor(name, shape, self.dtype))
        self._nodes.append(Node(operator, inputs, names))
        return names

    def shape(self, name: str) -> Shape:
        """The shape of a tensor that was added before."""
        return self._tensors[name].shape

    def keep_basis(self, name: str, basis: Basis, *, start: str | None = None) -> None:
        """Notes in which coordinates a tensor stands for its namesake of the reference, and whose stream it goes on."""
        self._bases[name] = basis
        if start is not None:
            stream = self._streams[start]
            self._streams[start] = replace(stream, tensors=(*stream.tensors, name))

    def start_stream(self, name: str, basis: Basis, freedom: Freedom) -> None:
        """Notes that the basis of a tensor was free to choose."""
        self._streams[name] = FreeStream((), freedom, len(basis.offset))
        self.keep_basis(name, basis, start=name)

    def start_product(self, name: str, factors: tuple[str, str]) -> None:
        """Notes that two tensors share a scale which was free to choose, by the name that it is chosen under."""
        left, right = factors
        width = self._tensors[left].shape[-1]
        if not isinstance(width, int):
            raise GraphError(f"expected a number of channels of {left}, got {width}")
        self._streams[name] = FreeStream(factors, "product", width // 2 if left == right else width)

    def finish(self, outputs: Mapping[str, str]) -> Graph:
        """The graph with these outputs."""
        return Graph(self._tensors, tuple(self._nodes), tuple(self._inputs), outputs, self._bases, self._streams)

    def _add(self, tensor: Tensor) -> str:
        if tensor.name in self._tensors:
            raise GraphError(f"expected a new name for a tensor, got {tensor.name} again")
        self._tensors[tensor.name] = tensor
        return tensor.name


def output_shape(operator: Operator, shapes: list[Shape], *, parts: int = 1) -> Shape:
    """The shape of an operator's output (of each of its `parts` for Split).

    Raises:
        GraphError: the inputs do not fit the operator.
    """
    first = shapes[0]
    match operator:
        case op.Gather():
            return (*shapes[1], *first[1:])
        case op.Trim():
            return (first[0], op.TOKENS)
        case op.Positions():
            return (1, shapes[1][1], *first[1:])
        case op.Linear():
            _expect(first[-1] == shapes[1][1], operator, shapes)
            return (*first[:-1], shapes[1][0])
        case op.Convolution():
            _expect(first[-1] == shapes[1][2], operator, shapes)
            return (*first[:-1], shapes[1][0])
        case op.Add() | op.Multiply() | op.Subtract():
            return _broadcast(operator, shapes)
        case op.MatMul(transpose_right=transposed):
            right = shapes[1]
            inner, outer = (right[-1], right[-2]) if transposed else (right[-2], right[-1])
            _expect(first[-1] == inner and first[:-2] == right[:-2], operator, shapes)
            return (*first[:-1], outer)
        case op.Reshape(shape=shape):
            _expect(_elements(first) == _elements(shape), operator, shapes)
            return shape
        case op.Transpose(permutation=permutation):
            _expect(sorted(permutation) == list(range(len(first))), operator, shapes)
            return tuple(first[axis] for axis in permutation)
        case op.Split(axis=axis):
            size = first[axis]
            if not isinstance(size, int) or size % parts:
                raise GraphError(f"expected an axis that {parts} divides, got {size}")
            return _with_axis(first, axis, size // parts)
        case op.First(axis=axis):
            return _with_axis(first, axis, 1)
        case op.Mean():
            return _with_axis(first, -1, 1)
        case op.Softmax() | op.Activation() | op.LayerNorm() | op.Quantize() | op.Dequantize():
            return first
        case _:
            assert_never(operator)


def _with_axis(shape: Shape, axis: int, size: Dimension) -> Shape:
    resized = list(shape)
    resized[axis] = size
    return tuple(resized)


def _broadcast(operator: Operator, shapes: list[Shape]) -> Shape:
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    result: list[Dimension] = []
    for sizes in zip(*padded, strict=True):
        wide = {size for size in sizes if size != 1}
        _expect(len(wide) <= 1, operator, shapes)
        result.append(wide.pop() if wide else 1)
    return tuple(result)


def _elements(shape: Shape) -> tuple[Mapping[str, int], int]:
    """Symbols with their powers, and the product of the numbers: equal for shapes of the same elements."""
    symbols: dict[str, int] = {}
    product = 1
    for size in shape:
        if isinstance(size, str):
            symbols[size] = symbols.get(size, 0) + 1
        else:
            product *= size
    return symbols, product


def _expect(fits: bool, operator: Operator, shapes: list[Shape]) -> None:
    if not fits:
        raise GraphError(f"{type(operator).__name__} cannot take shapes {', '.join(map(str, shapes))}")
