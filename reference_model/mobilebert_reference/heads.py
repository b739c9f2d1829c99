"""The seven heads of MobileBERT on its encoder, with the parameter names of transformers' checkpoints.

In the comments B is the batch, T the sequence length, C the number of choices, H `hidden_size`, E `embedding_size`, V
`vocab_size`, L the number of labels.

Each `forward` takes the arguments of `MobileBertModel.forward`, and labels for a loss: class ids, where -100 counts for
nothing unless the head says otherwise.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobilebert_reference.configuration import MobileBertConfig
from mobilebert_reference.encoder import MobileBertArchitecture, MobileBertModel, initialize_weights
from mobilebert_reference.errors import ConfigurationError
from mobilebert_reference.layers import ACTIVATION_FUNCTIONS
from mobilebert_reference.outputs import LogitsOutput, PreTrainingOutput, QuestionAnsweringOutput

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = [
    "ARCHITECTURES",
    "MobileBertForMaskedLM",
    "MobileBertForMultipleChoice",
    "MobileBertForNextSentencePrediction",
    "MobileBertForPreTraining",
    "MobileBertForQuestionAnswering",
    "MobileBertForSequenceClassification",
    "MobileBertForTokenClassification",
]


class EncoderOptions(TypedDict, total=False):
    """The keyword arguments of `MobileBertModel.forward`, which every head hands on."""

    position_ids: Tensor | None
    head_mask: Tensor | None
    inputs_embeds: Tensor | None
    output_hidden_states: bool | None
    output_attentions: bool | None


class PredictionTransform(nn.Module):
    """Linear, activation and a true LayerNorm, whichever norm the encoder has."""

    def __init__(self, config: MobileBertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.activation = ACTIVATION_FUNCTIONS[config.hidden_act]
        self.LayerNorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, T, H) to (B, T, H)."""
        normed: Tensor = self.LayerNorm(self.activation(self.dense(hidden)))
        return normed


class Predictions(nn.Module):
    """The masked-LM head: E channels meet the word embeddings (`decoder`), the rest a matrix of their own (`dense`)."""

    def __init__(self, config: MobileBertConfig) -> None:
        super().__init__()
        if config.embedding_size > config.hidden_size:
            raise ConfigurationError(
                "MobileBertForMaskedLM and MobileBertForPreTraining need an embedding_size of at most hidden_size: "
                f"got {config.embedding_size} and {config.hidden_size}"
            )
        rest = config.hidden_size - config.embedding_size
        self.embedding_size = config.embedding_size
        self.transform = PredictionTransform(config)
        # In a checkpoint it is the weight of a Linear from V to H - E, which nobody ever calls.
        self.dense = nn.ParameterDict({"weight": torch.empty(rest, config.vocab_size)})
        self.decoder = nn.Linear(config.embedding_size, config.vocab_size)
        self.bias = self.decoder.bias

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, T, H) to (B, T, V)."""
        first, rest = self.transform(hidden).tensor_split([self.embedding_size], dim=2)  # (B, T, E) and (B, T, H - E)
        scores: Tensor = self.decoder(first) + rest @ self.dense["weight"]
        return scores


class MobileBertForPreTraining(MobileBertArchitecture):
    """Masked LM and next sentence, the two tasks of pretraining."""

    def __init__(self, config: MobileBertConfig) -> None:
        super().__init__(config)
        self.mobilebert = MobileBertModel(config)
        self.cls = nn.ModuleDict(
            {"predictions": Predictions(config), "seq_relationship": nn.Linear(config.hidden_size, 2)}
        )
        initialize_weights(self.cls, config.initializer_range)
        self.tied_parameters = _ties_of_predictions(config)
        self.tie_parameters()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        next_sentence_label: Tensor | None = None,
        **options: "Unpack[EncoderOptions]",
    ) -> PreTrainingOutput:
        """Score each position's token, with `labels` (B, T), and the sentence order, with `next_sentence_label` (B)."""
        encoded = self.mobilebert(input_ids, attention_mask, token_type_ids, **options)
        prediction_logits = self.cls["predictions"](encoded.last_hidden_state)  # (B, T, V)
        seq_relationship_logits = self.cls["seq_relationship"](encoded.pooler_output)  # (B, 2)
        loss = None
        if labels is not None and next_sentence_label is not None:
            loss = _token_loss(prediction_logits, labels)
            loss = loss + F.cross_entropy(seq_relationship_logits, next_sentence_label.flatten())
        return PreTrainingOutput(
            loss, prediction_logits, seq_relationship_logits, encoded.hidden_states, encoded.attentions
        )


