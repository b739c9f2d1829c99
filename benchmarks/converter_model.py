"""MobileBERT in plain TensorFlow, converted by TFLiteConverter: what the exporter is compared with.

A straightforward port of the reference model. Nothing of the checkpoint is folded beforehand, but every operation is
one that the converter does well: a `tf.matmul` with a constant becomes FULLY_CONNECTED, its bias and ReLU fused, and a
NoNorm behind it folded in where no residual comes between.

In the comments T is the sequence length, E `embedding_size`, H `hidden_size`, D `intra_bottleneck_size`, nh the number
of heads, hd = D / nh and L the number of labels.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
from mobilebert_reference import MobileBertConfig
from numpy.typing import NDArray

Weights: TypeAlias = Mapping[str, NDArray[np.floating]]
Tensor: TypeAlias = Any  # TensorFlow ships no types

INPUTS = ("input_ids", "attention_mask", "token_type_ids")

# As in every published MobileBERT; a port with switches for the rest would be no plain one.
_SUPPORTED = {
    "hidden_act": "relu",
    "normalization_type": "no_norm",
    "trigram_input": True,
    "use_bottleneck": True,
    "use_bottleneck_attention": False,
    "key_query_shared_bottleneck": True,
}
_PADDING_SCORE = -1.0e4


def convert(weights: Weights, config: MobileBertConfig, precision: str, *, sequence: int) -> bytes:
    """A sequence classifier as TFLiteConverter makes it, with a `serving_default` signature.

    Args:
        weights: float32, by the checkpoint names of a `MobileBertForSequenceClassification`.
        config: its configuration.
        precision: "none"; "float16", for weights; or "dynamic", for dynamic range quantization.
        sequence: the fixed length of the inputs, (1, sequence).

    Raises:
        ValueError: the precision is another one, or the configuration is not `SequenceClassifier`'s.
    """
    model = SequenceClassifier(weights, config)
    module = tf.Module()
    module.serve = tf.function(model, [tf.TensorSpec((1, sequence), tf.int32, name) for name in INPUTS])
    with tempfile.TemporaryDirectory() as directory:
        tf.saved_model.save(module, directory, module.serve)
        converter = tf.lite.TFLiteConverter.from_saved_model(directory)
        match precision:
            case "none":
                pass
            case "float16":
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
                converter.target_spec.supported_types = [tf.float16]
            case "dynamic":
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
            case _:
                raise ValueError(f"expected precision none, float16 or dynamic, got {precision}")
        return bytes(converter.convert())


@dataclass(frozen=True, eq=False)
class SequenceClassifier:
    """The forward pass for a batch of 1, in the weights' dtype.

    Attributes:
        weights: by their checkpoint names.
        config: of a MobileBERT with NoNorm, ReLU, trigram input, and a bottleneck that query and key share.

    Raises:
        ValueError: the configuration is another one.
    """

    weights: Weights
    config: MobileBertConfig

    def __post_init__(self) -> None:
        for field, supported in _SUPPORTED.items():
            if getattr(self.config, field) != supported:
                raise ValueError(f"expected a model with {field} {supported!r}, got {getattr(self.config, field)!r}")

    def __call__(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> dict[str, Tensor]:
        """Map three tensors of int32, (1, T) each, to `logits`, (1, L)."""
        hidden = self._embeddings(input_ids, token_type_ids)  # (1, T, H)
        mask = (1.0 - tf.cast(attention_mask, hidden.dtype)) * _PADDING_SCORE
        mask = mask[:, None, None, :]  # (1, 1, 1, T)
        for index in range(self.config.num_hidden_layers):
            hidden = self._layer(hidden, mask, f"mobilebert.encoder.layer.{index}")
        pooled = hidden[:, 0]  # (1, H)
        if self.config.classifier_activation:
            pooled = tf.tanh(self._linear(pooled, "mobilebert.pooler.dense"))
        return {"logits": self._linear(pooled, "classifier")}

    def _embeddings(self, ids: Tensor, types: Tensor) -> Tensor:
        name = "mobilebert.embeddings"
        words = tf.gather(self._parameter(f"{name}.word_embeddings.weight"), ids)  # (1, T, E)
        following = tf.pad(words[:, 1:], [[0, 0], [0, 1], [0, 0]])
        previous = tf.pad(words[:, :-1], [[0, 0], [1, 0], [0, 0]])
        words = tf.concat([following, words, previous], axis=2)  # (1, T, 3E)
        words = self._linear(words, f"{name}.embedding_transformation")  # (1, T, H)
        positions = self._parameter(f"{name}.position_embeddings.weight")[: ids.shape[1]]  # (T, H)
        token_types = tf.gather(self._parameter(f"{name}.token_type_embeddings.weight"), types)  # (1, T, H)
        return self._norm(words + positions + token_types, name)

    def _layer(self, hidden: Tensor, mask: Tensor, name: str) -> Tensor:
        narrow = self._dense_norm(hidden, f"{name}.bottleneck.input")  # (1, T, D)
        shared = self._dense_norm(hidden, f"{name}.bottleneck.attention")  # (1, T, D)
        context = self._attention(shared, hidden, mask, f"{name}.attention.self")  # (1, T, D)
        x = self._dense_norm(context, f"{name}.attention.output", narrow)
        for index in range(self.config.num_feedforward_networks - 1):
            x = self._feed_forward(x, f"{name}.ffn.{index}.intermediate", f"{name}.ffn.{index}.output")
        x = self._feed_forward(x, f"{name}.intermediate", f"{name}.output")
        return self._dense_norm(x, f"{name}.output.bottleneck", hidden)  # (1, T, H)

    def _attention(self, shared: Tensor, hidden: Tensor, mask: Tensor, name: str) -> Tensor:
        query = self._heads(self._linear(shared, f"{name}.query"))
        key = self._heads(self._linear(shared, f"{name}.key"))
        value = self._heads(self._linear(hidden, f"{name}.value"))
        scores = tf.matmul(query, key, transpose_b=True) / np.sqrt(query.shape[3])  # (1, nh, T, T)
        context = tf.matmul(tf.nn.softmax(scores + mask), value)  # (1, nh, T, hd)
        return tf.reshape(tf.transpose(context, (0, 2, 1, 3)), shared.shape)

    def _heads(self, x: Tensor) -> Tensor:
        """Map (1, T, D) to (1, nh, T, hd)."""
        heads = self.config.num_attention_heads
        return tf.transpose(tf.reshape(x, (*x.shape[:2], heads, x.shape[2] // heads)), (0, 2, 1, 3))

    def _feed_forward(self, x: Tensor, inner: str, outer: str) -> Tensor:
        return self._dense_norm(tf.nn.relu(self._linear(x, f"{inner}.dense")), outer, x)

    def _dense_norm(self, x: Tensor, name: str, residual: Tensor = None) -> Tensor:
        x = self._linear(x, f"{name}.dense")
        return self._norm(x if residual is None else x + residual, name)

    def _norm(self, x: Tensor, name: str) -> Tensor:
        return x * self._parameter(f"{name}.LayerNorm.weight") + self._parameter(f"{name}.LayerNorm.bias")

    def _linear(self, x: Tensor, name: str) -> Tensor:
        kernel = tf.constant(self.weights[f"{name}.weight"].T)
        return tf.matmul(x, kernel) + self._parameter(f"{name}.bias")

    def _parameter(self, name: str) -> Tensor:
        return tf.constant(self.weights[name])
