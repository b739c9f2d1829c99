"""What the models return, with the field names of transformers' outputs.

B is the batch, T the sequence length, H `hidden_size`, V `vocab_size`, nh the number of heads. Every output ends with

- `hidden_states`: None, or the embeddings' output and each layer's, (B, T, H) each;
- `attentions`: None, or each layer's attention weights as they meet the values, after dropout and `head_mask`,
  (B, nh, T, T) each.

A `loss` is a scalar, None without labels.
"""

from dataclasses import dataclass

from torch import Tensor

__all__ = ["EncoderOutput", "LogitsOutput", "PreTrainingOutput", "QuestionAnsweringOutput"]


@dataclass(frozen=True)
class EncoderOutput:
    """Output of `MobileBertModel`.

    Attributes:
        last_hidden_state: Output of the last layer, (B, T, H).
        pooler_output: The pooled first position, (B, H); None without a pooler.
        hidden_states: See the module.
        attentions: See the module.
    """

    last_hidden_state: Tensor
    pooler_output: Tensor | None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass(frozen=True)
class LogitsOutput:
    """Output of the five heads with one tensor of scores.

    Attributes:
        loss: See the module.
        logits: Scores before softmax: (B, T, V) masked LM, (B, 2) next sentence, (B, labels) sequence classification,
            (B, choices) multiple choice, (B, T, labels) token classification.
        hidden_states: See the module.
        attentions: See the module.
    """

    loss: Tensor | None
    logits: Tensor
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass(frozen=True)
class PreTrainingOutput:
    """Output of `MobileBertForPreTraining`.

    Attributes:
        loss: Sum of both losses; None unless both labels are given.
        prediction_logits: Scores of each position's token, (B, T, V).
        seq_relationship_logits: Scores of "is the next sentence" and "is a random one", (B, 2).
        hidden_states: See the module.
        attentions: See the module.
    """

    loss: Tensor | None
    prediction_logits: Tensor
    seq_relationship_logits: Tensor
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass(frozen=True)
class QuestionAnsweringOutput:
    """Output of `MobileBertForQuestionAnswering`.

    Attributes:
        loss: Mean of the losses of start and end.
        start_logits: Scores of each position as the answer's first, (B, T).
        end_logits: Scores of each position as the answer's last, (B, T).
        hidden_states: See the module.
        attentions: See the module.
    """

    loss: Tensor | None
    start_logits: Tensor
    end_logits: Tensor
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
