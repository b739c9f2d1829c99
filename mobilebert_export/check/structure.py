"""What a `.tflite` file shows before it runs: its precision, constants that are not finite, understated versions.

Read by `mobilebert_export.inspection`'s reader, which trusts nothing of the file.
"""

import mmap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from ai_edge_litert.schema_py_generated import BuiltinOperator

from mobilebert_export.emitters.tflite.versions import Signature, version_of
from mobilebert_export.errors import ModelFileError
from mobilebert_export.inspection import schema
from mobilebert_export.inspection.flatbuffer import (
    FLOAT32,
    INT8,
    INT32,
    UINT8,
    UINT32,
    Flatbuffer,
    FlatbufferError,
    Table,
)

Item = TypeVar("Item")

_REAL: Final[dict[str, np.dtype[Any]]] = {
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype("<u2"),  # the upper half of a float32
    "float32": np.dtype("<f4"),
    "float64": np.dtype("<f8"),
}
_KNOWN_TYPES = {name: np.dtype(name) for name in ("float32", "float16", "int64", "int32", "int16", "int8")}
_PRODUCTS = frozenset({BuiltinOperator.FULLY_CONNECTED, BuiltinOperator.CONV_2D, BuiltinOperator.DEPTHWISE_CONV_2D})
# Operators that run other subgraphs.
_CALLS = frozenset(
    {
        BuiltinOperator.CALL,
        BuiltinOperator.CALL_ONCE,
        BuiltinOperator.IF,
        BuiltinOperator.STABLEHLO_CASE,
        BuiltinOperator.STABLEHLO_COMPOSITE,
        BuiltinOperator.STABLEHLO_WHILE,
        BuiltinOperator.WHILE,
    }
)
# Of the inputs, the one whose type the version depends on, where it is not the first: what is split follows its axis.
_DATA = {BuiltinOperator.SPLIT: 1}
# The first version of a MUL of int8 that does not scale its result up, which the file's structure does not show.
_PRODUCT_OF_BYTES: Final = 2
_KEEP_NUM_DIMS: Final = 2  # fields of FullyConnectedOptions in schema.fbs
_BUILTIN_OPTIONS: Final = 4  # field of Operator


