"""Which nodes a precision may compute in integers, before anything is measured."""

from mobilebert_export.graph import operators as op
from mobilebert_export.graph.graph import Graph, Node
from mobilebert_export.precisions.parameters import MOVEMENTS, ActivationBits

# What XNNPACK, LiteRT's delegate for CPUs, takes in 8 bits. A softmax it takes in real numbers alone.
_DELEGATED = (op.Linear, op.Add, op.MatMul, op.Activation)
_DELEGATED_FUNCTIONS = frozenset({"tanh", "sigmoid"})
# Kernels of 16 bits have no gelu, and their 1 / √x is wrong by more than its own size for small inputs.
_FUNCTIONS_OF_16_BITS = frozenset({"tanh", "sigmoid"})


def everything(graph: Graph, bits: ActivationBits) -> frozenset[str]:
    """Every node that a kernel computes in integers, by the name of its first output."""
    return frozenset(node.outputs[0] for node in graph.nodes if not _moves(node) and _has_kernel(node, bits))


def delegated(graph: Graph) -> frozenset[str]:
    """The nodes that leave the graph in one partition of the CPU delegate when they compute in 8 bits.

    The embeddings are not among them: every layer reads what they give, and the delegate takes no gather.
    """
    computed = _behind_a_linear(graph)
    masked = {node.inputs[0] for node in graph.nodes if isinstance(node.operator, op.Softmax)}
    return frozenset(
        node.outputs[0]
        for node in graph.nodes
        if isinstance(node.operator, _DELEGATED)
        and not (isinstance(node.operator, op.Activation) and node.operator.function not in _DELEGATED_FUNCTIONS)
        and node.outputs[0] not in masked
        and (isinstance(node.operator, op.Linear) or computed.issuperset(node.inputs))
    )


def _moves(node: Node) -> bool:
    return isinstance(node.operator, (*MOVEMENTS, op.Positions))


def _has_kernel(node: Node, bits: ActivationBits) -> bool:
    if isinstance(node.operator, op.Activation):
        return bits == 8 or node.operator.function in _FUNCTIONS_OF_16_BITS  # noqa: PLR2004 - int8's own width
    return True


def _behind_a_linear(graph: Graph) -> frozenset[str]:
    """The tensors that a Linear has given or gone into, and no constant."""
    found: set[str] = set()
    for node in graph.nodes:
        if isinstance(node.operator, op.Linear):
            found.update(node.inputs[:1])
        if isinstance(node.operator, op.Linear) or not found.isdisjoint(node.inputs):
            found.update(node.outputs)
    return frozenset(found)