class MobileBertForMaskedLM(MobileBertArchitecture):
    """Masked LM."""

    def __init__(self, config: MobileBertConfig) -> None:
        super().__init__(config)
        self.mobilebert = MobileBertModel(config, add_pooling_layer=False)
        self.cls = nn.ModuleDict({"predictions": Predictions(config)})
        initialize_weights(self.cls, config.initializer_range)
        self.tied_parameters = _ties_of_predictions(config)
        self.tie_parameters()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        **options: "Unpack[EncoderOptions]",
    ) -> LogitsOutput:
        """Score each position's token, with `labels` (B, T)."""
        encoded = self.mobilebert(input_ids, attention_mask, token_type_ids, **options)
        logits = self.cls["predictions"](encoded.last_hidden_state)  # (B, T, V)
        loss = None if labels is None else _token_loss(logits, labels)
        return LogitsOutput(loss, logits, encoded.hidden_states, encoded.attentions)


class MobileBertForNextSentencePrediction(MobileBertArchitecture):
    """Whether the second text follows the first (class 0) or is a random one (class 1)."""

    def __init__(self, config: MobileBertConfig) -> None:
        super().__init__(config)
        self.mobilebert = MobileBertModel(config)
        self.cls = nn.ModuleDict({"seq_relationship": nn.Linear(config.hidden_size, 2)})
        initialize_weights(self.cls, config.initializer_range)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        **options: "Unpack[EncoderOptions]",
    ) -> LogitsOutput:
        """Score the sentence order, with `labels` (B)."""
        encoded = self.mobilebert(input_ids, attention_mask, token_type_ids, **options)
        logits = self.cls["seq_relationship"](encoded.pooler_output)  # (B, 2)
        loss = None if labels is None else F.cross_entropy(logits, labels.flatten())
        return LogitsOutput(loss, logits, encoded.hidden_states, encoded.attentions)


class MobileBertForSequenceClassification(MobileBertArchitecture):
    """Classes, several labels at once, or numbers for a text or a pair of texts."""

    def __init__(self, config: MobileBertConfig) -> None:
        super().__init__(config)
        self.mobilebert = MobileBertModel(config)
        self.dropout = nn.Dropout(_classifier_dropout(config))
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        initialize_weights(self.classifier, config.initializer_range)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        **options: "Unpack[EncoderOptions]",
    ) -> LogitsOutput:
        """Score the labels.

        `labels` are numbers for a regression (squared error), (B) or (B, L); class ids for a single label (cross
        entropy), (B); or ones and zeros as floats for several labels (binary cross entropy), (B, L). Which it is says
        `problem_type`; without it L = 1 means a regression, and the labels' dtype decides between the others.
        """
        encoded = self.mobilebert(input_ids, attention_mask, token_type_ids, **options)
        logits = self.classifier(self.dropout(encoded.pooler_output))  # (B, L)
        loss = None if labels is None else self._loss(logits, labels)
        return LogitsOutput(loss, logits, encoded.hidden_states, encoded.attentions)

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        problem = self.config.problem_type
        if problem is None and self.config.num_labels == 1:
            problem = "regression"
        if problem == "regression":
            return F.mse_loss(logits.flatten(), labels.flatten())
        if problem is None and labels.dtype in (torch.int32, torch.int64):
            problem = "single_label_classification"
        if problem == "single_label_classification":
            return F.cross_entropy(logits, labels.flatten())
        return F.binary_cross_entropy_with_logits(logits, labels)


