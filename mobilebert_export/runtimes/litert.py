"""LiteRT, the runtime that apps bundle, on this machine's CPU."""

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from mobilebert_export.emitters.tflite.file import SIGNATURE
from mobilebert_export.errors import ModelFileError

_DELEGATE = "DELEGATE"


class LiteRtModel:
    """A `.tflite` file that this package wrote, loaded with the default delegate (XNNPACK).

    A file of strangers does not belong here: loading one can crash the process.
    """

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        """Loads the file.

        Raises:
            ModelFileError: LiteRT refuses the file; with LiteRT's own words.
        """
        with _captured_stderr() as said:
            try:
                self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
                self._interpreter.allocate_tensors()
                self._run = self._interpreter.get_signature_runner(SIGNATURE)
                self._outputs = self._run.get_output_details()
            except (RuntimeError, ValueError) as error:
                words = " ".join(f"{said()} {error}".split())
                raise ModelFileError(f"expected a file that LiteRT loads, got: {words}") from error

    def run(self, inputs: Mapping[str, NDArray[np.integer]]) -> dict[str, NDArray[np.floating]]:
        """The outputs, by the signature's names, for int32 inputs of the file's own shape (1, sequence).

        An output that the file gives in integers comes as the real numbers that they stand for.
        """
        given = self._run(**{name: np.asarray(values, np.int32) for name, values in inputs.items()})
        return {name: self._real(values, self._outputs[name]["quantization"]) for name, values in given.items()}

    @staticmethod
    def _real(values: NDArray[np.generic], quantization: tuple[float, int]) -> NDArray[np.floating]:
        scale, zero_point = quantization
        if not scale:  # of real numbers
            return values.astype(np.float32, copy=False)
        return (values.astype(np.float32) - zero_point) * np.float32(scale)

    @property
    def nodes(self) -> int:
        """How many operators the file has."""
        return sum(count for name, count in self._operators().items() if name != _DELEGATE)

    @property
    def partitions(self) -> int:
        """In how many pieces the delegate takes the graph: 1 is best, 0 means that nothing is delegated."""
        return self._operators()[_DELEGATE]

    def _operators(self) -> Counter[str]:
        # LiteRT has no public way to ask for this; its own tools read the same method.
        return Counter(operator["op_name"] for operator in self._interpreter._get_ops_details())  # noqa: SLF001


@contextmanager
def _captured_stderr() -> Iterator["_Said"]:
    """Keeps what native code writes to standard error: notices on success, the reason on failure."""
    if sys.stderr is not None:
        sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # closed
        kept = os.open(os.devnull, os.O_WRONLY)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield _Said(file.fileno())
        finally:
            os.dup2(kept, 2)
            os.close(kept)


class _Said:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __call__(self) -> str:
        """What was written so far."""
        return os.pread(self._descriptor, 2000, 0).decode(errors="replace").strip()
