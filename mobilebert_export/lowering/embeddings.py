"""Lowers the embeddings: gathers, one convolution, and the start of the residual stream."""

from typing import TYPE_CHECKING

import numpy as np

from mobilebert_export.graph import operators as op
from mobilebert_export.graph.basis import Array, Basis
from mobilebert_export.lowering.streams import Affine, Stream, StreamBuilder
from mobilebert_export.lowering.weights import Weights

if TYPE_CHECKING:
    from mobilebert_reference import MobileBertConfig

# The additive mask's value for padding. exp(-1e4) is 0 in every float format, and float16, which some delegates
# compute in, holds it.
PADDING_SCORE = -1.0e4


def attention_mask(build: StreamBuilder, mask: str) -> str:
    """The additive mask (batch, 1, 1, sequence): 0 for a token, `PADDING_SCORE` for padding.

    A gather from a table of two, computed once: a mask value that is neither 0 nor 1 is an error of the gather at
    run time.
    """
    table = build.graph.constant("attention_mask.table", np.array([PADDING_SCORE, 0.0]))
    additive = build.graph.node(op.Gather(), table, mask, name="attention_mask.additive")
    batch, sequence = build.graph.shape(mask)
    return build.graph.node(op.Reshape((batch, 1, 1, sequence)), additive, name="attention_mask.broadcast")


def embeddings(
    build: StreamBuilder, weights: Weights, config: "MobileBertConfig", ids: str, token_types: str
) -> Stream:
    """The sum of transformed words, positions and token types, then the norm: (batch, sequence, hidden).

    A NoNorm folds into all three, its bias and the stream's offset into the positions.
    """
    prefix = "mobilebert.embeddings"
    norm = weights.norm(f"{prefix}.LayerNorm")
    fold = norm.epsilon is None and build.eliminate
    gain, bias = (norm.weight, norm.bias) if fold else (np.ones(config.hidden_size), np.zeros(config.hidden_size))
    basis = build.coordinates.start(prefix, config.hidden_size) if fold else Basis.identity(config.hidden_size)

    def stored(rows: Array) -> Array:
        """Rows (n, hidden) of a table or a transposed weight, after the norm's gain and in the stream's basis."""
        return basis.to_stored(gain * rows, offset=False)

    def table(name: str, rows: Array) -> str:
        return build.graph.constant(f"{prefix}.{name}.weight", rows)

    transformed = config.trigram_input or config.embedding_size != config.hidden_size
    words_name = f"{prefix}.word_embeddings"
    word_rows = weights.array(f"{words_name}.weight")
    # Zeros past both ends stay zeros in any scale, but not with an offset.
    words_basis = build.coordinates.start(words_name, config.embedding_size).without_offset()
    word_rows = words_basis.to_stored(word_rows) if transformed else stored(word_rows)

    # Every gather stands first: behind them, a delegate can take the graph in one piece.
    type_rows = stored(weights.array(f"{prefix}.token_type_embeddings.weight"))
    words = build.graph.node(op.Gather(), table("word_embeddings", word_rows), ids, name=words_name)
    types_name = f"{prefix}.token_type_embeddings"
    types = build.graph.node(op.Gather(), table("token_type_embeddings", type_rows), token_types, name=types_name)

    constant = bias - basis.offset
    if transformed:
        transformation = weights.affine(f"{prefix}.embedding_transformation")
        constant = constant + gain * transformation.bias
        words_stream = build.free_stream(words, words_basis, "scale")
        weight = stored(transformation.weight.T).T
        words = _trigram(build, words_stream, weight) if config.trigram_input else _widened(build, words_stream, weight)

    position_rows = stored(weights.array(f"{prefix}.position_embeddings.weight")) + basis.to_stored(
        constant, offset=False
    )
    positions_name = f"{prefix}.position_embeddings"
    positions = build.graph.node(op.Positions(), table("position_embeddings", position_rows), ids, name=positions_name)
    placed = build.graph.node(op.Add(), words, positions, name=f"{prefix}.placed")
    total = build.graph.node(op.Add(), placed, types, name=prefix if fold else f"{prefix}.sum")
    return build.free_stream(total, basis) if fold else build.normalized(total, norm, prefix)


_TRANSFORMATION = "mobilebert.embeddings.embedding_transformation"


def _widened(build: StreamBuilder, words: Stream, weight: Array) -> str:
    """Each word alone, from the embedding size to the hidden size, by a weight (hidden, embedding)."""
    affine = Affine(weight, np.zeros(len(weight)))
    return build.linear(words, affine, _TRANSFORMATION).tensor


def _trigram(build: StreamBuilder, words: Stream, weight: Array) -> str:
    """Each word with both its neighbours, by a weight (hidden, 3 · embedding), as one convolution."""
    # The checkpoint's columns are [next, this, previous]; a convolution's taps run from previous to next.
    taps = weight.reshape(len(weight), 3, -1)[:, ::-1]
    kernel = words.basis.read_by(taps, np.zeros(len(weight)))[0]
    bias = build.graph.constant(f"{_TRANSFORMATION}.bias", np.zeros(len(weight)))
    kernel_name = build.graph.constant(f"{_TRANSFORMATION}.weight", kernel)
    return build.graph.node(op.Convolution(), words.tensor, kernel_name, bias, name=_TRANSFORMATION)
