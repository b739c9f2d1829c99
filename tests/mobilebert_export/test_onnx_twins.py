"""One fit, two files: the `.onnx` one as near to the reference as its TFLite twin; and the trained one of full size."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from mobilebert_reference import Checkpoint, load_checkpoint
from mobilebert_reference.demo import EVALUATION
from onnx import numpy_helper

from mobilebert_export.candidate import emitted as emitted_tflite
from mobilebert_export.check.data import chosen, read_rows
from mobilebert_export.check.gate import Gate
from mobilebert_export.check.measure import Measurement
from mobilebert_export.check.measured import Measured
from mobilebert_export.check.metrics import sqnr
from mobilebert_export.check.verify import Reference
from mobilebert_export.fitted import Fitted, fitted
from mobilebert_export.lowering import INPUTS
from mobilebert_export.onnx_export import PRECISIONS, emitted
from mobilebert_export.precisions import CALIBRATED, Precision
from mobilebert_export.runtimes.litert import LiteRtModel
from mobilebert_export.runtimes.onnx import OnnxModel
from tests import mutants, onnx_mutants
from tests.text import queries

LENGTH = 64
# The bound. Both round the same weights; a Linear of the one rounds what it reads for each token, of the other
# for all at once, and some of its weights have a wider scale, for kernels that add products in 16 bits.
TWINS_DB = 1.0
QUANTIZED = [Precision.DYNAMIC, Precision.INT8]
# By how much a layer is disturbed.
DISTURBED = {Precision.NONE: 0.01, Precision.FLOAT16: 0.01, Precision.DYNAMIC: 0.2, Precision.INT8: 0.2}

Fit = Callable[[Precision], Fitted]


def fits(checkpoint: Checkpoint, rows: int) -> Fit:
    @cache
    def fit(precision: Precision) -> Fitted:
        text = queries(rows) if precision in CALIBRATED else None
        return fitted(checkpoint, precision, text, length=LENGTH, progress=lambda _: None)

    return fit


@pytest.fixture(scope="module")
def demo_fit(demo: Checkpoint) -> Fit:
    return fits(demo, 100)


@pytest.fixture(scope="module")
def trained(trained_directory: Path) -> Checkpoint:
    return load_checkpoint(trained_directory)


@pytest.fixture(scope="module")
def trained_fit(trained: Checkpoint) -> Fit:
    return fits(trained, 48)


def sqnr_of_both(fit: Fitted, checkpoint: Checkpoint, texts: int, directory: Path) -> tuple[float, float]:
    """Of the logits of TFLite and ONNX, over texts that nothing was fitted to."""
    lines = EVALUATION.read_text(encoding="utf-8").splitlines()
    rows = [
        checkpoint.tokenizer.encode(json.loads(lines[index])["text"], max_length=LENGTH)
        for index in np.linspace(0, len(lines) - 1, texts).astype(int)
    ]
    inputs = [{name: np.array([getattr(row, name)]) for name in INPUTS} for row in rows]
    (directory / "model.tflite").write_bytes(emitted_tflite(fit, length=LENGTH).content)
    (directory / "model.onnx").write_bytes(emitted(fit))
    reference = Reference(checkpoint)
    truth = np.concatenate([reference.run(row)["logits"] for row in inputs])
    models = LiteRtModel(directory / "model.tflite"), OnnxModel(directory / "model.onnx")
    of_tflite, of_onnx = (sqnr(truth, np.concatenate([model.run(row)["logits"] for row in inputs])) for model in models)
    return of_tflite, of_onnx


@pytest.mark.parametrize("precision", QUANTIZED)
def test_file_is_as_near_to_the_reference_as_its_twin(
    precision: Precision, demo: Checkpoint, demo_fit: Fit, tmp_path: Path
) -> None:
    of_tflite, of_onnx = sqnr_of_both(demo_fit(precision), demo, 300, tmp_path)
    assert of_onnx >= of_tflite - TWINS_DB


@pytest.mark.parametrize("precision", PRECISIONS)
def test_answer_is_the_same_to_the_bit_however_far_a_row_is_padded(
    precision: Precision, demo: Checkpoint, demo_fit: Fit, tmp_path: Path
) -> None:
    (tmp_path / "model.onnx").write_bytes(emitted(demo_fit(precision)))
    model = OnnxModel(tmp_path / "model.onnx")
    text = "transfer ten dollars to my savings"
    rows = [demo.tokenizer.encode(text, max_length=length) for length in (12, 40, 128)]
    first, *others = [model.run({name: np.array([getattr(row, name)]) for name in INPUTS})["logits"] for row in rows]
    for other in others:
        np.testing.assert_array_equal(first, other)


@pytest.mark.parametrize(("precision", "width"), [(Precision.DYNAMIC, 4), (Precision.INT8, 1)])
def test_text_is_answered_by_real_numbers_where_the_classifier_reads_such(
    precision: Precision, width: int, demo_fit: Fit
) -> None:
    constants = onnx.load_from_string(emitted(demo_fit(precision))).graph.initializer
    (weight,) = [numpy_helper.to_array(tensor) for tensor in constants if tensor.name == "logits.weight"]
    assert weight.dtype.itemsize == width


@pytest.mark.slow
@pytest.mark.parametrize("precision", QUANTIZED)
def test_full_size_file_is_as_near_to_the_reference_as_its_twin(
    precision: Precision, trained: Checkpoint, trained_fit: Fit, tmp_path: Path
) -> None:
    of_tflite, of_onnx = sqnr_of_both(trained_fit(precision), trained, 150, tmp_path)
    assert of_onnx >= of_tflite - TWINS_DB


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
def test_full_size_file_passes_where_it_is_honest_alone(
    precision: Precision, trained: Checkpoint, trained_fit: Fit, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(emitted(trained_fit(precision)))
    measurement = Measurement(trained, chosen(read_rows(EVALUATION), 4))
    assert failing(measurement.of(path)) == set()
    for layer in (0, trained.config.num_hidden_layers - 1):
        change = onnx_mutants.constants(onnx_mutants.of_layer(layer), mutants.noise(DISTURBED[precision]))
        measured = measurement.of(onnx_mutants.mutant(path, tmp_path / "mutant.onnx", change))
        assert "landmarks" in failing(measured)
        assert measured.depth is not None
        assert str(measured.depth.jump).startswith(f"mobilebert.encoder.layer.{layer}.")


def failing(measured: Measured) -> set[str]:
    return {line.key for line in Gate.default().judge(measured).lines if not line.passed}
