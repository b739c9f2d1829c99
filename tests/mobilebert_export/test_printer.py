"""The graph as text."""

from mobilebert_export.graph.printer import summary, to_text
from mobilebert_export.lowering import lower
from tests.models import random_model


def test_text_has_a_line_for_each_input_node_and_output() -> None:
    model = random_model("MobileBertForSequenceClassification", "near_one")
    graph = lower(model, model.config)
    lines = to_text(graph).splitlines()
    assert len(lines) == len(graph.inputs) + len(graph.nodes) + len(graph.outputs)
    assert lines[0] == "input input_ids [batch, sequence] int32"
    assert "logits [batch, 5] float32 = Linear<activation=none>(mobilebert.pooler, logits.weight, logits.bias)" in lines
    assert lines[-1] == "output logits = logits"


def test_summary_counts_every_node() -> None:
    model = random_model("MobileBertForSequenceClassification", "near_one")
    graph = lower(model, model.config)
    counts = summary(graph)
    assert counts.total() == len(graph.nodes)
    assert counts["Softmax"] == model.config.num_hidden_layers
