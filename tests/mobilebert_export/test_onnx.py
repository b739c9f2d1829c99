"""Emitted `.onnx` files against ONNX's own checker and ONNX Runtime."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from mobilebert_export.check import FLOORS
from mobilebert_export.check.metrics import sqnr
from mobilebert_export.emitters.onnx import CURRENT_OPSET, FLOOR_OPSET, emit
from mobilebert_export.errors import GraphError, ModelFileError, UsageError
from mobilebert_export.graph import Graph, GraphBuilder
from mobilebert_export.graph import operators as op
from mobilebert_export.graph.operators import Shape
from mobilebert_export.graph.padding import without_padding
from mobilebert_export.lowering import INPUTS, lower
from mobilebert_export.precisions import Precision, apply
from mobilebert_export.runtimes.onnx import OnnxModel
from tests.models import ARCHITECTURES, VARIANTS, random_inputs, random_model, reference_outputs

SEQUENCE = 12
PRECISIONS = (Precision.NONE, Precision.FLOAT16, Precision.DYNAMIC)
# As for TFLite: float32 rounds at 144 dB and loses some of it over the depth. Weights of 8 and 16 bits in a model of a
# few channels are held to the floors below which no file is written.
LEAST = {precision: FLOORS[precision] for precision in PRECISIONS} | {Precision.NONE: 110.0}
OPSETS = [FLOOR_OPSET, 17, 18, 20, CURRENT_OPSET]  # both ends, and where operators appear or change their form
CLASSIFIER = "MobileBertForSequenceClassification"


def emitted(model: Any, precision: Precision = Precision.NONE, **options: Any) -> tuple[Graph, bytes]:
    graph = without_padding(apply(lower(model, model.config), precision), mask="attention_mask")
    return graph, emit(graph, **options)


def loaded(content: bytes, directory: Path) -> OnnxModel:
    path = directory / "model.onnx"
    path.write_bytes(content)
    return OnnxModel(path)


def checked(content: bytes) -> onnx.ModelProto:
    """The file, after all that ONNX itself can find fault with."""
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    return model


def assert_near(model: Any, runtime: OnnxModel, least: float, batch: int = 1, sequence: int = SEQUENCE) -> None:
    """Over single tokens, half-filled and full rows; several of a kind, for some outputs are one number."""
    for filled in (1, max(sequence // 2, 1), sequence):
        truth, given = [], []
        for seed in range(8):
            inputs = random_inputs(model.config, batch=batch, sequence=sequence, seed=seed)
            inputs["attention_mask"][:] = np.arange(sequence) < filled
            expected = reference_outputs(model, inputs)
            for name, value in runtime.run(inputs).items():
                kept = slice(filled if value.shape[1:2] == (sequence,) else None)  # padded positions are nobody's
                truth.append(expected[name].reshape(value.shape)[:, kept].ravel())
                given.append(value[:, kept].ravel())
        assert sqnr(np.concatenate(truth), np.concatenate(given)) >= least, filled


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_head_in_every_precision(architecture: str, precision: Precision, tmp_path: Path) -> None:
    model = random_model(architecture, "near_one")
    graph, content = emitted(model, precision)
    checked(content)
    runtime = loaded(content, tmp_path)
    assert list(runtime.run(random_inputs(model.config, sequence=SEQUENCE))) == list(graph.outputs)
    assert_near(model, runtime, LEAST[precision])


@pytest.mark.parametrize("opset", [FLOOR_OPSET, CURRENT_OPSET])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_at_both_ends_of_the_opsets(variant: str, opset: int, tmp_path: Path) -> None:
    model = random_model(CLASSIFIER, "near_one", **VARIANTS[variant])
    content = emitted(model, opset=opset)[1]
    checked(content)
    assert_near(model, loaded(content, tmp_path), 110)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("opset", OPSETS)
def test_every_opset_in_every_precision(opset: int, precision: Precision, tmp_path: Path) -> None:
    model = random_model(CLASSIFIER, "near_one", hidden_act="gelu_new", normalization_type="layer_norm")
    content = emitted(model, precision, opset=opset)[1]
    assert [(entry.domain, entry.version) for entry in checked(content).opset_import] == [("", opset)]
    assert_near(model, loaded(content, tmp_path), LEAST[precision])


@pytest.mark.parametrize("opset", [FLOOR_OPSET - 1, CURRENT_OPSET + 1])
def test_opset_out_of_range_is_an_error(opset: int) -> None:
    with pytest.raises(UsageError, match=f"expected an opset from {FLOOR_OPSET} to {CURRENT_OPSET}, got {opset}"):
        emitted(random_model(CLASSIFIER), opset=opset)


def test_one_file_serves_every_batch_and_length(tmp_path: Path) -> None:
    model = random_model("MobileBertForTokenClassification", "near_one")
    runtime = loaded(emitted(model)[1], tmp_path)
    for batch, sequence in ((1, 2), (3, 7), (2, 20)):
        assert_near(model, runtime, 110, batch, sequence)


def test_bound_file_takes_its_own_shape_alone(tmp_path: Path) -> None:
    model = random_model("MobileBertForQuestionAnswering", "near_one")
    graph = lower(model, model.config).bind(batch=2, sequence=9)
    content = emit(graph)
    kinds = {node.op_type for node in checked(content).graph.node}
    assert "Shape" not in kinds  # positions are constants
    runtime = loaded(content, tmp_path)
    assert_near(model, runtime, 110, 2, 9)
    with pytest.raises(Exception, match="invalid dimensions"):
        runtime.run(random_inputs(model.config, batch=2, sequence=8))


def test_interface_is_the_heads_with_symbolic_sizes() -> None:
    model = checked(emitted(random_model("MobileBertForQuestionAnswering"))[1])

    def described(values: Any) -> list[tuple[str, int, list[str]]]:
        tensors = [(value.name, value.type.tensor_type) for value in values]
        return [(name, tensor.elem_type, [size.dim_param for size in tensor.shape.dim]) for name, tensor in tensors]

    symbols = ["batch", "sequence"]
    assert described(model.graph.input) == [(name, onnx.TensorProto.INT32, symbols) for name in INPUTS]
    outputs = ["start_logits", "end_logits"]
    assert described(model.graph.output) == [(name, onnx.TensorProto.FLOAT, symbols) for name in outputs]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_tensor_has_the_graphs_name_and_shape(precision: Precision) -> None:
    graph, content = emitted(random_model(CLASSIFIER), precision)
    model = checked(content)
    constants = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    values = {
        value.name: tuple(size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim)
        for value in (*model.graph.input, *model.graph.value_info, *model.graph.output)
    }
    weights = {node.inputs[1] for node in graph.nodes if isinstance(node.operator, op.Linear | op.Convolution)}
    for name, tensor in graph.tensors.items():
        shape = constants[name] if tensor.is_constant else values[name]
        if name.removesuffix(".float16") in weights:  # laid out as their operators read them
            assert sorted(map(str, shape)) == sorted(map(str, tensor.shape)), name
        else:  # what Linears read and give is a matrix of the same elements
            assert shape in (tensor.shape, _as_matrix(tensor.shape)), name


@pytest.mark.parametrize("precision", PRECISIONS)
def test_same_model_gives_the_same_bytes(precision: Precision) -> None:
    assert emitted(random_model(CLASSIFIER), precision)[1] == emitted(random_model(CLASSIFIER), precision)[1]


def test_gains_of_any_kind(tmp_path: Path) -> None:
    model = random_model(CLASSIFIER, "any")
    assert_near(model, loaded(emitted(model)[1], tmp_path), 110)


@pytest.mark.parametrize("place", [0, -1])
@pytest.mark.parametrize("value", [-1, 2])
def test_mask_that_is_neither_0_nor_1_is_an_error(value: int, place: int, tmp_path: Path) -> None:
    model = random_model(CLASSIFIER)
    runtime = loaded(emitted(model)[1], tmp_path)
    inputs = random_inputs(model.config)
    inputs["attention_mask"][:] = np.arange(9) < 4
    inputs["attention_mask"][0, place] = value
    with pytest.raises(Exception, match="out of data bounds"):
        runtime.run(inputs)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["input_ids", "token_type_ids"])
def test_negative_id_is_an_error_and_not_the_tables_end(name: str, precision: Precision, tmp_path: Path) -> None:
    model = random_model(CLASSIFIER)
    runtime = loaded(emitted(model, precision)[1], tmp_path)
    inputs = random_inputs(model.config)
    inputs[name][0, 0] = -1
    with pytest.raises(Exception, match="out of data bounds"):
        runtime.run(inputs)


def test_more_tokens_than_positions_is_an_error(tmp_path: Path) -> None:
    model = random_model(CLASSIFIER)
    runtime = loaded(emitted(model)[1], tmp_path)
    with pytest.raises(Exception, match="20 by 21"):
        runtime.run(random_inputs(model.config, sequence=21))


def test_weights_are_stored_in_their_precision() -> None:
    model = random_model(CLASSIFIER, "near_one")
    stored = {precision: _constants(emitted(model, precision)[1]) for precision in PRECISIONS}
    weight, table = "logits.weight", "mobilebert.embeddings.word_embeddings.weight"
    assert stored[Precision.NONE][weight].dtype == stored[Precision.NONE][table].dtype == np.float32
    assert stored[Precision.FLOAT16][f"{weight}.float16"].dtype == np.float16
    assert stored[Precision.FLOAT16][f"{table}.float16"].dtype == np.float16
    assert {weight, table}.isdisjoint(stored[Precision.FLOAT16])
    assert stored[Precision.DYNAMIC][weight].dtype.itemsize == 1
    assert stored[Precision.DYNAMIC][table].dtype == np.int8
    assert stored[Precision.DYNAMIC][f"{table}.quantization.scale"].shape == (model.config.vocab_size, 1)


def test_dynamic_linears_run_on_integer_kernels(tmp_path: Path) -> None:
    graph, content = emitted(random_model(CLASSIFIER), Precision.DYNAMIC)
    linears = sum(isinstance(node.operator, op.Linear) for node in graph.nodes)
    kernels = loaded(content, tmp_path).kernels()
    assert kernels["DynamicQuantizeMatMul"] + kernels["MatMulIntegerToFloat"] == linears
    assert not kernels["Gemm"] + kernels["FusedGemm"] + kernels["MatMulInteger"]


def test_value_read_by_several_linears_is_rounded_once() -> None:
    graph, content = emitted(random_model(CLASSIFIER), Precision.DYNAMIC)
    read = {node.inputs[0] for node in graph.nodes if isinstance(node.operator, op.Linear)}
    assert len([node for node in checked(content).graph.node if node.op_type == "DynamicQuantizeLinear"]) == len(read)


def test_epsilon_of_a_layer_norm_is_the_models_own(tmp_path: Path) -> None:
    model = random_model(CLASSIFIER, normalization_type="layer_norm", layer_norm_eps=0.5)
    for opset in (FLOOR_OPSET, CURRENT_OPSET):
        assert_near(model, loaded(emitted(model, opset=opset)[1], tmp_path), 110)


def test_double_precision_constants_are_an_error() -> None:
    model = random_model(CLASSIFIER)
    with pytest.raises(GraphError, match="expected one of float32"):
        emit(lower(model, model.config, dtype=np.float64))


def test_description_and_producer_stand_in_the_file() -> None:
    build = GraphBuilder(np.float32)
    rows = build.node(op.Gather(), build.constant("table", np.eye(4)), build.input("ids", (1, 3)), name="rows")
    model = checked(emit(build.finish({"output": rows}), description="for people"))
    assert (model.doc_string, model.producer_name) == ("for people", "mobilebert-export")
    assert [value.name for value in model.graph.output] == ["output"]


def test_file_that_the_runtime_refuses_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"^expected a file that ONNX Runtime loads, got: [^\n]*$"):
        loaded(b"nothing of the kind", tmp_path)


def _as_matrix(shape: Shape) -> Shape:
    rows: dict[Shape, Shape] = {("batch", "tokens"): ("batch*tokens",), ("batch", 1): ("batch",)}
    return (*rows.get(shape[:-1], ()), *shape[-1:])


def _constants(content: bytes) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load_from_string(content).graph.initializer}


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
def test_trained_full_size_model_meets_its_targets(
    precision: Precision, trained_directory: Path, tmp_path: Path
) -> None:
    import mobilebert_reference as reference

    checkpoint = reference.load_checkpoint(trained_directory)
    runtime = loaded(emitted(checkpoint.model, precision)[1], tmp_path)
    texts = ["transfer ten dollars to my savings", "what is the weather like tomorrow in boston", "hi"]
    inputs = checkpoint.tokenizer.encode_batch(texts, max_length=128)
    rows = {name: np.asarray(values, np.int32) for name, values in inputs.items()}
    expected = reference_outputs(checkpoint.model.double(), rows)["logits"]
    # The issues' targets: 110 dB for float32, 60 for float16 weights, 33 for dynamic.
    least = {Precision.NONE: 110.0, Precision.FLOAT16: 60.0, Precision.DYNAMIC: 33.0}[precision]
    given = runtime.run(rows)["logits"]
    assert sqnr(expected, given) >= least
    assert math.isclose(float(np.mean(expected.argmax(-1) == given.argmax(-1))), 1.0)
