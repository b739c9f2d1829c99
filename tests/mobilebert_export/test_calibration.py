"""Calibration text, what is observed on it, and the bases that are chosen from that."""

import copy
import dataclasses
import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mobilebert_quantization import ChannelRange
from mobilebert_reference import Checkpoint, Tokenizer
from mobilebert_reference.demo import EVALUATION

from mobilebert_export.calibration import Calibration, CalibrationText, Row, calibrate
from mobilebert_export.calibration.observe import batches, observe
from mobilebert_export.calibration.ranges import ranges
from mobilebert_export.candidate import emitted
from mobilebert_export.check import FLOORS
from mobilebert_export.check.metrics import sqnr
from mobilebert_export.check.verify import Reference
from mobilebert_export.errors import DataError, EquivalenceError, UsageError
from mobilebert_export.export import export_tflite
from mobilebert_export.fitted import fitted_by
from mobilebert_export.graph.executor import execute
from mobilebert_export.graph.expand import expanded
from mobilebert_export.lowering import INPUTS, Coordinates, lower
from mobilebert_export.precisions import Precision
from mobilebert_export.runtimes.litert import LiteRtModel
from tests.text import queries

PROJECT = Path(__file__).parents[2]
# The floors for `dynamic`: on the model as it was trained, and under every stress.
LEAST_TRAINED, LEAST_STRESSED = 34.0, 32.0


