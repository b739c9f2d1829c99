"""The graph: a value of tensors and nodes, its executor and its printer."""

from mobilebert_export.graph.basis import Basis
from mobilebert_export.graph.builder import GraphBuilder
from mobilebert_export.graph.graph import Graph, Node, Tensor

__all__ = ["Basis", "Graph", "GraphBuilder", "Node", "Tensor"]
