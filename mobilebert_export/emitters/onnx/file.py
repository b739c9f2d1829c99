"""The `.onnx` container: nodes, constants and interface of one graph, through the builders of the `onnx` library."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import DTypeLike, NDArray
from onnx import helper, numpy_helper

from mobilebert_export.errors import GraphError
from mobilebert_export.graph.operators import Shape

PRODUCER = "mobilebert-export"
# A protobuf message has no more bytes; a sixteenth is left for all that is no constant.
_LARGEST_FILE = 2**31 - 1
_LARGEST_CONSTANTS = _LARGEST_FILE - _LARGEST_FILE // 16


class ModelFile:
    """Collects the parts of a model; `to_bytes` writes them. Every value has a name of its own."""

    def __init__(self, opset: int, description: str) -> None:
        self.opset = opset
        self._description = description
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._values: dict[str, onnx.ValueInfoProto] = {}
        self._inputs: list[str] = []
        self._outputs: list[str] = []
        self._size = 0

    def input(self, name: str, shape: Shape, dtype: DTypeLike) -> None:
        """A value that the caller feeds; its symbolic sizes are the caller's choice."""
        self.value(name, shape, dtype)
        self._inputs.append(name)

    def output(self, name: str) -> None:
        """A described value that the caller gets."""
        self._outputs.append(name)

    def value(self, name: str, shape: Shape, dtype: DTypeLike) -> None:
        """Describes a value."""
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self._values[name] = helper.make_tensor_value_info(name, kind, shape)

    def constant(self, name: str, data: NDArray[np.generic]) -> str:
        """A value that is known beforehand; the same name gives the same one.

        Raises:
            GraphError: the constants pass what a file can hold.
        """
        if name not in self._constants:
            self._size += data.nbytes
            if self._size > _LARGEST_CONSTANTS:
                raise GraphError(
                    f"expected constants of at most {_LARGEST_CONSTANTS} bytes, got {self._size} with {name}"
                )
            self._constants[name] = numpy_helper.from_array(np.asarray(data, order="C"), name)
        return name

    def node(self, kind: str, inputs: Sequence[str], *outputs: str, **attributes: Any) -> str:  # noqa: ANN401
        """A node, named for its first output, which is returned."""
        self._nodes.append(helper.make_node(kind, inputs, outputs, name=outputs[0], **attributes))
        return outputs[0]

    def to_bytes(self) -> bytes:
        """The file: the same parts in the same order give the same bytes."""
        ends = {*self._inputs, *self._outputs}
        graph = helper.make_graph(
            self._nodes,
            PRODUCER,
            [self._values[name] for name in self._inputs],
            [self._values[name] for name in self._outputs],
            list(self._constants.values()),
            value_info=[value for name, value in self._values.items() if name not in ends],
        )
        opset = helper.make_opsetid(onnx.defs.ONNX_DOMAIN, self.opset)
        # The oldest format that knows the operators: older runtimes read no newer one.
        version = helper.find_min_ir_version_for([opset])
        model = helper.make_model(
            graph, opset_imports=[opset], ir_version=version, producer_name=PRODUCER, doc_string=self._description
        )
        return bytes(model.SerializeToString(deterministic=True))
