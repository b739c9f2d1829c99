"""The bare encoder against transformers' MobileBertModel."""

import copy
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from itertools import product
from typing import Any

import pytest
import torch
from mobilebert_reference import MobileBertConfig, MobileBertModel
from mobilebert_reference.layers import NoNorm
from torch import Tensor, nn

# The issue's own bounds, relative to the output's largest value; float32 has an epsilon of 1.2e-7, float64 of 2.2e-16.
TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-5}

Difference = Callable[[Tensor, Tensor], float]


def test_every_output_equals_that_of_transformers(
    variant: MobileBertConfig,
    make_pair: Callable[..., Any],
    inputs: dict[str, dict[str, Tensor]],
    difference: Difference,
) -> None:
    pair = make_pair("MobileBertModel", variant)
    for (dtype, tolerance), (kind, arguments) in product(TOLERANCES.items(), inputs.items()):
        pair = pair.to(dtype)
        with torch.no_grad():
            ours = pair.ours(**arguments, output_hidden_states=True, output_attentions=True)
            theirs = pair.theirs(**arguments, output_hidden_states=True, output_attentions=True)
        assert len(ours.hidden_states) == len(theirs.hidden_states) == variant.num_hidden_layers + 1
        assert len(ours.attentions) == len(theirs.attentions) == variant.num_hidden_layers
        for mine, other in zip(
            (ours.last_hidden_state, ours.pooler_output, *ours.hidden_states, *ours.attentions),
            (theirs.last_hidden_state, theirs.pooler_output, *theirs.hidden_states, *theirs.attentions),
            strict=True,
        ):
            assert difference(mine, other) <= tolerance, kind


@pytest.mark.parametrize("name", ["position_ids", "inputs_embeds", "head_mask_of_one_layer", "head_mask_of_all_layers"])
def test_optional_inputs_do_what_they_do_in_transformers(
    make_config: Callable[..., MobileBertConfig], make_pair: Callable[..., Any], difference: Difference, name: str
) -> None:
    pair = make_pair("MobileBertModel", make_config())
    ids = torch.randint(50, (2, 6))
    cases: dict[str, dict[str, Tensor]] = {
        "position_ids": {"input_ids": ids, "position_ids": torch.randint(20, (2, 6))},
        "inputs_embeds": {"inputs_embeds": torch.randn(2, 6, 12, dtype=torch.float64)},
        "head_mask_of_one_layer": {"input_ids": ids, "head_mask": torch.tensor([0.0, 1.0])},
        "head_mask_of_all_layers": {"input_ids": ids, "head_mask": torch.tensor([[0.5, 1.0], [1.0, 0.0]])},
    }
    arguments = cases[name]
    mask = torch.tensor([[1] * 6, [1] * 4 + [0] * 2])
    with torch.no_grad():
        ours = pair.ours(attention_mask=mask, **arguments, output_attentions=True)
        theirs = pair.theirs(attention_mask=mask, **arguments, output_attentions=True)
        without = pair.ours(ids, mask)
    assert difference(ours.last_hidden_state, theirs.last_hidden_state) <= 1e-12
    assert difference(ours.attentions[0], theirs.attentions[0]) <= 1e-12
    assert difference(ours.last_hidden_state, without.last_hidden_state) > 1e-3  # the input does something


def test_defaults_are_ones_for_the_mask_zeros_for_the_types_and_counted_positions(
    make_config: Callable[..., MobileBertConfig], make_pair: Callable[..., Any]
) -> None:
    model = make_pair("MobileBertModel", make_config()).ours
    ids = torch.randint(50, (2, 6))
    implicit = model(ids).last_hidden_state
    explicit = model(
        ids,
        torch.ones(2, 6),
        torch.zeros(2, 6, dtype=torch.long),
        position_ids=torch.arange(6).expand(2, 6),
        head_mask=torch.ones(2),
        output_hidden_states=False,
        output_attentions=False,
    ).last_hidden_state
    assert implicit.equal(explicit)


def test_padding_does_not_reach_a_token(
    make_config: Callable[..., MobileBertConfig], make_pair: Callable[..., Any], difference: Difference
) -> None:
    """Not the token next to it either, but through the trigram: that one sees the padding's embedding."""
    model = make_pair("MobileBertModel", make_config(trigram_input=False)).ours
    ids = torch.randint(50, (1, 5))
    padded = torch.cat([ids, torch.zeros(1, 4, dtype=torch.long)], dim=1)
    mask = torch.tensor([[1] * 5 + [0] * 4])
    with torch.no_grad():
        alone, beside = model(ids).last_hidden_state, model(padded, mask).last_hidden_state[:, :5]
    assert difference(beside, alone) <= 1e-12


