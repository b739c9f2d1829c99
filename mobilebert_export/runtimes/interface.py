"""What a loaded model takes and gives, whichever runtime has loaded it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[np.generic]]


class Runtime(str, Enum):
    """A program that runs model files."""

    LITERT = "litert"
    ONNXRUNTIME = "onnxruntime"
    TENSORFLOW = "tensorflow"
    TFLITE_RUNTIME = "tflite-runtime"


@dataclass(frozen=True)
class Port:
    """An input or an output.

    Attributes:
        name: as the runtime calls it.
        dtype: numpy's name of its type.
        shape: sizes; -1 is one that the caller sets.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    @staticmethod
    def from_json(fields: Any) -> "Port":  # noqa: ANN401 - JSON
        """What `[name, dtype, shape]` describes.

        Raises:
            ValueError: it describes nothing.
        """
        name, dtype, shape = fields
        return Port(str(name), str(dtype), tuple(int(size) for size in shape))

    def to_json(self) -> list[Any]:
        """`[name, dtype, shape]`."""
        return [self.name, self.dtype, list(self.shape)]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} {list(self.shape)}"


class LoadedModel(Protocol):
    """A model in the process that runs it.

    Attributes:
        inputs: what it takes.
        outputs: what it gives.
        precision: how its numbers are stored and computed; None where the file is better read without a runtime.
        findings: what is wrong with it before it runs, one line each.
        remarks: what of it cannot be looked at, one line each.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    precision: str | None
    findings: list[str]
    remarks: list[str]

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """The outputs, as real numbers where they are stored in integers with a scale."""

    def tensors(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Every tensor that is computed on the way, by name, as real numbers, in the order of the nodes."""

    def exact(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Likewise, computed in real numbers from the file's own constants, without any rounding on the way."""


class ModelRefusedError(Exception):
    """The runtime does not load the file.

    Attributes:
        unreadable: whether the file is no model at all, and not only one that this runtime cannot run.
    """

    def __init__(self, words: str, *, unreadable: bool = False) -> None:
        super().__init__(words)
        self.unreadable = unreadable


class RuntimeMissingError(Exception):
    """The runtime is not installed."""


class UnknownOperatorError(Exception):
    """The file has an operator whose meaning in real numbers is not known here."""
