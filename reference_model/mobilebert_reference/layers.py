"""One layer of the MobileBERT encoder, in plain PyTorch.

Sources: Sun et al. 2020, "MobileBERT: a Compact Task-Agnostic BERT for Resource-Limited Devices" (arXiv 2004.02984),
and transformers 4.56.2 for the names of the parameters and for what the paper leaves open.

In the comments B is the batch, T the sequence length, H `hidden_size`, D `true_hidden_size`, I `intermediate_size`, nh
the number of heads and hd = D / nh.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobilebert_reference.configuration import MobileBertConfig

__all__ = ["ACTIVATION_FUNCTIONS", "DEFAULT_EPS", "Layer", "NoNorm", "make_norm"]

ACTIVATION_FUNCTIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
}

# transformers never hands the configuration's epsilon to two of the norms; they keep PyTorch's default.
DEFAULT_EPS = 1e-5


class NoNorm(nn.Module):
    """``weight * x + bias`` for each channel: what MobileBERT has in place of a LayerNorm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Scale and shift the last axis, (…, width)."""
        return x * self.weight + self.bias


def make_norm(config: MobileBertConfig, width: int, eps: float) -> nn.Module:
    """Make the norm that `normalization_type` names."""
    return NoNorm(width) if config.normalization_type == "no_norm" else nn.LayerNorm(width, eps)


class DenseNorm(nn.Module):
    """``norm(dropout(dense(x)) + residual)``, the block that everything but the attention itself is made of."""

    def __init__(
        self, config: MobileBertConfig, inputs: int, outputs: int, *, dropout: float = 0.0, eps: float | None = None
    ) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, outputs)
        self.LayerNorm = make_norm(config, outputs, config.layer_norm_eps if eps is None else eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Map (B, T, inputs), with a residual of (B, T, outputs), to (B, T, outputs)."""
        x = self.dropout(self.dense(x))
        normed: Tensor = self.LayerNorm(x if residual is None else x + residual)
        return normed


class Bottleneck(nn.Module):
    """What a layer reads: the wide stream narrowed from H to D."""

    def __init__(self, config: MobileBertConfig) -> None:
        super().__init__()
        self.use_bottleneck_attention = config.use_bottleneck_attention
        self.key_query_shared_bottleneck = config.key_query_shared_bottleneck
        self.input = DenseNorm(config, config.hidden_size, config.intra_bottleneck_size)
        if config.key_query_shared_bottleneck:
            self.attention = DenseNorm(config, config.hidden_size, config.intra_bottleneck_size)

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Give what query, key, value and the residual are made of, each (B, T, D) or `hidden` itself, (B, T, H)."""
        narrow = self.input(hidden)  # (B, T, D)
        if self.use_bottleneck_attention:
            return narrow, narrow, narrow, narrow
        if self.key_query_shared_bottleneck:
            shared = self.attention(hidden)  # (B, T, D)
            return shared, shared, hidden, narrow
        return hidden, hidden, hidden, narrow


class SelfAttention(nn.Module):
    """Scaled dot-product attention with nh heads."""

    def __init__(self, config: MobileBertConfig) -> None:
        super().__init__()
        width = config.true_hidden_size
        self.num_heads = config.num_attention_heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width if config.use_bottleneck_attention else config.hidden_size, width)
        self.dropout = nn.Dropout(config.attention_probs_dropout_prob)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, head_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Attend.

        Args:
            query: (B, T, D).
            key: (B, T, D).
            value: (B, T, D) or (B, T, H).
            mask: What is added to the scores, (B, 1, 1, T) or (B, 1, T, T).
            head_mask: A factor for each head, (nh).

        Returns:
            The context, (B, T, D), and the attention weights, (B, nh, T, T).
        """
        q, k, v = (
            projected.unflatten(2, (self.num_heads, -1)).transpose(
                1, 2
            )  # (B, T, D) -> (B, T, nh, hd) -> (B, nh, T, hd)
            for projected in (self.query(query), self.key(key), self.value(value))
        )
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[3])  # (B, nh, T, T)
        weights = self.dropout(torch.softmax(scores + mask, dim=3))
        if head_mask is not None:
            weights = weights * head_mask[:, None, None]
        context = weights @ v  # (B, nh, T, hd)
        return context.transpose(1, 2).flatten(2), weights  # (B, T, nh, hd) -> (B, T, D)


class Attention(nn.Module):
    """Self-attention, its output projection and the residual."""

    def __init__(self, config: MobileBertConfig) -> None:
        super().__init__()
        width = config.true_hidden_size
        self.self = SelfAttention(config)
        self.output = DenseNorm(config, width, width, dropout=_dropout_without_bottleneck(config))

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, residual: Tensor, *, mask: Tensor, head_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Give the sum with the residual, (B, T, D), and the attention weights, (B, nh, T, T)."""
        context, weights = self.self(query, key, value, mask, head_mask)
        return self.output(context, residual), weights


class Intermediate(nn.Module):
    """The first half of a feed-forward network."""

    def __init__(self, config: MobileBertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.true_hidden_size, config.intermediate_size)
        self.activation = ACTIVATION_FUNCTIONS[config.hidden_act]

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, I)."""
        return self.activation(self.dense(x))


class FeedForward(nn.Module):
    """One of the feed-forward networks before a layer's last."""

    def __init__(self, config: MobileBertConfig) -> None:
        super().__init__()
        self.intermediate = Intermediate(config)
        self.output = DenseNorm(config, config.intermediate_size, config.true_hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D)."""
        output: Tensor = self.output(self.intermediate(x), x)
        return output


class Output(DenseNorm):
    """The second half of a layer's last feed-forward network, and the way back from D to H."""

    def __init__(self, config: MobileBertConfig) -> None:
        super().__init__(
            config,
            config.intermediate_size,
            config.true_hidden_size,
            dropout=_dropout_without_bottleneck(config),
            eps=DEFAULT_EPS,
        )
        if config.use_bottleneck:
            self.bottleneck = DenseNorm(
                config, config.intra_bottleneck_size, config.hidden_size, dropout=config.hidden_dropout_prob
            )


class Layer(nn.Module):
    """One layer: narrow, attend, feed forward several times, widen."""

    def __init__(self, config: MobileBertConfig) -> None:
        super().__init__()
        self.use_bottleneck = config.use_bottleneck
        if config.use_bottleneck:
            self.bottleneck = Bottleneck(config)
        self.attention = Attention(config)
        self.ffn = nn.ModuleList(FeedForward(config) for _ in range(config.num_feedforward_networks - 1))
        self.intermediate = Intermediate(config)
        self.output = Output(config)

    def forward(self, hidden: Tensor, mask: Tensor, head_mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Map (B, T, H) to (B, T, H); the attention weights, (B, nh, T, T), come second."""
        query, key, value, residual = self.bottleneck(hidden) if self.use_bottleneck else (hidden,) * 4
        x, weights = self.attention(query, key, value, residual, mask=mask, head_mask=head_mask)  # (B, T, D)
        for feed_forward in self.ffn:
            x = feed_forward(x)  # (B, T, D)
        x = self.output(self.intermediate(x), x)  # (B, T, D)
        if self.use_bottleneck:
            x = self.output.bottleneck(x, hidden)  # (B, T, H)
        return x, weights


def _dropout_without_bottleneck(config: MobileBertConfig) -> float:
    """Dropout where a layer of width H would have it; inside a bottleneck there is none."""
    return 0.0 if config.use_bottleneck else config.hidden_dropout_prob
