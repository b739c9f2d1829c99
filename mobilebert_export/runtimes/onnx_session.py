"""Anybody's `.onnx` file, in ONNX Runtime. Only for the child process."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mobilebert_export.runtimes.interface import Arrays, ModelRefusedError, Port, RuntimeMissingError

if TYPE_CHECKING:
    import onnx

_TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}


class OnnxSessionModel:
    """A file that is called through its graph's inputs."""

    def __init__(self, path: str, threads: int) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise RuntimeMissingError("onnxruntime is not installed; pip install 'mobilebert-export[onnx]'") from error
        try:
            from mobilebert_export.runtimes.onnx_structure import read_structure
        except ImportError as error:
            raise RuntimeMissingError("onnx is not installed; pip install 'mobilebert-export[onnx]'") from error
        structure = read_structure(path)
        self.precision: str | None = structure.precision
        self.findings, self.remarks = structure.findings, structure.remarks
        self._path, self._runtime, self._threads = path, onnxruntime, threads
        self._session = self._opened(path, optimized=True)
        self.inputs = tuple(_port(node) for node in self._session.get_inputs())
        self.outputs = tuple(_port(node) for node in self._session.get_outputs())

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """The outputs."""
        names = [port.name for port in self.outputs]
        return dict(zip(names, self._session.run(names, dict(inputs)), strict=True))

    def tensors(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Every computed tensor of real numbers, from the graph as it stands in the file: fusion leaves some out."""
        import onnx

        model = _inlined(self._path)
        restored = {}
        for index, node in enumerate(list(model.graph.node)):
            if node.op_type == "QuantizeLinear":
                stored, real = node.output[0], f"check.{index}"
                back = onnx.helper.make_node("DequantizeLinear", [stored, *node.input[1:]], [real])
                back.attribute.extend(attribute for attribute in node.attribute if attribute.name == "axis")
                model.graph.node.append(back)
                restored[stored] = real
        return self._every_tensor(model, inputs, restored)

    def exact(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Likewise, without rounding, in float32."""
        from mobilebert_export.runtimes.onnx_real_arithmetic import without_rounding

        return self._every_tensor(without_rounding(_inlined(self._path)), inputs, {})

    def _every_tensor(
        self, model: "onnx.ModelProto", inputs: Mapping[str, NDArray[np.generic]], restored: Mapping[str, str]
    ) -> Arrays:
        """What the nodes of a model give.

        Args:
            model: whose outputs are added to.
            inputs: its inputs.
            restored: of tensors that hold stored integers, the ones that hold what these stand for.
        """
        import onnx

        hidden = set(restored.values())
        names = [name for node in model.graph.node for name in node.output if name and name not in hidden]
        asked = [restored.get(name, name) for name in names]
        given = {output.name for output in model.graph.output}
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in asked if name not in given)
        values = self._opened(model.SerializeToString(), optimized=False).run(asked, dict(inputs))
        return {
            name: np.asarray(value)
            for name, value in zip(names, values, strict=True)
            if isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.floating)
        }

    def _opened(self, model: str | bytes, *, optimized: bool) -> Any:  # noqa: ANN401 - untyped
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = self._threads
        options.log_severity_level = 3
        if not optimized:
            options.graph_optimization_level = self._runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            return self._runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors have no common base but this
            unreadable = type(error).__name__ in {"InvalidProtobuf", "NoSuchFile", "InvalidArgument"}
            raise ModelRefusedError(str(error), unreadable=unreadable) from error


def _inlined(path: str) -> "onnx.ModelProto":
    """The file's model; what its local functions compute is computed by nodes of the graph."""
    import onnx
    from onnx.inliner import inline_local_functions

    model = onnx.load(path)
    return inline_local_functions(model) if model.functions else model


def _port(node: Any) -> Port:  # noqa: ANN401 - untyped
    kind = str(node.type)
    dtype = _TYPES.get(kind, kind.removeprefix("tensor(").removesuffix(")"))
    return Port(node.name, dtype, tuple(size if isinstance(size, int) else -1 for size in node.shape))
