"""Emitted files against the LiteRT interpreter."""

from pathlib import Path
from typing import Any

import mobilebert_reference as reference
import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema

from mobilebert_export.check import FLOORS
from mobilebert_export.check.metrics import sqnr
from mobilebert_export.emitters.tflite import emit
from mobilebert_export.errors import GraphError
from mobilebert_export.export import export_tflite
from mobilebert_export.graph import Graph, GraphBuilder
from mobilebert_export.graph import operators as op
from mobilebert_export.graph.executor import execute
from mobilebert_export.lowering import INPUTS, lower
from mobilebert_export.precisions import CALIBRATED, Precision, apply
from mobilebert_export.runtimes.litert import LiteRtModel
from tests.models import ARCHITECTURES, VARIANTS, random_inputs, random_model, reference_outputs

SEQUENCE = 12
# float32 rounds at 6e-8, 144 dB, and loses some of it over the depth. What rounded weights cost depends on the model,
# and in one of a few channels nothing averages out: they are held to the floors below which no file is written.
# Those that need no calibration; the others have their own tests.
OF_WEIGHTS = [precision for precision in Precision if precision not in CALIBRATED or precision is Precision.DYNAMIC]
LEAST = FLOORS | {Precision.NONE: 110.0}


def emitted(model: Any, precision: Precision = Precision.NONE, sequence: int = SEQUENCE) -> tuple[Graph, bytes]:
    graph = apply(lower(model, model.config).bind(batch=1, sequence=sequence), precision)
    return graph, emit(graph)


def loaded(content: bytes, directory: Path) -> LiteRtModel:
    path = directory / "model.tflite"
    path.write_bytes(content)
    return LiteRtModel(path)


