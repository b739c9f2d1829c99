"""The seven heads against transformers'."""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import mobilebert_reference
import pytest
import torch
from mobilebert_reference import (
    ConfigurationError,
    MobileBertConfig,
    MobileBertForMaskedLM,
    MobileBertForMultipleChoice,
    MobileBertForPreTraining,
    MobileBertForQuestionAnswering,
    MobileBertForSequenceClassification,
)
from mobilebert_reference.heads import ARCHITECTURES
from torch import Tensor

HEADS = sorted(name for name in ARCHITECTURES if name != "MobileBertModel")
LABELLED: dict[str, Any] = {"id2label": {0: "a", 1: "b", 2: "c", 3: "d", 4: "e"}}

# The issue's own bounds, relative to the output's largest value; float32 has an epsilon of 1.2e-7, float64 of 2.2e-16.
TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-5}

Difference = Callable[[Tensor, Tensor], float]
MakeConfig = Callable[..., MobileBertConfig]
MakePair = Callable[..., Any]


def with_labels(head: str, config: MobileBertConfig) -> MobileBertConfig:
    return config if head == "MobileBertForQuestionAnswering" else dataclasses.replace(config, **LABELLED)


def assert_equal_outputs(ours: Any, theirs: Any, difference: Difference, tolerance: float) -> None:
    """Compare every field, and see to it that ours has all that theirs has."""
    for field in dataclasses.fields(theirs):
        mine, other = getattr(ours, field.name), theirs.get(field.name)
        if other is None:
            assert mine is None
            continue
        mine, other = (mine, other) if isinstance(other, tuple) else ((mine,), (other,))
        for one, another in zip(mine, other, strict=True):
            assert difference(one, another) <= tolerance, field.name


@pytest.mark.parametrize("head", HEADS)
def test_every_head_equals_that_of_transformers(
    head: str,
    variant: MobileBertConfig,
    make_pair: MakePair,
    inputs: dict[str, dict[str, Tensor]],
    difference: Difference,
) -> None:
    pair = make_pair(head, with_labels(head, variant))
    for dtype, tolerance in TOLERANCES.items():
        pair = pair.to(dtype)
        for kind, given in inputs.items():
            arguments = given
            if head == "MobileBertForMultipleChoice":
                if kind == "three_axes":  # transformers cannot fold such a mask
                    continue
                arguments = {name: torch.stack([value, value.flip(0)], dim=1) for name, value in given.items()}
            with torch.no_grad():
                ours = pair.ours(**arguments, output_hidden_states=True, output_attentions=True)
                theirs = pair.theirs(**arguments, output_hidden_states=True, output_attentions=True)
            assert_equal_outputs(ours, theirs, difference, tolerance)


@pytest.mark.parametrize("head", HEADS)
def test_heads_hand_the_optional_inputs_on(
    head: str, make_config: MakeConfig, make_pair: MakePair, difference: Difference
) -> None:
    pair = make_pair(head, with_labels(head, make_config()))
    shape = (2, 3, 6) if head == "MobileBertForMultipleChoice" else (2, 6)
    arguments = {
        "inputs_embeds": torch.randn(*shape, 12, dtype=torch.float64),
        "position_ids": torch.randint(20, shape),
        "token_type_ids": torch.randint(3, shape),
        "attention_mask": torch.randint(2, shape),
        "head_mask": torch.tensor([[0.5, 1.0], [1.0, 0.0]]),
    }
    with torch.no_grad():
        assert_equal_outputs(pair.ours(**arguments), pair.theirs(**arguments), difference, 1e-12)


SINGLE = "single_label_classification"
MULTI = "multi_label_classification"
LOSSES: dict[str, tuple[str, dict[str, Any], dict[str, Tensor]]] = {
    "masked_lm": (
        "MobileBertForMaskedLM",
        {},
        {"labels": torch.tensor([[1, -100, 3, 4, 49, -100], [-100] * 5 + [2]])},
    ),
    "pretraining": (
        "MobileBertForPreTraining",
        {},
        {"labels": torch.tensor([[1, -100, 3, 4, 49, 0]] * 2), "next_sentence_label": torch.tensor([1, 0])},
    ),
    "pretraining_with_one_label": ("MobileBertForPreTraining", {}, {"labels": torch.tensor([[1] * 6] * 2)}),
    "next_sentence": ("MobileBertForNextSentencePrediction", {}, {"labels": torch.tensor([1, 0])}),
    "single_label": ("MobileBertForSequenceClassification", LABELLED, {"labels": torch.tensor([4, 1])}),
    "single_label_by_name": (
        "MobileBertForSequenceClassification",
        {**LABELLED, "problem_type": SINGLE},
        {"labels": torch.tensor([[4], [1]])},
    ),
    "multi_label": (
        "MobileBertForSequenceClassification",
        LABELLED,
        {"labels": torch.tensor([[1, 0, 1, 0, 0], [0, 0, 0, 0, 1]], dtype=torch.float64)},
    ),
    "multi_label_of_one": (
        "MobileBertForSequenceClassification",
        {"id2label": {0: "a"}, "problem_type": MULTI},
        {"labels": torch.tensor([[1], [0]], dtype=torch.float64)},
    ),
    "regression": (
        "MobileBertForSequenceClassification",
        {"id2label": {0: "a"}},
        {"labels": torch.tensor([0.5, -2.0], dtype=torch.float64)},
    ),
    "regression_to_several": (
        "MobileBertForSequenceClassification",
        {**LABELLED, "problem_type": "regression"},
        {"labels": torch.randn(2, 5, dtype=torch.float64)},
    ),
    "answer": (
        "MobileBertForQuestionAnswering",
        {},
        {"start_positions": torch.tensor([1, 0]), "end_positions": torch.tensor([4, 5])},
    ),
    "answer_outside_of_the_text": (
        "MobileBertForQuestionAnswering",
        {},
        {"start_positions": torch.tensor([[6], [0]]), "end_positions": torch.tensor([[9], [5]])},
    ),
    "answer_without_its_end": ("MobileBertForQuestionAnswering", {}, {"start_positions": torch.tensor([1, 0])}),
    "choice": ("MobileBertForMultipleChoice", {}, {"labels": torch.tensor([2, 0])}),
    "tokens": (
        "MobileBertForTokenClassification",
        LABELLED,
        {"labels": torch.tensor([[1, -100, 3, 4, 0, -100], [-100] * 5 + [2]])},
    ),
}


