"""The Linear that gives a text's answer keeps real weights where it reads real numbers, and no other does."""

import numpy as np
import pytest

from mobilebert_export.graph import Graph
from mobilebert_export.lowering import lower
from mobilebert_export.precisions import Precision, apply
from mobilebert_export.precisions.answers import with_real_answers
from tests.models import ARCHITECTURES, random_model

POOLED = {
    "MobileBertForMultipleChoice": "logits.weight",
    "MobileBertForNextSentencePrediction": "logits.weight",
    "MobileBertForPreTraining": "seq_relationship_logits.weight",
    "MobileBertForSequenceClassification": "logits.weight",
}


def rounded(graph: Graph) -> set[str]:
    return {tensor.name for tensor in graph.constants() if tensor.quantization is not None}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_answers_of_one_position_alone_keep_real_weights(architecture: str) -> None:
    model = random_model(architecture)
    graph = lower(model, model.config)
    quantized = apply(graph, Precision.DYNAMIC)
    kept = with_real_answers(quantized, graph)
    name = POOLED.get(architecture)
    assert rounded(quantized) - rounded(kept) == ({name} if name else set())
    if name is not None:
        real = graph.tensors[name].data
        assert real is not None
        np.testing.assert_array_equal(kept.tensors[name].data, real)


@pytest.mark.parametrize("precision", [Precision.NONE, Precision.FLOAT16])
def test_real_precisions_stay_as_they_are(precision: Precision) -> None:
    model = random_model("MobileBertForSequenceClassification")
    graph = lower(model, model.config)
    quantized = apply(graph, precision)
    kept = with_real_answers(quantized, graph)
    assert kept.nodes == quantized.nodes
    assert all(kept.tensors[name] is tensor for name, tensor in quantized.tensors.items())
