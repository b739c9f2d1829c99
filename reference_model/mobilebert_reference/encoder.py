"""The MobileBERT encoder, in plain PyTorch: embeddings, the stack of layers, the pooler.

In the comments B is the batch, T the sequence length, E `embedding_size`, H `hidden_size`, nh the number of heads.

Some configurations never use a Linear that transformers creates all the same (`embedding_transformation` without
trigram at E = H, `bottleneck.attention` under `use_bottleneck_attention`). It is here too, so that each side's files
are complete for the other.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobilebert_reference.configuration import MobileBertConfig
from mobilebert_reference.layers import DEFAULT_EPS, Layer, make_norm
from mobilebert_reference.outputs import EncoderOutput

__all__ = ["MobileBertArchitecture", "MobileBertModel", "initialize_weights"]


class Embeddings(nn.Module):
    """Word embeddings, widened from E to H, plus positions and token types."""

    def __init__(self, config: MobileBertConfig) -> None:
        super().__init__()
        self.trigram_input = config.trigram_input
        self.transforms = config.trigram_input or config.embedding_size != config.hidden_size
        self.word_embeddings = _table(config.vocab_size, config.embedding_size, config.pad_token_id)
        self.position_embeddings = _table(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = _table(config.type_vocab_size, config.hidden_size)
        self.embedding_transformation = nn.Linear(
            config.embedding_size * (3 if config.trigram_input else 1), config.hidden_size
        )
        self.LayerNorm = make_norm(config, config.hidden_size, DEFAULT_EPS)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, words: Tensor, token_type_ids: Tensor | None, position_ids: Tensor | None) -> Tensor:
        """Widen word embeddings (B, T, E) to (B, T, H) and add token types and positions, each (B, T) or by default."""
        if token_type_ids is None:
            token_type_ids = torch.zeros(words.shape[:2], dtype=torch.long, device=words.device)
        if position_ids is None:
            position_ids = torch.arange(words.shape[1], device=words.device)  # (T)
        if self.trigram_input:
            following = F.pad(words[:, 1:], (0, 0, 0, 1))  # (B, T, E), zeros behind the last
            previous = F.pad(words[:, :-1], (0, 0, 1, 0))  # (B, T, E), zeros before the first
            words = torch.cat([following, words, previous], dim=2)  # (B, T, 3E)
        if self.transforms:
            words = self.embedding_transformation(words)  # (B, T, H)
        embedded = words + self.position_embeddings(position_ids) + self.token_type_embeddings(token_type_ids)
        normed: Tensor = self.dropout(self.LayerNorm(embedded))  # (B, T, H)
        return normed


class Encoder(nn.Module):
    """The stack of layers."""

    def __init__(self, config: MobileBertConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))


class Pooler(nn.Module):
    """The first position, with `classifier_activation` through a Linear and tanh."""

    def __init__(self, config: MobileBertConfig) -> None:
        super().__init__()
        self.activates = config.classifier_activation
        if config.classifier_activation:
            self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, T, H) to (B, H)."""
        first = hidden[:, 0]
        return torch.tanh(self.dense(first)) if self.activates else first


class MobileBertArchitecture(nn.Module):
    """What the eight classes that a checkpoint can be for have in common.

    Attributes:
        config: What the model is made of.
        tied_parameters: For each parameter that is another one under a second name, that other one's name.
    """

    def __init__(self, config: MobileBertConfig) -> None:
        super().__init__()
        self.config = config
        self.tied_parameters: dict[str, str] = {}

    def tie_parameters(self) -> None:
        """Make the pairs of `tied_parameters` the same tensors."""
        for name, source in self.tied_parameters.items():
            owner, _, attribute = name.rpartition(".")
            setattr(self.get_submodule(owner), attribute, self.get_parameter(source))


