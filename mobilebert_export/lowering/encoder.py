"""Lowers a layer of the encoder: bottlenecks, attention, feed-forward networks."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mobilebert_export.graph import operators as op
from mobilebert_export.graph.basis import Basis
from mobilebert_export.lowering.streams import Affine, Stream, StreamBuilder
from mobilebert_export.lowering.weights import Weights

if TYPE_CHECKING:
    from mobilebert_reference import MobileBertConfig


@dataclass(frozen=True)
class EncoderLayer:
    """One layer's lowering.

    Attributes:
        build: where nodes go.
        weights: the whole model's parameters.
        config: the model's configuration.
        prefix: the layer's name in the checkpoint.
        mask: the additive mask (batch, 1, 1, sequence).
    """

    build: StreamBuilder
    weights: Weights
    config: "MobileBertConfig"
    prefix: str
    mask: str

    def lower(self, hidden: Stream, *, first_only: bool = False) -> Stream:
        """The layer's output (batch, sequence, hidden), or only its first position (batch, 1, hidden).

        The first position still attends to all: keys and values are computed everywhere, the rest for one position.
        Exact.
        """
        # What is computed for the positions that are read, from the stream at these positions alone.
        kept = self._first(hidden) if first_only else hidden
        if not self.config.use_bottleneck:
            attended = self._attention(kept, hidden, hidden, residual=kept)
            return self._feed_forward(attended, self.prefix)
        if self.config.use_bottleneck_attention:
            shared = self._bottleneck("input", hidden)
            residual = self._first(shared) if first_only else shared
            attended = self._attention(residual, shared, shared, residual=residual)
        elif self.config.key_query_shared_bottleneck:
            shared = self._bottleneck("attention", hidden)
            queried = self._first(shared) if first_only else shared
            attended = self._attention(queried, shared, hidden, residual=self._bottleneck("input", kept))
        else:
            attended = self._attention(kept, hidden, hidden, residual=self._bottleneck("input", kept))
        narrow = self._feed_forward(attended, f"{self.prefix}.output.LayerNorm")
        norm = self.weights.norm(f"{self.prefix}.output.bottleneck.LayerNorm")
        widen = self.weights.affine(f"{self.prefix}.output.bottleneck.dense")
        return self.build.residual_norm(narrow, widen, kept, norm, self.prefix)

    def _first(self, x: Stream) -> Stream:
        first = self.build.graph.node(op.First(axis=1), x.tensor, name=f"{x.tensor}.first")
        return self.build.stream(first, x.basis, x)

    def _bottleneck(self, which: str, hidden: Stream) -> Stream:
        """Norm(Linear(hidden)), from the hidden size to the bottleneck's."""
        name = f"{self.prefix}.bottleneck.{which}"
        return self.build.linear(
            hidden, self.weights.affine(f"{name}.dense"), name, norm=self.weights.norm(f"{name}.LayerNorm")
        )

    def _attention(self, query: Stream, key: Stream, value: Stream, *, residual: Stream) -> Stream:
        """Norm(Linear(softmax(q kᵀ / √head size + mask) v) + residual)."""
        name = f"{self.prefix}.attention"
        graph = self.build.graph
        queries, keys = self._queries_and_keys(query, key, f"{name}.self")
        values = self._values(value, f"{name}.self.value")
        value_heads = self._heads(values, f"{name}.self.value.heads")
        scores = graph.node(op.MatMul(transpose_right=True), queries, keys, name=f"{name}.self.scores")
        masked = graph.node(op.Add(), scores, self.mask, name=f"{name}.self.masked_scores")
        probabilities = graph.node(op.Softmax(), masked, name=f"{name}.self.probabilities")
        context = graph.node(op.MatMul(), probabilities, value_heads, name=f"{name}.self.context.heads")
        # The rows of a softmax sum to one: a weighted mean of values is in the values' own basis, offset and all.
        merged = self.build.stream(self._merged(context, f"{name}.self"), values.basis, values)
        output, norm = self.weights.affine(f"{name}.output.dense"), self.weights.norm(f"{name}.output.LayerNorm")
        return self.build.residual_norm(merged, output, residual, norm, f"{name}.output")

    def _queries_and_keys(self, query: Stream, key: Stream, name: str) -> tuple[str, str]:
        """Queries and keys (batch, heads, positions, head size): one Linear for both where they read the same."""
        queries, keys = self.weights.affine(f"{name}.query"), self.weights.affine(f"{name}.key")
        # Any scale of a query's channel is free where the key's has its inverse. Queries are kept divided by √head
        # size too, which the scores need.
        width = self.config.true_hidden_size
        free = self.build.coordinates.start(f"{name}.query", width)
        query_basis = Basis(np.sqrt(self._head_size) * free.matrix, np.zeros(width))
        # What is the same for all keys adds the same to all scores of a query, which softmax does not see: it is
        # left out.
        constant = key.basis.read_by(keys.weight, keys.bias)[1]
        key_basis = Basis(1 / free.matrix, constant + free.offset)
        if query.tensor != key.tensor:
            separate = (
                self.build.linear(query, queries, f"{name}.query", into=query_basis),
                self.build.linear(key, keys, f"{name}.key", into=key_basis),
            )
            self.build.graph.start_product(f"{name}.query", (separate[0].tensor, separate[1].tensor))
            return (
                self._heads(separate[0], f"{name}.query.heads"),
                self._heads(separate[1], f"{name}.key.heads"),
            )
        both = Affine(np.concatenate([queries.weight, keys.weight]), np.concatenate([queries.bias, keys.bias]))
        basis = Basis(
            np.concatenate([query_basis.matrix, key_basis.matrix]),
            np.concatenate([query_basis.offset, key_basis.offset]),
        )
        packed_stream = self.build.linear(query, both, f"{name}.query_key", into=basis)
        self.build.graph.start_product(f"{name}.query", (packed_stream.tensor, packed_stream.tensor))
        packed = self._heads(packed_stream, f"{name}.query_key.heads")
        heads = self.build.graph.node_with(op.Split(axis=1), packed, names=(f"{name}.query.heads", f"{name}.key.heads"))
        return heads[0], heads[1]

    def _values(self, value: Stream, name: str) -> Stream:
        """Values (batch, positions, heads · head size), without what is the same for all positions."""
        values = self.weights.affine(name)
        constant = value.basis.read_by(values.weight, values.bias)[1]
        free = self.build.coordinates.start(name, len(constant))
        basis = Basis(free.matrix, constant + free.offset)
        return self.build.free_stream(self.build.linear(value, values, name, into=basis).tensor, basis, "affine")

    @property
    def _head_size(self) -> int:
        return self.config.true_hidden_size // self.config.num_attention_heads

    def _heads(self, x: Stream, name: str) -> str:
        """(batch, positions, heads · head size) as (batch, heads, positions, head size)."""
        batch, positions, _ = self.build.graph.shape(x.tensor)
        heads = len(x.basis.offset) // self._head_size
        apart = self.build.graph.node(
            op.Reshape((batch, positions, heads, self._head_size)), x.tensor, name=f"{name}.apart"
        )
        return self.build.graph.node(op.Transpose((0, 2, 1, 3)), apart, name=name)

    def _merged(self, context: str, name: str) -> str:
        """(batch, heads, positions, head size) as (batch, positions, heads · head size)."""
        batch, _, positions, _ = self.build.graph.shape(context)
        beside = self.build.graph.node(op.Transpose((0, 2, 1, 3)), context, name=f"{name}.context.apart")
        return self.build.graph.node(op.Reshape((batch, positions, self.config.true_hidden_size)), beside, name=name)

    def _feed_forward(self, x: Stream, name: str) -> Stream:
        """The feed-forward networks, each x ← Norm(Linear(act(Linear(x))) + x); the last one gives `name`."""
        for index in range(self.config.num_feedforward_networks - 1):
            block = f"{self.prefix}.ffn.{index}"
            x = self._feed_forward_network(x, f"{block}.intermediate", f"{block}.output", block)
        return self._feed_forward_network(x, f"{self.prefix}.intermediate", f"{self.prefix}.output", name)

    def _feed_forward_network(self, x: Stream, inner: str, outer: str, name: str) -> Stream:
        affine = self.weights.affine(f"{inner}.dense")
        activated = self.build.activated(x, affine, inner, self.config.hidden_act)
        return self.build.residual_norm(
            activated, self.weights.affine(f"{outer}.dense"), x, self.weights.norm(f"{outer}.LayerNorm"), name
        )
