"""Model files that are wrong in known ways, made from honest ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

Elements = Callable[[np.ndarray], np.ndarray]
Change = Callable[[Any], None]

_TYPES = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.FLOAT16: np.float16,
    schema.TensorType.INT64: np.int64,
    schema.TensorType.INT32: np.int32,
    schema.TensorType.INT16: np.int16,
    schema.TensorType.INT8: np.int8,
}


def mutant(honest: Path, output: Path, change: Change) -> Path:
    """The file with its model changed, as an object of the schema."""
    content = honest.read_bytes()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    change(model)
    builder = flatbuffers.Builder(len(content) + 2**20)
    builder.Finish(model.Pack(builder), b"TFL3")
    output.write_bytes(builder.Output())
    return output


def constants(chosen: Callable[[str], bool], elements: Elements) -> Change:
    """Changes the elements of the constants whose names are chosen; at least one is."""

    def change(model: Any) -> None:
        found = 0
        for tensor in model.subgraphs[0].tensors:
            buffer = model.buffers[tensor.buffer]
            if not chosen(tensor.name.decode()) or buffer.data is None or not len(buffer.data):
                continue
            found += 1
            dtype = _TYPES[tensor.type]
            changed = elements(np.asarray(buffer.data).view(dtype).reshape(tensor.shape).astype(np.float64))
            if np.issubdtype(dtype, np.integer):
                limits = np.iinfo(np.dtype(dtype).name)
                changed = np.clip(np.round(changed), -limits.max, limits.max)
            buffer.data = np.ascontiguousarray(changed.astype(dtype)).reshape(-1).view(np.uint8)
            parameters = tensor.quantization
            if parameters is not None and parameters.scale is not None and len(parameters.scale) > 1:
                # What moves the rows moves their scales: a row of scales is changed as a row of ones is.
                parameters.scale = moved(elements, np.asarray(parameters.scale))
        assert found, "no constant was changed"

    return change


def moved(elements: Elements, scales: np.ndarray) -> np.ndarray:
    """The scales where the change puts their rows; as they are where it moves none."""
    changed = elements(scales.astype(np.float64))
    return changed.astype(np.float32) if sorted(changed) == sorted(scales.astype(np.float64)) else scales


def both(*changes: Change) -> Change:
    def change(model: Any) -> None:
        for each in changes:
            each(model)

    return change


def swapped_inputs(model: Any) -> None:
    """What is fed as mask goes to the token types, and the other way round."""
    entries = {entry.name.decode(): entry for entry in model.signatureDefs[0].inputs}
    mask, types = entries["attention_mask"], entries["token_type_ids"]
    mask.tensorIndex, types.tensorIndex = types.tensorIndex, mask.tensorIndex


def hidden_nan(model: Any, *, overflow: bool = False) -> None:
    """The first output y is made y + ReLU(NaN), which is y where a ReLU is x > 0 ? x : 0.

    NaN is the root of a number below 0, or what is left of two numbers beyond the largest float. LiteRT's delegate
    keeps a NaN through a RELU of its own, so this one is written out.
    """
    graph = model.subgraphs[0]
    (output,) = graph.outputs

    def tensor(name: str, buffer: int, shape: Any) -> int:
        made = schema.TensorT()
        kind = schema.TensorType.BOOL if name == "positive" else schema.TensorType.FLOAT32
        made.name, made.buffer, made.shape, made.type = name.encode(), buffer, shape, kind
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    def constant(name: str, value: float) -> int:
        buffer = schema.BufferT()
        buffer.data = np.array([value], np.float32).view(np.uint8)
        model.buffers.append(buffer)
        return tensor(name, len(model.buffers) - 1, np.array([1], np.int32))

    def node(operator: str, inputs: list[int], name: str) -> int:
        entry, made = schema.OperatorCodeT(), schema.OperatorT()
        entry.builtinCode = entry.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, operator.upper())
        entry.version = 1
        model.operatorCodes.append(entry)
        made.opcodeIndex, made.inputs = len(model.operatorCodes) - 1, inputs
        made.outputs = [tensor(name, 0, graph.tensors[output].shape)]
        if operator != "sqrt":
            options = f"{operator.title().replace('_', '')}Options"
            made.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            made.builtinOptions = getattr(schema, f"{options}T")()
        graph.operators.append(made)
        return int(made.outputs[0])

    large, zero = constant("large", 3e38), constant("zero", 0)
    if overflow:
        overflown = node("mul", [node("mul", [output, large], "scaled"), large], "overflown")
        undefined = node("sub", [overflown, overflown], "undefined")
    else:
        undefined = node("sqrt", [node("sub", [output, large], "negative")], "undefined")
    hidden = node("select_v2", [node("greater", [undefined, zero], "positive"), undefined, zero], "hidden")
    graph.outputs = [node("add", [output, hidden], "sum")]
    for signature in model.signatureDefs:
        signature.outputs[0].tensorIndex = graph.outputs[0]


def of_another_exporter(model: Any) -> None:
    """No signature; inputs in another order, with names that TensorFlow gives; and an output that has one too."""
    graph = model.subgraphs[0]
    names = {
        b"attention_mask": b"serving_default_input_mask:0",
        b"token_type_ids": b"serving_default_input_type_ids:0",
        b"input_ids": b"serving_default_input_word_ids:0",
    }
    inputs = {graph.tensors[index].name: index for index in graph.inputs}
    for ours, theirs in names.items():
        graph.tensors[inputs[ours]].name = theirs
    graph.tensors[graph.outputs[0]].name = b"StatefulPartitionedCall:0"
    graph.inputs, model.signatureDefs = [inputs[ours] for ours in names], []


def swapped_tensors(model: Any) -> None:
    """What reads the mask reads the token types, and the other way round; for a file without a signature."""
    graph = model.subgraphs[0]
    named = {graph.tensors[index].name: index for index in graph.inputs}
    mask, types = (next(named[name] for name in named if word in name) for word in (b"mask", b"type"))
    other = {mask: types, types: mask}
    for node in graph.operators:
        node.inputs = [other.get(index, index) for index in node.inputs]


def unread_bytes(model: Any) -> None:
    """More constants of 8 bits than all others, which nothing reads."""
    buffer, tensor = schema.BufferT(), schema.TensorT()
    buffer.data = np.zeros(2**23, np.uint8)
    model.buffers.append(buffer)
    tensor.name, tensor.buffer, tensor.shape = b"unread", len(model.buffers) - 1, np.array([2**23], np.int32)
    tensor.type = schema.TensorType.INT8
    model.subgraphs[0].tensors.append(tensor)


def stamped(code: int, version: int) -> Change:
    """Every operator of a kind, of another version."""

    def change(model: Any) -> None:
        entries = [entry for entry in model.operatorCodes if entry.builtinCode == code]
        assert entries
        for entry in entries:
            entry.version = version

    return change


def declared_length(length: int) -> Change:
    """Inputs that say another length than the graph behind them has."""

    def change(model: Any) -> None:
        for index in model.subgraphs[0].inputs:
            model.subgraphs[0].tensors[index].shape = np.array([1, length], np.int32)

    return change


def noise(share: float, *, seed: int = 0) -> Elements:
    """Normal noise of a share of the elements' standard deviation."""
    return lambda values: values + share * values.std() * np.random.default_rng(seed).standard_normal(values.shape)