@pytest.mark.parametrize(("head", "fields", "labels"), LOSSES.values(), ids=LOSSES.keys())
def test_losses_and_their_gradients_equal_those_of_transformers(
    head: str,
    fields: dict[str, Any],
    labels: dict[str, Tensor],
    make_config: MakeConfig,
    make_pair: MakePair,
    difference: Difference,
) -> None:
    pair = make_pair(head, make_config(**fields))
    shape = (2, 3, 6) if head == "MobileBertForMultipleChoice" else (2, 6)
    ids, mask = torch.randint(50, shape), torch.ones(shape)
    ours, theirs = pair.ours(ids, mask, **labels), pair.theirs(ids, mask, **labels)
    if theirs.loss is None:
        assert ours.loss is None
        return
    assert ours.loss.shape == ()
    assert difference(ours.loss, theirs.loss) <= 1e-12
    ours.loss.backward()
    theirs.loss.backward()
    word, other = (model.mobilebert.embeddings.word_embeddings.weight.grad for model in (pair.ours, pair.theirs))
    assert difference(word, other) <= 1e-11  # the backward pass adds up what the forward rounded


@pytest.mark.parametrize(
    "head",
    [
        "MobileBertForSequenceClassification",
        "MobileBertForMultipleChoice",
        "MobileBertForTokenClassification",
    ],
)
@pytest.mark.parametrize("classifier_dropout", [None, 0.5])
def test_training_drops_out_before_the_classifier(
    head: str,
    classifier_dropout: float | None,
    make_config: MakeConfig,
    make_pair: MakePair,
    difference: Difference,
) -> None:
    pair = make_pair(head, make_config(hidden_dropout_prob=0.3, classifier_dropout=classifier_dropout))
    shape = (2, 3, 6) if head == "MobileBertForMultipleChoice" else (2, 6)
    ids, mask = torch.randint(50, shape), torch.ones(shape)
    logits = []
    for model in (pair.ours.train(), pair.theirs.train()):
        torch.manual_seed(1)
        logits.append(model(ids, mask).logits)
    assert difference(*logits) <= 1e-12


def test_a_mask_of_three_axes_folds_with_the_choices(
    make_config: MakeConfig, make_pair: MakePair, difference: Difference
) -> None:
    model = make_pair("MobileBertForMultipleChoice", make_config()).ours
    ids, mask = torch.randint(50, (2, 3, 6)), torch.randint(2, (2, 3, 6))
    with torch.no_grad():
        two = model(ids, mask).logits
        three = model(ids, mask[:, :, None].expand(2, 3, 6, 6)).logits
    assert difference(three, two) <= 1e-12


def test_multiple_choice_without_an_input_says_so(make_config: MakeConfig) -> None:
    with pytest.raises(ValueError, match="exactly one of input_ids and inputs_embeds"):
        MobileBertForMultipleChoice(make_config())()


@pytest.mark.parametrize("architecture", [MobileBertForMaskedLM, MobileBertForPreTraining])
def test_the_decoder_is_the_table_of_word_embeddings(architecture: Any, make_config: MakeConfig) -> None:
    model = architecture(make_config())
    for each in (model, copy.deepcopy(model), model.double()):
        assert each.cls.predictions.decoder.weight is each.mobilebert.embeddings.word_embeddings.weight
        assert each.cls.predictions.decoder.bias is each.cls.predictions.bias
    untied = architecture(make_config(tie_word_embeddings=False))
    assert untied.cls.predictions.decoder.weight is not untied.mobilebert.embeddings.word_embeddings.weight
    assert untied.cls.predictions.decoder.bias is untied.cls.predictions.bias


@pytest.mark.parametrize("head", HEADS)
def test_a_new_head_follows_the_initializer_range_and_the_seed(head: str, make_config: MakeConfig) -> None:
    models = []
    for _ in range(2):
        torch.manual_seed(2)
        models.append(getattr(mobilebert_reference, head)(make_config(initializer_range=0.25)))
    for name, parameter in models[0].named_parameters():
        assert parameter.equal(models[1].get_parameter(name))
        if name.endswith("bias"):
            assert not parameter.any()
        elif not name.endswith("LayerNorm.weight"):
            # 48 values at least, so 0.25 within a tenth times four, the standard error being 0.25 / sqrt(2 * 48).
            assert 0.15 < parameter.std() < 0.35, name


@pytest.mark.parametrize("architecture", [MobileBertForMaskedLM, MobileBertForPreTraining])
def test_a_masked_lm_needs_embeddings_no_wider_than_the_stream(architecture: Any, make_config: MakeConfig) -> None:
    with pytest.raises(ConfigurationError, match=r"embedding_size of at most hidden_size: got 49 and 48$"):
        architecture(make_config(embedding_size=49))
    MobileBertForSequenceClassification(make_config(embedding_size=49))  # others do not


def test_question_answering_needs_two_labels(make_config: MakeConfig) -> None:
    with pytest.raises(ConfigurationError, match=r"needs two labels in id2label, start and end: got 5$"):
        MobileBertForQuestionAnswering(make_config(**LABELLED))