@pytest.fixture
def stress_models(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(PROJECT / "benchmarks")
    return importlib.import_module("stress_models")


def fitted(checkpoint: Checkpoint, rows: list[Row], *, length: int = 32) -> Calibration:
    return calibrate(checkpoint, rows, Precision.DYNAMIC, length=length)


def dynamic_sqnr(checkpoint: Checkpoint, calibration: Calibration | None, directory: Path) -> float:
    """At the logits of the emitted file, in LiteRT, on text that calibration never sees."""
    path = directory / "model.tflite"
    model = fitted_by(checkpoint, Precision.DYNAMIC, calibration, progress=lambda _: None)
    path.write_bytes(emitted(model, length=32).content)
    runtime, reference = LiteRtModel(path), Reference(checkpoint)
    assert runtime.partitions == 1
    texts = [json.loads(line)["text"] for line in EVALUATION.read_text(encoding="utf-8").splitlines()[:60]]
    rows = [checkpoint.tokenizer.encode_batch([text], max_length=32) for text in texts]
    truth = np.concatenate([reference.run(row)["logits"] for row in rows])
    return sqnr(truth, np.concatenate([runtime.run(row)["logits"] for row in rows]))


def test_text_is_read_from_rows_and_from_lines(tmp_path: Path) -> None:
    rows, lines = tmp_path / "rows.jsonl", tmp_path / "lines.txt"
    rows.write_text('{"text": "a", "label": 3}\n\n{"text": "b", "text_pair": "c"}\n', encoding="utf-8")
    lines.write_text("  a \n\nb\n", encoding="utf-8")
    assert list(CalibrationText(rows)) == [Row("a"), Row("b", "c")]
    assert list(CalibrationText(lines)) == [Row("a"), Row("b")]
    assert list(CalibrationText(rows)) == [Row("a"), Row("b", "c")]  # a second time over


def test_padding_enters_no_range(demo: Checkpoint) -> None:
    rows = [Row("hi"), Row("what is the spanish word for pasta, if you happen to know it"), Row("a", "pair of texts")]
    graph = lower(demo.model, demo.config, dtype=np.float64)
    names = dict.fromkeys(["mobilebert.embeddings", "mobilebert.encoder.layer.1"], ChannelRange.empty)
    together = observe(graph, batches(demo.tokenizer, rows, length=64), names)

    alone = dict.fromkeys(names, ChannelRange.empty(demo.config.hidden_size))
    for row in rows:
        filled = len(demo.tokenizer.encode(row.text, row.text_pair, max_length=64, pad=False))
        encoding = demo.tokenizer.encode(row.text, row.text_pair, max_length=64)
        inputs = {name: np.array([getattr(encoding, name)]) for name in INPUTS}

        def keep(name: str, values: np.ndarray, filled: int = filled) -> None:
            if name in alone:
                alone[name] = alone[name].update(values[0, :filled])

        execute(graph, inputs, observe=keep)
    for name, seen in alone.items():
        # Rows of a batch are summed in another order than a row alone.
        np.testing.assert_allclose(together[name].low, seen.low, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(together[name].high, seen.high, rtol=1e-9, atol=1e-12)


def test_activation_that_is_not_finite_is_named_with_its_row(demo: Checkpoint) -> None:
    graph = lower(demo.model, demo.config, dtype=np.float64)
    name = "mobilebert.encoder.layer.0.ffn.0.dense.bias"
    broken = np.full_like(np.asarray(graph.tensors[name].data), np.inf)
    tensors = {**graph.tensors, name: dataclasses.replace(graph.tensors[name], data=broken)}
    names = {"mobilebert.encoder.layer.0.ffn.0": ChannelRange.empty}
    with pytest.raises(DataError, match=r"NaN or infinity in mobilebert.encoder.layer.0.ffn.0 at calibration row 1"):
        observe(dataclasses.replace(graph, tensors=tensors), batches(demo.tokenizer, queries(3), length=32), names)


def test_padding_enters_no_range_of_a_static_precision(demo: Checkpoint) -> None:
    graph = expanded(lower(demo.model, demo.config, dtype=np.float64))
    text = ["how do you say hello in japanese"]
    tokens = len(demo.tokenizer.encode(text[0], max_length=48, pad=False))
    # The trigram shows the last token one position of padding.
    alone = ranges(graph, [demo.tokenizer.encode_batch(text, max_length=tokens + 1)])
    padded = ranges(graph, [demo.tokenizer.encode_batch(text, max_length=48)])
    assert alone.keys() == padded.keys()
    for name, (low, high) in alone.items():
        # float32 sums of another length go in another order: 1e-7 an operation, over the depth of the model
        assert padded[name] == pytest.approx((low, high), rel=1e-4, abs=1e-4), name


def test_massive_token_needs_text_where_numbers_stay_real(demo: Checkpoint, stress_models: Any, tmp_path: Path) -> None:
    made = stress_models.stress(demo.model, stress_models.Kind.MASSIVE, magnitude=1e6, seed=0)
    massive = dataclasses.replace(demo, model=made.stressed)
    with pytest.raises(EquivalenceError, match="fit it to text with --calibration"):
        export_tflite(massive, tmp_path / "a", sequence_length=16)
    export = export_tflite(massive, tmp_path / "b", sequence_length=16, calibration=queries(16))
    assert export.rotated
    assert export.verification.worst_sqnr >= FLOORS[Precision.NONE]


def test_equalized_graph_computes_the_same_function(demo: Checkpoint) -> None:
    chosen = fitted(demo, queries(16)).coordinates
    graph = lower(demo.model, demo.config, dtype=np.float64, coordinates=chosen)
    assert set(chosen.bases) == set(graph.streams)
    row = demo.tokenizer.encode_batch(["how do you say hello in japanese"], max_length=32)
    truth = Reference(demo).run(row)["logits"]
    # float64 rounding, 1e-16 an operation, over the depth of the model
    assert np.abs(execute(graph, row)["logits"] - truth).max() <= 1e-11 * np.abs(truth).max()


def test_same_rows_give_the_same_file(demo: Checkpoint, tmp_path: Path) -> None:
    for name in ("a", "b"):
        export_tflite(demo, tmp_path / name, precision=Precision.DYNAMIC, calibration=queries(20), sequence_length=16)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_trained_model_meets_its_floor(demo: Checkpoint, tmp_path: Path) -> None:
    chosen = fitted(demo, queries(64))
    assert chosen.rows == 64
    assert not chosen.rotated  # nothing is massive here, and rotating costs precision
    assert dynamic_sqnr(demo, chosen, tmp_path) >= LEAST_TRAINED


@pytest.mark.parametrize(
    ("kind", "magnitude", "rotated"),
    [
        ("scramble", 0.0, False),
        ("near-zero-gains", 0.0, False),
        ("massive", 1e3, True),
        ("massive", 1e6, True),
        ("both", 1e4, True),
    ],
)
def test_stress_that_ruins_plain_rounding_is_undone(
    kind: str, magnitude: float, rotated: bool, demo: Checkpoint, stress_models: Any, tmp_path: Path
) -> None:
    stress = stress_models.stress(demo.model, stress_models.Kind(kind), magnitude=magnitude, seed=0)
    stressed = dataclasses.replace(demo, model=stress.stressed)
    plain = dynamic_sqnr(stressed, None, tmp_path)
    chosen = fitted(stressed, queries(64))
    assert plain < LEAST_STRESSED - 10  # else it is no stress
    assert dynamic_sqnr(stressed, chosen, tmp_path) >= LEAST_STRESSED
    assert chosen.rotated == rotated


def assert_exact(checkpoint: Checkpoint, chosen: Coordinates) -> None:
    graph = lower(checkpoint.model, checkpoint.config, dtype=np.float64, coordinates=chosen)
    row = checkpoint.tokenizer.encode_batch(["how do you say hello in japanese"], max_length=32)
    truth = Reference(checkpoint).run(row)["logits"]
    assert np.abs(execute(graph, row)["logits"] - truth).max() <= 1e-11 * np.abs(truth).max()


def test_channel_that_outgrows_the_others_begins_a_stream_anew(demo: Checkpoint) -> None:
    model = copy.deepcopy(demo.model)
    with torch.no_grad():  # what the next layer adds to this channel is stored 1e5 times as large as it is
        model.get_parameter("mobilebert.encoder.layer.0.output.bottleneck.LayerNorm.weight")[3] = 1e-5
    shrunken = dataclasses.replace(demo, model=model)
    chosen = fitted(shrunken, queries(16)).coordinates
    assert chosen.rescale.chosen == {"mobilebert.encoder.layer.1"}
    assert_exact(shrunken, chosen)


def test_gains_of_zero_are_exact_and_ask_for_no_more_than_their_own_rescale_points(
    demo: Checkpoint, stress_models: Any
) -> None:
    stress = stress_models.stress(demo.model, stress_models.Kind("zero-gains"), magnitude=0.0, seed=0)
    stressed = dataclasses.replace(demo, model=stress.stressed)
    chosen = fitted(stressed, queries(16)).coordinates
    assert not chosen.rescale.chosen
    assert_exact(stressed, chosen)


def test_text_of_unknown_pieces_still_calibrates(demo: Checkpoint) -> None:
    tokenizer: Tokenizer = demo.tokenizer
    assert tokenizer.encode("日本", max_length=8, pad=False).input_ids.count(tokenizer.unk_id)
    assert fitted(demo, [Row("日本"), Row("hello")], length=8).rows == 2


def test_every_step_tells_how_many_rows_it_has_seen(demo: Checkpoint) -> None:
    told: list[str] = []
    calibrate(demo, queries(20), Precision.INT8, length=16, progress=told.append)
    assert "calibrating, ranges: 16 of 20 rows" in told
    assert "calibrating, ranges: 20 of 20 rows" in told


def test_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    marked = tmp_path / "rows.jsonl"
    marked.write_bytes(b'\xef\xbb\xbf{"text": "a"}\n')
    assert list(CalibrationText(marked)) == [Row("a")]


def test_iterator_is_refused_for_it_ends_after_one_pass(demo: Checkpoint) -> None:
    with pytest.raises(UsageError, match="expected rows that can be read several times over"):
        fitted(demo, iter(queries(4)), length=8)  # type: ignore[arg-type]


def test_pruned_layer_calibrates(demo: Checkpoint) -> None:
    model = copy.deepcopy(demo.model)
    with torch.no_grad():
        model.get_parameter("mobilebert.encoder.layer.1.intermediate.dense.weight").zero_()
    pruned = dataclasses.replace(demo, model=model)
    assert_exact(pruned, fitted(pruned, queries(16)).coordinates)
