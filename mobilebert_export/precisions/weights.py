"""Precisions that change how weights are stored and leave the arithmetic to the runtime."""

import mobilebert_quantization as quantization
import numpy as np
from numpy.typing import NDArray

from mobilebert_export.graph import operators as op
from mobilebert_export.graph.graph import Graph, Node
from mobilebert_export.precisions.rewrite import Rewriter, rewrite


def float16(graph: Graph) -> Graph:
    """Weights and the word table in half the size, turned into float32 when the model is loaded.

    A constant with a value that float16 cannot hold keeps float32, and so do biases and positions: they are small,
    and what is added up is worth more than what is multiplied.
    """
    return rewrite(graph, _float16)


def dynamic(graph: Graph) -> Graph:
    """Linears' weights in int8, one scale for each output channel; the word table in int8, one scale for each piece.

    Activations stay float between the nodes; the runtime rounds each row of a Linear's input to int8 as it comes. The
    convolution of the embeddings keeps float16: every layer reads what it gives, and in int8 it would be the largest
    error of the whole model, to save 0.2 MB of the full-size one.
    """
    return rewrite(graph, keep_dynamic)


def keep_dynamic(rewriter: Rewriter, node: Node) -> None:
    """Copies one node as `dynamic` has it."""
    if isinstance(node.operator, op.Convolution):
        _float16(rewriter, node)
        return
    if isinstance(node.operator, op.Gather) and _is_table(rewriter, node):
        _round_rows(rewriter, node.inputs[0])
    if isinstance(node.operator, op.Linear):
        _round_rows(rewriter, node.inputs[1])
    rewriter.keep(node)


def _float16(rewriter: Rewriter, node: Node) -> None:
    if isinstance(node.operator, op.Gather) and _is_table(rewriter, node):
        half = _half(_data(rewriter, node.inputs[0]))
        if half is not None:
            rewriter.store_behind_dequantize(node.inputs[0], half)
    if isinstance(node.operator, op.Linear | op.Convolution):
        half = _half(_data(rewriter, node.inputs[1]))
        if half is not None:
            rewriter.store_behind_dequantize(node.inputs[1], half)
    rewriter.keep(node)


def _round_rows(rewriter: Rewriter, name: str) -> None:
    """Stores a table or a weight in int8, with a scale for each of its rows."""
    values = _data(rewriter, name)
    parameters = quantization.symmetric(values, axis=0)
    rewriter.store(name, quantization.quantize(values, parameters), parameters)


def _data(rewriter: Rewriter, name: str) -> NDArray[np.floating]:
    data = rewriter.graph.tensors[name].data
    return np.asarray(data, np.float32)


# A table of a few rows (token types, the mask) is not worth rounding.
_SMALL_TABLE = 16


def _is_table(rewriter: Rewriter, node: Node) -> bool:
    return len(_data(rewriter, node.inputs[0])) > _SMALL_TABLE


def _half(values: NDArray[np.floating]) -> NDArray[np.float16] | None:
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    return half if np.all(np.isfinite(half)) else None
