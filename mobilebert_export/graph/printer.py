"""Shows a graph as text, one line a node."""

from collections import Counter
from dataclasses import fields

from mobilebert_export.graph.graph import Graph, Tensor
from mobilebert_export.graph.operators import Operator


def summary(graph: Graph) -> Counter[str]:
    """How many nodes of each kind there are."""
    return Counter(type(node.operator).__name__ for node in graph.nodes)


def to_text(graph: Graph) -> str:
    """The graph's inputs, nodes and outputs, one a line.

    A classifier's last node is `logits [batch, 5] float32 = Linear<activation=none>(pooler.input, logits.weight, …)`.
    """
    lines = [f"input {_described(graph.tensors[name])}" for name in graph.inputs]
    for node in graph.nodes:
        outputs = ", ".join(_described(graph.tensors[name]) for name in node.outputs)
        lines.append(f"{outputs} = {type(node.operator).__name__}{_settings(node.operator)}({', '.join(node.inputs)})")
    lines += [f"output {name} = {tensor}" for name, tensor in graph.outputs.items()]
    return "\n".join(lines)


def _described(tensor: Tensor) -> str:
    return f"{tensor.name} [{', '.join(map(str, tensor.shape))}] {tensor.dtype}"


def _settings(operator: Operator) -> str:
    values = [f"{field.name}={getattr(operator, field.name)}" for field in fields(operator)]
    return f"<{', '.join(values)}>" if values else ""
