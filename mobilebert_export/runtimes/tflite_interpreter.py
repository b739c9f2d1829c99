"""Anybody's `.tflite` file, in LiteRT, TensorFlow or tflite-runtime: one interpreter under three names.

Only for the child process: a file of strangers can crash whoever loads it.
"""

import warnings
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilebert_export.runtimes.interface import Arrays, ModelRefusedError, Port, Runtime, RuntimeMissingError

_PREFERRED_SIGNATURE = "serving_default"
# Imported by name: all but the first are installed where somebody wants them.
_MODULES = {
    Runtime.LITERT: "ai_edge_litert.interpreter",
    Runtime.TENSORFLOW: "tensorflow.lite.python.interpreter",
    Runtime.TFLITE_RUNTIME: "tflite_runtime.interpreter",
}
_INSTALL = {
    Runtime.LITERT: "pip install ai-edge-litert",
    Runtime.TENSORFLOW: "pip install 'mobilebert-export[tensorflow]'",
    Runtime.TFLITE_RUNTIME: "pip install tflite-runtime 'numpy<2'",
}


class TfliteInterpreterModel:
    """A file that is called through its signature, or through its tensors where it has none."""

    precision: str | None = None  # `mobilebert_export.check.structure` reads it, without trusting it

    def __init__(self, path: str, runtime: Runtime, threads: int) -> None:
        self._path, self._module, self._threads = path, _module(runtime), threads
        self.findings: list[str] = []
        self.remarks: list[str] = []
        try:
            self._interpreter = self._module.Interpreter(model_path=path, num_threads=threads)
            self._interpreter.allocate_tensors()
            signatures = self._interpreter.get_signature_list()
            key = _PREFERRED_SIGNATURE if _PREFERRED_SIGNATURE in signatures else next(iter(signatures), None)
            self._runner = None if key is None else self._interpreter.get_signature_runner(key)
        except (RuntimeError, ValueError, TypeError) as error:
            raise ModelRefusedError(str(error)) from error
        if self._runner is None:
            self._takes = {detail["name"]: detail for detail in self._interpreter.get_input_details()}
            self._gives = {detail["name"]: detail for detail in self._interpreter.get_output_details()}
        else:
            self._takes, self._gives = self._runner.get_input_details(), self._runner.get_output_details()
        self.inputs = tuple(_port(name, detail) for name, detail in self._takes.items())
        self.outputs = tuple(_port(name, detail) for name, detail in self._gives.items())

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """The outputs as real numbers."""
        if self._runner is not None:
            given = self._runner(**inputs)
        else:
            self._feed(self._interpreter, inputs)
            given = {name: self._interpreter.get_tensor(detail["index"]).copy() for name, detail in self._gives.items()}
        return {name: _real(given[name], detail) for name, detail in self._gives.items()}

    def tensors(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Every computed tensor, from the plain kernels: a delegate keeps its own to itself."""
        resolver = self._module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it takes memory
            interpreter = self._module.Interpreter(
                model_path=self._path,
                num_threads=self._threads,
                experimental_preserve_all_tensors=True,
                experimental_op_resolver_type=resolver,
            )
        interpreter.allocate_tensors()
        self._feed(interpreter, inputs)
        details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
        # The order of the nodes has no public way to ask for it; LiteRT's own tools read the same method.
        computed = [index for node in interpreter._get_ops_details() for index in node["outputs"]]  # noqa: SLF001
        return {
            details[index]["name"]: _real(interpreter.get_tensor(index), details[index])
            for index in computed
            if index in details and details[index]["shape"].size
        }

    def exact(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Every computed tensor in float64."""
        from mobilebert_export.runtimes.real_arithmetic import compute

        return compute(self._path, inputs)

    def _feed(self, interpreter: Any, inputs: Mapping[str, NDArray[np.generic]]) -> None:  # noqa: ANN401 - untyped
        for name, values in inputs.items():
            if tuple(self._takes[name]["shape"]) != values.shape:
                interpreter.resize_tensor_input(self._takes[name]["index"], values.shape)
        interpreter.allocate_tensors()
        for name, values in inputs.items():
            interpreter.set_tensor(self._takes[name]["index"], values)
        interpreter.invoke()


def _module(runtime: Runtime) -> Any:  # noqa: ANN401 - three modules without types
    try:
        return import_module(_MODULES[runtime])
    except ImportError as error:
        raise RuntimeMissingError(f"{runtime.value} is not installed; {_INSTALL[runtime]}") from error


def _port(name: str, detail: Mapping[str, Any]) -> Port:
    shape = detail.get("shape_signature")
    if shape is None or not len(shape):
        shape = detail["shape"]
    return Port(name, np.dtype(detail["dtype"]).name, tuple(int(size) for size in shape))


def _real(values: NDArray[np.generic], detail: Mapping[str, Any]) -> NDArray[np.generic]:
    """Stored integers as the real numbers that they stand for; others as they are."""
    parameters = detail["quantization_parameters"]
    scales = np.asarray(parameters["scales"], np.float64)
    if not scales.size or not np.issubdtype(values.dtype, np.integer):
        return values
    shape = [1] * values.ndim
    if scales.size > 1:
        shape[parameters["quantized_dimension"]] = -1
    zero_points = np.asarray(parameters["zero_points"], np.float64).reshape(shape)
    return np.asarray((values.astype(np.float64) - zero_points) * scales.reshape(shape), np.float32)