@pytest.mark.parametrize("fields", [{}, {"use_bottleneck": False}])
def test_training_drops_out_what_transformers_drops_out(
    make_config: Callable[..., MobileBertConfig],
    make_pair: Callable[..., Any],
    difference: Difference,
    fields: dict[str, Any],
) -> None:
    """From the same seed, dropout falls on the same elements as long as it stands in the same places."""
    pair = make_pair("MobileBertModel", make_config(**fields))
    ids = torch.randint(50, (2, 6))
    outputs = []
    for model in (pair.ours.train(), pair.theirs.train()):
        torch.manual_seed(1)
        outputs.append(model(ids, attention_mask=torch.ones(2, 6)).last_hidden_state)
    assert difference(*outputs) <= 1e-12
    assert difference(outputs[0], pair.ours.eval()(ids).last_hidden_state) > 1e-3


def test_outputs_that_are_not_asked_for_are_not_kept(make_config: Callable[..., MobileBertConfig]) -> None:
    model = MobileBertModel(make_config(), add_pooling_layer=False)
    output = model(torch.randint(50, (2, 6)))
    assert output.pooler_output is output.hidden_states is output.attentions is None


def test_the_configuration_says_what_is_returned_when_the_call_does_not(
    make_config: Callable[..., MobileBertConfig],
) -> None:
    model = MobileBertModel(make_config(output_hidden_states=True, output_attentions=True))
    ids = torch.randint(50, (2, 6))
    assert len(model(ids).hidden_states) == 3
    assert len(model(ids).attentions) == 2
    silent = model(ids, output_hidden_states=False, output_attentions=False)
    assert silent.hidden_states is silent.attentions is None


def test_outputs_cannot_be_changed(make_config: Callable[..., MobileBertConfig]) -> None:
    output = MobileBertModel(make_config())(torch.randint(50, (1, 3)))
    with pytest.raises(FrozenInstanceError):
        output.last_hidden_state = None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one of input_ids and inputs_embeds"),
        (
            {"input_ids": torch.zeros(1, 2, dtype=torch.long), "inputs_embeds": torch.zeros(1, 2, 12)},
            "exactly one of input_ids and inputs_embeds",
        ),
        ({"input_ids": torch.zeros(1, 21, dtype=torch.long)}, "at most 20 positions, got a sequence of 21"),
        (
            {"input_ids": torch.zeros(1, 2, dtype=torch.long), "attention_mask": torch.ones(1, 1, 2, 2)},
            "attention_mask of 2 or 3 axes, got 4",
        ),
    ],
)
def test_a_call_that_makes_no_sense_says_why(
    make_config: Callable[..., MobileBertConfig], arguments: dict[str, Tensor], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        MobileBertModel(make_config())(**arguments)


def test_new_weights_follow_the_initializer_range_and_the_seed(make_config: Callable[..., MobileBertConfig]) -> None:
    config = make_config(vocab_size=5000, pad_token_id=7, initializer_range=0.3)
    torch.manual_seed(3)
    model = MobileBertModel(config)
    torch.manual_seed(3)
    again = MobileBertModel(config)
    words = model.embeddings.word_embeddings.weight
    assert not words[7].any()
    # The standard deviation of n = 60,000 draws strays from the true one by 1 / sqrt(2n) = 0.3 %.
    assert words.std().item() == pytest.approx(0.3, rel=0.02)
    for name, parameter in model.named_parameters():
        assert parameter.equal(again.get_parameter(name))
        if name.endswith("bias"):
            assert not parameter.any()
        elif name.endswith("LayerNorm.weight"):
            assert (parameter == 1).all()
        else:
            assert parameter.std() > 0.2


def test_the_padding_embedding_gets_no_gradient(make_config: Callable[..., MobileBertConfig]) -> None:
    model = MobileBertModel(make_config(pad_token_id=4))
    model(torch.tensor([[4, 5, 4]])).last_hidden_state.sum().backward()
    gradient = model.embeddings.word_embeddings.weight.grad
    assert gradient is not None
    assert not gradient[4].any()
    assert gradient[5].any()


def test_no_norm_scales_and_shifts_each_channel() -> None:
    norm = NoNorm(3)
    norm.weight = nn.Parameter(torch.tensor([2.0, 0.0, -1.0]))
    norm.bias = nn.Parameter(torch.tensor([0.5, 1.0, 0.0]))
    assert norm(torch.tensor([[1.0, 2.0, 3.0]])).tolist() == [[2.5, 1.0, -3.0]]


def test_a_model_can_be_copied(make_config: Callable[..., MobileBertConfig]) -> None:
    model = MobileBertModel(make_config()).eval()
    ids = torch.randint(50, (1, 4))
    assert copy.deepcopy(model)(ids).last_hidden_state.equal(model(ids).last_hidden_state)
