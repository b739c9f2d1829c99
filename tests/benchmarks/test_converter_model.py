"""The plain TensorFlow model that the exporter is compared with computes what the reference does."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from mobilebert_export.check.metrics import sqnr
from mobilebert_export.runtimes.litert import LiteRtModel
from tests.models import random_inputs, random_model, reference_outputs

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SEQUENCE = 9

# Large enough for dynamic range quantization, which leaves a weight of less than 1,024 elements as it is.
WIDE = {"vocab_size": 1000, "hidden_size": 64, "intra_bottleneck_size": 64, "intermediate_size": 64}


@pytest.fixture
def converter_model(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    pytest.importorskip("tensorflow", reason="needs TensorFlow: pip install 'mobilebert-export[tensorflow]'")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("converter_model")


def classifier(**config: Any) -> Any:
    return random_model("MobileBertForSequenceClassification", "near_one", **config)


def weights_of(model: Any, dtype: type[np.floating] = np.float64) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().astype(dtype) for name, tensor in model.state_dict().items()}


def single_rows(model: Any) -> list[dict[str, np.ndarray]]:
    """A padded row, a full one and one of a single token."""
    batch = random_inputs(model.config, batch=3, sequence=SEQUENCE)
    return [{name: values[[row]] for name, values in batch.items()} for row in range(3)]


def expected_logits(model: Any, inputs: dict[str, np.ndarray]) -> np.ndarray:
    return reference_outputs(model, inputs)["logits"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "config", [{}, {"classifier_activation": False}, {"num_feedforward_networks": 1}, {"num_hidden_layers": 1}]
)
def test_it_computes_what_the_reference_does(converter_model: ModuleType, config: dict[str, Any]) -> None:
    model = classifier(**config)
    port = converter_model.SequenceClassifier(weights_of(model), model.config)
    for inputs in single_rows(model):
        expected = expected_logits(model, inputs)
        # Both are float64, and differ only in the order of sums: some hundred roundings of 1e-16.
        np.testing.assert_allclose(
            port(**inputs)["logits"].numpy(), expected, rtol=0, atol=1e-12 * np.abs(expected).max()
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "floor"),
    # One rounding costs at most 2^-25 of a value in float32 (150 dB), 2^-12 in float16 (72 dB), 1/254 of the largest in
    # int8 (48 dB). Three layers have some forty in a row, 16 dB; a wrong operation would leave a few dB in all.
    [("none", 110), ("float16", 55), ("dynamic", 25)],
)
def test_the_converted_file_computes_what_the_reference_does(
    converter_model: ModuleType, tmp_path: Path, precision: str, floor: float
) -> None:
    model = classifier(**WIDE)
    file = tmp_path / "model.tflite"
    content = converter_model.convert(weights_of(model, np.float32), model.config, precision, sequence=SEQUENCE)
    file.write_bytes(content)
    loaded = LiteRtModel(file)
    rows = single_rows(model)
    expected = np.concatenate([expected_logits(model, inputs) for inputs in rows])
    assert sqnr(expected, np.concatenate([loaded.run(inputs)["logits"] for inputs in rows])) >= floor


@pytest.mark.slow
def test_a_smaller_precision_gives_a_smaller_file(converter_model: ModuleType) -> None:
    model = classifier(**WIDE)
    weights = weights_of(model, np.float32)
    none, float16, dynamic = (
        len(converter_model.convert(weights, model.config, precision, sequence=SEQUENCE))
        for precision in ("none", "float16", "dynamic")
    )
    assert none > float16 > dynamic


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [
        {"hidden_act": "gelu"},
        {"normalization_type": "layer_norm"},
        {"trigram_input": False},
        {"use_bottleneck": False},
        {"use_bottleneck_attention": True},
        {"key_query_shared_bottleneck": False, "intra_bottleneck_size": 32},
    ],
)
def test_a_configuration_that_it_does_not_know_is_an_error(converter_model: ModuleType, config: dict[str, Any]) -> None:
    model = classifier(**config)
    with pytest.raises(ValueError, match=next(iter(config))):
        converter_model.SequenceClassifier(weights_of(model), model.config)


@pytest.mark.slow
def test_a_precision_that_it_does_not_know_is_an_error(converter_model: ModuleType) -> None:
    model = classifier(num_hidden_layers=1)
    with pytest.raises(ValueError, match="int3"):
        converter_model.convert(weights_of(model, np.float32), model.config, "int3", sequence=SEQUENCE)
