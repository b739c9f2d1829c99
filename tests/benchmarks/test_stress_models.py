"""The stress models compute what the model does that they are made of, and are hard."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from mobilebert_reference import load_checkpoint
from mobilebert_reference.demo import CHECKPOINT
from torch import Tensor
from typer import Typer
from typer.testing import CliRunner

from tests.models import random_inputs, random_model

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
KINDS = ["scramble", "massive", "both", "near-zero-gains", "zero-gains"]
CLASSIFIER = "MobileBertForSequenceClassification"

# Where no value grows, float64 leaves some hundred roundings of 1e-16. The first token is rounded at 1e-16 of what is
# 1e7 times a small signal: 1e-9, which is what the issue asks of every kind.
ROUNDING = 1e-13
MASSIVE_ROUNDING = 1e-9


@pytest.fixture
def stress_models(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("stress_models")


@pytest.fixture(params=["pooler", "no_pooler", "demo"])
def model(request: pytest.FixtureRequest) -> Any:
    """A small random model, with and without the pooler's Linear, and the trained one."""
    if request.param == "demo":
        return load_checkpoint(CHECKPOINT).model
    return random_model(CLASSIFIER, "near_one", classifier_activation=request.param == "pooler")


def inputs_of(model: Any) -> dict[str, Tensor]:
    batch = random_inputs(model.config, batch=4, sequence=12)
    return {name: torch.from_numpy(values).long() for name, values in batch.items()}


def outputs(model: Any) -> Any:
    with torch.no_grad():
        return model(**inputs_of(model), output_hidden_states=True)


def relative_difference(given: Any, expected: Any) -> float:
    logits, truth = outputs(given).logits, outputs(expected).logits
    assert logits.dtype == truth.dtype == torch.float64
    return float((logits - truth).abs().max() / truth.abs().amax(dim=1).min())


def gains(model: Any) -> dict[str, Tensor]:
    return {name: value for name, value in model.state_dict().items() if name.endswith("LayerNorm.weight")}


def gain_ratios(stressed: Any, model: Any) -> dict[str, Tensor]:
    original = gains(model)
    return {name: gain / original[name].double() for name, gain in gains(stressed).items()}


@pytest.mark.parametrize(
    ("kind", "magnitude", "tolerance"),
    [
        ("scramble", 0.0, ROUNDING),
        ("near-zero-gains", 0.0, ROUNDING),
        ("zero-gains", 0.0, ROUNDING),
        *((kind, 10.0**power, MASSIVE_ROUNDING) for kind in ("massive", "both") for power in (3, 4, 6)),
    ],
)
def test_the_function_is_unchanged(
    stress_models: ModuleType, model: Any, kind: str, magnitude: float, tolerance: float
) -> None:
    made = stress_models.stress(model, stress_models.Kind(kind), magnitude=magnitude, seed=0)
    assert relative_difference(made.stressed, made.equal) <= tolerance


@pytest.mark.parametrize("kind", ["scramble", "near_zero_gains"])
def test_the_equal_model_is_the_given_one(stress_models: ModuleType, model: Any, kind: str) -> None:
    stressed = getattr(stress_models, kind)(model, 0)
    assert relative_difference(stressed, model.double()) <= ROUNDING


def test_scramble_reaches_every_parameter_inside_the_layers(stress_models: ModuleType, model: Any) -> None:
    original, scrambled = model.state_dict(), stress_models.scramble(model, 0).state_dict()
    same = {name for name, value in scrambled.items() if torch.equal(value, original[name].double())}
    # A norm without a residual takes the whole scale, so the bias before it keeps its own.
    kept = ("bottleneck.input.dense.bias", "bottleneck.attention.dense.bias")
    assert {name for name in same if ".layer." in name and not name.endswith(kept)} == set()


def test_scramble_spreads_the_gains_and_the_streams(stress_models: ModuleType, model: Any) -> None:
    scrambled = stress_models.scramble(model, 0)
    ratios = torch.cat(list(gain_ratios(scrambled, model).values()))
    assert ratios.min() >= 1 / 800.001
    assert ratios.max() <= 800.001
    assert ratios.min() <= 1 / 50
    assert ratios.max() >= 50
    for before, after in zip(outputs(model).hidden_states, outputs(scrambled).hidden_states, strict=True):
        scales = (after / before).flatten(0, 1).median(dim=0).values.sort(descending=True).values
        # Six channels are 50 times what is between 1/4 and 4, and no other is.
        assert scales[5] >= 50 / 4.001
        assert scales[6] <= 4.001
        assert scales[-1] >= 1 / 4.001


@pytest.mark.parametrize("magnitude", [1e3, 1e6])
def test_the_first_token_is_as_massive_as_asked_and_only_it(
    stress_models: ModuleType, model: Any, magnitude: float
) -> None:
    massive = stress_models.massive_first_token(model, magnitude, 0)
    without = stress_models.massive_first_token(model, 0.0, 0)
    for given, expected in zip(outputs(massive).hidden_states, outputs(without).hidden_states, strict=True):
        first, others = given[:, 0].abs(), given[:, 1:]
        # A channel's share of u is normal: three in four are beyond 0.3. Gains multiply it.
        assert first.quantile(0.25) >= 0.03 * magnitude
        assert others.abs().max() <= 100
        torch.testing.assert_close(others, expected[:, 1:], rtol=0, atol=MASSIVE_ROUNDING * float(others.abs().max()))


