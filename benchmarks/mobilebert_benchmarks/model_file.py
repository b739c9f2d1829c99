"""What the harness needs to know of a `.tflite` file: its signatures, and in what arithmetic it multiplies.

The file may be a stranger's: nothing in it is believed, and a file that cannot be read is one line.
"""

import struct
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from mobilebert_benchmarks.errors import ModelError

if TYPE_CHECKING:
    from ai_edge_litert.schema_py_generated import Model, Tensor

_IDENTIFIER = b"TFL3"
_MOST_PARTS = 200_000  # signatures, operators or tensors
_MOST_BYTES = 2 << 30


class Arithmetic(str, Enum):
    """In what the Linear layers multiply."""

    INT8 = "int8"
    INT16 = "int16"  # with weights of 8 bits; the runtime has plain reference kernels alone
    FLOAT = "float"


@dataclass(frozen=True)
class Signature:
    """One way to run the file: its index, its name, and how many tokens its inputs hold."""

    index: int
    key: str
    length: int


@dataclass(frozen=True)
class ModelFile:
    """A model file.

    Attributes:
        path: where it is.
        signatures: by length, shortest first; never empty.
        arithmetic: in which most weights of its FULLY_CONNECTED operators are multiplied; None if it has none.
    """

    path: Path
    signatures: tuple[Signature, ...]
    arithmetic: Arithmetic | None

    @property
    def name(self) -> str:
        """As tables and baselines call it: the file's name without its suffix."""
        return self.path.stem

    def signature_for(self, tokens: int) -> Signature:
        """The shortest that holds so many tokens, or the longest, to which the app has to cut."""
        longest = self.signatures[-1].length
        return next(each for each in self.signatures if each.length >= min(tokens, longest))


def read_model(path: Path) -> ModelFile:
    """Reads a file.

    Raises:
        ModelError: it cannot be read, or is no `.tflite` file with a signature.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ModelError(f"expected a .tflite file of at most {_MOST_BYTES >> 30} GiB, got {path}, which is larger")
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"expected a .tflite file, got {path}: {error.strerror}") from error
    if content[4:8] != _IDENTIFIER:
        raise ModelError(f"expected a .tflite file, got {path}, which is none")
    try:
        signatures, arithmetic = _contents(content)
    except (struct.error, ValueError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise ModelError(f"expected a .tflite file, got {path}, which is damaged: {error}") from error
    if not signatures:
        raise ModelError(f"expected a .tflite file with a signature, got {path}, which has none; export it anew")
    return ModelFile(path, signatures, arithmetic)


def _contents(content: bytes) -> tuple[tuple[Signature, ...], Arithmetic | None]:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content)
    found = [_signature(model, index) for index in range(_few(model.SignatureDefsLength()))]
    signatures = tuple(sorted(found, key=lambda signature: signature.length))
    codes = [model.OperatorCodes(index) for index in range(_few(model.OperatorCodesLength()))]
    linear = {
        index
        for index, code in enumerate(codes)
        if max(code.BuiltinCode(), code.DeprecatedBuiltinCode()) == schema.BuiltinOperator.FULLY_CONNECTED
    }
    elements: Counter[Arithmetic] = Counter()
    graph = model.Subgraphs(0)
    for index in range(_few(graph.OperatorsLength())):
        operator = graph.Operators(index)
        if operator.OpcodeIndex() in linear:
            multiplied, weights = (graph.Tensors(operator.Inputs(place)) for place in range(2))
            elements[_arithmetic(multiplied.Type(), weights.Type())] += prod(_shape(weights))
    return signatures, max(elements, key=lambda arithmetic: elements[arithmetic], default=None)


def _arithmetic(multiplied: int, weights: int) -> Arithmetic:
    from ai_edge_litert.schema_py_generated import TensorType

    if multiplied == TensorType.INT16:
        return Arithmetic.INT16
    return Arithmetic.INT8 if weights in {TensorType.INT8, TensorType.INT4, TensorType.UINT8} else Arithmetic.FLOAT


def _signature(model: "Model", index: int) -> Signature:
    signature = model.SignatureDefs(index)
    if not signature.InputsLength():
        raise ValueError("a signature has no inputs")
    graph = model.Subgraphs(signature.SubgraphIndex())
    shape = _shape(graph.Tensors(signature.Inputs(0).TensorIndex()))
    return Signature(index, (signature.SignatureKey() or b"").decode(errors="replace"), shape[-1] if shape else 1)


def _shape(tensor: "Tensor") -> tuple[int, ...]:
    return tuple(int(tensor.Shape(axis)) for axis in range(_few(tensor.ShapeLength())))


def _few(count: int) -> int:
    if count > _MOST_PARTS:
        raise ValueError(f"{count} parts are too many")
    return count
