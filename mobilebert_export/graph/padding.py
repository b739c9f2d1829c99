"""No padding is computed where a file takes any length and gives one answer for a whole text.

Masked positions go through every layer as all others do, though no token reads them: of a text of 12 tokens in a row of
128, most of the work is for nobody. Where no output has positions, those behind the last token are cut off before
anything is computed, but for one, which the trigram of the last token sees.
"""

from collections.abc import Mapping
from dataclasses import replace

from mobilebert_export.graph import operators as op
from mobilebert_export.graph.graph import Graph, Node, Tensor
from mobilebert_export.graph.operators import SEQUENCE, TOKENS, Shape


def without_padding(graph: Graph, *, mask: str) -> Graph:
    """The same function, computed on the positions up to the last token of a batch.

    A graph that is bound to a length, or that has an output with positions, stays as it is.

    Args:
        graph: its inputs (batch, sequence).
        mask: the input that is 1 for a token and 0 for padding.
    """
    outputs = [graph.tensors[name] for name in graph.outputs.values()]
    if not _has_positions(graph.tensors[mask]) or any(map(_has_positions, outputs)):
        return graph
    read = {name: f"{name}.tokens" for name in graph.inputs}
    tensors = dict(graph.tensors)
    for name in graph.tensors.keys() - set(graph.inputs):
        tensors[name] = replace(tensors[name], shape=_of_tokens(tensors[name].shape))
    for name, trimmed in read.items():
        whole = tensors[name]
        tensors[trimmed] = replace(whole, name=trimmed, shape=_of_tokens(whole.shape))
    nodes = [Node(op.Trim(), (name, mask), (trimmed,)) for name, trimmed in read.items()]
    nodes += [_reading(node, read) for node in graph.nodes]
    return replace(graph, tensors=tensors, nodes=tuple(nodes))


def _has_positions(tensor: Tensor) -> bool:
    return SEQUENCE in tensor.shape


def _of_tokens(shape: Shape) -> Shape:
    return tuple(TOKENS if size == SEQUENCE else size for size in shape)


def _reading(node: Node, names: Mapping[str, str]) -> Node:
    """A node that reads other tensors, and computes on tokens alone."""
    operator = node.operator
    if isinstance(operator, op.Reshape):
        operator = op.Reshape(_of_tokens(operator.shape))
    return Node(operator, tuple(names.get(name, name) for name in node.inputs), node.outputs)
