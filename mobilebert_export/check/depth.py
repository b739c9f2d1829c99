"""Where two models part: the error of each tensor along the depth.

A file of ours has the names of our graph. Its error has two sources, and each is shown by itself:

    constants   the file computed in real numbers from its own constants, against the reference
    arithmetic  the file as its runtime computes it, against itself in real numbers

The second is true of every tensor. The first needs both in the same coordinates, and an export that was fitted to text
keeps most of its tensors in others (`mobilebert_export.graph.basis`). No basis passes through what is not linear:
behind a softmax, a tanh or a layer norm, and at the outputs, coordinates are the reference's own whatever was chosen.
These landmarks, at least one in every layer, are what such a file is compared at. Through a ReLU passes only a scale
of each unit: behind one, such a file is compared but for these scales.
"""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from math import inf
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from mobilebert_export.check.metrics import decibels
from mobilebert_export.graph import operators as op
from mobilebert_export.graph.graph import Graph
from mobilebert_export.graph.operators import SEQUENCE, Shape

Tensors = Mapping[str, NDArray[np.generic]]

# A tensor jumps if its error grows by more than this, in dB, over the worst before it, to where it matters: an honest
# error of 54 dB has been seen to grow by 12, and one of 91 dB by 14. At the landmarks of fitted files, by 4.
_JUMP = 12.0
_FITTED_JUMP = 8.0
_MATTERS = 60.0
_EIGHT_BITS = 42.0
# What is gathered from tables of constants shows the coordinates: its own rounding is 40 dB away and more.
_SAME_COORDINATES = 20.0


@dataclass(frozen=True)
class DepthPoint:
    """One tensor.

    Attributes:
        tensor: its name.
        total: SQNR of the file as it runs against the reference, in dB; None where coordinates differ by more
            than the scale of each unit.
        constants: of the file in real numbers against the reference; None likewise.
        arithmetic: of the file as it runs against itself in real numbers; None where it could not be followed.
    """

    tensor: str
    total: float | None
    constants: float | None
    arithmetic: float | None


@dataclass(frozen=True)
class Depth:
    """All tensors that file and graph share, in the order in which they are computed.

    Attributes:
        points: the tensors.
        jump: the tensor where the error against the reference grows most; None where it never jumps.
        behind: the tensor that was compared before it: the fault lies between both; None where it is the first.
        growth: by how much it grows there, in dB; 0 where it does not.
        worst_landmark: the name and the SQNR, in dB, of the landmark that is furthest from the reference, by its
            constants where the file could be followed; None where there is none.
        constants: the least SQNR of the outputs in real numbers, in dB: what the constants alone cost. None where it
            could not be computed.
        own_coordinates: whether the file keeps its tensors in the coordinates of the reference.
        remark: what could not be compared, and why.
    """

    points: tuple[DepthPoint, ...]
    jump: str | None
    behind: str | None
    growth: float
    worst_landmark: tuple[str, float] | None
    constants: float | None
    own_coordinates: bool
    remark: str | None


@dataclass(frozen=True)
class _Sums:
    """Σ truth², Σ given², Σ truth · given and Σ (truth - given)², of each unit behind a ReLU, or of all values.

    All but the first are infinite where a given value is not finite.
    """

    truth: NDArray[np.float64]
    given: NDArray[np.float64]
    product: NDArray[np.float64]
    noise: NDArray[np.float64]

    @staticmethod
    def of(truth: NDArray[np.float64], given: NDArray[np.float64], *, units: bool) -> "_Sums":
        """Those of two arrays, whose last axis has the units if there are any."""
        x, y = (values.reshape(-1, values.shape[-1] if units else 1) for values in (truth, given))
        if not np.all(np.isfinite(y)):
            lost = np.full(x.shape[1], inf)
            return _Sums(np.sum(x**2, axis=0), lost, lost, lost)
        with np.errstate(over="ignore"):  # a stranger's numbers: their noise is infinite then
            return _Sums(*(np.sum(values, axis=0) for values in (x**2, y**2, x * y, (x - y) ** 2)))

    def __add__(self, other: "_Sums") -> "_Sums":
        return _Sums(*(mine + others for mine, others in zip(astuple(self), astuple(other), strict=True)))

    @property
    def sqnr(self) -> float:
        """Signal to noise in dB."""
        return decibels(float(self.truth.sum()), float(self.noise.sum()))

    @property
    def sqnr_but_for_scales(self) -> float:
        """Likewise, with each unit of what was given multiplied by what brings it nearest: least squares."""
        if not np.all(np.isfinite(self.given)):
            return -inf
        explained = np.divide(self.product**2, self.given, out=np.zeros_like(self.given), where=self.given > 0)
        return decibels(float(self.truth.sum()), float(np.maximum(self.truth - explained, 0).sum()))


