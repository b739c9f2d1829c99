"""What an `.onnx` file shows before it runs: its precision, constants that are not finite, graphs within its nodes.

Local functions and the branches and bodies of control flow are parts of the file like any other. Only for the child
process.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import AttributeProto, NodeProto, TensorProto, numpy_helper

from mobilebert_export.runtimes.interface import ModelRefusedError

Constant = tuple[str, TensorProto]


@dataclass(frozen=True)
class OnnxStructure:
    """What the file itself shows.

    Attributes:
        precision: how most of the weights are stored and computed, by the name that `--quantize` has for it.
        findings: what is wrong with it, one line each.
        remarks: what cannot be looked at, one line each.
    """

    precision: str
    findings: list[str]
    remarks: list[str]


def read_structure(path: str) -> OnnxStructure:
    """Reads a file and what it keeps outside of it.

    Raises:
        ModelRefusedError: it is no sound `.onnx` file.
    """
    try:
        return _structure(onnx.load(path))
    # What onnx raises for bytes that are none, for data that is missing, cut, or outside of the folder, and for a type
    # that there is not.
    except (DecodeError, onnx.checker.ValidationError, OSError, ValueError, TypeError, KeyError) as error:
        raise ModelRefusedError(f"no sound .onnx file: {error}", unreadable=True) from error


def _structure(model: onnx.ModelProto) -> OnnxStructure:
    if not model.opset_import:
        raise ValueError("it does not say of which opset it is")
    functions = [node for function in model.functions for node in function.node]
    nodes = list(_nodes([*model.graph.node, *functions]))
    graphs = [model.graph, *(graph for node in nodes for graph in _graphs(node))]
    constants = [*chain.from_iterable(map(_initializers, graphs)), *chain.from_iterable(map(_held, nodes))]
    return OnnxStructure(
        _precision(constants, nodes, graphs),
        [*_not_finite(constants), *_attributes_not_finite(nodes)],
        _hidden(node for node in nodes if any(_graphs(node))),
    )


def _nodes(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """These, and all nodes of the graphs within them."""
    for node in nodes:
        yield node
        for graph in _graphs(node):
            yield from _nodes(graph.node)


def _graphs(node: NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def _initializers(graph: onnx.GraphProto) -> Iterator[Constant]:
    for tensor in (*graph.initializer, *(sparse.values for sparse in graph.sparse_initializer)):
        yield tensor.name, tensor


def _held(node: NodeProto) -> Iterator[Constant]:
    """The tensors that a node carries, under the name of what it gives."""
    name = node.output[0] if node.output else node.name
    for attribute in node.attribute:
        sparse = [*attribute.sparse_tensors, attribute.sparse_tensor]
        for tensor in (attribute.t, *attribute.tensors, *(each.values for each in sparse)):
            if tensor.data_type != TensorProto.UNDEFINED:
                yield name, tensor


def _precision(constants: Iterable[Constant], nodes: Iterable[NodeProto], graphs: Iterable[onnx.GraphProto]) -> str:
    """By the type that holds most of the weights that anything reads."""
    read = {name for node in nodes for name in node.input} | {value.name for each in graphs for value in each.output}
    sizes: Counter[int] = Counter()
    for name, tensor in constants:
        if name in read:
            sizes[tensor.data_type] += prod(tensor.dims)
    stored = sizes.most_common(1)[0][0] if sizes else TensorProto.FLOAT
    if stored in {TensorProto.INT8, TensorProto.UINT8}:
        return "int8" if any(node.op_type == "QuantizeLinear" for node in nodes) else "dynamic"
    return "float16" if stored == TensorProto.FLOAT16 else "none"


def _not_finite(constants: Iterable[Constant]) -> Iterator[str]:
    for name, tensor in constants:
        if any(size < 0 for size in tensor.dims):
            raise ValueError(f"constant {name[:80]} has a size below 0")
        yield from _finding(name, numpy_helper.to_array(tensor))


def _attributes_not_finite(nodes: Iterable[NodeProto]) -> Iterator[str]:
    for node in nodes:
        for attribute in node.attribute:
            name = f"{attribute.name} of {node.output[0] if node.output else node.name}"
            yield from _finding(name, np.array([attribute.f, *attribute.floats]))


def _finding(name: str, values: NDArray[Any]) -> Iterator[str]:
    if values.dtype != np.object_:  # strings
        bad = values.size - np.count_nonzero(np.isfinite(values))
        if bad:
            yield f"constant {name[:80]} holds {bad} value(s) that are not finite"


def _hidden(nodes: Iterable[NodeProto]) -> list[str]:
    kinds = Counter(node.op_type for node in nodes)
    return [f"what is computed within {count} {kind} cannot be looked at" for kind, count in sorted(kinds.items())]
