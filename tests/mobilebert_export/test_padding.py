"""Padding that is not computed: the same function, and answers that do not depend on how far a row is padded."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from mobilebert_export.emitters.onnx import CURRENT_OPSET, FLOOR_OPSET, emit
from mobilebert_export.graph import Graph
from mobilebert_export.graph.executor import execute
from mobilebert_export.graph.padding import without_padding
from mobilebert_export.lowering import lower
from mobilebert_export.precisions import Precision, apply
from mobilebert_export.runtimes.onnx import OnnxModel
from tests.models import ARCHITECTURES, VARIANTS, random_inputs, random_model

CLASSIFIER = "MobileBertForSequenceClassification"
POOLED = ["MobileBertForMultipleChoice", "MobileBertForNextSentencePrediction", CLASSIFIER]
MASK = "attention_mask"
BATCH, SEQUENCE = 3, 12


def rows(model: object, lengths: list[int], sequence: int = SEQUENCE) -> dict[str, np.ndarray]:
    inputs = random_inputs(model.config, batch=len(lengths), sequence=sequence)  # type: ignore[attr-defined] # untyped
    inputs[MASK] = np.array([np.arange(sequence) < length for length in lengths], np.int32)
    return inputs


def lowered(model: object) -> Graph:
    return lower(model, model.config, dtype=np.float64)  # type: ignore[attr-defined, arg-type] # torch is untyped


def positions_computed(graph: Graph, inputs: dict[str, np.ndarray]) -> int:
    seen: dict[str, int] = {}
    execute(graph, inputs, observe=lambda name, value: seen.update({name: value.shape[-2]}))
    return seen["mobilebert.embeddings"]


@pytest.mark.parametrize("lengths", [[1, 1, 1], [5, 1, 7], [11, 2, 3], [12, 4, 12], [0, 0, 0], [0, 3, 0]], ids=str)
@pytest.mark.parametrize("architecture", POOLED)
def test_heads_without_positions_compute_the_same(architecture: str, lengths: list[int]) -> None:
    model = random_model(architecture, "near_one")
    graph, inputs = lowered(model), rows(model, lengths)
    trimmed = without_padding(graph, mask=MASK)
    occupied = [length > 0 for length in lengths] if any(lengths) else slice(None)  # an empty row is nobody's
    for name, truth in execute(graph, inputs).items():
        # The same products; a matrix product may sum them in another order.
        np.testing.assert_allclose(execute(trimmed, inputs)[name][occupied], truth[occupied], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_computes_the_same(variant: str) -> None:
    model = random_model(CLASSIFIER, "near_one", **VARIANTS[variant])
    graph, inputs = lowered(model), rows(model, [5, 1, 7])
    given, truth = execute(without_padding(graph, mask=MASK), inputs), execute(graph, inputs)
    np.testing.assert_allclose(given["logits"], truth["logits"], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("lengths", "computed"), [([1, 1], 2), ([3, 6], 7), ([11, 1], 12), ([12, 1], 12), ([0, 0], 12)]
)
def test_one_position_of_the_padding_stays_which_the_trigram_sees(lengths: list[int], computed: int) -> None:
    model = random_model(CLASSIFIER)
    assert positions_computed(without_padding(lowered(model), mask=MASK), rows(model, lengths)) == computed


def test_tokens_behind_a_gap_in_the_mask_stay() -> None:
    model = random_model(CLASSIFIER, "near_one")
    graph, inputs = lowered(model), rows(model, [2, 2, 2])
    inputs[MASK][1, 6] = 1
    trimmed = without_padding(graph, mask=MASK)
    assert positions_computed(trimmed, inputs) == 8
    truth = execute(graph, inputs)["logits"]
    np.testing.assert_allclose(execute(trimmed, inputs)["logits"], truth, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name not in POOLED])
def test_heads_with_positions_stay_as_they_are(architecture: str) -> None:
    graph = lowered(random_model(architecture))
    assert without_padding(graph, mask=MASK) is graph


def test_bound_graph_stays_as_it_is() -> None:
    graph = lowered(random_model(CLASSIFIER)).bind(batch=1, sequence=SEQUENCE)
    assert without_padding(graph, mask=MASK) is graph


@pytest.mark.parametrize("precision", [Precision.NONE, Precision.FLOAT16, Precision.DYNAMIC])
@pytest.mark.parametrize("opset", [FLOOR_OPSET, CURRENT_OPSET])
def test_answer_is_the_same_to_the_bit_however_far_a_row_is_padded(
    opset: int, precision: Precision, tmp_path: Path
) -> None:
    model = random_model(CLASSIFIER, "near_one")
    graph = without_padding(apply(lower(model, model.config), precision), mask=MASK)
    path = tmp_path / "model.onnx"
    path.write_bytes(emit(graph, opset=opset))
    onnx.checker.check_model(onnx.load(path), full_check=True)
    runtime, inputs = OnnxModel(path), rows(model, [5, 3], sequence=20)
    shorter = [{name: values[:, :length] for name, values in inputs.items()} for length in (6, 11)]
    first, *others = [runtime.run(each)["logits"] for each in (inputs, *shorter)]
    for other in others:
        np.testing.assert_array_equal(first, other)