class MobileBertModel(MobileBertArchitecture):
    """The encoder alone.

    Args:
        config: What it is made of.
        add_pooling_layer: Whether to pool the first position.
    """

    def __init__(self, config: MobileBertConfig, add_pooling_layer: bool = True) -> None:
        super().__init__(config)
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.pooler = Pooler(config) if add_pooling_layer else None
        initialize_weights(self, config.initializer_range)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        position_ids: Tensor | None = None,
        head_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
    ) -> EncoderOutput:
        """Encode.

        Args:
            input_ids: Token ids, (B, T).
            attention_mask: 1 where there is a token, 0 for padding, (B, T); or 1 where a position (second axis) may see
                another (third axis), (B, T, T). Default: ones.
            token_type_ids: 0 in the first text, 1 in the second, (B, T). Default: zeros.
            position_ids: Rows of the position table, (B, T). Default: 0 to T - 1.
            head_mask: 1 for a head that counts, 0 for one that does not, (nh) or (layers, nh). Default: ones.
            inputs_embeds: Word embeddings in place of `input_ids`, (B, T, E).
            output_hidden_states: Whether to return each layer's output. Default: the configuration's.
            output_attentions: Whether to return the attention weights. Default: the configuration's.

        Raises:
            ValueError: Not exactly one of `input_ids` and `inputs_embeds`, a sequence that is too long, or a mask of
                another rank.
        """
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        if output_attentions is None:
            output_attentions = self.config.output_attentions
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("expected exactly one of input_ids and inputs_embeds")
        words = self.embeddings.word_embeddings(input_ids) if inputs_embeds is None else inputs_embeds  # (B, T, E)
        length = words.shape[1]
        if length > self.config.max_position_embeddings:
            raise ValueError(
                f"expected at most {self.config.max_position_embeddings} positions, got a sequence of {length}"
            )
        if attention_mask is None:
            attention_mask = torch.ones(words.shape[:2], device=words.device)
        mask = _additive(attention_mask, words.dtype)
        head_masks = self._head_masks(head_mask)

        hidden = self.embeddings(words, token_type_ids, position_ids)  # (B, T, H)
        hidden_states, attentions = [hidden], []
        for layer, layer_head_mask in zip(self.encoder.layer, head_masks, strict=True):
            hidden, weights = layer(hidden, mask, layer_head_mask)
            if output_hidden_states:
                hidden_states.append(hidden)
            if output_attentions:
                attentions.append(weights)
        return EncoderOutput(
            last_hidden_state=hidden,
            pooler_output=None if self.pooler is None else self.pooler(hidden),
            hidden_states=tuple(hidden_states) if output_hidden_states else None,
            attentions=tuple(attentions) if output_attentions else None,
        )

    def _head_masks(self, head_mask: Tensor | None) -> list[Tensor | None]:
        layers = self.config.num_hidden_layers
        if head_mask is None:
            return [None] * layers
        return list(head_mask.expand(layers, self.config.num_attention_heads))  # one (nh) for each layer


def initialize_weights(root: nn.Module, standard_deviation: float) -> None:
    """Give every parameter below `root` a fresh value.

    Norms become the identity, biases and the padding's embedding 0, all else is drawn from a normal distribution. On
    the meta device there is nothing to give.
    """
    if all(parameter.is_meta for parameter in root.parameters()):
        return
    for name, parameter in root.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif name.endswith("LayerNorm.weight"):
            nn.init.ones_(parameter)
        else:
            nn.init.normal_(parameter, std=standard_deviation)
    for module in root.modules():
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            with torch.no_grad():
                module.weight[module.padding_idx] = 0.0


def _table(rows: int, width: int, padding_idx: int | None = None) -> nn.Embedding:
    """Make an Embedding that does not fill itself: on the meta device that imports PyTorch's compiler, for seconds."""
    table: nn.Embedding = nn.Embedding.from_pretrained(  # type: ignore[no-untyped-call]
        torch.empty(rows, width), freeze=False, padding_idx=padding_idx
    )
    return table


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Turn a mask of ones and zeros, (B, T) or (B, T, T), into what is added to the scores, (B, 1, 1 or T, T)."""
    if mask.dim() not in (2, 3):
        raise ValueError(f"expected an attention_mask of 2 or 3 axes, got {mask.dim()}")
    mask = mask.reshape(mask.shape[0], 1, -1, mask.shape[-1])
    return (1.0 - mask.to(dtype)) * torch.finfo(dtype).min
