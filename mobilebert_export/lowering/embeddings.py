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
    basis = build.basis(prefix, config.hidden_size) if fold else Basis.identity(config.hidden_size)

    def stored(rows: Array) -> Array:
        """Rows (n, hidden) of a table or a transposed weight, after the norm's gain and in the stream's basis."""
        return basis.to_stored(gain * rows, offset=False)

    # Every gather stands first: behind them, a delegate can take the graph in one piece.
    transformed = config.trigram_input or config.embedding_size != config.hidden_size
    table = weights.array(f"{prefix}.word_embeddings.weight")
    table_name, words_name = f"{prefix}.word_embeddings.weight", f"{prefix}.word_embeddings"
    words = build.graph.node(
        op.Gather(), build.graph.constant(table_name, table if transformed else stored(table)), ids, name=words_name
    )
    types = build.graph.node(
        op.Gather(),
        build.graph.constant(
            f"{prefix}.token_type_embeddings.weight", stored(weights.array(f"{prefix}.token_type_embeddings.weight"))
        ),
        token_types,
        name=f"{prefix}.token_type_embeddings",
    )

    constant = bias - basis.offset
    if transformed:
        transformation = weights.affine(f"{prefix}.embedding_transformation")
        constant = constant + gain * transformation.bias
        words = _transformed(
            build, words, Affine(stored(transformation.weight.T).T, np.zeros(config.hidden_size)), config
        )

    positions = build.graph.node(
        op.Positions(),
        build.graph.constant(
            f"{prefix}.position_embeddings.weight",
            stored(weights.array(f"{prefix}.position_embeddings.weight")) + basis.to_stored(constant, offset=False),
        ),
        ids,
        name=f"{prefix}.position_embeddings",
    )
    placed = build.graph.node(op.Add(), words, positions, name=f"{prefix}.placed")
    total = build.graph.node(op.Add(), placed, types, name=prefix if fold else f"{prefix}.sum")
    return build.stream(total, basis) if fold else build.normalized(total, norm, prefix)


def _transformed(build: StreamBuilder, words: str, affine: Affine, config: "MobileBertConfig") -> str:
    """The words' Linear to the hidden size: of each alone, or of three neighbours as one convolution."""
    name = "mobilebert.embeddings.embedding_transformation"
    bias = build.graph.constant(f"{name}.bias", affine.bias)
    if not config.trigram_input:
        return build.graph.node(
            op.Linear(), words, build.graph.constant(f"{name}.weight", affine.weight), bias, name=name
        )
    # The checkpoint's columns are [next, this, previous]; a convolution's taps run from previous to next.
    taps = affine.weight.reshape(config.hidden_size, 3, config.embedding_size)[:, ::-1]
    return build.graph.node(op.Convolution(), words, build.graph.constant(f"{name}.weight", taps), bias, name=name)