class MobileBertForQuestionAnswering(MobileBertArchitecture):
    """First and last position of the answer in a text."""

    def __init__(self, config: MobileBertConfig) -> None:
        super().__init__(config)
        if list(config.id2label) != [0, 1]:
            raise ConfigurationError(
                f"MobileBertForQuestionAnswering needs two labels in id2label, start and end: got {config.num_labels}"
            )
        self.mobilebert = MobileBertModel(config, add_pooling_layer=False)
        self.qa_outputs = nn.Linear(config.hidden_size, 2)
        initialize_weights(self.qa_outputs, config.initializer_range)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        **options: "Unpack[EncoderOptions]",
    ) -> QuestionAnsweringOutput:
        """Score each position as start and end, with both positions (B): one at T or behind it counts for nothing."""
        encoded = self.mobilebert(input_ids, attention_mask, token_type_ids, **options)
        start_logits, end_logits = self.qa_outputs(encoded.last_hidden_state).unbind(2)  # (B, T, 2) -> (B, T) each
        loss = None
        if start_positions is not None and end_positions is not None:
            outside = start_logits.shape[1]
            start_loss, end_loss = (
                F.cross_entropy(logits, positions.flatten().clamp(0, outside), ignore_index=outside)
                for logits, positions in ((start_logits, start_positions), (end_logits, end_positions))
            )
            loss = (start_loss + end_loss) / 2
        return QuestionAnsweringOutput(loss, start_logits, end_logits, encoded.hidden_states, encoded.attentions)


class MobileBertForMultipleChoice(MobileBertArchitecture):
    """Which of C texts fits; the choices are folded into the batch."""

    def __init__(self, config: MobileBertConfig) -> None:
        super().__init__(config)
        self.mobilebert = MobileBertModel(config)
        self.dropout = nn.Dropout(_classifier_dropout(config))
        self.classifier = nn.Linear(config.hidden_size, 1)
        initialize_weights(self.classifier, config.initializer_range)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        **options: "Unpack[EncoderOptions]",
    ) -> LogitsOutput:
        """Score the choices, with `labels` (B).

        Every tensor but `head_mask` and `labels` has the choices as its second axis: `input_ids` is (B, C, T). The
        hidden states and attentions of the output have them folded into the batch, B * C.
        """
        given = input_ids if input_ids is not None else options.get("inputs_embeds")
        if given is None:
            raise ValueError("expected exactly one of input_ids and inputs_embeds")
        if "position_ids" in options:
            options["position_ids"] = _folded(options["position_ids"])
        if "inputs_embeds" in options:
            options["inputs_embeds"] = _folded(options["inputs_embeds"])
        encoded = self.mobilebert(_folded(input_ids), _folded(attention_mask), _folded(token_type_ids), **options)
        logits = self.classifier(self.dropout(encoded.pooler_output))  # (B * C, 1)
        logits = logits.view(given.shape[:2])  # (B, C)
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return LogitsOutput(loss, logits, encoded.hidden_states, encoded.attentions)


class MobileBertForTokenClassification(MobileBertArchitecture):
    """A class for each token."""

    def __init__(self, config: MobileBertConfig) -> None:
        super().__init__(config)
        self.mobilebert = MobileBertModel(config, add_pooling_layer=False)
        self.dropout = nn.Dropout(_classifier_dropout(config))
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        initialize_weights(self.classifier, config.initializer_range)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        **options: "Unpack[EncoderOptions]",
    ) -> LogitsOutput:
        """Score each position's class, with `labels` (B, T)."""
        encoded = self.mobilebert(input_ids, attention_mask, token_type_ids, **options)
        logits = self.classifier(self.dropout(encoded.last_hidden_state))  # (B, T, L)
        loss = None if labels is None else _token_loss(logits, labels)
        return LogitsOutput(loss, logits, encoded.hidden_states, encoded.attentions)


ARCHITECTURES: Mapping[str, type[MobileBertModel] | type[MobileBertArchitecture]] = {
    each.__name__: each
    for each in (
        MobileBertModel,
        MobileBertForPreTraining,
        MobileBertForMaskedLM,
        MobileBertForNextSentencePrediction,
        MobileBertForSequenceClassification,
        MobileBertForQuestionAnswering,
        MobileBertForMultipleChoice,
        MobileBertForTokenClassification,
    )
}


def _ties_of_predictions(config: MobileBertConfig) -> dict[str, str]:
    ties = {"cls.predictions.decoder.bias": "cls.predictions.bias"}
    if config.tie_word_embeddings:
        ties["cls.predictions.decoder.weight"] = "mobilebert.embeddings.word_embeddings.weight"
    return ties


def _classifier_dropout(config: MobileBertConfig) -> float:
    return config.hidden_dropout_prob if config.classifier_dropout is None else config.classifier_dropout


def _token_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy over all positions, (B, T, classes) against (B, T)."""
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten())


def _folded(tensor: Tensor | None) -> Tensor | None:
    """Fold (B, C, …) to (B * C, …)."""
    return None if tensor is None else tensor.flatten(0, 1)