@dataclass
class DepthMeter:
    """Collects rows; `finish` gives their depth.

    Attributes:
        graph: the checkpoint's, lowered without a fit to text and not bound to a length.
    """

    graph: Graph

    def __post_init__(self) -> None:
        self._units = _units(self.graph)
        self._sums: dict[str, dict[str, _Sums]] = {}

    def add(self, truth: Tensors, ran: Tensors, exact: Tensors, length: int) -> None:
        """One row.

        Args:
            truth: the graph's tensors in float64.
            ran: the file's, as its runtime computed them.
            exact: the file's, in real numbers; may be empty.
            length: tokens of the row; what lies behind them is padding.
        """
        for name in truth:
            if name not in ran:
                continue
            shape = self.graph.tensors[name].shape
            mine, given, followed = (
                _real_part(tensors[name], shape, length) if name in tensors else None for tensors in (truth, ran, exact)
            )
            self._note(name, "total", mine, given)
            self._note(name, "constants", mine, followed)
            self._note(name, "arithmetic", followed, given)

    def finish(self) -> Depth:
        """What the rows show together."""
        sqnr = {name: {kind: sums.sqnr for kind, sums in kinds.items()} for name, kinds in self._sums.items()}
        gathered = [node.outputs[0] for node in self.graph.nodes if isinstance(node.operator, op.Gather)]
        own = all(
            max(sqnr[name].get("constants", 0.0), sqnr[name].get("total", 0.0)) >= _SAME_COORDINATES
            for name in gathered
            if name in sqnr
        )
        landmarks = _landmarks(self.graph) | (frozenset() if own else self._units)
        points = []
        for name, kinds in self._sums.items():
            compared = sqnr[name] if own or name in landmarks else {}
            if name in self._units and not own:
                compared = {kind: sums.sqnr_but_for_scales for kind, sums in kinds.items()}
            points.append(
                DepthPoint(name, compared.get("total"), compared.get("constants"), sqnr[name].get("arithmetic"))
            )
        outputs = [sqnr[name]["constants"] for name in self.graph.outputs.values() if "constants" in sqnr.get(name, {})]
        against = _against_reference(points)
        jump, growth = _jump(against, fitted=not own)
        names = [None, *(name for name, _ in against)]
        return Depth(
            points=tuple(points),
            jump=jump,
            behind=names[names.index(jump) - 1] if jump else None,
            growth=growth,
            worst_landmark=min((each for each in against if each[0] in landmarks), key=itemgetter(1), default=None),
            constants=min(outputs, default=None),
            own_coordinates=own,
            remark=_remark(points, own=own),
        )

    def _note(self, name: str, kind: str, truth: NDArray[np.float64] | None, given: NDArray[np.float64] | None) -> None:
        if truth is None or given is None or truth.shape != given.shape or not truth.size:
            return
        sums = _Sums.of(truth, given, units=name in self._units)
        kinds = self._sums.setdefault(name, {})
        kinds[kind] = kinds[kind] + sums if kind in kinds else sums


def _landmarks(graph: Graph) -> frozenset[str]:
    """The tensors that no choice of a basis changes."""
    ends = (op.Softmax, op.Activation, op.LayerNorm)
    return frozenset(
        (*graph.outputs.values(), *(node.outputs[0] for node in graph.nodes if isinstance(node.operator, ends)))
    )


def _units(graph: Graph) -> frozenset[str]:
    """The tensors of which a basis may change the scale of each channel, and nothing else."""
    return frozenset(node.outputs[0] for node in graph.nodes if node.operator == op.Linear("relu"))


def _against_reference(points: Sequence[DepthPoint]) -> list[tuple[str, float]]:
    """The SQNR of each tensor that can be compared: of the constants, or else of all."""
    values = [(point.tensor, point.total if point.constants is None else point.constants) for point in points]
    return [(name, value) for name, value in values if value is not None]


def _jump(values: Sequence[tuple[str, float]], *, fitted: bool) -> tuple[str | None, float]:
    """The tensor at which the error grows most over the worst before it, and by how much.

    Where nothing before it has an error, the one that weights of 8 bits start with is taken, which all fitted files
    have; an error too small to matter may jump.
    """
    where, growth = None, _FITTED_JUMP if fitted else _JUMP
    worst = _EIGHT_BITS if fitted else inf
    for name, value in values:
        grown = (_EIGHT_BITS if worst == inf else worst) - value
        if grown > growth and value < _MATTERS:
            where, growth = name, grown
        worst = min(worst, value)
    return where, growth if where else 0.0


def _remark(points: Sequence[DepthPoint], *, own: bool) -> str | None:
    if not points:
        return "none of its tensors has a name of our graph: it was not written by this package, or not from this model"
    if not own:
        return (
            "this file was fitted to text, and keeps its streams in coordinates of its own: against the reference it "
            "is compared behind each softmax and at the end, where coordinates are the same, and behind each ReLU, but "
            "for the scale of each unit"
        )
    return None


def _real_part(values: NDArray[np.generic], shape: Shape, length: int) -> NDArray[np.float64]:
    """What is not padding: the first `length` along each axis that runs along the sequence."""
    if values.ndim == len(shape) - 1:
        values = values[None]  # a matrix of one sequence's rows, as our `.onnx` files have them
    if values.ndim != len(shape):
        return np.asarray(values, np.float64)
    kept = tuple(slice(length) if size == SEQUENCE else slice(None) for size in shape)
    return np.asarray(values[kept], np.float64)
