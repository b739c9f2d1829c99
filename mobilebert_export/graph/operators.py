"""The kinds of node a graph is made of: one for each thing that a device does.

An operator is a small frozen value that holds what the node's inputs do not: axes, shapes, activations. A shape may
hold a symbol (`BATCH`, `SEQUENCE`, `TOKENS`) where a number is bound later, or known only as the graph runs.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

BATCH = "batch"
SEQUENCE = "sequence"
# The positions that are computed, where padding is left out.
TOKENS = "tokens"

Dimension: TypeAlias = int | str
Shape: TypeAlias = tuple[Dimension, ...]
Function: TypeAlias = Literal["relu", "gelu", "gelu_new", "silu", "tanh", "sigmoid", "rsqrt"]


@dataclass(frozen=True)
class Gather:
    """`(table (rows, ...), ids) -> table[ids]`; real numbers too where each row of the table has a scale of its own.

    An id outside of the table is an error at run time.
    """


@dataclass(frozen=True)
class Trim:
    """`(x (batch, sequence), mask (batch, sequence)) -> x[:, :tokens]`, without the padding that all rows end with.

    One position of it stays where there is one: `tokens` counts up to the one behind the last that the mask of any row
    has a 1 at. Where it has none, all stay.
    """


@dataclass(frozen=True)
class Positions:
    """`(table (positions, channels), ids (batch, sequence)) -> table[:sequence]` with a leading axis of 1.

    The ids give only their length. Binding a length makes a constant of it.
    """


@dataclass(frozen=True)
class Linear:
    """`(x (..., in), weight (out, in), bias (out)) -> activation(x @ weight.T + bias)`."""

    activation: Literal["none", "relu"] = "none"


@dataclass(frozen=True)
class Convolution:
    """`(x (batch, sequence, in), weight (out, taps, in), bias (out))`, centred, with zeros past both ends."""


@dataclass(frozen=True)
class Add:
    """`(a, b) -> a + b`, broadcast as numpy does."""


@dataclass(frozen=True)
class Multiply:
    """`(a, b) -> a * b`, broadcast as numpy does."""


@dataclass(frozen=True)
class Subtract:
    """`(a, b) -> a - b`, broadcast as numpy does."""


@dataclass(frozen=True)
class Mean:
    """The mean over the last axis, which stays with length 1."""


@dataclass(frozen=True)
class MatMul:
    """`(a (..., m, k), b (..., k, n)) -> a @ b`; with `transpose_right`, b is `(..., n, k)`."""

    transpose_right: bool = False


@dataclass(frozen=True)
class Softmax:
    """Softmax over the last axis."""


@dataclass(frozen=True)
class Activation:
    """A function of each element. `gelu` is the exact one, `gelu_new` its tanh approximation; `rsqrt` is 1 / √x."""

    function: Function


@dataclass(frozen=True)
class LayerNorm:
    """`(x, weight, bias)`: normalized over the last axis with the biased variance, then affine."""

    epsilon: float


@dataclass(frozen=True)
class Reshape:
    """The same elements in another shape."""

    shape: Shape


@dataclass(frozen=True)
class Transpose:
    """Axes in another order: `output.shape[i] = input.shape[permutation[i]]`."""

    permutation: tuple[int, ...]


@dataclass(frozen=True)
class Split:
    """Equal parts along an axis, one output each."""

    axis: int


@dataclass(frozen=True)
class First:
    """The first element along an axis, which stays with length 1."""

    axis: int


@dataclass(frozen=True)
class Quantize:
    """A real number as a stored one, by the output's scale and zero point."""


@dataclass(frozen=True)
class Dequantize:
    """A stored number (int8, int16, float16) as a real one."""


Operator: TypeAlias = (
    Gather
    | Trim
    | Positions
    | Linear
    | Convolution
    | Add
    | Multiply
    | Subtract
    | Mean
    | MatMul
    | Softmax
    | Activation
    | LayerNorm
    | Reshape
    | Transpose
    | Split
    | First
    | Quantize
    | Dequantize
)