def assert_near(model: Any, runtime: LiteRtModel, least: float, sequence: int = SEQUENCE) -> None:
    """Over single tokens, half-filled and full rows; several of a kind, for some outputs are one number."""
    for filled in (1, max(sequence // 2, 1), sequence):
        truth, given = [], []
        for seed in range(8):
            inputs = random_inputs(model.config, batch=1, sequence=sequence, seed=seed)
            inputs["attention_mask"][:] = np.arange(sequence) < filled
            expected = reference_outputs(model, inputs)
            for name, value in runtime.run(inputs).items():
                kept = slice(filled if value.shape[1:2] == (sequence,) else None)  # padded positions are nobody's
                truth.append(expected[name].reshape(value.shape)[:, kept].ravel())
                given.append(value[:, kept].ravel())
        assert sqnr(np.concatenate(truth), np.concatenate(given)) >= least, filled


@pytest.mark.parametrize("precision", OF_WEIGHTS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_head_in_every_precision(architecture: str, precision: Precision, tmp_path: Path) -> None:
    model = random_model(architecture, "near_one")
    graph, content = emitted(model, precision)
    runtime = loaded(content, tmp_path)
    assert set(runtime.run(random_inputs(model.config, batch=1, sequence=SEQUENCE))) == set(graph.outputs)
    assert_near(model, runtime, LEAST[precision])


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_in_float32(variant: str, tmp_path: Path) -> None:
    model = random_model("MobileBertForSequenceClassification", "near_one", **VARIANTS[variant])
    # LiteRT's GELU and its LayerNorm's parts are approximate to about 1e-6, which leaves a little over 100 dB.
    least = 110 if variant in {"default", "no_bottleneck", "bottleneck_attention", "own_query_and_key"} else 100
    assert_near(model, loaded(emitted(model)[1], tmp_path), least)


@pytest.mark.parametrize("sequence", [2, 7, 20])
def test_every_length(sequence: int, tmp_path: Path) -> None:
    model = random_model("MobileBertForTokenClassification", "near_one")
    assert_near(model, loaded(emitted(model, sequence=sequence)[1], tmp_path), 110, sequence)


def test_gains_of_any_kind(tmp_path: Path) -> None:
    model = random_model("MobileBertForSequenceClassification", "any")
    assert_near(model, loaded(emitted(model)[1], tmp_path), 110)
    assert_near(model, loaded(emitted(model, Precision.FLOAT16)[1], tmp_path), LEAST[Precision.FLOAT16])


@pytest.mark.parametrize("precision", OF_WEIGHTS)
def test_one_partition_behind_the_gathers(precision: Precision, tmp_path: Path) -> None:
    runtime = loaded(emitted(random_model("MobileBertForSequenceClassification", "near_one"), precision)[1], tmp_path)
    assert runtime.partitions == 1


@pytest.mark.parametrize("precision", OF_WEIGHTS)
def test_same_model_gives_the_same_bytes(precision: Precision) -> None:
    first = emitted(random_model("MobileBertForSequenceClassification"), precision)[1]
    assert first == emitted(random_model("MobileBertForSequenceClassification"), precision)[1]


def test_interface_is_the_signature_that_apps_call() -> None:
    model = random_model("MobileBertForQuestionAnswering")
    file = schema.ModelT.InitFromPackedBuf(emitted(model)[1])
    (signature,) = file.signatureDefs
    tensors = file.subgraphs[0].tensors
    assert signature.signatureKey == b"serving_default"
    inputs = [(entry.name.decode(), tensors[entry.tensorIndex]) for entry in signature.inputs]
    assert [name for name, _ in inputs] == list(INPUTS)
    assert all(list(tensor.shape) == [1, SEQUENCE] and tensor.type == schema.TensorType.INT32 for _, tensor in inputs)
    assert [entry.name for entry in signature.outputs] == [b"start_logits", b"end_logits"]
    assert list(file.subgraphs[0].inputs) == [entry.tensorIndex for entry in signature.inputs]


def test_every_tensor_has_the_graphs_name_and_shape() -> None:
    graph, content = emitted(random_model("MobileBertForSequenceClassification"))
    tensors = {tensor.name.decode(): tensor for tensor in schema.ModelT.InitFromPackedBuf(content).subgraphs[0].tensors}
    kernel = "mobilebert.embeddings.embedding_transformation.weight"
    assert set(graph.tensors) <= set(tensors)
    for name, tensor in graph.tensors.items():
        shape = (tensor.shape[0], 1, *tensor.shape[1:]) if name == kernel else tensor.shape
        assert tuple(tensors[name].shape) == shape, name


def test_dynamic_weights_are_int8_with_a_scale_for_each_channel() -> None:
    graph, content = emitted(random_model("MobileBertForSequenceClassification"), Precision.DYNAMIC)
    file = schema.ModelT.InitFromPackedBuf(content)
    (subgraph,) = file.subgraphs
    codes = [(code.builtinCode, code.version) for code in file.operatorCodes]
    assert (schema.BuiltinOperator.FULLY_CONNECTED, 12) in codes
    assert (schema.BuiltinOperator.EMBEDDING_LOOKUP, 4) in codes
    for operator in subgraph.operators:
        if codes[operator.opcodeIndex][0] == schema.BuiltinOperator.FULLY_CONNECTED:
            weight = subgraph.tensors[operator.inputs[1]]
            assert weight.type == schema.TensorType.INT8
            assert len(weight.quantization.scale) == weight.shape[0]
            assert weight.quantization.quantizedDimension == 0
    table = graph.tensors["mobilebert.embeddings.word_embeddings.weight"]
    assert table.dtype == np.int8
    assert table.quantization is not None
    assert table.quantization.scale.shape == (50,)


def test_float16_weights_are_stored_in_float16() -> None:
    model = random_model("MobileBertForSequenceClassification", "near_one")
    graph, content = emitted(model, Precision.FLOAT16)
    file = schema.ModelT.InitFromPackedBuf(content)
    codes = [(code.builtinCode, code.version) for code in file.operatorCodes]
    assert (schema.BuiltinOperator.DEQUANTIZE, 3) in codes
    weights = [node.inputs[1] for node in graph.nodes if isinstance(node.operator, op.Linear)]
    assert all(graph.tensors[f"{name}.float16"].dtype == np.float16 for name in weights)
    assert all(graph.tensors[name].data is None for name in weights)
    assert len(content) < 0.75 * len(emitted(model)[1])


def test_activations_of_int8_weights_are_rounded_with_a_zero_point() -> None:
    content = emitted(random_model("MobileBertForSequenceClassification", "near_one"), Precision.DYNAMIC)[1]
    (subgraph,) = schema.ModelT.InitFromPackedBuf(content).subgraphs
    kind = schema.BuiltinOptions.FullyConnectedOptions
    linears = [operator.builtinOptions for operator in subgraph.operators if operator.builtinOptionsType == kind]
    assert linears
    assert all(options.asymmetricQuantizeInputs and options.keepNumDims for options in linears)


def test_epsilon_of_a_layer_norm_is_the_models_own(tmp_path: Path) -> None:
    model = random_model("MobileBertForSequenceClassification", normalization_type="layer_norm", layer_norm_eps=0.5)
    assert_near(model, loaded(emitted(model)[1], tmp_path), 100)


def test_nothing_is_delegated_where_there_is_only_a_gather(tmp_path: Path) -> None:
    build = GraphBuilder(np.float32)
    table = build.constant("table", np.eye(4))
    rows = build.node(op.Gather(), table, build.input("ids", (1, 3)), name="rows")
    runtime = loaded(emit(build.finish({"rows": rows})), tmp_path)
    assert (runtime.nodes, runtime.partitions) == (1, 0)


def test_constants_are_aligned_for_kernels_that_read_them_in_place() -> None:
    content = emitted(random_model("MobileBertForSequenceClassification"))[1]
    model = schema.Model.GetRootAs(content)
    starts = [
        model.Buffers(index)._tab.Vector(model.Buffers(index)._tab.Offset(4))
        for index in range(model.BuffersLength())
        if model.Buffers(index).DataLength()
    ]
    assert starts
    assert all(start % 16 == 0 for start in starts)


def test_dynamic_graph_computes_what_litert_does(tmp_path: Path) -> None:
    model = random_model("MobileBertForTokenClassification", "near_one")
    graph, content = emitted(model, Precision.DYNAMIC)
    inputs = random_inputs(model.config, batch=1, sequence=SEQUENCE)
    inputs["attention_mask"][:] = 1
    ours, theirs = execute(graph, inputs)["logits"], loaded(content, tmp_path).run(inputs)["logits"]
    quantized = sqnr(reference_outputs(model, inputs)["logits"], theirs)
    # Both round alike but for ties, so they are far nearer to each other than either is to the reference.
    assert sqnr(ours, theirs) > quantized + 10


def test_weights_beyond_float16_keep_float32(tmp_path: Path) -> None:
    model = random_model("MobileBertForSequenceClassification", "near_one")
    model.classifier.weight.data *= 1e6
    graph, content = emitted(model, Precision.FLOAT16)
    assert graph.tensors["logits.weight"].dtype == np.float32
    assert_near(model, loaded(content, tmp_path), LEAST[Precision.FLOAT16])


def test_unbound_graph_is_an_error() -> None:
    model = random_model("MobileBertForSequenceClassification")
    with pytest.raises(GraphError, match="expected a bound graph"):
        emit(lower(model, model.config))


def test_binding_a_longer_sequence_than_the_positions_is_an_error() -> None:
    model = random_model("MobileBertForSequenceClassification")
    with pytest.raises(GraphError, match="expected at least 21 position embeddings"):
        lower(model, model.config).bind(batch=1, sequence=21)


# The targets for the full-size model, and its largest file.
TARGETS = {Precision.NONE: 110.0, Precision.FLOAT16: 60.0, Precision.DYNAMIC: 33.0}
LARGEST_DYNAMIC = 26.5e6


@pytest.mark.slow
@pytest.mark.parametrize("precision", OF_WEIGHTS)
def test_trained_full_size_model_meets_its_targets(
    precision: Precision, trained_directory: Path, tmp_path: Path
) -> None:
    output = tmp_path / "model.tflite"
    export = export_tflite(reference.load_checkpoint(trained_directory), output, precision=precision)
    assert export.partitions == 1
    assert export.verification.worst_sqnr >= TARGETS[precision]
    assert export.verification.agreement == 1.0
    if precision is Precision.DYNAMIC:
        assert output.stat().st_size <= LARGEST_DYNAMIC


@pytest.mark.slow
@pytest.mark.parametrize("precision", [Precision.NONE, Precision.FLOAT16])
def test_random_full_size_model_meets_its_targets(precision: Precision, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = reference.MobileBertForSequenceClassification(reference.MobileBertConfig()).double().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "LayerNorm" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    runtime = loaded(emitted(model, precision, 128)[1], tmp_path)
    assert runtime.partitions == 1
    assert_near(model, runtime, TARGETS[precision], 128)
