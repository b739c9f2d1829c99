"""Linears that read one tensor, as one."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from mobilebert_reference import Checkpoint, load_checkpoint
from mobilebert_reference.demo import CHECKPOINT

from mobilebert_export.emitters.tflite import emit
from mobilebert_export.fitted import fitted_by
from mobilebert_export.graph import Graph
from mobilebert_export.graph import operators as op
from mobilebert_export.graph.executor import execute
from mobilebert_export.lowering import lower
from mobilebert_export.precisions import Precision, apply
from mobilebert_export.precisions.joined import joined
from mobilebert_export.runtimes.litert import LiteRtModel
from tests.models import VOCABULARY_SIZE, random_model, write_checkpoint

LENGTH = 16


@pytest.fixture(params=["demo", "random"])
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Checkpoint:
    if request.param == "demo":
        return load_checkpoint(CHECKPOINT)
    model = random_model("MobileBertForSequenceClassification", "near_one", vocab_size=VOCABULARY_SIZE)
    return load_checkpoint(write_checkpoint(model, tmp_path / "checkpoint"))


def read_apart(graph: Graph) -> Counter[tuple[str, int]]:
    """How many Linears without an activation read a tensor and give as many channels, where it is more than one."""
    linears = [node for node in graph.nodes if node.operator == op.Linear()]
    channels = [graph.tensors[node.outputs[0]].shape[-1] for node in linears]
    counts = Counter((node.inputs[0], int(width)) for node, width in zip(linears, channels, strict=True))
    return Counter({key: count for key, count in counts.items() if count > 1})


def test_one_linear_reads_a_tensor_and_gives_the_same_numbers(checkpoint: Checkpoint) -> None:
    graph = lower(checkpoint.model, checkpoint.config, dtype=np.float64)
    together = joined(graph)
    assert read_apart(graph)
    assert not read_apart(together)
    assert {name for node in graph.nodes for name in node.outputs} <= together.tensors.keys()
    row = checkpoint.tokenizer.encode_batch(["a b c", "d"], max_length=LENGTH)
    # The same sums of the same products; a matrix product may take them in another order.
    np.testing.assert_allclose(execute(together, row)["logits"], execute(graph, row)["logits"], rtol=1e-12, atol=1e-12)


def test_constants_that_nothing_reads_any_more_are_gone(checkpoint: Checkpoint) -> None:
    graph = joined(lower(checkpoint.model, checkpoint.config))
    read = {name for node in graph.nodes for name in node.inputs}
    assert {tensor.name for tensor in graph.constants()} <= read


def test_dynamic_file_is_the_same_to_the_bit_as_with_separate_linears(checkpoint: Checkpoint, tmp_path: Path) -> None:
    fitted = fitted_by(checkpoint, Precision.DYNAMIC, None, progress=lambda _: None)
    graph = lower(checkpoint.model, checkpoint.config).bind(batch=1, sequence=LENGTH)
    files = {"joined": fitted.quantized(LENGTH), "separate": apply(graph, Precision.DYNAMIC)}
    assert read_apart(files["separate"])
    assert not read_apart(files["joined"])
    row = checkpoint.tokenizer.encode_batch(["a b c d"], max_length=LENGTH)
    given = {}
    for name, each in files.items():
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(emit(each))
        model = LiteRtModel(path)
        assert model.partitions == 1
        given[name] = model.run(row)["logits"]
    np.testing.assert_array_equal(given["joined"], given["separate"])
