"""Precisions that compute in integers: the file in LiteRT against the executor and the reference."""

import dataclasses
import importlib
import json
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import mobilebert_quantization as quantization
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.schema_py_generated import BuiltinOperator, TensorType
from mobilebert_reference import Checkpoint, load_checkpoint
from mobilebert_reference.demo import EVALUATION
from numpy.typing import NDArray

from mobilebert_export.calibration import Row
from mobilebert_export.calibration.calibrate import batches_of
from mobilebert_export.calibration.calibrate import full_recipe as recipe_of
from mobilebert_export.calibration.choose import ENOUGH, release
from mobilebert_export.calibration.observe import Inputs, outputs
from mobilebert_export.calibration.sensitivity import alone, sensitivity
from mobilebert_export.candidate import Candidate, emitted
from mobilebert_export.check.metrics import sqnr
from mobilebert_export.check.verify import Reference
from mobilebert_export.emitters.tflite import emit
from mobilebert_export.errors import UsageError
from mobilebert_export.fitted import fitted
from mobilebert_export.graph import Graph
from mobilebert_export.graph import operators as op
from mobilebert_export.graph.executor import execute
from mobilebert_export.graph.expand import expanded
from mobilebert_export.lowering import INPUTS, Coordinates, lower
from mobilebert_export.precisions import Precision, Recipe, apply
from mobilebert_export.precisions.integer import integer
from mobilebert_export.runtimes.litert import LiteRtModel
from tests.models import ARCHITECTURES, VARIANTS, VOCABULARY_SIZE, random_model, write_checkpoint
from tests.text import letters, queries

pytestmark = pytest.mark.usefixtures("one_thread")

PROJECT = Path(__file__).parents[2]
STATIC = (Precision.INT8, Precision.INT8_FULL, Precision.INT16)
LENGTH = 12
# Kernels may take the step beside at ties, and what reads it passes that on. A step is 1/255 of a range, so that a
# hundredth of them being off is a noise of 0.1 * 1/255 of it; 30 dB is eight times as much, for the depth of the model.
NEAR = 30.0

# The table: SQNR at the head, as trained and under stress; and points of accuracy that may be lost.
TRAINED = {Precision.DYNAMIC: 34.0, Precision.INT8: 25.0, Precision.INT8_FULL: 22.0, Precision.INT16: 30.0}
STRESSED = {Precision.DYNAMIC: 32.0, Precision.INT8: 23.0, Precision.INT8_FULL: 20.0, Precision.INT16: 27.0}
LOST = {Precision.DYNAMIC: 0.2, Precision.INT8: 0.5, Precision.INT8_FULL: 1.0, Precision.INT16: 0.2}