@dataclass(frozen=True)
class Structure:
    """What the file itself shows.

    Attributes:
        precision: how its numbers are stored and computed, by the name that `--quantize` has for it.
        findings: what is wrong with it, one line each.
        remarks: what of it cannot be looked at, one line each.
    """

    precision: str
    findings: tuple[str, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class _Tensor:
    name: str
    dtype: str
    elements: int
    buffer: tuple[int, int]
    per_channel: bool

    @property
    def is_constant(self) -> bool:
        return self.buffer[1] > 0


@dataclass(frozen=True)
class _Node:
    code: int
    version: int
    inputs: tuple[_Tensor | None, ...]
    outputs: tuple[_Tensor | None, ...]
    keeps_dimensions: bool


def read_structure(path: Path) -> Structure:
    """Reads a file.

    Raises:
        ModelFileError: it is no sound `.tflite` file.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            tensors, nodes = _contents(Flatbuffer(data, schema.IDENTIFIER))
            findings = (*_not_finite(data, tensors), *_understated(nodes))
            return Structure(_precision(tensors, nodes), findings, tuple(_hidden(nodes)))
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{path}: no sound .tflite file: {error}") from error


def _contents(file: Flatbuffer) -> tuple[list[_Tensor], list[_Node]]:
    model = file.root()
    extents = [buffer.vector(schema.Buffer.DATA, UINT8.size) for buffer in model.tables(schema.Model.BUFFERS)]
    codes = [
        (
            max(
                table.integer(schema.OperatorCode.DEPRECATED_BUILTIN_CODE, INT8),
                table.integer(schema.OperatorCode.BUILTIN_CODE, INT32),
            ),
            table.integer(schema.OperatorCode.VERSION, INT32, default=1),
        )
        for table in model.tables(schema.Model.OPERATOR_CODES)
    ]
    tensors: list[_Tensor] = []
    nodes: list[_Node] = []
    for subgraph in model.tables(schema.Model.SUBGRAPHS):
        own = [_tensor(table, extents) for table in subgraph.tables(schema.SubGraph.TENSORS)]
        tensors += own
        for table in subgraph.tables(schema.SubGraph.OPERATORS):
            code, version = _at(codes, table.integer(schema.Operator.OPCODE_INDEX, UINT32))
            inputs, outputs = (
                tuple(None if index == -1 else _at(own, index) for index in table.integers(field, INT32))
                for field in (schema.Operator.INPUTS, schema.Operator.OUTPUTS)
            )
            options = table.table(_BUILTIN_OPTIONS) if code == BuiltinOperator.FULLY_CONNECTED else None
            keeps = options is not None and bool(options.integer(_KEEP_NUM_DIMS, UINT8))
            nodes.append(_Node(code, version, inputs, outputs, keeps))
    return tensors, nodes


def _tensor(table: Table, extents: Sequence[tuple[int, int]]) -> _Tensor:
    code = table.integer(schema.Tensor.TYPE, INT8)
    parameters = table.table(schema.Tensor.QUANTIZATION)
    scales = 0 if parameters is None else parameters.vector(schema.QuantizationParameters.SCALE, FLOAT32.size)[1]
    shape = table.integers(schema.Tensor.SHAPE, INT32)
    buffer = _at(extents, table.integer(schema.Tensor.BUFFER, UINT32))
    elements = int(np.prod(shape, dtype=np.float64)) if all(size >= 0 for size in shape) else 0
    return _Tensor(table.text(schema.Tensor.NAME), schema.TYPES.get(code, f"type {code}"), elements, buffer, scales > 1)


def _precision(tensors: Sequence[_Tensor], nodes: Sequence[_Node]) -> str:
    """By the type that holds most of the weights that anything reads, and the type of what is multiplied by them."""
    weights: Counter[str] = Counter()
    for tensor in dict.fromkeys(tensor for node in nodes for tensor in node.inputs if tensor is not None):
        if tensor.is_constant:
            weights[tensor.dtype] += tensor.elements
    stored = weights.most_common(1)[0][0] if weights else "float32"
    if stored not in {"int8", "uint8", "int4", "int16"}:
        return "float16" if stored == "float16" else "none"
    activations = Counter(
        values.dtype
        for node in nodes
        if node.code in _PRODUCTS and (values := node.inputs[0] if node.inputs else None) is not None
    )
    kind = activations.most_common(1)[0][0] if activations else "float32"
    if kind in {"int8", "uint8"}:
        return "int8" if any(tensor.dtype in _REAL for tensor in tensors) else "int8-full"
    return "int16" if kind == "int16" else "dynamic"


def _not_finite(data: mmap.mmap, tensors: Sequence[_Tensor]) -> Iterator[str]:
    seen = set()
    for tensor in tensors:
        if tensor.dtype in _REAL and tensor.is_constant and tensor.buffer not in seen:
            seen.add(tensor.buffer)
            start, size = tensor.buffer
            dtype = _REAL[tensor.dtype]
            bad = _count_not_finite(data, start, size, dtype)
            if bad:
                yield f"constant {tensor.name[:80]} holds {bad} value(s) that are not finite"


def _count_not_finite(data: mmap.mmap, start: int, size: int, dtype: np.dtype[Any]) -> int:
    # Copied: a view would keep the file open for ever.
    values = np.frombuffer(data[start : start + size - size % dtype.itemsize], dtype)
    if dtype == _REAL["bfloat16"]:
        values = (values.astype("<u4") << 16).view("<f4")
    return int(values.size - np.count_nonzero(np.isfinite(values)))


def _hidden(nodes: Sequence[_Node]) -> Iterator[str]:
    counts = Counter(schema.OPERATORS[node.code] for node in nodes if node.code in _CALLS)
    for name, count in sorted(counts.items()):
        yield f"what is computed within {count} {name} cannot be looked at"


def _understated(nodes: Sequence[_Node]) -> Iterator[str]:
    """Versions below what the operator's types need: an older runtime would run it, and answer garbage."""
    counts: Counter[tuple[int, int, int]] = Counter()
    for node in nodes:
        needed = _needed(node)
        if node.version < needed:
            counts[node.code, node.version, needed] += 1
    for (code, version, needed), count in sorted(counts.items()):
        name = schema.OPERATORS.get(code, f"operator {code}")
        yield f"{count} {name} stamped version {version}, of a kind that only runtimes of version {needed} compute"


def _needed(node: _Node) -> int:
    """The least version of an operator; 1 where its rule is not known."""
    present = [tensor for tensor in node.inputs if tensor is not None]
    if not present or any(tensor.dtype not in _KNOWN_TYPES for tensor in present):
        return 1
    data = present[min(_DATA.get(node.code, 0), len(present) - 1)]
    product = node.code in _PRODUCTS or node.code == BuiltinOperator.EMBEDDING_LOOKUP
    weight = present[1] if product and len(present) > 1 else None
    per_channel = (weight or data).per_channel
    stored = _KNOWN_TYPES[weight.dtype] if weight is not None and node.code in _PRODUCTS else None
    result = _KNOWN_TYPES.get(node.outputs[0].dtype) if node.outputs and node.outputs[0] is not None else None
    needed = version_of(Signature(node.code, _KNOWN_TYPES[data.dtype], stored, per_channel, result))
    # Where our own files are stamped for the worst case, others may be stamped for theirs.
    if node.code == BuiltinOperator.FULLY_CONNECTED and not node.keeps_dimensions and not per_channel:
        return 1
    return min(needed, _PRODUCT_OF_BYTES) if node.code == BuiltinOperator.MUL and data.dtype == "int8" else needed


def _at(items: Sequence[Item], index: int) -> Item:
    if not 0 <= index < len(items):
        raise FlatbufferError(f"expected the index of one of {len(items)} parts, got {index}")
    return items[index]
