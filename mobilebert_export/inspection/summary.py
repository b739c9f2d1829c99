"""What there is to know about a model file, as values."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

Granularity: TypeAlias = Literal["per tensor", "per channel", "per block"]


@dataclass(frozen=True)
class Quantization:
    """How the integers of a tensor stand for real numbers: `real = scale * (stored - zero_point)`.

    Attributes:
        granularity: what shares one scale.
        scale: the scale of the whole tensor; None if it has several.
        zero_point: the zero point of the whole tensor; None if it has several.
    """

    granularity: Granularity
    scale: float | None
    zero_point: int | None


@dataclass(frozen=True)
class Value:
    """An input or an output.

    Attributes:
        name: of the tensor, or the one that a signature gives it.
        dtype: its type, by its name in the schema in small letters; `type N` for an unknown one.
        shape: sizes; -1 is one that is set at run time.
        quantization: None for a tensor of real numbers.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    quantization: Quantization | None


@dataclass(frozen=True)
class Signature:
    """A way to call the model: inputs and outputs by name."""

    key: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]


@dataclass(frozen=True)
class OperatorCount:
    """How many nodes run an operator of one version.

    Attributes:
        name: its name in the schema, or the one that a custom operator gives itself; `operator N` for an unknown one.
        version: the version that a runtime must know.
        count: nodes, in all subgraphs.
    """

    name: str
    version: int
    count: int


@dataclass(frozen=True)
class QuantizedTensors:
    """How many tensors of one type are quantized in one way."""

    dtype: str
    granularity: Granularity
    count: int


@dataclass(frozen=True)
class Constants:
    """Tensors of one type whose elements stand in the file.

    Attributes:
        dtype: the type.
        tensors: how many there are.
        bytes: what their elements take; those that several tensors share count once.
    """

    dtype: str
    tensors: int
    bytes: int


@dataclass(frozen=True)
class ModelSummary:
    """A `.tflite` file in numbers.

    Attributes:
        size: of the file, in bytes.
        description: what the file says about itself.
        schema_version: of the format.
        inputs: of the first subgraph, by the names of its tensors.
        outputs: likewise.
        signatures: in the order of the file.
        subgraphs: how many there are.
        nodes: how many, in all subgraphs.
        operators: what the nodes run, the most frequent first.
        quantized: quantized tensors, the most frequent kind first.
        constants: the largest first.
        overhead: bytes that are not elements of constants: structure, names, quantization parameters, padding.
        metadata: names of the blocks of metadata.
    """

    size: int
    description: str
    schema_version: int
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    signatures: tuple[Signature, ...]
    subgraphs: int
    nodes: int
    operators: tuple[OperatorCount, ...]
    quantized: tuple[QuantizedTensors, ...]
    constants: tuple[Constants, ...]
    overhead: int
    metadata: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The same as numbers, strings, lists and dicts, for JSON."""
        return asdict(self)
