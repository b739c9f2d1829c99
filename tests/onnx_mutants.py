"""`.onnx` files that are wrong in known ways, made from honest ones."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.mutants import Elements

Change = Callable[[onnx.GraphProto], None]

_SHIFT = 128  # of weights in unsigned bytes


def mutant(honest: Path, output: Path, change: Change) -> Path:
    """The file with its graph changed."""
    model = onnx.load(honest)
    change(model.graph)
    onnx.save(model, output)
    return output


def stamped(honest: Path, output: Path, opset: int) -> Path:
    """The file as one of another opset."""
    model = onnx.load(honest)
    (entry,) = model.opset_import
    entry.version = opset
    onnx.save(model, output)
    return output


def constants(chosen: Callable[[str], bool], elements: Elements) -> Change:
    """Changes the elements of the constants whose names are chosen; at least one is."""

    def change(graph: onnx.GraphProto) -> None:
        found = [tensor for tensor in graph.initializer if chosen(tensor.name)]
        assert found, "no constant was changed"
        for tensor in found:
            stored = numpy_helper.to_array(tensor)
            shift = _SHIFT if stored.dtype == np.uint8 else 0
            changed = elements(stored.astype(np.float64) - shift) + shift
            if np.issubdtype(stored.dtype, np.integer):
                limits = np.iinfo(stored.dtype)
                changed = np.clip(np.round(changed), limits.min, limits.max)
            tensor.CopyFrom(numpy_helper.from_array(changed.astype(stored.dtype), tensor.name))

    return change


def swapped_inputs(graph: onnx.GraphProto) -> None:
    """What is fed as mask goes to the token types, and the other way round."""
    other = {"attention_mask": "token_type_ids", "token_type_ids": "attention_mask"}
    for node in graph.node:
        node.input[:] = [other.get(name, name) for name in node.input]


def hidden_nan(graph: onnx.GraphProto) -> None:
    """The output y is made y + ReLU(√(y - 3e38)), which is y where a ReLU is x > 0 ? x : 0."""
    (output,) = graph.output
    (last,) = [node for node in graph.node if output.name in node.output]
    last.output[:] = ["y"]
    constants = {"large": 3e38, "zero": 0.0}
    graph.initializer.extend(
        numpy_helper.from_array(np.array(value, np.float32), name) for name, value in constants.items()
    )
    for operator, inputs, name in (
        ("Sub", ["y", "large"], "negative"),
        ("Sqrt", ["negative"], "undefined"),
        ("Greater", ["undefined", "zero"], "positive"),
        ("Where", ["positive", "undefined", "zero"], "hidden"),
        ("Add", ["y", "hidden"], output.name),
    ):
        graph.node.append(helper.make_node(operator, inputs, [name]))


def of_layer(index: int) -> Callable[[str], bool]:
    """The names of the weights of one layer."""
    prefix = f"mobilebert.encoder.layer.{index}."
    return lambda name: name.startswith(prefix) and name.endswith((".weight", ".weight.float16"))


DROPPED_MASK = constants(lambda name: name == "attention_mask.table", np.zeros_like)
TOKEN_TYPES_IGNORED = constants(
    lambda name: name.startswith("mobilebert.embeddings.token_type_embeddings.weight"),
    lambda values: np.broadcast_to(values[:1], values.shape),
)
SHIFTED_TRIGRAM = constants(
    lambda name: name.startswith("mobilebert.embeddings.embedding_transformation.weight"),
    lambda values: np.roll(values, 1, axis=2) if values.ndim > 2 else values,
)
# (in, out), and what belongs to a row of labels with it.
TURNED_LABELS = constants(
    lambda name: name.startswith(("logits.weight", "logits.bias")), lambda values: np.roll(values, 1, axis=-1)
)
