"""One matrix for all positions of all sequences: what Linears read and give, and all that goes from one to the next.

A Gemm takes matrices alone. The positions of a sequence meet in attention only; a layer that comes to a Gemm with
(batch, sequence, channels) would need a Reshape before and behind it.
"""

from dataclasses import replace
from math import prod

from mobilebert_export.graph import operators as op
from mobilebert_export.graph.graph import Graph, Node
from mobilebert_export.graph.operators import Shape

_MATRIX = 2
# These compute each row by itself where their operands are constants or have as many rows.
_ROW_BY_ROW = (
    op.Add,
    op.Multiply,
    op.Subtract,
    op.Mean,
    op.Activation,
    op.LayerNorm,
    op.Split,
    op.Quantize,
    op.Dequantize,
)


def in_rows(graph: Graph) -> Graph:
    """The same function; each Linear, and what only works on single positions behind one, computes on matrices.

    Such a tensor keeps its name and the order of its elements: (batch, sequence, channels) becomes
    (batch * sequence, channels). Outputs keep their shapes.
    """
    rewriter = _Rewriter(graph)
    for node in graph.nodes:
        rewriter.node(node)
    return rewriter.finish()


class _Rewriter:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._tensors = dict(graph.tensors)
        self._nodes: list[Node] = []
        self._matrices: set[str] = set()
        self._multiplied = {node.inputs[0] for node in graph.nodes if isinstance(node.operator, op.Linear)}

    def node(self, node: Node) -> None:
        match node.operator:
            case op.Reshape() if node.outputs[0] in self._multiplied and len(self._shape(node.outputs[0])) > _MATRIX:
                self._nodes.append(replace(node, operator=op.Reshape(self._as_matrix(node.outputs[0]))))
            case op.Reshape():
                self._nodes.append(node)
            case _ if self._is_row_by_row(node):
                operator = op.Split(_MATRIX - 1) if isinstance(node.operator, op.Split) else node.operator
                self._nodes.append(Node(operator, tuple(map(self._matrix, node.inputs)), node.outputs))
                for name in node.outputs:
                    self._as_matrix(name)
            case _:
                self._nodes.append(replace(node, inputs=tuple(map(self._whole, node.inputs))))

    def finish(self) -> Graph:
        outputs = {name: self._whole(tensor) for name, tensor in self._graph.outputs.items()}
        return replace(self._graph, tensors=self._tensors, nodes=tuple(self._nodes), outputs=outputs)

    def _is_row_by_row(self, node: Node) -> bool:
        shape = self._shape(node.outputs[0])
        if len(shape) <= _MATRIX:
            return False
        if isinstance(node.operator, op.Linear):
            return True
        return (
            isinstance(node.operator, _ROW_BY_ROW)
            and not (isinstance(node.operator, op.Split) and node.operator.axis != len(shape) - 1)
            and not self._matrices.isdisjoint(node.inputs)
            and all(self._has_rows(name, shape) for name in node.inputs)
        )

    def _has_rows(self, name: str, shape: Shape) -> bool:
        """Whether a tensor has as many rows as one of a shape, or none."""
        tensor = self._graph.tensors[name]
        return len(tensor.shape) <= 1 or (not tensor.is_constant and tensor.shape[:-1] == shape[:-1])

    def _shape(self, name: str) -> Shape:
        return self._graph.tensors[name].shape

    def _as_matrix(self, name: str) -> Shape:
        """Has a tensor computed as a matrix from here on; its shape as such."""
        shape = _rows(self._shape(name))
        self._tensors[name] = replace(self._tensors[name], shape=shape)
        self._matrices.add(name)
        return shape

    def _matrix(self, name: str) -> str:
        """What holds a tensor as a matrix; a constant, which has no rows, as it is."""
        shape = self._shape(name)
        if name in self._matrices or len(shape) <= _MATRIX:
            return name
        return self._reshaped(name, f"{name}.rows", _rows(shape))

    def _whole(self, name: str) -> str:
        """What holds a tensor in the shape that it has in the graph."""
        return self._reshaped(name, f"{name}.whole", self._shape(name)) if name in self._matrices else name

    def _reshaped(self, name: str, into: str, shape: Shape) -> str:
        if into not in self._tensors:
            self._tensors[into] = replace(self._tensors[name], name=into, shape=shape)
            self._nodes.append(Node(op.Reshape(shape), (name,), (into,)))
        return into


def _rows(shape: Shape) -> Shape:
    """The shape of a matrix with as many elements: (batch, sequence, 8) is (batch * sequence, 8)."""
    *leading, channels = shape
    numbers = [size for size in leading if isinstance(size, int)]
    if len(numbers) == len(leading):
        return prod(numbers), channels
    return "*".join(str(size) for size in leading if size != 1), channels
