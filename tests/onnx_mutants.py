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
    mask, types = (next(value.name for value in graph.input if word in value.name) for word in ("mask", "type"))
    other = {mask: types, types: mask}
    for node in graph.node:
        node.input[:] = [other.get(name, name) for name in node.input]


def hidden_nan(graph: onnx.GraphProto) -> None:
    """The output y is made y + ReLU(√(y - 3e38)), which is y where a ReLU is x > 0 ? x : 0."""
    _with_relu_of(graph, [("Sub", ["y", "large"], "negative"), ("Sqrt", ["negative"], "undefined")], large=3e38)


def hidden_nan_of_a_constant(graph: onnx.GraphProto) -> None:
    """Likewise, y + ReLU(NaN)."""
    _with_relu_of(graph, [("Identity", ["unset"], "undefined")], unset=np.nan)


def hidden_nan_of_a_mask(graph: onnx.GraphProto) -> None:
    """Likewise, y + ReLU of what a mask of -inf leaves of a row that it masks as a whole: a softmax of nothing."""
    masked = [("Mul", ["y", "zero"], "scores"), ("Add", ["scores", "mask"], "masked")]
    _with_relu_of(graph, [*masked, ("Softmax", ["masked"], "undefined")], mask=-np.inf)


def _with_relu_of(graph: onnx.GraphProto, nodes: list[tuple[str, list[str], str]], **constants: float) -> None:
    (output,) = graph.output
    (last,) = [node for node in graph.node if output.name in node.output]
    last.output[:] = ["y"]
    graph.initializer.extend(
        numpy_helper.from_array(np.array(value, np.float32), name) for name, value in {**constants, "zero": 0.0}.items()
    )
    for operator, inputs, name in (
        *nodes,
        ("Greater", ["undefined", "zero"], "positive"),
        ("Where", ["positive", "undefined", "zero"], "hidden"),
        ("Add", ["y", "hidden"], output.name),
    ):
        graph.node.append(helper.make_node(operator, inputs, [name]))


def of_another_exporter(graph: onnx.GraphProto) -> None:
    """Inputs of 64 bits, in another order, with names of their own; and an output that has one too."""
    names = {
        "token_type_ids": "input_type_ids",
        "attention_mask": "input_mask",
        "input_ids": "input_word_ids",
    }
    inputs = {value.name: value for value in graph.input}
    casts = []
    for ours, theirs in names.items():
        inputs[ours].name, inputs[ours].type.tensor_type.elem_type = theirs, onnx.TensorProto.INT64
        casts.append(helper.make_node("Cast", [theirs], [ours], to=onnx.TensorProto.INT32))
    others = list(graph.node)
    del graph.input[:], graph.node[:]
    graph.input.extend(inputs[ours] for ours in names)
    graph.node.extend([*casts, *others, helper.make_node("Identity", [graph.output[0].name], ["Identity:0"])])
    graph.output[0].name = "Identity:0"


def unread_bytes(graph: onnx.GraphProto) -> None:
    """More constants of 8 bits than all others, which nothing reads."""
    graph.initializer.append(numpy_helper.from_array(np.zeros(2**23, np.int8), "unread"))


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
INFINITE_MASK = constants(
    lambda name: name == "attention_mask.table", lambda values: np.where(values < 0, -np.inf, values)
)
