"""The reference model's parameters as float64 numpy arrays, by the names of its checkpoints."""

from dataclasses import dataclass

import numpy as np
from torch import nn

from mobilebert_export.graph.basis import Array
from mobilebert_export.lowering.streams import Affine, Norm


@dataclass(frozen=True)
class Weights:
    """Reads parameters one at a time: the model is never held in float64 as a whole."""

    model: nn.Module

    def array(self, name: str) -> Array:
        """One parameter, by its name in the checkpoint of a model with a head."""
        return np.asarray(self.model.get_parameter(self._path(name)).detach().double().numpy())

    def affine(self, name: str) -> Affine:
        """The weight (out, in) and bias (out) of the Linear called `name`."""
        return Affine(self.array(f"{name}.weight"), self.array(f"{name}.bias"))

    def norm(self, name: str) -> Norm:
        """The NoNorm or LayerNorm called `name`."""
        module = self.model.get_submodule(self._path(name))
        epsilon = module.eps if isinstance(module, nn.LayerNorm) else None
        return Norm(self.array(f"{name}.weight"), self.array(f"{name}.bias"), epsilon)

    def has(self, name: str) -> bool:
        """Whether the model has a module called `name`."""
        return any(path == self._path(name) for path, _ in self.model.named_modules())

    def _path(self, name: str) -> str:
        """The name inside of this model: a bare encoder's have no prefix."""
        return name if hasattr(self.model, "mobilebert") else name.removeprefix("mobilebert.")
