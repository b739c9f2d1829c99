"""The Linear that gives a text's answer, in real numbers.

Nothing behind it evens out what its weights and its input are rounded by, and of a single position it costs next to
nothing in any kernel.
"""

from mobilebert_export.graph import operators as op
from mobilebert_export.graph.graph import Graph, Node
from mobilebert_export.precisions.pairing import positions
from mobilebert_export.precisions.rewrite import Rewriter, rewrite


def with_real_answers(quantized: Graph, graph: Graph) -> Graph:
    """A graph in a precision; Linears of one position that give an output keep real weights if they read real numbers.

    Args:
        quantized: what `apply` made of the graph.
        graph: of real numbers; its constants have the same names.
    """
    outputs = frozenset(quantized.outputs.values())

    def keep_real(rewriter: Rewriter, node: Node) -> None:
        answers = isinstance(node.operator, op.Linear) and not outputs.isdisjoint(node.outputs)
        if answers and positions(rewriter[node.outputs[0]]) == 1 and rewriter[node.inputs[0]].quantization is None:
            data = graph.tensors[node.inputs[1]].data
            if data is not None and rewriter[node.inputs[1]].quantization is not None:
                rewriter.store(node.inputs[1], data)
        rewriter.keep(node)

    return rewrite(quantized, keep_real)
