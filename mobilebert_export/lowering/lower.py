"""From the reference model to the graph."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import DTypeLike

from mobilebert_export.graph.builder import GraphBuilder
from mobilebert_export.graph.graph import Graph
from mobilebert_export.graph.operators import BATCH, SEQUENCE
from mobilebert_export.lowering.coordinates import Coordinates
from mobilebert_export.lowering.embeddings import attention_mask, embeddings
from mobilebert_export.lowering.encoder import EncoderLayer
from mobilebert_export.lowering.heads import HeadBuilder, head_of
from mobilebert_export.lowering.streams import StreamBuilder
from mobilebert_export.lowering.weights import Weights

if TYPE_CHECKING:
    from mobilebert_reference import MobileBertConfig
    from torch import nn

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def lower(
    model: "nn.Module",
    config: "MobileBertConfig",
    *,
    dtype: DTypeLike = np.float32,
    coordinates: Coordinates = Coordinates(),  # noqa: B008 - a frozen value
    eliminate: bool = True,
    hidden_states: bool = False,
) -> Graph:
    """Lowers a model of `mobilebert_reference` to a graph that computes the same function, for any batch and length.

    All folding is done in float64.

    Args:
        model: one of the eight heads, or the bare encoder. Its dropout is left out.
        config: the configuration it was made from.
        dtype: how the constants are stored, float32 or float64.
        coordinates: how streams are kept. The function stays the same.
        eliminate: False leaves each NoNorm as a multiplication and an addition.
        hidden_states: also give the hidden states of the embeddings and of every layer, at all positions.

    Returns:
        The graph, its inputs `INPUTS` (batch, sequence) and its outputs as the head names them.

    Raises:
        UsageError: the model is not one of the reference's.
    """
    head = head_of(model)
    weights = Weights(model)
    graph = GraphBuilder(dtype)
    build = StreamBuilder(graph, coordinates, eliminate)
    ids, mask, types = (graph.input(name, (BATCH, SEQUENCE)) for name in INPUTS)

    additive = attention_mask(build, mask)
    hidden = embeddings(build, weights, config, ids, types)
    states = [hidden]
    for index in range(config.num_hidden_layers):
        layer = EncoderLayer(build, weights, config, f"mobilebert.encoder.layer.{index}", additive)
        last = index == config.num_hidden_layers - 1
        hidden = layer.lower(hidden, first_only=last and head.pooled and not hidden_states)
        states.append(hidden)

    outputs = head.lower(HeadBuilder(build, weights, config, hidden))
    if hidden_states:
        for index, state in enumerate(states):
            name = f"hidden_states.{index}"
            outputs[name] = build.materialized(state, name).tensor
    return graph.finish(outputs)