def test_no_reader_sees_the_massive_direction(stress_models: ModuleType, model: Any) -> None:
    massive = stress_models.massive_first_token(model, 1.0, 0)
    without = stress_models.massive_first_token(model, 0.0, 0)
    states = [
        (after - before)[0, 0]
        for after, before in zip(outputs(massive).hidden_states, outputs(without).hidden_states, strict=True)
    ]
    layers = massive.mobilebert.encoder.layer
    head = massive.mobilebert.pooler.dense if model.config.classifier_activation else massive.classifier
    readers = [
        (layer.bottleneck.input.dense, layer.bottleneck.attention.dense, layer.attention.self.value) for layer in layers
    ]
    for direction, linears in zip(states, [*readers, (head,)], strict=True):
        for linear in linears:
            seen = (linear.weight @ direction).norm() / (linear.weight.norm() * direction.norm())
            assert seen <= ROUNDING


@pytest.mark.parametrize(("kind", "least", "most"), [("near_zero_gains", 1e-7, 1e-3), ("zero_gains", 0, 0)])
def test_some_gains_are_tiny(stress_models: ModuleType, model: Any, kind: str, least: float, most: float) -> None:
    ratios = gain_ratios(getattr(stress_models, kind)(model, 0), model)
    if kind == "zero_gains":
        ratios = {name: ratio for name, ratio in ratios.items() if "attention" in name}
    for name, ratio in ratios.items():
        tiny = ratio[ratio <= 1e-3 * (1 + 1e-12)]
        assert len(tiny) > 0, name
        # Two tiny gains in a row may meet in a channel: their ratio is nearer to 1, and not counted.
        assert least * (1 - 1e-12) <= tiny.min()
        assert tiny.max() <= most * (1 + 1e-12)


def test_a_zero_gain_stands_behind_a_live_channel(stress_models: ModuleType, model: Any) -> None:
    zeroed = stress_models.zero_gains(model, 0)
    seen: list[float] = []
    for layer in zeroed.mobilebert.encoder.layer:
        for block in (layer.bottleneck.attention, layer.attention.output):
            norm = block.LayerNorm
            norm.register_forward_hook(
                lambda norm, given, _: seen.append(float(given[0].flatten(0, 1).std(dim=0)[norm.weight == 0].min()))
            )
    outputs(zeroed)
    assert len(seen) == 2 * len(zeroed.mobilebert.encoder.layer)
    assert min(seen) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides_and_the_given_model_stays(stress_models: ModuleType, kind: str) -> None:
    model = random_model(CLASSIFIER, "near_one", num_hidden_layers=1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first, again, other = (
        stress_models.stress(model, stress_models.Kind(kind), magnitude=1e3, seed=seed).stressed.state_dict()
        for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    "config",
    [
        {"hidden_act": "gelu"},
        {"normalization_type": "layer_norm"},
        {"use_bottleneck": False},
        {"use_bottleneck_attention": True},
        {"key_query_shared_bottleneck": False, "intra_bottleneck_size": 32},
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_configuration_that_cannot_be_stressed_is_an_error(
    stress_models: ModuleType, kind: str, config: dict[str, Any]
) -> None:
    model = random_model(CLASSIFIER, "near_one", **config)
    with pytest.raises(ValueError, match=next(iter(config))):
        stress_models.stress(model, stress_models.Kind(kind), magnitude=1.0, seed=0)


def run(stress_models: ModuleType, *arguments: object) -> Any:
    app = Typer()
    app.command()(stress_models.main)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def texts(stress_models: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo's own evaluation rows, which are always there, in place of the whole test split."""
    monkeypatch.setattr(stress_models, "TEXTS", CHECKPOINT.parent / "evaluation.jsonl")


@pytest.mark.usefixtures("texts")
@pytest.mark.parametrize("kind", KINDS)
def test_the_command_writes_the_model_that_it_proved(stress_models: ModuleType, tmp_path: Path, kind: str) -> None:
    output = tmp_path / "stressed"
    result = run(stress_models, CHECKPOINT, "--kind", kind, "--magnitude", 1e6, "--texts", 8, "--output", output)
    assert result.exit_code == 0, result.output
    made = stress_models.stress(
        load_checkpoint(CHECKPOINT).model, stress_models.Kind(kind), magnitude=1e6, seed=0
    ).stressed.state_dict()
    written = load_checkpoint(output).model.state_dict()
    assert written.keys() == made.keys()
    assert all(torch.equal(written[name], made[name]) for name in made)


@pytest.mark.usefixtures("texts")
def test_the_command_writes_nothing_that_is_not_proven(stress_models: ModuleType, tmp_path: Path) -> None:
    output = tmp_path / "stressed"
    arguments = (CHECKPOINT, "--kind", "massive", "--magnitude", 1e12, "--texts", 8, "--output", output)
    result = run(stress_models, *arguments)
    assert result.exit_code == 1
    assert "the function has changed" in result.output
    assert not output.exists()


@pytest.mark.usefixtures("texts")
def test_a_checkpoint_that_is_not_there_is_a_usage_error(stress_models: ModuleType, tmp_path: Path) -> None:
    result = run(stress_models, tmp_path / "none", "--kind", "scramble", "--output", tmp_path / "stressed")
    assert result.exit_code == 2
    assert "expected a checkpoint directory" in " ".join(result.output.replace("│", " ").split())
