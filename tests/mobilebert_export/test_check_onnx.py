"""`.onnx` files before the default gate: honest ones pass, wrong ones fail, and it is seen where."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from mobilebert_reference import Checkpoint, load_checkpoint
from mobilebert_reference.demo import CHECKPOINT, EVALUATION
from onnx import TensorProto, helper, numpy_helper

from mobilebert_export.check.cases import FULL_ROWS
from mobilebert_export.check.data import chosen, read_rows
from mobilebert_export.check.gate import Gate
from mobilebert_export.check.measure import Measurement
from mobilebert_export.check.measured import Measured
from mobilebert_export.check.run import check
from mobilebert_export.emitters.onnx import emit
from mobilebert_export.errors import EquivalenceError
from mobilebert_export.graph import Graph
from mobilebert_export.onnx_export import export_onnx
from mobilebert_export.precisions import CALIBRATED, Precision
from mobilebert_export.runtimes.interface import UnknownOperatorError
from mobilebert_export.runtimes.onnx_real_arithmetic import without_rounding
from tests import mutants, onnx_mutants
from tests.models import VOCABULARY_SIZE, random_model, write_checkpoint
from tests.text import queries

# By how much a layer is disturbed.
DISTURBED = {"none": 0.01, "float16": 0.01, "dynamic": 0.2, "int8": 0.2}
ROWS = 4
# Positions: those that most texts need, and more.
USUAL, LONG = 128, 160

Export = Callable[[str], Path]


@pytest.fixture(scope="module")
def measurement(demo: Checkpoint) -> Measurement:
    return Measurement(demo, chosen(read_rows(EVALUATION), ROWS))


@pytest.fixture(scope="module")
def honest(demo: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """The demo in a precision, of any length, exported once."""
    directory = tmp_path_factory.mktemp("honest")

    def export(name: str) -> Path:
        path = directory / f"{name}.onnx"
        if not path.exists():
            export_onnx(demo, path, precision=name, calibration=queries(48) if Precision(name) in CALIBRATED else None)
        return path

    return export


def failing(measured: Measured) -> set[str]:
    return {line.key for line in Gate.default().judge(measured).lines if not line.passed}


@pytest.mark.parametrize("precision", DISTURBED)
def test_honest_file_passes(precision: str, honest: Export, measurement: Measurement) -> None:
    measured = measurement.of(honest(precision))
    assert failing(measured) == set()
    assert measured.precision == precision
    assert measured.length is None
    # Each row and each pair, padded and as it is: the same answer, which counts once.
    assert [agreement.answers for agreement in measured.agreements] == [3 + FULL_ROWS + 2 * ROWS]
    assert measured.rows == 2 * (3 + 2 * ROWS) + FULL_ROWS
    assert [metric.rows for metric in measured.metrics] == [ROWS]  # its label counts once
    assert measured.depth is not None
    assert measured.depth.constants is not None
    assert measured.depth.jump is None


WRONG = {
    "swapped input": onnx_mutants.swapped_inputs,
    "dropped mask": onnx_mutants.DROPPED_MASK,
    "token types ignored": onnx_mutants.TOKEN_TYPES_IGNORED,
    "off by one in the trigram": onnx_mutants.SHIFTED_TRIGRAM,
    "wrong label order": onnx_mutants.TURNED_LABELS,
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("precision", ["none", "int8", pytest.param("dynamic", marks=pytest.mark.slow)])
def test_mutant_fails(precision: str, name: str, honest: Export, measurement: Measurement, tmp_path: Path) -> None:
    wrong = onnx_mutants.mutant(honest(precision), tmp_path / "mutant.onnx", WRONG[name])
    assert failing(measurement.of(wrong)) >= {"constants"}


@pytest.mark.parametrize("opset", [9, 99])
@pytest.mark.parametrize("precision", ["none", "int8"])
def test_opset_of_the_past_or_the_future_fails(
    precision: str, opset: int, honest: Export, measurement: Measurement, tmp_path: Path
) -> None:
    wrong = onnx_mutants.stamped(honest(precision), tmp_path / "mutant.onnx", opset)
    assert "finding" in failing(measurement.of(wrong))


HIDDEN = {
    "a root": (onnx_mutants.hidden_nan, ()),
    "a constant": (onnx_mutants.hidden_nan_of_a_constant, ("unset",)),
    "a mask": (onnx_mutants.hidden_nan_of_a_mask, ("mask",)),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_nan_hidden_behind_a_relu_is_a_finding_though_every_answer_is_right(
    name: str, honest: Export, measurement: Measurement, tmp_path: Path
) -> None:
    change, constants = HIDDEN[name]
    measured = measurement.of(onnx_mutants.mutant(honest("none"), tmp_path / "mutant.onnx", change))
    assert failing(measured) == {"finding"}
    *first, last = measured.findings
    assert first == [f"constant {constant} holds 1 value(s) that are not finite" for constant in constants]
    assert last.startswith("tensor(s) that are not finite: ")
    assert last.endswith("undefined")
    assert measured.agreements[0].share == 1.0


def test_infinite_mask_is_a_finding_though_every_answer_is_right(
    honest: Export, measurement: Measurement, tmp_path: Path
) -> None:
    wrong = onnx_mutants.mutant(honest("none"), tmp_path / "mutant.onnx", onnx_mutants.INFINITE_MASK)
    measured = measurement.of(wrong)
    assert failing(measured) == {"finding"}
    assert measured.findings[0] == "constant attention_mask.table holds 1 value(s) that are not finite"
    assert measured.agreements[0].share == 1.0


def optimized(model: Path, output: Path) -> Path:
    """As ONNX Runtime saves it, with its own fused operators."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath, options.log_severity_level = str(output), 3
    onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return output


