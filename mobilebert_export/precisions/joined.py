"""Linears that read the same tensor, as one Linear whose output is split.

A runtime that rounds a Linear's input to int8 as it comes then does so once for all of them. Each output channel keeps
its own weights, scale and bias: the numbers stay the same to the bit.
"""

from collections import defaultdict
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mobilebert_export.graph import operators as op
from mobilebert_export.graph.graph import Graph, Node, Tensor, constant


def joined(graph: Graph) -> Graph:
    """The same function with one Linear for all that read one tensor, have no activation, and give as many channels."""
    readers: dict[tuple[str, int], list[Node]] = defaultdict(list)
    for node in graph.nodes:
        if node.operator == op.Linear():
            readers[node.inputs[0], len(_data(graph, node.inputs[2]))].append(node)
    groups = {nodes[0]: nodes for nodes in readers.values() if len(nodes) > 1}
    replaced = {node for nodes in groups.values() for node in nodes}
    tensors, kept = dict(graph.tensors), list[Node]()
    for node in graph.nodes:
        if node in groups:
            kept += _one(graph, groups[node], tensors)
        elif node not in replaced:
            kept.append(node)
    read = {name for node in kept for name in node.inputs}
    needed = {name: tensor for name, tensor in tensors.items() if name in read or not tensor.is_constant}
    return replace(graph, tensors=needed, nodes=tuple(kept))


def _one(graph: Graph, nodes: list[Node], tensors: dict[str, Tensor]) -> tuple[Node, Node]:
    """The Linear and the split, whose tensors go beside the others."""
    values, output = nodes[0].inputs[0], graph.tensors[nodes[0].outputs[0]]
    name = f"{values}.read"
    parameters = []
    for index, kind in ((1, "weight"), (2, "bias")):
        data = np.concatenate([_data(graph, node.inputs[index]) for node in nodes])
        tensors[f"{name}.{kind}"] = constant(f"{name}.{kind}", data)
        parameters.append(f"{name}.{kind}")
    channels = len(data)
    tensors[name] = replace(output, name=name, shape=(*output.shape[:-1], channels))
    return (
        Node(op.Linear(), (values, *parameters), (name,)),
        Node(op.Split(len(output.shape) - 1), (name,), tuple(node.outputs[0] for node in nodes)),
    )


def _data(graph: Graph, name: str) -> NDArray[np.generic]:
    data = graph.tensors[name].data
    if data is None:
        raise ValueError(f"expected a constant, got {name}, which is computed")
    return data
