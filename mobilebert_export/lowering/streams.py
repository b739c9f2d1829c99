"""Streams: values in a basis, and the affine operations that change the basis instead of computing anything.

This is where NoNorm disappears. With x = B x̃ + c kept for a stream (`Basis`) and a branch f added to it,

    NoNorm(f + x) = g∘(f + x) + b = (g∘B)(B⁻¹f + x̃) + (g∘c + b)

so the branch's last Linear absorbs B⁻¹, the norm becomes the new basis (g∘B, g∘c + b), and no node is left of it.
"""

from dataclasses import dataclass, field
from typing import cast

import numpy as np

from mobilebert_export.graph import operators as op
from mobilebert_export.graph.basis import Array, Basis
from mobilebert_export.graph.builder import GraphBuilder
from mobilebert_export.graph.graph import Freedom
from mobilebert_export.lowering.coordinates import Coordinates


@dataclass(frozen=True)
class Stream:
    """A tensor of the graph, and how it stands for one of the reference: x = B x̃ + c.

    Attributes:
        tensor: the stored one, x̃.
        basis: B and c.
        start: the tensor whose basis was free to choose, and with it this one's; None where it was not.
        drift: (channels), the product of the gains since the start.
    """

    tensor: str
    basis: Basis
    start: str | None = None
    drift: Array = field(default_factory=lambda: np.ones(1))


@dataclass(frozen=True)
class Affine:
    """Weight (out, in) and bias (out) of a Linear, in float64."""

    weight: Array
    bias: Array

    def then_scaled(self, gain: Array, bias: Array) -> "Affine":
        """The Linear followed by `gain * y + bias`."""
        return Affine(gain[:, None] * self.weight, gain * self.bias + bias)


@dataclass(frozen=True)
class Norm:
    """Weight and bias (channels) of a NoNorm or a LayerNorm; `epsilon` is None for a NoNorm."""

    weight: Array
    bias: Array
    epsilon: float | None


