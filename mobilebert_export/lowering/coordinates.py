"""How streams are kept: every choice that changes what is stored, and nothing that is computed."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mobilebert_export.graph.basis import Basis
from mobilebert_export.lowering.rescale import RescaleRule


@dataclass(frozen=True)
class Coordinates:
    """The coordinates of a graph's tensors, by their names; the reference's own where none are given.

    Attributes:
        bases: the basis that a stream starts in, where it is free to choose.
        rescale: which norms multiply their gains in, and so start a stream anew.
    """

    bases: Mapping[str, Basis] = field(default_factory=dict)
    rescale: RescaleRule = field(default_factory=RescaleRule)

    def start(self, name: str, channels: int) -> Basis:
        """The basis in which the tensor `name` starts a stream."""
        return self.bases.get(name, Basis.identity(channels))
