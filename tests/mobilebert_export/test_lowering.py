"""Lowering is exact: in float64 a graph gives what the reference gives, to rounding."""

from collections import Counter
from typing import Any

import mobilebert_reference as reference
import numpy as np
import pytest
import torch

from mobilebert_export.errors import GraphError, UsageError
from mobilebert_export.graph import Basis, Graph
from mobilebert_export.graph import operators as op
from mobilebert_export.graph.executor import execute
from mobilebert_export.lowering import INPUTS, Coordinates, lower
from tests.models import ARCHITECTURES, VARIANTS, random_inputs, random_model, reference_outputs

# Rounding in float64 is 1e-16 an operation; a few hundred operations deep, 1e-12 leaves room for cancellation.
EXACT = 1e-12


def assert_same(graph: Graph, model: Any, inputs: dict[str, np.ndarray], **options: Any) -> None:
    expected = reference_outputs(model, inputs, **options)
    got = execute(graph, inputs)
    assert set(got) <= set(expected)
    for name, value in got.items():
        truth = expected[name].reshape(value.shape)
        error = np.abs(truth - value).max() / np.abs(truth).max()
        assert error <= EXACT, f"{name}: {error}"


def norm_nodes(graph: Graph) -> list[str]:
    """Outputs of nodes that multiply or add a constant of a channel's width."""
    found = []
    for node in graph.nodes:
        if isinstance(node.operator, op.Add | op.Multiply):
            constants = [graph.tensors[name] for name in node.inputs if graph.tensors[name].is_constant]
            found += [node.outputs[0] for tensor in constants if len(tensor.shape) == 1]
    return found


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_graph_equals_reference(architecture: str, variant: str) -> None:
    model = random_model(architecture, **VARIANTS[variant])
    graph = lower(model, model.config, dtype=np.float64)
    for shape in ({"batch": 3, "sequence": 9}, {"batch": 1, "sequence": 1}, {"batch": 2, "sequence": 20}):
        assert_same(graph, model, random_inputs(model.config, **shape))


@pytest.mark.parametrize("gains", ["near_one", "of_either_sign", "any", "drifting"])
@pytest.mark.parametrize("layers", [3, 24])
def test_gains_of_any_kind_are_exact(gains: str, layers: int) -> None:
    model = random_model("MobileBertForSequenceClassification", gains, num_hidden_layers=layers)
    assert_same(lower(model, model.config, dtype=np.float64), model, random_inputs(model.config, batch=3))


def test_full_size_model_is_exact() -> None:
    torch.manual_seed(0)
    config = reference.MobileBertConfig()
    model = reference.MobileBertForSequenceClassification(config).double().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("LayerNorm.weight"):
                parameter.copy_(1 + 0.3 * torch.randn_like(parameter))
            elif name.endswith("LayerNorm.bias"):
                parameter.copy_(0.1 * torch.randn_like(parameter))
    assert_same(lower(model, config, dtype=np.float64), model, random_inputs(config, sequence=16))


@pytest.mark.parametrize("variant", ["default", "layer_norm", "no_bottleneck", "bottleneck_attention"])
def test_hidden_states_are_outputs_at_every_position(variant: str) -> None:
    model = random_model("MobileBertForSequenceClassification", **VARIANTS[variant])
    graph = lower(model, model.config, dtype=np.float64, hidden_states=True)
    inputs = random_inputs(model.config)
    assert [name for name in graph.outputs if name.startswith("hidden_states.")] == [
        f"hidden_states.{i}" for i in range(4)
    ]
    assert_same(graph, model, inputs, output_hidden_states=True)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_plain_graph_keeps_every_norm_and_is_exact_too(architecture: str) -> None:
    model = random_model(architecture)
    graph = lower(model, model.config, dtype=np.float64, eliminate=False)
    norms = sum(type(module).__name__ == "NoNorm" for module in model.modules())
    multiplications = Counter(type(node.operator) for node in graph.nodes)[op.Multiply]
    assert multiplications == norms
    assert_same(graph, model, random_inputs(model.config))


@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name != "MobileBertModel"])
def test_no_node_comes_from_a_no_norm(architecture: str) -> None:
    model = random_model(architecture, "near_one")
    assert norm_nodes(lower(model, model.config)) == []


def test_rescale_points_stand_only_where_gains_ask_for_them() -> None:
    model = random_model("MobileBertForTokenClassification", "near_one")
    norm = model.get_submodule("mobilebert.encoder.layer.1.ffn.0.output.LayerNorm")
    with torch.no_grad():
        norm.weight[3] = 0.0
    graph = lower(model, model.config, dtype=np.float64)
    assert norm_nodes(graph) == ["mobilebert.encoder.layer.1.ffn.0"]
    assert_same(graph, model, random_inputs(model.config))


def test_drifting_gains_are_rescaled_before_they_leave_the_reach_of_float16() -> None:
    model = random_model("MobileBertForTokenClassification", "drifting", num_hidden_layers=24)
    graph = lower(model, model.config, dtype=np.float64)
    scales = np.concatenate([np.abs(basis.matrix) for basis in graph.bases.values()])
    assert scales.max() <= 64
    assert scales.min() >= 1 / 64
    assert norm_nodes(graph)


