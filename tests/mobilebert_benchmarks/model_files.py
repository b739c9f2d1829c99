"""Files that no export writes: one of a single float operator, and one of two signatures."""

from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from tests.small_files import as_objects, one_operator, packed


def write_relu(path: Path) -> Path:
    """A file that is no BERT: one RELU, whose input is float and whose signature is its own."""

    def signed(model: Any) -> None:
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.inputs, signature.outputs = b"serving_default", [], []
        for place, (name, tensors) in enumerate(((b"x", signature.inputs), (b"y", signature.outputs))):
            tensors.append(schema.TensorMapT())
            tensors[0].name, tensors[0].tensorIndex = name, place
        model.signatureDefs = [signature]

    path.write_bytes(packed(one_operator(schema.BuiltinOperator.RELU, change=signed)))
    return path


def write_merged(first: Path, second: Path, path: Path) -> Path:
    """The graphs of both files in one, each with its signature; that of the second is called `second`."""
    model, other = as_objects(first.read_bytes()), as_objects(second.read_bytes())
    (graph,), (signature,) = other.subgraphs, other.signatureDefs
    for tensor in graph.tensors:
        tensor.buffer += len(model.buffers)
    for operator in graph.operators:
        operator.opcodeIndex += len(model.operatorCodes)
    signature.subgraphIndex, signature.signatureKey = len(model.subgraphs), b"second"
    for part in ("buffers", "operatorCodes", "subgraphs", "signatureDefs"):
        getattr(model, part).extend(getattr(other, part))
    path.write_bytes(packed(model))
    return path