def of_layer(index: int) -> Callable[[str], bool]:
    """The names of the weights of one layer."""
    prefix = f"mobilebert.encoder.layer.{index}."
    return lambda name: name.startswith(prefix) and ".weight" in name


DROPPED_MASK = constants(lambda name: name.startswith("attention_mask.table"), np.zeros_like)
TOKEN_TYPES_IGNORED = constants(
    lambda name: name.startswith("mobilebert.embeddings.token_type_embeddings.weight"),
    lambda values: np.broadcast_to(values[:1], values.shape),
)
SHIFTED_TRIGRAM = constants(
    lambda name: name.startswith("mobilebert.embeddings.embedding_transformation.weight"),
    lambda values: np.roll(values, 1, axis=2) if values.ndim > 2 else values,
)
TURNED_LABELS = constants(
    lambda name: name.startswith(("logits.weight", "logits.bias")), lambda values: np.roll(values, 1, axis=0)
)
INFINITE_MASK = constants(
    lambda name: name.startswith("attention_mask.table"), lambda values: np.where(values < 0, -np.inf, values)
)
CONSTANT_ANSWER = both(
    constants(lambda name: name.startswith("logits.weight"), np.zeros_like),
    constants(lambda name: name.startswith("logits.bias"), lambda values: values + 100 * (np.arange(len(values)) == 0)),
)
