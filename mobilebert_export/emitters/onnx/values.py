"""How the graph's tensors stand in the file: names, constants, and integers as unsigned bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from mobilebert_quantization import LARGEST_PAIR, Affine, largest_pairs
from numpy.typing import NDArray

from mobilebert_export.emitters.onnx.file import ModelFile
from mobilebert_export.errors import GraphError
from mobilebert_export.graph import operators as op
from mobilebert_export.graph.graph import Graph
from mobilebert_export.graph.operators import Shape

# What is added to a signed byte to make it an unsigned one.
_SHIFT = 128
# Widths of stored integers: of tables, weights and activations, and of the biases behind them.
_BYTE, _BIAS = 8, 32


@dataclass(frozen=True)
class Step:
    """An operator that takes the value of the step before it, and `inputs` behind that."""

    kind: str
    inputs: Sequence[str] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)


TO_REAL = Step("Cast", attributes={"to": onnx.TensorProto.FLOAT})


class Values:
    """The values of a file, by the names of the graph's tensors."""

    def __init__(self, graph: Graph, file: ModelFile) -> None:
        self._graph = graph
        self._file = file
        self._names = _names(graph)
        self._layouts = _layouts(graph)
        self._made: set[str] = set()
        trimmed = [node.outputs[0] for node in graph.nodes if isinstance(node.operator, op.Trim)]
        self._read = (*trimmed, *graph.inputs)

    def name(self, tensor: str) -> str:
        """What a tensor is called in the file."""
        return self._names[tensor]

    def shape(self, tensor: str) -> Shape:
        """The graph's shape of a tensor."""
        return self._graph.tensors[tensor].shape

    def parameters(self, tensor: str) -> Affine | None:
        """How a tensor's integers stand for real numbers."""
        return self._graph.tensors[tensor].quantization

    def describe(self, tensor: str) -> None:
        """Notes the shape and the type of a computed tensor."""
        shape, dtype = self.shape(tensor), self._graph.tensors[tensor].dtype
        if self.parameters(tensor) is not None:
            dtype = np.dtype(np.uint8)
        laid = tuple(shape[axis] for axis in self._layouts.get(tensor, range(len(shape))))
        self._file.value(self.name(tensor), laid, dtype)

    def stored(self, tensor: str) -> str:
        """The value of a tensor as it is stored; a constant is added when it is first used."""
        if not self._graph.tensors[tensor].is_constant:
            return self.name(tensor)
        data = self.data(tensor)
        unsigned = data.dtype == np.int8 and not self._stays_signed(tensor)
        return self._file.constant(self.name(tensor), _unsigned(data) if unsigned else data)

    def data(self, tensor: str) -> NDArray[np.generic]:
        """A constant's elements, its axes in the order in which the operator that reads it has them.

        Raises:
            GraphError: they are of a type that is not emitted.
        """
        data, parameters = self._graph.tensors[tensor].data, self.parameters(tensor)
        stored = f"quantized int{parameters.bits}" if parameters else None
        if data is None or (stored or str(data.dtype)) not in _STORED:
            raise GraphError(f"expected one of {', '.join(_STORED)} of {tensor}, got {stored or data}")
        return data.transpose(self._layouts[tensor]) if tensor in self._layouts else data

    def real(self, tensor: str, arranged: str | None = None) -> str:
        """A tensor in real numbers, or what is `arranged` of it: a value of its stored elements in another order."""
        value = arranged or self.stored(tensor)
        for step in self.restoring(tensor):
            value = self.once(step.kind, [value, *step.inputs], f"{value}.restored", **step.attributes)
        return value

    def restoring(self, tensor: str) -> list[Step]:
        """From a tensor as it is stored to real numbers."""
        stored = self._graph.tensors[tensor]
        if stored.quantization is not None:
            axis = stored.quantization.axis
            return [Step("DequantizeLinear", self.units(tensor), {} if axis is None else {"axis": self._axis(tensor)})]
        return [TO_REAL] if stored.dtype == np.float16 else []

    def rounding(self, tensor: str) -> list[Step]:
        """From real numbers to a tensor as it is stored."""
        return [] if self.parameters(tensor) is None else [Step("QuantizeLinear", self.units(tensor))]

    def units(self, tensor: str) -> list[str]:
        """The scale of a quantized tensor and, but for a bias, whose is 0, the zero point."""
        parameters = self.parameters(tensor)
        if parameters is None:
            raise GraphError(f"expected a quantized tensor, got {tensor}")
        prefix = f"{self.name(tensor)}.quantization"
        single = parameters.axis is None
        scale = self._file.constant(f"{prefix}.scale", parameters.scale[0] if single else parameters.scale)
        if parameters.bits == _BIAS:
            return [scale]
        if parameters.bits != _BYTE:
            raise GraphError(f"expected integers of 8 bits of {tensor}, got {parameters.bits}")
        zero_point = parameters.zero_point[0] if single else parameters.zero_point
        stored = np.asarray(zero_point, np.int8) if self._stays_signed(tensor) else _unsigned(zero_point)
        return [scale, self._file.constant(f"{prefix}.zero_point", stored)]

    def once(self, kind: str, inputs: Sequence[str], *outputs: str, **attributes: Any) -> str:  # noqa: ANN401
        """The first value of a node that several others may need; it is added when it is first used."""
        if outputs[0] not in self._made:
            self._file.node(kind, inputs, *outputs, **attributes)
            self._made.add(outputs[0])
        return outputs[0]

    def dynamically_rounded(self, tensor: str) -> tuple[str, str, str]:
        """A tensor of real numbers in bytes of the range that it turns out to have; their scale, and zero point."""
        name = self.stored(tensor)
        outputs = (f"{name}.rounded", f"{name}.rounded.scale", f"{name}.rounded.zero_point")
        self.once("DynamicQuantizeLinear", [name], *outputs)
        return outputs

    def index(self, ids: str) -> str:
        """Ids for a Gather. ONNX counts negative ones from the table's end; as unsigned numbers they are beyond it."""
        unsigned = self.once("Cast", [ids], f"{ids}.unsigned", to=onnx.TensorProto.UINT32)
        return self.once("Cast", [unsigned], f"{ids}.index", to=onnx.TensorProto.INT64)

    def integers(self, *numbers: int) -> str:
        """A constant vector of int64, shared by all that need the same one."""
        return self._file.constant(f"integers.{'_'.join(map(str, numbers))}", np.array(numbers, np.int64))

    def length(self, ids: str) -> str:
        """How many positions ids (batch, positions) have, as a vector of one number."""
        return self.once("Slice", [self._sizes(ids), self.integers(1), self.integers(2)], f"{ids}.length")

    def sizes(self, shape: Shape, of: Shape = ()) -> str:
        """A shape for Reshape, of a value of shape `of`: a symbol in the same place is copied, one elsewhere follows.

        Raises:
            GraphError: more than that is unknown, and it does not begin with the inputs' own shape.
        """
        numbers = [
            size if isinstance(size, int) else 0 if of[i : i + 1] == (size,) else -1 for i, size in enumerate(shape)
        ]
        if numbers.count(-1) <= 1:
            return self.integers(*numbers)
        known = [name for name in self._read if self.shape(name) == shape[:2]]
        if not known or numbers.count(-1) > 2:  # noqa: PLR2004 - these two
            raise GraphError(f"expected a shape that follows from {of} and that of the inputs, got {shape}")
        parts = [self._sizes(known[0]), self.integers(*numbers[2:])]
        return self.once("Concat", parts, f"{'_'.join(map(str, shape))}.sizes", axis=0)

    def _sizes(self, ids: str) -> str:
        return self.once("Shape", [ids], f"{ids}.shape")

    def _stays_signed(self, tensor: str) -> bool:
        """Whether a tensor is a Linear's weight (in, out), of which two neighbours of a sign never pass the limit."""
        if self._layouts.get(tensor) != _LINEAR:
            return False
        return bool(np.all(largest_pairs(self.data(tensor).T) <= LARGEST_PAIR))

    def _axis(self, tensor: str) -> int:
        """The axis along which the scales of a tensor differ, where it now lies."""
        parameters = self.parameters(tensor)
        axis = parameters.axis if parameters and parameters.axis is not None else 0
        return self._layouts[tensor].index(axis) if tensor in self._layouts else axis