def test_streams_stand_for_the_reference_in_their_bases() -> None:
    model = random_model("MobileBertForTokenClassification", "near_one")
    graph = lower(model, model.config, dtype=np.float64)
    inputs = random_inputs(model.config, batch=1, sequence=7)
    inputs["attention_mask"][:] = 1
    seen: dict[str, np.ndarray] = {}
    execute(graph, inputs, observe=lambda name, value: seen.update({name: value.copy()}))
    expected: dict[str, np.ndarray] = {}
    for name, module in model.named_modules():
        module.register_forward_hook(
            lambda _module, _inputs, output, name=name: (
                expected.update({name: output.numpy()}) if isinstance(output, torch.Tensor) else None
            )
        )
    reference_outputs(model, inputs)
    compared = [name for name in graph.bases if name in expected and name in seen]
    assert len(compared) >= 3 * (1 + 2 + 3)
    for name in compared:
        value = graph.bases[name].to_reference(seen[name])
        np.testing.assert_allclose(value, expected[name], atol=EXACT * np.abs(expected[name]).max(), err_msg=name)


def rotation(generator: np.random.Generator, channels: int) -> Basis:
    matrix = np.linalg.qr(generator.normal(size=(channels, channels)))[0] * generator.uniform(0.3, 3, channels)
    return Basis(matrix, generator.normal(size=channels))


def scale(generator: np.random.Generator, channels: int) -> Basis:
    return Basis(generator.uniform(0.3, 3, channels), np.zeros(channels))


def signed_scale(generator: np.random.Generator, channels: int) -> Basis:
    flipped = scale(generator, channels).matrix * generator.choice([-1, 1], channels)
    return Basis(flipped, generator.normal(size=channels))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("gains", ["near_one", "any"])
@pytest.mark.parametrize("make", [rotation, signed_scale])
def test_any_basis_of_every_free_stream_gives_the_same_outputs(architecture: str, gains: str, make: Any) -> None:
    model = random_model(architecture, gains)
    generator = np.random.default_rng(0)
    makers = {"any": make, "affine": signed_scale, "scale": signed_scale, "positive": scale, "product": signed_scale}
    free = lower(model, model.config).streams
    assert {stream.freedom for stream in free.values()} == set(makers)
    bases = {start: makers[stream.freedom](generator, stream.channels) for start, stream in free.items()}
    graph = lower(model, model.config, dtype=np.float64, coordinates=Coordinates(bases))
    assert_same(graph, model, random_inputs(model.config))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_takes_scales(variant: str) -> None:
    model = random_model("MobileBertForTokenClassification", "near_one", **VARIANTS[variant])
    generator = np.random.default_rng(0)
    free = lower(model, model.config).streams
    bases = {start: scale(generator, stream.channels) for start, stream in free.items()}
    graph = lower(model, model.config, dtype=np.float64, coordinates=Coordinates(bases))
    assert_same(graph, model, random_inputs(model.config))


def test_pooled_head_computes_only_the_first_position_of_the_last_layer() -> None:
    pooled = random_model("MobileBertForSequenceClassification", "near_one")
    graph = lower(pooled, pooled.config)
    prefix = "mobilebert.encoder.layer.2"
    one = {name for name, tensor in graph.tensors.items() if name.startswith(prefix) and tensor.shape[1:2] == (1,)}
    assert {prefix, f"{prefix}.ffn.0", f"{prefix}.bottleneck.input", f"{prefix}.attention.self.query"} <= one
    assert graph.tensors[f"{prefix}.attention.self.key"].shape[1] == "sequence"

    every = random_model("MobileBertForTokenClassification", "near_one")
    assert lower(every, every.config).tensors[prefix].shape[1] == "sequence"


def test_gains_of_either_sign_fold_away() -> None:
    model = random_model("MobileBertForTokenClassification", "of_either_sign")
    assert norm_nodes(lower(model, model.config)) == []


def test_what_is_the_same_for_all_keys_or_values_needs_no_bias() -> None:
    model = random_model("MobileBertForSequenceClassification", "near_one")
    graph = lower(model, model.config)
    last = "mobilebert.encoder.layer.2.attention.self"
    for name in (f"{last}.key.bias", f"{last}.value.bias"):
        assert not np.any(graph.tensors[name].data), name
    packed = np.asarray(graph.tensors["mobilebert.encoder.layer.0.attention.self.query_key.bias"].data)
    assert np.any(packed[:16])
    assert not np.any(packed[16:])


def test_weights_that_overflow_are_named() -> None:
    model = random_model("MobileBertForSequenceClassification", "near_one")
    model.classifier.weight.data[0] = 1e200
    with pytest.raises(UsageError, match=r"expected weights that fit float32, got some that overflow in logits.weight"):
        lower(model, model.config)


def test_queries_and_keys_are_one_linear() -> None:
    model = random_model("MobileBertForTokenClassification")
    graph = lower(model, model.config)
    assert graph.tensors["mobilebert.encoder.layer.0.attention.self.query_key.weight"].shape == (32, 16)


def test_inputs_are_named_and_ordered_as_apps_feed_them() -> None:
    model = random_model("MobileBertForSequenceClassification")
    assert lower(model, model.config).inputs == INPUTS == ("input_ids", "attention_mask", "token_type_ids")


def test_mask_value_that_is_neither_0_nor_1_is_an_error() -> None:
    model = random_model("MobileBertForSequenceClassification")
    inputs = random_inputs(model.config)
    inputs["attention_mask"][0, 0] = 2
    with pytest.raises(GraphError, match="expected ids from 0 to 1, got 0 to 2"):
        execute(lower(model, model.config), inputs)


def test_foreign_model_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"expected one of MobileBertModel, .* got Linear"):
        lower(torch.nn.Linear(1, 1), reference.MobileBertConfig())
