"""Linears on matrices: the same function, and no Reshape from one Linear to the next."""

import numpy as np
import pytest

from mobilebert_export.emitters.onnx.rows import in_rows
from mobilebert_export.graph import Graph
from mobilebert_export.graph import operators as op
from mobilebert_export.graph.executor import execute
from mobilebert_export.graph.expand import expanded
from mobilebert_export.lowering import lower
from mobilebert_export.precisions import Precision, apply
from tests.models import ARCHITECTURES, VARIANTS, random_inputs, random_model

BATCH, SEQUENCE = 2, 6
TOKENS = "MobileBertForTokenClassification"


def reshapes(graph: Graph) -> int:
    return sum(isinstance(node.operator, op.Reshape) for node in graph.nodes)


def assert_same_function(model: object, graph: Graph) -> None:
    inputs = random_inputs(model.config, batch=BATCH, sequence=SEQUENCE)  # type: ignore[attr-defined] # torch is untyped
    truth, given = execute(graph, inputs), execute(in_rows(graph), inputs)
    assert list(truth) == list(given)
    for name, value in truth.items():
        assert given[name].shape == value.shape
        # The same sums of the same products; a matrix product may take them in another order.
        np.testing.assert_allclose(given[name], value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_head_computes_the_same(architecture: str) -> None:
    model = random_model(architecture, "near_one")
    assert_same_function(model, lower(model, model.config, dtype=np.float64).bind(batch=BATCH, sequence=SEQUENCE))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_computes_the_same_taken_apart_or_not(variant: str) -> None:
    model = random_model(TOKENS, "near_one", **VARIANTS[variant])
    graph = lower(model, model.config, dtype=np.float64).bind(batch=BATCH, sequence=SEQUENCE)
    assert_same_function(model, graph)
    assert_same_function(model, expanded(graph))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_linear_reads_and_gives_a_matrix(architecture: str) -> None:
    model = random_model(architecture)
    graph = in_rows(lower(model, model.config))
    linears = [node for node in graph.nodes if isinstance(node.operator, op.Linear)]
    assert {len(graph.tensors[name].shape) for node in linears for name in (node.inputs[0], *node.outputs)} == {2}


@pytest.mark.parametrize("precision", [Precision.NONE, Precision.DYNAMIC])
def test_whole_encoder_stays_in_rows(precision: Precision) -> None:
    # Beside those of attention, whose heads are taken apart anyway: one at the embeddings, and one at the output.
    model = random_model(TOKENS, "near_one")
    graph = apply(lower(model, model.config), precision)
    assert reshapes(in_rows(graph)) == reshapes(graph) + 2


def test_tensors_keep_their_names_and_outputs_their_shapes() -> None:
    model = random_model(TOKENS)
    graph = lower(model, model.config)
    rows = in_rows(graph)
    assert {name for node in graph.nodes for name in node.outputs} <= rows.tensors.keys()
    shapes = [[each.tensors[name].shape for name in each.outputs.values()] for each in (graph, rows)]
    assert shapes[0] == shapes[1]
    assert list(rows.outputs) == list(graph.outputs)