_STORED = ("float32", "float16", f"quantized int{_BYTE}", f"quantized int{_BIAS}")

# A weight (out, in) as (in, out), and (out, taps, in) as (out, in, taps).
_LINEAR, _CONVOLUTION = (1, 0), (0, 2, 1)


def _layouts(graph: Graph) -> dict[str, tuple[int, ...]]:
    """In which order the axes of weights lie, by the names of the constants that hold them."""
    layouts: dict[str, tuple[int, ...]] = {}
    for node in graph.nodes:
        if isinstance(node.operator, op.Linear | op.Convolution):
            layouts[node.inputs[1]] = _LINEAR if isinstance(node.operator, op.Linear) else _CONVOLUTION
    for node in graph.nodes:
        if isinstance(node.operator, op.Dequantize) and node.outputs[0] in layouts:
            layouts[node.inputs[0]] = layouts[node.outputs[0]]
    return layouts


def _names(graph: Graph) -> dict[str, str]:
    """Outputs are called as the head names them, every other tensor as in the graph, unless an output took its name."""
    outputs = {tensor: name for name, tensor in graph.outputs.items()}
    if len(outputs) < len(graph.outputs):
        raise GraphError(f"expected outputs of a tensor each, got {dict(graph.outputs)}")
    taken = set(graph.outputs)
    return {name: outputs.get(name, f"{name}.stored" if name in taken else name) for name in graph.tensors}


def _unsigned(stored: NDArray[np.generic]) -> NDArray[np.uint8]:
    return np.asarray(stored.astype(np.int64) + _SHIFT, np.uint8)
