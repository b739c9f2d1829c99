"""Integers in emitted `.onnx` files: which kernels ONNX Runtime takes, and that none of them cuts a sum off."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from mobilebert_quantization import Affine, symmetric
from onnx import numpy_helper

from mobilebert_export.calibration.calibrate import full_recipe
from mobilebert_export.check.metrics import sqnr
from mobilebert_export.emitters.onnx import CURRENT_OPSET, FLOOR_OPSET, emit
from mobilebert_export.errors import GraphError
from mobilebert_export.graph import Graph, GraphBuilder
from mobilebert_export.graph import operators as op
from mobilebert_export.graph.executor import execute
from mobilebert_export.graph.expand import expanded
from mobilebert_export.lowering import lower
from mobilebert_export.precisions import Precision, Recipe, apply
from mobilebert_export.precisions.pairing import paired
from mobilebert_export.runtimes.onnx import OnnxModel
from tests.models import random_inputs, random_model

SEQUENCE = 12
OPSETS = [FLOOR_OPSET, CURRENT_OPSET]
ROWS = 3


def loaded(content: bytes, directory: Path) -> OnnxModel:
    path = directory / "model.onnx"
    path.write_bytes(content)
    return OnnxModel(path)


def constant(content: bytes, name: str) -> np.ndarray:
    (found,) = [tensor for tensor in onnx.load_from_string(content).graph.initializer if tensor.name == name]
    return numpy_helper.to_array(found)


def linear(rows: np.ndarray, weight: np.ndarray, bias: np.ndarray | float = 0.0) -> Graph:
    """A Linear of the rows of a table, by ids."""
    build = GraphBuilder(np.float32)
    values = build.node(op.Gather(), build.constant("table", rows), build.input("ids", (1, len(rows))), name="values")
    operands = (build.constant("weight", weight), build.constant("bias", np.zeros(len(weight)) + bias))
    return build.finish({"sums": build.node(op.Linear(), values, *operands, name="sums")})


def static(graph: Graph) -> Graph:
    """The Linear in 8 bits: of values from 0 to 1, and of sums from 0 to those of ones."""
    largest = np.abs(np.asarray(graph.tensors["weight"].data)).sum(axis=1).max()
    parameters = {
        "values": Affine(np.array([1 / 255], np.float32), np.array([-128]), None, 8),
        "sums": Affine(np.array([largest / 127], np.float32), np.array([0]), None, 8),
    }
    return apply(graph, Precision.INT8, Recipe(parameters, frozenset({"sums"})))


def dynamic(graph: Graph) -> Graph:
    return apply(graph, Precision.DYNAMIC)


IDS = {"ids": np.arange(ROWS, dtype=np.int32)[None]}


@pytest.mark.parametrize("inputs", [2, 7, 64, 513])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("precision", [dynamic, static])
def test_largest_inputs_of_largest_weights_are_not_cut_off(
    precision: Any, sign: int, inputs: int, tmp_path: Path
) -> None:
    # Every product is the largest there is: signed kernels without VNNI would give half of the sum.
    rows = np.ones((ROWS, inputs))
    rows[1] /= 2
    graph = linear(rows, np.full((5, inputs), float(sign)))
    content = emit(precision(graph))
    truth = np.broadcast_to(sign * rows.sum(axis=1)[None, :, None], (1, ROWS, 5))
    given = loaded(content, tmp_path).run(IDS)["sums"]
    # Half a step of 8 bits for the values, and one for the sums.
    assert np.abs(given - truth).max() <= inputs * (0.5 / 255 + 1 / 127)
    assert constant(content, "weight").dtype == np.uint8


@pytest.mark.parametrize("precision", [dynamic, static])
def test_weights_whose_neighbours_cannot_pass_16_bits_stay_signed(precision: Any, tmp_path: Path) -> None:
    # In each pair one weight of 127 beside one of 1, the most that 16 bits hold: 255 * 128 = 32,640.
    weight = np.tile([127.0, 1.0], (5, 32))
    content = emit(precision(linear(np.ones((ROWS, 64)), weight)))
    assert constant(content, "weight").dtype == np.int8
    assert constant(content, "weight").shape == (64, 5)
    given = loaded(content, tmp_path).run(IDS)["sums"]
    assert np.abs(given / weight.sum(axis=1) - 1).max() <= 0.5 / 255 + 1 / 127


@pytest.mark.parametrize(("pair", "kind"), [((127, 1), np.int8), ((127, 2), np.uint8), ((-127, -2), np.uint8)])
def test_bound_on_neighbours_is_128_of_a_sign(pair: tuple[int, int], kind: type) -> None:
    graph = linear(np.ones((ROWS, 4)), np.array([[*pair, 127.0, -127.0]]))
    assert constant(emit(dynamic(graph)), "weight").dtype == kind


def test_neighbours_lie_in_pairs_from_the_first_input_on() -> None:
    graph = linear(np.ones((ROWS, 5)), np.array([[1.0, 127.0, 127.0, 1.0, 127.0]]))
    assert constant(emit(dynamic(graph)), "weight").dtype == np.int8


def test_dynamic_linear_is_exact_in_its_integers(tmp_path: Path) -> None:
    # Against the arithmetic that ONNX defines for DynamicQuantizeLinear, over all values at once.
    generator = np.random.default_rng(0)
    rows, weight = generator.normal(size=(ROWS, 96)).astype(np.float32), generator.normal(size=(7, 96))
    graph = dynamic(linear(rows, weight))
    low, high = min(rows.min(), 0), max(rows.max(), 0)
    step = np.float32((high - low) / 255)
    zero_point = np.clip(np.rint(-low / step), 0, 255)
    stored = np.clip(np.rint(rows / step) + zero_point, 0, 255) - zero_point
    tensor = graph.tensors["weight"]
    parameters = symmetric(np.asarray(weight, np.float32), axis=0)
    truth = stored @ np.asarray(tensor.data, np.float64).T * step * parameters.scale
    given = loaded(emit(graph), tmp_path).run(IDS)["sums"][0]
    # Sums are exact; the two factors behind them are float32.
    np.testing.assert_allclose(given, truth, rtol=1e-6, atol=1e-6 * np.abs(truth).max())


@pytest.mark.parametrize("inputs", [2, 7, 64, 513])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("precision", [dynamic, static])
def test_paired_weights_run_signed_and_are_not_cut_off(precision: Any, sign: int, inputs: int, tmp_path: Path) -> None:
    # Every product is the largest there is. The bias is in the unit of the products, which pairing changes.
    bias = -sign * inputs * np.arange(5) / 8
    graph = linear(np.ones((ROWS, inputs)), np.full((5, inputs), float(sign)), bias)
    content = emit(paired(precision(graph), graph))
    assert constant(content, "weight").dtype == np.int8
    truth = np.broadcast_to(sign * inputs + bias, (1, ROWS, 5))
    given = loaded(content, tmp_path).run(IDS)["sums"]
    # Half a step of 8 bits for the values, one for the sums, and for the weights half a step of 1 / 63.5.
    assert np.abs(given - truth).max() <= inputs * (0.5 / 255 + 1 / 127 + 0.5 / 63.5)


def test_pairing_leaves_what_has_no_int8_weight() -> None:
    graph = linear(np.ones((ROWS, 4)), np.ones((5, 4)))
    assert emit(paired(graph, graph)) == emit(graph)


def test_linear_of_one_position_keeps_its_scales() -> None:
    build = GraphBuilder(np.float32)
    bias = build.constant("bias", np.zeros(4))

    def linear(values: str, name: str) -> str:
        return build.node(op.Linear(), values, build.constant(f"{name}.weight", np.ones((4, 4))), bias, name=name)

    values = build.node(
        op.Gather(), build.constant("table", np.eye(4)), build.input("ids", ("batch", 3)), name="values"
    )
    first = build.node(op.First(axis=1), linear(values, "many"), name="first")
    flat = build.node(op.Reshape(("batch", 4)), linear(first, "one"), name="flat")
    graph = build.finish({"pooled": linear(flat, "pooled")})
    plain = dynamic(graph)
    widened = paired(plain, graph)

    def steps(weight: str) -> list[float]:
        found = (each.tensors[weight].quantization for each in (plain, widened))
        return [float(parameters.scale[0]) for parameters in found if parameters]

    assert steps("many.weight") == [pytest.approx(1 / 127), pytest.approx(2 / 127)]
    for kept in ("one.weight", "pooled.weight"):
        assert steps(kept) == [pytest.approx(1 / 127)] * 2


def integers(architecture: str, *, bound: bool) -> tuple[Any, Graph]:
    """A model, and its graph with all that may in 8 bits."""
    model = random_model(architecture, "near_one")
    graph = expanded(lower(model, model.config))
    inputs = [random_inputs(model.config, batch=4, sequence=SEQUENCE, seed=seed) for seed in range(4)]
    recipe = full_recipe(graph, inputs, Precision.INT8)
    return model, apply(graph.bind(batch=1, sequence=SEQUENCE) if bound else graph, Precision.INT8, recipe)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("bound", [False, True])
def test_static_model_runs_on_integer_kernels(bound: bool, opset: int, tmp_path: Path) -> None:
    _, graph = integers("MobileBertForTokenClassification", bound=bound)
    content = emit(graph, opset=opset)
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    kernels = loaded(content, tmp_path).kernels()
    stored = [node for node in graph.nodes if graph.tensors[node.outputs[0]].dtype == np.int8]
    for kind, kernel in ((op.Linear, "QGemm"), (op.MatMul, "QLinearMatMul"), (op.Add, "QLinearAdd")):
        count = sum(isinstance(node.operator, kind) for node in stored)
        assert kernels[kernel] == count > 0, kernel


@pytest.mark.parametrize("architecture", ["MobileBertForTokenClassification", "MobileBertForSequenceClassification"])
def test_static_model_computes_what_the_graph_does(architecture: str, tmp_path: Path) -> None:
    model, graph = integers(architecture, bound=False)
    runtime = loaded(emit(graph), tmp_path)
    inputs = random_inputs(model.config, batch=2, sequence=SEQUENCE, seed=7)
    inputs["attention_mask"][:] = 1
    # Kernels may land a step beside the graph's: 255 steps of a range, about 40 dB below what it holds.
    assert sqnr(execute(graph, inputs)["logits"], runtime.run(inputs)["logits"]) >= 40


def test_every_stored_tensor_keeps_its_name() -> None:
    _, graph = integers("MobileBertForTokenClassification", bound=False)
    model = onnx.load_from_string(emit(graph))
    values = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    named = {name for node in graph.nodes for name in node.outputs} - set(graph.outputs.values())
    for name in named:
        integer = graph.tensors[name].quantization is not None
        kept = f"{name}.stored" if name in graph.outputs else name
        assert values[kept] == (onnx.TensorProto.UINT8 if integer else onnx.TensorProto.FLOAT), name
    assert [value.name for value in model.graph.output] == ["logits"]


def test_widths_other_than_8_bits_are_an_error() -> None:
    model = random_model("MobileBertForTokenClassification", "near_one")
    graph = expanded(lower(model, model.config))
    recipe = full_recipe(graph, [random_inputs(model.config, sequence=SEQUENCE)], Precision.INT16)
    with pytest.raises(
        GraphError, match=r"expected one of .* got quantized int|expected integers of 8 bits of .*, got 16"
    ):
        emit(apply(graph, Precision.INT16, recipe))
