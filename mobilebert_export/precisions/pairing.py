"""Linears' weights for the kernels of ONNX Runtime on x86, which add the products of two inputs in 16 bits."""

import mobilebert_quantization as quantization
import numpy as np

from mobilebert_export.graph import operators as op
from mobilebert_export.graph.graph import Graph, Node, Tensor
from mobilebert_export.graph.operators import Dimension
from mobilebert_export.precisions.rewrite import Rewriter, rewrite


def paired(quantized: Graph, graph: Graph) -> Graph:
    """A graph in a precision, the scales of its int8 Linears wide enough that the fast kernels cut nothing off.

    Other kernels need no such thing: for them the scales are better as they are. So they are where a Linear computes a
    single position of each sequence, as behind a pooler: it costs next to nothing in any kernel, and its error goes to
    the answer as it is.

    Args:
        quantized: what `apply` made of the graph.
        graph: of real numbers; its constants have the same names.
    """

    def pair(rewriter: Rewriter, node: Node) -> None:
        if isinstance(node.operator, op.Linear) and positions(rewriter[node.outputs[0]]) != 1:
            _widen(rewriter, node, graph)
        rewriter.keep(node)

    return rewrite(quantized, pair)


def positions(tensor: Tensor) -> Dimension:
    """How many rows (batch, positions, channels), or (batch, channels), has for each sequence."""
    return tensor.shape[1] if len(tensor.shape) > 2 else 1  # noqa: PLR2004 - more than one row and its channels


def _widen(rewriter: Rewriter, node: Node, graph: Graph) -> None:
    values, weight_name, bias_name = node.inputs
    stored, activation = rewriter[weight_name].quantization, rewriter[values].quantization
    if stored is None:
        return
    weight, bias = (np.asarray(graph.tensors[name].data, np.float64) for name in (weight_name, bias_name))
    parameters = quantization.paired(weight, stored)
    rewriter.store(weight_name, quantization.quantize(weight, parameters), parameters)
    if activation is not None:  # the bias is in the unit of the products
        unit = quantization.bias_parameters(bias, activation=activation, weight=parameters)
        rewriter.store(bias_name, quantization.quantize(bias, unit), unit)
