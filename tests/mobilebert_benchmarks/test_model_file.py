"""What is read of a model file, and of what is none."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mobilebert_benchmarks.errors import ModelError
from mobilebert_benchmarks.model_file import Arithmetic, ModelFile, Signature, read_model
from mobilebert_reference import load_checkpoint
from mobilebert_reference.demo import CHECKPOINT

from mobilebert_export.export import export_tflite
from mobilebert_export.precisions import Precision
from tests.mobilebert_benchmarks.model_files import write_merged, write_relu
from tests.models import VOCABULARY_SIZE, random_model, write_checkpoint


def test_a_file_is_read_as_litert_reads_it(demo_float: Path) -> None:
    model = read_model(demo_float)
    interpreter = Interpreter(str(demo_float))
    (key,) = interpreter.get_signature_list()
    length = int(interpreter.get_input_details()[0]["shape"][-1])
    assert model.signatures == (Signature(0, key, length),)
    assert model.name == "demo-none"
    assert model.arithmetic is Arithmetic.FLOAT


@pytest.mark.slow
def test_int8_weights_mean_int8_products(demo_dynamic: Path) -> None:
    assert read_model(demo_dynamic).arithmetic is Arithmetic.INT8


@pytest.mark.slow
def test_activations_of_16_bits_are_told_from_those_of_8(demo_int16: Path) -> None:
    assert read_model(demo_int16).arithmetic is Arithmetic.INT16


def test_the_shortest_signature_that_holds_a_text_is_taken() -> None:
    signatures = tuple(Signature(index, f"s{index}", length) for index, length in enumerate((16, 32, 128)))
    model = ModelFile(Path("model.tflite"), signatures, Arithmetic.FLOAT)
    assert [model.signature_for(tokens).length for tokens in (1, 16, 17, 128, 500)] == [16, 16, 32, 128, 128]


def test_texts_too_long_for_two_signatures_of_one_length_take_the_same() -> None:
    model = ModelFile(Path("model.tflite"), (Signature(0, "a", 16), Signature(1, "b", 16)), Arithmetic.FLOAT)
    assert model.signature_for(17) == model.signature_for(16)


def test_a_file_of_several_signatures_has_them_by_length(demo_float: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.tflite"
    export_tflite(load_checkpoint(CHECKPOINT), short, precision=Precision.NONE, sequence_length=8)
    merged = read_model(write_merged(demo_float, short, tmp_path / "merged.tflite"))
    assert merged.signatures == (Signature(1, "second", 8), Signature(0, "serving_default", 16))


def test_a_file_without_linear_layers_has_no_arithmetic(tmp_path: Path) -> None:
    assert read_model(write_relu(tmp_path / "model.tflite")).arithmetic is None


@pytest.mark.parametrize("content", [b"", b"\0\0\0\0TFL3", b"\x1c\0\0\0TFL3" + b"\0" * 40, b"PK\3\4" + b"\0" * 100])
def test_what_is_no_model_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.tflite").write_bytes(content)
    with pytest.raises(ModelError, match=r"expected a .tflite file"):
        read_model(tmp_path / "model.tflite")


def test_a_directory_and_no_file_are_one_line(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(ModelError, match=r"expected a .tflite file, got"):
            read_model(path)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), changes=st.integers(1, 50), cut=st.floats(0.0, 1.0))
def test_a_damaged_file_is_read_or_refused(small: bytes, tmp_path: Path, seed: int, changes: int, cut: float) -> None:
    generator = np.random.default_rng(seed)
    damaged = np.frombuffer(small, np.uint8).copy()
    damaged[generator.integers(8, damaged.size, changes)] = generator.integers(0, 256, changes)
    path = tmp_path / "damaged.tflite"
    path.write_bytes(damaged[: max(8, int(cut * 2 * damaged.size))].tobytes())
    with suppress(ModelError):
        read_model(path)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file of few weights, so that most bytes that change are not theirs."""
    directory = tmp_path_factory.mktemp("small")
    settings = {"vocab_size": VOCABULARY_SIZE, "num_hidden_layers": 1}
    model = random_model("MobileBertForSequenceClassification", "near_one", **settings)
    checkpoint = load_checkpoint(write_checkpoint(model, directory / "checkpoint"))
    export_tflite(checkpoint, directory / "small.tflite", precision=Precision.NONE, sequence_length=8)
    assert read_model(directory / "small.tflite").signatures[0].length == 8
    return (directory / "small.tflite").read_bytes()
