"""Lowers each head: from the last hidden states to the outputs that its class of the reference model gives."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from mobilebert_export.errors import UsageError
from mobilebert_export.graph import operators as op
from mobilebert_export.graph.basis import Basis
from mobilebert_export.lowering.streams import Affine, Stream, StreamBuilder
from mobilebert_export.lowering.weights import Weights

if TYPE_CHECKING:
    from mobilebert_reference import MobileBertConfig

Outputs: TypeAlias = dict[str, str]


@dataclass(frozen=True)
class HeadBuilder:
    """What heads share: where nodes go, the parameters, the last hidden states (batch, positions, hidden)."""

    build: StreamBuilder
    weights: Weights
    config: "MobileBertConfig"
    hidden: Stream

    def linear(self, x: Stream, name: str, output: str) -> str:
        """The Linear called `name` in the checkpoint, as the tensor `output`."""
        return self.build.linear(x, self.weights.affine(name), output).tensor

    def pooled(self) -> Stream:
        """The first position (batch, hidden), through the pooler's Linear and tanh where the model has them."""
        _, positions, _ = self.build.graph.shape(self.hidden.tensor)
        batch, first = self.build.graph.shape(self.hidden.tensor)[0], self.hidden.tensor
        if positions != 1:
            first = self.build.graph.node(op.First(axis=1), first, name="pooler.first")
        flat = self.build.graph.node(op.Reshape((batch, self.config.hidden_size)), first, name="pooler.input")
        pooled = self.build.stream(flat, self.hidden.basis, self.hidden)
        if not self.config.classifier_activation:
            return pooled
        dense = self.build.linear(pooled, self.weights.affine("mobilebert.pooler.dense"), "mobilebert.pooler.dense")
        tanh = self.build.graph.node(op.Activation("tanh"), dense.tensor, name="mobilebert.pooler")
        return self.build.stream(tanh, Basis.identity(self.config.hidden_size))

    def vocabulary_logits(self, output: str) -> str:
        """The masked-LM head: a transform with a true LayerNorm, then (batch, sequence, vocabulary) scores."""
        name = "cls.predictions"
        dense = self.weights.affine(f"{name}.transform.dense")
        activated = self.build.activated(
            self.hidden, dense, f"{name}.transform.activated", self.config.hidden_act, read_by_linears=False
        )
        transformed = self.build.normalized(
            activated.tensor, self.weights.norm(f"{name}.transform.LayerNorm"), f"{name}.transform"
        )
        # The word embeddings score the first channels, a table of the head's own the rest.
        table = np.concatenate(
            [self.weights.array(f"{name}.decoder.weight"), self.weights.array(f"{name}.dense.weight").T], axis=1
        )
        return self.build.linear(transformed, Affine(table, self.weights.array(f"{name}.bias")), output).tensor


def _bare_model(head: HeadBuilder) -> Outputs:
    states = head.build.materialized(head.hidden, "last_hidden_state").tensor
    if not head.weights.has("mobilebert.pooler"):
        return {"last_hidden_state": states}
    pooled = head.build.materialized(head.pooled(), "pooler_output").tensor
    return {"last_hidden_state": states, "pooler_output": pooled}


def _pre_training(head: HeadBuilder) -> Outputs:
    predictions = head.vocabulary_logits("prediction_logits")
    relationship = head.linear(head.pooled(), "cls.seq_relationship", "seq_relationship_logits")
    return {"prediction_logits": predictions, "seq_relationship_logits": relationship}


def _masked_lm(head: HeadBuilder) -> Outputs:
    return {"logits": head.vocabulary_logits("logits")}


def _next_sentence(head: HeadBuilder) -> Outputs:
    return {"logits": head.linear(head.pooled(), "cls.seq_relationship", "logits")}


def _pooled_classifier(head: HeadBuilder) -> Outputs:
    """Sequence classification; and multiple choice, whose choices are the batch: one score (batch, 1) each."""
    return {"logits": head.linear(head.pooled(), "classifier", "logits")}


def _token_classifier(head: HeadBuilder) -> Outputs:
    return {"logits": head.linear(head.hidden, "classifier", "logits")}


def _question_answering(head: HeadBuilder) -> Outputs:
    graph = head.build.graph
    both = head.linear(head.hidden, "qa_outputs", "qa_outputs")
    batch, positions, _ = graph.shape(both)
    parts = graph.node_with(op.Split(axis=2), both, names=("qa_outputs.start", "qa_outputs.end"))
    names = ("start_logits", "end_logits")
    return {
        name: graph.node(op.Reshape((batch, positions)), part, name=name)
        for name, part in zip(names, parts, strict=True)
    }


@dataclass(frozen=True)
class Head:
    """How a class of the reference model is lowered.

    Attributes:
        lower: writes the head's nodes and gives its outputs.
        pooled: whether it reads the first position alone.
    """

    lower: Callable[[HeadBuilder], Outputs]
    pooled: bool = False


HEADS = {
    "MobileBertModel": Head(_bare_model),
    "MobileBertForPreTraining": Head(_pre_training),
    "MobileBertForMaskedLM": Head(_masked_lm),
    "MobileBertForNextSentencePrediction": Head(_next_sentence, pooled=True),
    "MobileBertForSequenceClassification": Head(_pooled_classifier, pooled=True),
    "MobileBertForMultipleChoice": Head(_pooled_classifier, pooled=True),
    "MobileBertForQuestionAnswering": Head(_question_answering),
    "MobileBertForTokenClassification": Head(_token_classifier),
}


def head_of(model: object) -> Head:
    """How the class of `model` is lowered.

    Raises:
        UsageError: it is none of the eight heads.
    """
    name = type(model).__name__
    if name not in HEADS:
        raise UsageError(f"expected one of {', '.join(HEADS)}, got {name}")
    return HEADS[name]