@pytest.fixture
def stress_models(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(PROJECT / "benchmarks")
    return importlib.import_module("stress_models")


def made(checkpoint: Checkpoint, precision: Precision, rows: list[Row], length: int = LENGTH) -> Candidate:
    return emitted(fitted(checkpoint, precision, rows, length=length, progress=lambda _: None), length=length)


def loaded(content: bytes, directory: Path) -> LiteRtModel:
    path = directory / "model.tflite"
    path.write_bytes(content)
    return LiteRtModel(path)


def random_checkpoint(architecture: str, directory: Path, **config: Any) -> Checkpoint:
    model = random_model(architecture, "near_one", vocab_size=VOCABULARY_SIZE, **config)
    return load_checkpoint(write_checkpoint(model, directory / "checkpoint"))


def encoded(checkpoint: Checkpoint, rows: list[Row], length: int = LENGTH) -> list[Inputs]:
    encodings = [checkpoint.tokenizer.encode(row.text, row.text_pair, max_length=length) for row in rows]
    return [{name: np.array([getattr(each, name)], np.int32) for name in INPUTS} for each in encodings]


def flat(values: Mapping[str, NDArray[np.floating]], mask: NDArray[np.integer]) -> NDArray[np.floating]:
    """All outputs at all positions that are not padding."""
    kept = mask.astype(bool)
    return np.concatenate([(each[kept] if each.shape[:2] == mask.shape else each).ravel() for each in values.values()])


def assert_file_computes_the_graph(candidate: Candidate, inputs: list[Inputs], runtime: LiteRtModel) -> None:
    ours, theirs = [], []
    for row in inputs:
        given, computed = runtime.run(row), execute(candidate.quantized, row)
        assert set(given) == set(computed) == set(candidate.fitted.graph.outputs)
        ours.append(flat(computed, row["attention_mask"]))
        theirs.append(flat({name: given[name] for name in computed}, row["attention_mask"]))
    assert sqnr(np.concatenate(ours), np.concatenate(theirs)) >= NEAR


def assert_integers_only(content: bytes) -> None:
    (subgraph,) = schema.ModelT.InitFromPackedBuf(content).subgraphs
    for tensor in subgraph.tensors:
        assert tensor.type in {TensorType.INT8, TensorType.INT32}, tensor.name
    assert all(subgraph.tensors[index].type == TensorType.INT32 for index in subgraph.inputs)
    for index in subgraph.outputs:
        output = subgraph.tensors[index]
        assert output.type == TensorType.INT8
        assert len(output.quantization.scale) == len(output.quantization.zeroPoint) == 1
        assert output.quantization.scale[0] > 0


# `int8` leaves what surrounds the Linears in real numbers, heads above all: a few of them show it.
QUICK_HEADS = {"MobileBertModel", "MobileBertForQuestionAnswering"}


@pytest.mark.parametrize(
    ("architecture", "precision"),
    [
        pytest.param(name, each, marks=pytest.mark.slow if each is Precision.INT8 and name not in QUICK_HEADS else ())
        for name in ARCHITECTURES
        for each in STATIC
    ],
)
def test_file_of_every_head_computes_its_graph(architecture: str, precision: Precision, tmp_path: Path) -> None:
    checkpoint = random_checkpoint(architecture, tmp_path)
    candidate = made(checkpoint, precision, letters(16, LENGTH))
    if precision is Precision.INT8_FULL:
        assert_integers_only(candidate.content)
    inputs = encoded(checkpoint, letters(8, LENGTH, seed=1))
    assert_file_computes_the_graph(candidate, inputs, loaded(candidate.content, tmp_path))


QUICK_VARIANTS = ("layer_norm", "gelu", "silu")
MANY_VARIANTS = [
    pytest.param(name, marks=() if name in QUICK_VARIANTS else pytest.mark.slow)
    for name in VARIANTS
    if name != "default"
]


@pytest.mark.parametrize("precision", STATIC)
@pytest.mark.parametrize("variant", MANY_VARIANTS)
def test_file_of_every_variant_computes_its_graph(variant: str, precision: Precision, tmp_path: Path) -> None:
    checkpoint = random_checkpoint("MobileBertForSequenceClassification", tmp_path, **VARIANTS[variant])
    candidate = made(checkpoint, precision, letters(16, LENGTH))
    if precision is Precision.INT8_FULL:
        assert_integers_only(candidate.content)
    if precision is Precision.INT16:
        # What 16 bits have no kernel for, or no good one.
        expected = {"gelu", "gelu_new"} & {str(checkpoint.config.hidden_act)}
        if checkpoint.config.normalization_type == "layer_norm":
            expected.add("rsqrt")
        assert computes_in_real_numbers(candidate.content) == expected
    inputs = encoded(checkpoint, letters(8, LENGTH, seed=1))
    assert_file_computes_the_graph(candidate, inputs, loaded(candidate.content, tmp_path))


def computes_in_real_numbers(content: bytes) -> set[str]:
    """Names of the functions that a file computes in float, conversions at its end and around it left out."""
    file = schema.ModelT.InitFromPackedBuf(content)
    (subgraph,) = file.subgraphs
    names = {BuiltinOperator.GELU: "gelu", BuiltinOperator.RSQRT: "rsqrt"}
    found = set()
    for operator in subgraph.operators:
        code = file.operatorCodes[operator.opcodeIndex].builtinCode
        types = {subgraph.tensors[index].type for index in (*operator.inputs, *operator.outputs)}
        if TensorType.FLOAT32 in types and code not in {BuiltinOperator.QUANTIZE, BuiltinOperator.DEQUANTIZE}:
            name = names.get(code, str(code))
            found.add("gelu_new" if name == "gelu" and operator.builtinOptions.approximate else name)
    return found


@pytest.mark.parametrize(
    "precision", [pytest.param(each, marks=() if each is Precision.INT8 else pytest.mark.slow) for each in STATIC]
)
def test_same_rows_give_the_same_bytes(precision: Precision, demo: Checkpoint) -> None:
    assert made(demo, precision, queries(20)).content == made(demo, precision, queries(20)).content


# By GetBuiltinOperatorVersion of TensorFlow (tensorflow/compiler/mlir/lite/tools/versioning/op_version.cc); but 12 of
# FULLY_CONNECTED, the first that reads a scale for each channel everywhere.
VERSIONS = {
    Precision.INT8_FULL: {
        BuiltinOperator.ADD: 2,
        BuiltinOperator.BATCH_MATMUL: 2,
        BuiltinOperator.CONV_2D: 3,
        BuiltinOperator.FULLY_CONNECTED: 12,
        BuiltinOperator.GATHER: 2,
        BuiltinOperator.RESHAPE: 1,
        BuiltinOperator.SOFTMAX: 2,
        BuiltinOperator.TRANSPOSE: 2,
    },
    Precision.INT16: {
        BuiltinOperator.ADD: 3,
        BuiltinOperator.BATCH_MATMUL: 3,
        BuiltinOperator.CONV_2D: 4,
        BuiltinOperator.DEQUANTIZE: 3,
        BuiltinOperator.FULLY_CONNECTED: 12,
        BuiltinOperator.GATHER: 4,
        BuiltinOperator.RESHAPE: 1,
        BuiltinOperator.SOFTMAX: 3,
        BuiltinOperator.TRANSPOSE: 5,
    },
}


@pytest.mark.parametrize("precision", VERSIONS)
def test_operators_have_the_versions_of_their_types(precision: Precision, demo: Checkpoint) -> None:
    codes = schema.ModelT.InitFromPackedBuf(made(demo, precision, queries(20)).content).operatorCodes
    stamped = {code.builtinCode: code.version for code in codes}
    assert len(stamped) == len(codes)  # one version of each
    assert {code: version for code, version in stamped.items() if code in VERSIONS[precision]} == VERSIONS[precision]


@pytest.mark.parametrize("precision", [Precision.DYNAMIC, Precision.INT8])
def test_demo_model_is_one_partition(precision: Precision, demo: Checkpoint, tmp_path: Path) -> None:
    assert loaded(made(demo, precision, queries(20)).content, tmp_path).partitions == 1


def test_file_whose_nodes_were_released_is_one_partition(demo: Checkpoint, tmp_path: Path) -> None:
    whole = fitted(demo, Precision.INT8, queries(16), length=LENGTH, progress=lambda _: None)
    assert whole.calibration is not None
    recipe = whole.calibration.recipe
    assert recipe is not None
    half = frozenset(sorted(recipe.integer)[::2])
    graph = apply(whole.graph.bind(batch=1, sequence=LENGTH), Precision.INT8, dataclasses.replace(recipe, integer=half))
    assert loaded(emit(graph), tmp_path).partitions == 1


@pytest.mark.slow
@pytest.mark.parametrize("precision", [Precision.DYNAMIC, Precision.INT8])
def test_full_size_model_is_one_partition(precision: Precision, trained_directory: Path, tmp_path: Path) -> None:
    candidate = made(load_checkpoint(trained_directory), precision, queries(16), 128)
    assert loaded(candidate.content, tmp_path).partitions == 1


def answers(
    checkpoint: Checkpoint, precision: Precision, directory: Path, texts: int = 100
) -> tuple[float, float, float]:
    """SQNR at the logits of the file, and the accuracy of the reference and of the file, in percent."""
    runtime = loaded(made(checkpoint, precision, queries(64), 32).content, directory)
    labelled = [json.loads(line) for line in EVALUATION.read_text(encoding="utf-8").splitlines()[:texts]]
    inputs = encoded(checkpoint, [Row(each["text"]) for each in labelled], 32)
    labels = np.array([checkpoint.config.label2id[each["label"]] for each in labelled])
    together = {name: np.concatenate([row[name] for row in inputs]) for name in INPUTS}
    truth = Reference(checkpoint).run(together)["logits"]
    given = np.concatenate([runtime.run(row)["logits"] for row in inputs])
    before, after = (float(100 * np.mean(each.argmax(1) == labels)) for each in (truth, given))
    return sqnr(truth, given), before, after


# Of 100 texts one is a point. About one answer in a hundred changes (`make quality`, 4,500 texts), for the better or
# the worse: a standard deviation of one text, of which two are allowed.
BY_CHANCE = 2.0


@pytest.mark.parametrize("precision", TRAINED)
def test_trained_demo_model_meets_its_targets(precision: Precision, demo: Checkpoint, tmp_path: Path) -> None:
    decibels, before, after = answers(demo, precision, tmp_path)
    assert before > 80  # the labels are those of the model: of 150 intents chance finds one in 150
    assert decibels >= TRAINED[precision]
    assert before - after <= max(LOST[precision], BY_CHANCE)


STRESSES = [("scramble", 0.0), ("near-zero-gains", 0.0), ("massive", 1e3), ("massive", 1e6), ("both", 1e4)]
IN_THE_DEFAULT_RUN = {("scramble", Precision.INT8), ("both", Precision.INT8_FULL)}


@pytest.mark.parametrize(
    ("kind", "magnitude", "precision"),
    [
        pytest.param(*each, precision, marks=() if (each[0], precision) in IN_THE_DEFAULT_RUN else pytest.mark.slow)
        for each in STRESSES
        for precision in STRESSED
    ],
)
def test_stressed_demo_model_meets_its_targets(
    kind: str, magnitude: float, precision: Precision, demo: Checkpoint, stress_models: Any, tmp_path: Path
) -> None:
    stress = stress_models.stress(demo.model, stress_models.Kind(kind), magnitude=magnitude, seed=0)
    decibels, before, after = answers(dataclasses.replace(demo, model=stress.stressed), precision, tmp_path)
    assert decibels >= STRESSED[precision]
    assert before - after <= max(LOST[precision], BY_CHANCE)


# What a padded position may add: its share of a softmax whose masked scores lie 12 below the largest, 6e-6 each, is
# below a step of 8 bits, so that only ties between the kernels of different lengths differ.
@pytest.mark.parametrize(
    "precision", [pytest.param(each, marks=() if each is Precision.INT8_FULL else pytest.mark.slow) for each in STATIC]
)
def test_padding_has_no_influence(precision: Precision, demo: Checkpoint, tmp_path: Path) -> None:
    model = fitted(demo, precision, queries(32), length=48, progress=lambda _: None)
    rows = [row for row in queries(40) if len(demo.tokenizer.encode(row.text, max_length=48, pad=False)) < 16]
    assert len(rows) > 10
    given = []
    for length in (16, 48):
        runtime = loaded(emitted(model, length=length).content, tmp_path)
        given.append(np.concatenate([runtime.run(inputs)["logits"] for inputs in encoded(demo, rows, length)]))
    # As far as ties go; what the precision itself costs is 10 dB and more above it.
    assert sqnr(*given) >= 38


KINDS = {
    "of one token": Row("hi"),
    "padded": Row("what is the spanish word for pasta"),
    "full": Row("what is the spanish word for pasta if you happen to know it and would tell me now please"),
    "of two texts": Row("how do you say hello", "in japanese or in french"),
}


@pytest.mark.parametrize(
    "precision", [pytest.param(each, marks=() if each is Precision.INT8_FULL else pytest.mark.slow) for each in STATIC]
)
def test_rows_of_every_kind_keep_their_answer(precision: Precision, demo: Checkpoint, tmp_path: Path) -> None:
    calibration = [*queries(32), Row("how do i get there", "and how far is it"), Row("hello")]
    candidate = made(demo, precision, calibration, 16)
    runtime, truth = loaded(candidate.content, tmp_path), Reference(demo)
    for kind, row in KINDS.items():
        (inputs,) = encoded(demo, [row], 16)
        filled = int(inputs["attention_mask"].sum())
        assert (filled == 16) == (kind == "full"), kind
        assert inputs["token_type_ids"].any() == (kind == "of two texts")
        expected = truth.run({name: values[:, : filled + 1] for name, values in inputs.items()})["logits"]
        # Twice the noise that the issue allows on the average of many rows.
        assert sqnr(expected, runtime.run(inputs)["logits"]) >= TRAINED[precision] - 6, kind


def measured_by(checkpoint: Checkpoint, rows: list[Row]) -> tuple[Graph, Recipe, list[Inputs]]:
    """A graph in the reference's coordinates, all that may compute in integers, and text to measure on."""
    inputs, _ = batches_of(checkpoint, rows, length=24, progress=lambda _: None)
    graph = expanded(lower(checkpoint.model, checkpoint.config, dtype=np.float64, coordinates=Coordinates()))
    return graph, recipe_of(graph, inputs(""), Precision.INT8), list(islice(inputs(""), 1))


def test_nodes_that_cost_most_go_back_to_real_numbers(demo: Checkpoint) -> None:
    graph, recipe, batches = measured_by(demo, queries(16))
    coarse = "mobilebert.encoder.layer.1"
    parameters = recipe.parameters[coarse]
    wide = dataclasses.replace(parameters, scale=parameters.scale * np.float32(50))
    hard = dataclasses.replace(recipe, parameters={**recipe.parameters, coarse: wide})
    truth = outputs(graph, batches)
    assert sqnr(truth, outputs(integer(graph, hard), batches)) < ENOUGH - 5  # else nothing is hard about it

    chosen = release(graph, hard, batches, lambda: sensitivity(graph, hard, alone(hard.integer), batches[0]))
    assert coarse in hard.integer - chosen.integer
    assert 0 < len(hard.integer - chosen.integer) < len(hard.integer) / 2
    assert sqnr(truth, outputs(integer(graph, chosen), batches)) >= ENOUGH
    assert dataclasses.replace(chosen, integer=hard.integer) == hard


def test_no_node_is_released_where_the_error_is_small_enough(demo: Checkpoint) -> None:
    graph, recipe, batches = measured_by(demo, queries(16))
    assert sqnr(outputs(graph, batches), outputs(integer(graph, recipe), batches)) >= ENOUGH

    def asked() -> dict[str, float]:
        raise AssertionError("nothing has to be released")

    assert release(graph, recipe, batches, asked) is recipe


def test_precision_of_integers_without_a_recipe_is_an_error(demo: Checkpoint) -> None:
    graph = lower(demo.model, demo.config)
    for precision in STATIC:
        with pytest.raises(UsageError, match="calibrate the model first"):
            apply(graph, precision)


def test_weights_and_biases_are_stored_to_half_a_step(demo: Checkpoint) -> None:
    candidate = made(demo, Precision.INT8, queries(16))
    linears = [node for node in candidate.quantized.nodes if isinstance(node.operator, op.Linear)]
    stored = 0
    for node in linears:
        for name in node.inputs[1:]:
            tensor, exact = candidate.quantized.tensors[name], candidate.fitted.graph.tensors[name]
            if tensor.quantization is None or tensor.data is None:
                continue
            stored += 1
            step = tensor.quantization.scale.astype(np.float64).reshape(-1, *[1] * (tensor.data.ndim - 1))
            real = quantization.dequantize(np.asarray(tensor.data, np.int64), tensor.quantization)
            # A half, and what float32 scales and weights are rounded by: 2^-24 of at most 2^30 steps of a bias, which
            # none here comes near, and of 127 of a weight.
            assert np.abs((real - np.asarray(exact.data, np.float64)) / step).max() <= 0.5 + 1e-3, name
    assert stored == 2 * len(linears)