@dataclass(frozen=True)
class StreamBuilder:
    """Writes affine operations on streams.

    Attributes:
        graph: where the nodes go.
        coordinates: how streams are kept.
        eliminate: False leaves every NoNorm as a multiplication and an addition, every stream in the identity: the
            plain graph that the others are compared with.
    """

    graph: GraphBuilder
    coordinates: Coordinates = field(default_factory=Coordinates)
    eliminate: bool = True

    def stream(self, tensor: str, basis: Basis, like: Stream | None = None, gain: Array | None = None) -> Stream:
        """A tensor that is already in the graph, as a stream; one that goes on `like` another, `gain` times further."""
        self.graph.keep_basis(tensor, basis, start=like.start if like else None)
        drift = like.drift if like else np.ones(1)
        return Stream(tensor, basis, like.start if like else None, drift if gain is None else drift * gain)

    def free_stream(self, tensor: str, basis: Basis, freedom: Freedom = "any") -> Stream:
        """A tensor that is already in the graph, as a stream that starts here in a basis that was free to choose."""
        self.graph.start_stream(tensor, basis, freedom)
        return Stream(tensor, basis, tensor)

    def linear(
        self,
        x: Stream,
        affine: Affine,
        name: str,
        *,
        into: Basis | None = None,
        relu: bool = False,
        norm: Norm | None = None,
    ) -> Stream:
        """The Linear of a stream, then its `norm`, in the basis `into` or else in the one that is free to choose."""
        channels = len(affine.bias)
        fold = norm is not None and norm.epsilon is None and self.eliminate
        if norm is not None and fold:
            affine = affine.then_scaled(norm.weight, norm.bias)
        free = into is None and fold
        if into is None:
            into = self.coordinates.start(name, channels) if free else Basis.identity(channels)
        weight, bias = into.written_by(*x.basis.read_by(affine.weight, affine.bias))
        output = self._linear(x.tensor, weight, bias, f"{name}.dense" if norm and not fold else name, relu=relu)
        if norm is not None and not fold:
            return self.normalized(output, norm, name)
        return self.free_stream(output, into) if free else self.stream(output, into)

    def residual_norm(self, branch_input: Stream, affine: Affine, x: Stream, norm: Norm, name: str) -> Stream:
        """Norm(Linear(branch_input) + x)."""
        fold = norm.epsilon is None and self.eliminate
        rescale = fold and self.coordinates.rescale.applies(name, x.drift * norm.weight)
        branch = self.linear(branch_input, affine, f"{name}.dense", into=x.basis.without_offset())
        total = self.graph.node(op.Add(), branch.tensor, x.tensor, name=name if fold and not rescale else f"{name}.sum")
        if not fold:
            return self.normalized(total, norm, name)
        if rescale:
            return self._rescaled(total, x.basis, norm, name)
        return self.stream(total, x.basis.after_affine(norm.weight, norm.bias), x, norm.weight)

    def activated(self, x: Stream, affine: Affine, name: str, function: str, *, read_by_linears: bool = True) -> Stream:
        """An activation of the Linear of a stream: ReLU inside of the Linear, any other as a node of its own."""
        if function != "relu":
            dense = self.linear(x, affine, f"{name}.dense")
            output = self.graph.node(op.Activation(cast("op.Function", function)), dense.tensor, name=name)
            return self.stream(output, dense.basis)
        if not read_by_linears:
            return self.linear(x, affine, name, relu=True)
        # ReLU(s x) = s ReLU(x) for s > 0: each unit may be kept in a scale of its own.
        basis = self.coordinates.start(name, len(affine.bias)).without_offset()
        return self.free_stream(self.linear(x, affine, name, into=basis, relu=True).tensor, basis, "positive")

    def materialized(self, x: Stream, name: str) -> Stream:
        """The stream in the identity: what an output or a non-linear operation needs."""
        if x.basis.is_identity:
            return x
        identity = Basis.identity(len(x.basis.offset))
        if not x.basis.is_diagonal:
            return self.stream(self._linear(x.tensor, x.basis.matrix, x.basis.offset, name), identity)
        scaled = self.graph.node(
            op.Multiply(), x.tensor, self.graph.constant(f"{name}.scale", x.basis.matrix), name=f"{name}.scaled"
        )
        shifted = self.graph.node(op.Add(), scaled, self.graph.constant(f"{name}.offset", x.basis.offset), name=name)
        return self.stream(shifted, identity)

    def _linear(self, tensor: str, weight: Array, bias: Array, name: str, *, relu: bool = False) -> str:
        return self.graph.node(
            op.Linear("relu" if relu else "none"),
            tensor,
            self.graph.constant(f"{name}.weight", weight),
            self.graph.constant(f"{name}.bias", bias),
            name=name,
        )

    def normalized(self, tensor: str, norm: Norm, name: str) -> Stream:
        """The norm as nodes, in the identity."""
        weight = self.graph.constant(f"{name}.norm.weight", norm.weight)
        bias = self.graph.constant(f"{name}.norm.bias", norm.bias)
        if norm.epsilon is not None:
            output = self.graph.node(op.LayerNorm(norm.epsilon), tensor, weight, bias, name=name)
        else:
            scaled = self.graph.node(op.Multiply(), tensor, weight, name=f"{name}.norm.scaled")
            output = self.graph.node(op.Add(), scaled, bias, name=name)
        return self.stream(output, Basis.identity(len(norm.bias)))

    def _rescaled(self, total: str, basis: Basis, norm: Norm, name: str) -> Stream:
        """A rescale point: the gains are multiplied in, and the stream starts anew in a basis that is free to choose.

        Exact for every gain, 0 among them: x̃' = B'⁻¹ (g∘B) x̃, and c' = g∘c + b needs no node.
        """
        after = basis.after_affine(norm.weight, norm.bias)
        fresh = Basis(self.coordinates.start(name, len(norm.bias)).matrix, after.offset)
        if after.is_diagonal and fresh.is_diagonal:
            factor = self.graph.constant(f"{name}.rescale", after.matrix / fresh.matrix)
            return self.free_stream(self.graph.node(op.Multiply(), total, factor, name=name), fresh)
        matrix = np.diag(after.matrix) if after.is_diagonal else after.matrix
        weight = fresh.to_stored(matrix.T, offset=False).T
        return self.free_stream(self._linear(total, weight, np.zeros(len(weight)), name), fresh)
