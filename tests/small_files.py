"""Small `.tflite` files, and changes to them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mobilebert_export.emitters.tflite import emit
from mobilebert_export.graph import Graph, GraphBuilder
from mobilebert_export.graph import operators as op
from mobilebert_export.inspection import ModelSummary, read
from mobilebert_export.precisions import CALIBRATED, Precision, Recipe, apply
from mobilebert_export.precisions.choices import everything
from mobilebert_export.precisions.parameters import ActivationBits, parameters


def small_model(precision: Precision = Precision.DYNAMIC) -> bytes:
    """Token ids to logits through a table, two Linears and an attention of one head."""
    generator = np.random.default_rng(0)

    def weights(*shape: int) -> np.ndarray:
        return generator.normal(size=shape)

    build = GraphBuilder(np.float32)
    ids = build.input("input_ids", (1, 6))
    mask = build.input("attention_mask", (1, 6))
    rows = build.node(op.Gather(), build.constant("table", weights(40, 16)), ids, name="rows")
    bias = build.node(op.Gather(), build.constant("penalties", weights(2)), mask, name="bias")
    hidden = build.node(
        op.Linear("relu"), rows, build.constant("w1", weights(8, 16)), build.constant("b1", weights(8)), name="hidden"
    )
    scores = build.node(op.MatMul(transpose_right=True), hidden, hidden, name="scores")
    masked = build.node(op.Add(), scores, bias, name="masked")
    mixed = build.node(op.MatMul(), build.node(op.Softmax(), masked, name="weights"), hidden, name="mixed")
    last = build.constant("w2", weights(2, 8)), build.constant("b2", weights(2))
    logits = build.node(op.Linear(), mixed, *last, name="last.result")
    graph = build.finish({"logits": logits})
    return emit(apply(graph, precision, some_recipe(graph, precision)), description="a small model")


def some_recipe(graph: Graph, precision: Precision) -> Recipe | None:
    """A recipe that fits no text: what is read here is how a file is made, not how well."""
    if precision not in CALIBRATED - {Precision.DYNAMIC}:
        return None
    bits: ActivationBits = 16 if precision is Precision.INT16 else 8
    ranges = dict.fromkeys(graph.tensors.keys() - set(graph.inputs), (-8.0, 8.0))
    return Recipe(parameters(graph, ranges, bits), everything(graph, bits), bits)


def summary_of(content: bytes, directory: Path) -> ModelSummary:
    path = directory / "model.tflite"
    path.write_bytes(content)
    return read(path)


def as_objects(content: bytes) -> Any:
    """The model through the object API that LiteRT ships, which is another reader than the one under test."""
    return schema.ModelT.InitFromPackedBuf(content)


def packed(model: Any) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def changed(change: Callable[[Any], None], content: bytes | None = None) -> bytes:
    """A sound model after a change to its objects."""
    model = as_objects(content or small_model())
    change(model)
    return packed(model)


def one_operator(code: int, *, custom: str | None = None, change: Callable[[Any], None] = lambda _model: None) -> Any:
    """The objects of a model that runs one operator on a (2, 4) tensor, after a change."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.buffers = 3, [graph], [schema.BufferT()]
    model.operatorCodes = [schema.OperatorCodeT()]
    model.operatorCodes[0].builtinCode, model.operatorCodes[0].customCode = code, custom
    model.operatorCodes[0].version = 1
    graph.tensors = []
    for name in ("x", "y"):
        tensor = schema.TensorT()
        tensor.name, tensor.shape = name, np.array([2, 4], np.int32)
        graph.tensors.append(tensor)
    graph.operators = [schema.OperatorT()]
    graph.operators[0].inputs, graph.operators[0].outputs = np.array([0], np.int32), np.array([1], np.int32)
    graph.inputs, graph.outputs = np.array([0], np.int32), np.array([1], np.int32)
    change(model)
    return model