@pytest.mark.parametrize(
    ("precision", "missing"), [("int8", "constants and landmarks"), ("dynamic", "constants"), ("none", "constants")]
)
def test_file_that_the_runtime_has_optimized_passes_and_says_what_was_not_judged(
    precision: str, missing: str, honest: Export, measurement: Measurement, tmp_path: Path
) -> None:
    measured = measurement.of(optimized(honest(precision), tmp_path / "optimized.onnx"))
    assert failing(measured) == set()
    assert measured.precision == precision
    assert measured.remarks[0].startswith(f"{missing} were not judged: operator com.microsoft.")
    wrong = onnx_mutants.mutant(tmp_path / "optimized.onnx", tmp_path / "wrong.onnx", onnx_mutants.swapped_inputs)
    assert failing(measurement.of(wrong)) >= {"sqnr", "row_sqnr"}


def test_names_of_another_exporter_and_64_bits(
    honest: Export, tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    theirs = onnx_mutants.mutant(honest("none"), tmp_path / "theirs.onnx", onnx_mutants.of_another_exporter)
    code, said, _ = call("check", CHECKPOINT, theirs, "--rows", ROWS)
    assert code == 0
    assert "remark" not in said  # the names tell, and the tensors on the way have ours
    swapped = onnx_mutants.mutant(theirs, tmp_path / "swapped.onnx", onnx_mutants.swapped_inputs)
    assert call("check", CHECKPOINT, swapped, "--rows", ROWS)[0] == 1


def test_bytes_that_nothing_reads_lower_no_floor(honest: Export, measurement: Measurement, tmp_path: Path) -> None:
    padded = onnx_mutants.mutant(honest("none"), tmp_path / "padded.onnx", onnx_mutants.unread_bytes)
    assert measurement.of(padded).precision == "none"


def test_corrupt_file_is_one_line_and_bad_use(
    honest: Export, tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    def cut(graph: onnx.GraphProto) -> None:
        graph.initializer[0].raw_data = graph.initializer[0].raw_data[:-3]

    code, said, complaint = call("check", CHECKPOINT, onnx_mutants.mutant(honest("none"), tmp_path / "cut.onnx", cut))
    assert (code, said) == (2, "")
    assert "cut.onnx: expected a model that onnxruntime reads, got: no sound .onnx file" in complaint
    assert complaint.count("\n") == 1


def test_file_of_any_length_is_run_up_to_the_length_that_is_asked_for(honest: Export, demo: Checkpoint) -> None:
    measurement = Measurement(demo, chosen(read_rows(EVALUATION), 1), longest=20)
    measured = measurement.of(honest("none"))
    assert failing(measured) == set()
    assert max(row.tokens for row in measured.worst) == 20


@pytest.fixture
def long(tmp_path: Path) -> Checkpoint:
    """A checkpoint with more positions than most texts have tokens."""
    model = random_model(
        "MobileBertForSequenceClassification",
        "near_one",
        vocab_size=VOCABULARY_SIZE,
        max_position_embeddings=LONG,
    )
    return load_checkpoint(write_checkpoint(model, tmp_path / "long"))


def without_last_positions(graph: onnx.GraphProto) -> None:
    """As an export of the first 128 positions, padded with zeros, would have them."""
    table = np.arange(LONG)[:, None] < USUAL
    onnx_mutants.constants(lambda name: "position_embeddings" in name, lambda values: values * table)(graph)


def test_all_positions_of_a_file_of_any_length_are_run(long: Checkpoint, tmp_path: Path) -> None:
    export_onnx(long, tmp_path / "honest.onnx")
    onnx_mutants.mutant(tmp_path / "honest.onnx", tmp_path / "wrong.onnx", without_last_positions)
    models = [tmp_path / "honest.onnx", tmp_path / "wrong.onnx"]
    honest, wrong = check(long, models, rows=ROWS).models
    assert failing(honest.measured) == set()
    assert failing(wrong.measured) >= {"sqnr", "row_sqnr"}
    assert {row.tokens for row in wrong.measured.worst if row.sqnr < 60} == {LONG}
    # Who says that the app feeds no more is believed.
    assert check(long, models, rows=ROWS, sequence_length=USUAL).passed


def test_export_of_any_length_is_verified_on_all_positions(
    long: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(graph: Graph, **options: Any) -> bytes:
        model = onnx.load_from_string(emit(graph, **options))
        without_last_positions(model.graph)
        return bytes(model.SerializeToString())

    monkeypatch.setattr("mobilebert_export.emitters.onnx.emit", wrong)
    with pytest.raises(EquivalenceError):
        export_onnx(long, tmp_path / "wrong.onnx")


def test_file_of_another_length_fails(demo: Checkpoint, tmp_path: Path) -> None:
    short = tmp_path / "short.onnx"
    export_onnx(demo, short, sequence_length=8)
    (checked,) = check(demo, [short], rows=ROWS).models
    assert failing(checked.measured) == {"cut"}
    (longer,) = check(demo, [short], rows=ROWS, sequence_length=32).models
    assert {line.key for line in longer.verdict.lines if not line.passed} == {"length"}


@pytest.mark.parametrize("layer", [1, pytest.param(0, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("precision", ["none", "dynamic", "int8", pytest.param("float16", marks=pytest.mark.slow)])
def test_disturbed_layer_fails(
    precision: str, layer: int, honest: Export, measurement: Measurement, tmp_path: Path
) -> None:
    change = onnx_mutants.constants(onnx_mutants.of_layer(layer), mutants.noise(DISTURBED[precision]))
    measured = measurement.of(onnx_mutants.mutant(honest(precision), tmp_path / "mutant.onnx", change))
    assert failing(measured) >= {"constants"}
    assert measured.depth is not None
    assert measured.depth.jump is not None
    assert measured.depth.jump.startswith(f"mobilebert.encoder.layer.{layer}.")


def test_foreign_rounding_that_stands_for_a_relu_still_is_one() -> None:
    constants = {"scale": np.float32(0.1), "zero": np.uint8(0), "other": np.uint8(7)}
    nodes = [helper.make_node("QuantizeLinear", ["x", "scale", zero], [zero + ".y"]) for zero in ("zero", "other")]
    real = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])]
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", real, [], initializers)
    assert [node.op_type for node in without_rounding(helper.make_model(graph)).graph.node] == ["Relu", "Identity"]


def test_operator_that_rounds_and_computes_at_once_is_not_guessed_at() -> None:
    graph = helper.make_graph([helper.make_node("QLinearMatMul", list("abcdefgh"), ["y"])], "g", [], [])
    with pytest.raises(UnknownOperatorError, match="QLinearMatMul"):
        without_rounding(helper.make_model(graph))


def test_model_itself_is_left_as_it_is(honest: Export) -> None:
    model = onnx.load(honest("int8"))
    before = model.SerializeToString()
    without_rounding(model)
    assert model.SerializeToString() == before
