"""Reads a `.tflite` file into a `ModelSummary`, in time that depends on its structure and not on its weights.

The rules are those of TFLite's schema.fbs, version 3, and of the runtime's own reader (interpreter_builder.cc).
"""

import mmap
import stat
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TypeVar

from mobilebert_export.errors import ModelFileError
from mobilebert_export.inspection import schema
from mobilebert_export.inspection.flatbuffer import (
    FLOAT32,
    INT8,
    INT32,
    INT64,
    UINT8,
    UINT32,
    UINT64,
    Flatbuffer,
    FlatbufferError,
    Table,
)
from mobilebert_export.inspection.summary import (
    Constants,
    Granularity,
    ModelSummary,
    OperatorCount,
    Quantization,
    QuantizedTensors,
    Signature,
    Value,
)

Item = TypeVar("Item")


def read(path: Path) -> ModelSummary:
    """What a `.tflite` file holds. Nothing is run, and the contents of its weights are not read.

    Raises:
        ModelFileError: there is no such file, or it is no sound `.tflite` file.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ModelFileError(f"{path}: expected a .tflite file, got a {_kind(status.st_mode)}")
        if status.st_size == 0:
            raise ModelFileError(f"{path}: expected a .tflite file, got an empty one; export it again")
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return summarize(data)
    except OSError as error:
        raise ModelFileError(f"{path}: expected a readable .tflite file, got {error.strerror}") from error
    except FlatbufferError as error:
        raise ModelFileError(f"{path}: no sound .tflite file: {error}; copy or export it again") from error


def summarize(data: bytes | mmap.mmap) -> ModelSummary:
    """What the bytes of a `.tflite` file hold.

    Raises:
        FlatbufferError: they are no sound `.tflite` file.
    """
    file = Flatbuffer(data, schema.IDENTIFIER)
    model = file.root()
    subgraphs = [
        _Subgraph(table, table.tables(schema.SubGraph.TENSORS)) for table in model.tables(schema.Model.SUBGRAPHS)
    ]
    main = _at(subgraphs, 0, "subgraph")
    extents = [_extent(file, buffer) for buffer in model.tables(schema.Model.BUFFERS)]
    operators = _operators(model, subgraphs)
    constants = _constants(subgraphs, extents)
    overhead = file.size - sum(kind.bytes for kind in constants)
    if overhead < 0:
        raise FlatbufferError(f"expected constants of at most {file.size} bytes, got {file.size - overhead}")
    return ModelSummary(
        size=file.size,
        description=model.text(schema.Model.DESCRIPTION),
        schema_version=model.integer(schema.Model.VERSION, UINT32),
        inputs=main.values(schema.SubGraph.INPUTS),
        outputs=main.values(schema.SubGraph.OUTPUTS),
        signatures=tuple(_signature(table, subgraphs) for table in model.tables(schema.Model.SIGNATURE_DEFS)),
        subgraphs=len(subgraphs),
        nodes=sum(operator.count for operator in operators),
        operators=operators,
        quantized=_quantized(subgraphs),
        constants=constants,
        overhead=overhead,
        metadata=tuple(_metadata(table, extents) for table in model.tables(schema.Model.METADATA)),
    )


@dataclass(frozen=True)
class _Subgraph:
    """A subgraph, with the tensors that its indices mean."""

    table: Table
    tensors: Sequence[Table]

    def values(self, field: int) -> tuple[Value, ...]:
        """The inputs or outputs, by the names of their tensors."""
        tensors = (_at(self.tensors, index, "tensor") for index in self.table.integers(field, INT32))
        return tuple(_value(tensor, tensor.text(schema.Tensor.NAME)) for tensor in tensors)

    def named_values(self, entries: Iterable[Table]) -> tuple[Value, ...]:
        """The inputs or outputs of a signature, by the names it gives them."""
        return tuple(
            _value(
                _at(self.tensors, entry.integer(schema.TensorMap.TENSOR_INDEX, UINT32), "tensor"),
                entry.text(schema.TensorMap.NAME),
            )
            for entry in entries
        )


def _signature(table: Table, subgraphs: Sequence[_Subgraph]) -> Signature:
    subgraph = _at(subgraphs, table.integer(schema.SignatureDef.SUBGRAPH_INDEX, UINT32), "subgraph")
    return Signature(
        key=table.text(schema.SignatureDef.SIGNATURE_KEY),
        inputs=subgraph.named_values(table.tables(schema.SignatureDef.INPUTS)),
        outputs=subgraph.named_values(table.tables(schema.SignatureDef.OUTPUTS)),
    )


def _value(tensor: Table, name: str) -> Value:
    # The signature of a shape is there when some sizes are set at run time; it has -1 for them.
    shape = tensor.integers(schema.Tensor.SHAPE_SIGNATURE, INT32) or tensor.integers(schema.Tensor.SHAPE, INT32)
    return Value(name, _dtype(tensor), tuple(shape), _quantization(tensor))


def _dtype(tensor: Table) -> str:
    code = tensor.integer(schema.Tensor.TYPE, INT8)
    return schema.TYPES.get(code, f"type {code}")


def _quantization(tensor: Table) -> Quantization | None:
    parameters = tensor.table(schema.Tensor.QUANTIZATION)
    if parameters is None:
        return None
    if parameters.integer(schema.QuantizationParameters.DETAILS_TYPE, UINT8) == schema.BLOCKWISE_QUANTIZATION:
        return Quantization("per block", None, None)
    _, scales = parameters.vector(schema.QuantizationParameters.SCALE, FLOAT32.size)
    _, zero_points = parameters.vector(schema.QuantizationParameters.ZERO_POINT, INT64.size)
    if scales == 0:  # no quantization: converters leave an empty table, or one with the range they saw
        return None
    if zero_points != scales:
        raise FlatbufferError(f"expected as many zero points as scales, got {zero_points} and {scales}")
    if scales > 1:
        return Quantization("per channel", None, None)
    (scale,) = parameters.floats(schema.QuantizationParameters.SCALE)
    (zero_point,) = parameters.integers(schema.QuantizationParameters.ZERO_POINT, INT64)
    if not isfinite(scale):
        raise FlatbufferError(f"expected finite scales, got {scale}")
    return Quantization("per tensor", scale, zero_point)


def _quantized(subgraphs: Sequence[_Subgraph]) -> tuple[QuantizedTensors, ...]:
    counts: Counter[tuple[str, Granularity]] = Counter()
    for subgraph in subgraphs:
        for tensor in subgraph.tensors:
            quantization = _quantization(tensor)
            if quantization is not None:
                counts[_dtype(tensor), quantization.granularity] += 1
    return tuple(QuantizedTensors(*kind, count) for kind, count in _largest_first(counts))


def _operators(model: Table, subgraphs: Sequence[_Subgraph]) -> tuple[OperatorCount, ...]:
    codes = [_operator_code(table) for table in model.tables(schema.Model.OPERATOR_CODES)]
    counts: Counter[tuple[str, int]] = Counter()
    for subgraph in subgraphs:
        for node in subgraph.table.tables(schema.SubGraph.OPERATORS):
            counts[_at(codes, node.integer(schema.Operator.OPCODE_INDEX, UINT32), "operator code")] += 1
            # -1 stands for an optional input that is left out.
            for index in (
                *node.integers(schema.Operator.INPUTS, INT32),
                *node.integers(schema.Operator.OUTPUTS, INT32),
            ):
                if index != -1:
                    _at(subgraph.tensors, index, "tensor")
    return tuple(OperatorCount(*operator, count) for operator, count in _largest_first(counts))


def _operator_code(table: Table) -> tuple[str, int]:
    """The name and the version of an operator."""
    # The first schema had one signed byte for the code; a file has the larger of the two in use (schema_utils.cc).
    code = max(
        table.integer(schema.OperatorCode.DEPRECATED_BUILTIN_CODE, INT8),
        table.integer(schema.OperatorCode.BUILTIN_CODE, INT32),
    )
    version = table.integer(schema.OperatorCode.VERSION, INT32, default=1)
    custom = table.text(schema.OperatorCode.CUSTOM_CODE) if code == schema.CUSTOM else ""
    return custom or schema.OPERATORS.get(code, f"operator {code}"), version


def _extent(file: Flatbuffer, buffer: Table) -> tuple[int, int]:
    """Where the contents of a buffer start, and how many bytes they are."""
    start, size = buffer.vector(schema.Buffer.DATA, UINT8.size)
    offset = buffer.integer(schema.Buffer.OFFSET, UINT64)
    if size or offset <= 1:
        return start, size
    # In a model above 2 GB the contents lie behind the flatbuffer, where the offset, if above 1, says.
    size = buffer.integer(schema.Buffer.SIZE, UINT64)
    file.check(offset, size)
    return offset, size


def _constants(subgraphs: Sequence[_Subgraph], extents: Sequence[tuple[int, int]]) -> tuple[Constants, ...]:
    tensors: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    seen = set()
    for subgraph in subgraphs:
        for tensor in subgraph.tensors:
            extent = _at(extents, tensor.integer(schema.Tensor.BUFFER, UINT32), "buffer")
            _, size = extent
            if size:
                dtype = _dtype(tensor)
                tensors[dtype] += 1
                sizes[dtype] += 0 if extent in seen else size
                seen.add(extent)
    return tuple(Constants(dtype, tensors[dtype], size) for dtype, size in _largest_first(sizes))


def _metadata(table: Table, extents: Sequence[tuple[int, int]]) -> str:
    _at(extents, table.integer(schema.Metadata.BUFFER, UINT32), "buffer")
    return table.text(schema.Metadata.NAME)


def _at(items: Sequence[Item], index: int, what: str) -> Item:
    if not 0 <= index < len(items):
        raise FlatbufferError(f"expected the index of one of {len(items)} {what}s, got {index}")
    return items[index]


def _largest_first(counts: Mapping[Item, int]) -> list[tuple[Item, int]]:
    """The counts from the largest to the smallest, equal ones in the order of their keys."""
    return sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))


def _kind(mode: int) -> str:
    return "directory" if stat.S_ISDIR(mode) else "device or a pipe"
