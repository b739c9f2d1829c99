"""ONNX Runtime on this machine's CPU."""

import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from mobilebert_export.errors import ModelFileError

_ERRORS_ONLY = 3
# ONNX Runtime's nodes that multiply integers.
_INTEGER_KERNELS = (
    "ConvInteger",
    "DynamicQuantizeMatMul",
    "MatMulInteger",
    "MatMulIntegerToFloat",
    "QGemm",
    "QLinearConv",
    "QLinearMatMul",
)


class OnnxModel:
    """An `.onnx` file that this package wrote, loaded with every optimization.

    A file of strangers does not belong here: loading one can crash the process.
    """

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        """Loads the file.

        Raises:
            ModelFileError: ONNX Runtime refuses the file; with its own words.
        """
        self._path = path
        self._threads = threads
        self._session = self._load()

    def run(self, inputs: Mapping[str, NDArray[np.integer]]) -> dict[str, NDArray[np.floating]]:
        """The outputs by name, for inputs by name, cast to int32."""
        names = [output.name for output in self._session.get_outputs()]
        values = self._session.run(names, {name: np.asarray(value, np.int32) for name, value in inputs.items()})
        return dict(zip(names, values, strict=True))

    @property
    def nodes(self) -> int:
        """How many nodes the file has."""
        return len(onnx.load(self._path, load_external_data=False).graph.node)

    def kernels(self) -> Counter[str]:
        """How many nodes of each kind ONNX Runtime makes of the file: its graph after every optimization."""
        with tempfile.TemporaryDirectory() as directory:
            optimized = Path(directory, "optimized.onnx")
            self._load(optimized_model_filepath=str(optimized))
            return Counter(node.op_type for node in onnx.load(optimized).graph.node)

    @property
    def integer_kernels(self) -> int:
        """How many of `kernels` multiply integers."""
        kernels = self.kernels()
        return sum(kernels[kind] for kind in _INTEGER_KERNELS)

    def _load(self, **settings: Any) -> onnxruntime.InferenceSession:  # noqa: ANN401
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        for name, value in settings.items():
            setattr(options, name, value)
        try:
            return onnxruntime.InferenceSession(str(self._path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common class but this
            raise ModelFileError(
                f"expected a file that ONNX Runtime loads, got: {' '.join(str(error).split())}"
            ) from error
