"""Linears' weights for the kernels of ONNX Runtime on x86, which add the products of two inputs in 16 bits."""

import mobilebert_quantization as quantization
import numpy as np

from mobilebert_export.graph import operators as op
from mobilebert_export.graph.graph import Graph, Node
from mobilebert_export.precisions.rewrite import Rewriter, rewrite


def paired(quantized: Graph, graph: Graph) -> Graph:
    """A graph in a precision, the scales of its int8 Linears wide enough that the fast kernels cut nothing off.

    Other kernels need no such thing: for them the scales are better as they are.

    Args:
        quantized: what `apply` made of the graph.
        graph: of real numbers; its constants have the same names.
    """

    def pair(rewriter: Rewriter, node: Node) -> None:
        if isinstance(node.operator, op.Linear):
            _widen(rewriter, node, graph)
        rewriter.keep(node)

    return rewrite(quantized, pair)


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
