"""Affine quantization: how an integer stands for a real number.

    real = scale * (stored - zero_point)

Source: Jacob et al. 2018 (arXiv 1712.05877), section 2.1; and the TFLite quantization specification, which keeps
symmetric int8 weights within [-127, 127] and allows one scale for each slice along one axis.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Bits: TypeAlias = Literal[8, 16]
_STORED: dict[Bits, type[np.signedinteger]] = {8: np.int8, 16: np.int16}


@dataclass(frozen=True)
class Affine:
    """Parameters of a quantized tensor.

    Attributes:
        scale: (1,) or (channels,), float32, positive: the step between neighbouring stored values.
        zero_point: the same shape, int64: the stored value that stands for 0.
        axis: the axis along which the scales differ; None for one scale.
        bits: width of a stored value.
    """

    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]
    axis: int | None
    bits: Bits

    def __post_init__(self) -> None:
        if self.scale.ndim != 1 or self.scale.shape != self.zero_point.shape:
            shapes = f"{self.scale.shape}, {self.zero_point.shape}"
            raise ValueError(f"expected one scale and one zero point a channel, got shapes {shapes}")
        if not (np.all(np.isfinite(self.scale)) and np.all(self.scale > 0)):
            raise ValueError("expected finite, positive scales")


def symmetric(values: NDArray[np.floating], *, axis: int | None, bits: Bits = 8) -> Affine:
    """Parameters with zero point 0 that store the largest magnitude as 2^(bits-1) - 1, for each slice along `axis`.

    scale = max |values| / (2^(bits-1) - 1); a slice of zeros gets scale 1.
    For 8 bits and values (-2.54, 1.0) the scale is 0.02 and the stored values are (-127, 50).

    Raises:
        ValueError: a value is not finite.
    """
    rest = None if axis is None else tuple(i for i in range(values.ndim) if i != axis % values.ndim)
    largest = np.atleast_1d(np.abs(values).max(axis=rest)).astype(np.float64)
    if not np.all(np.isfinite(largest)):
        raise ValueError("expected finite values to quantize, got NaN or infinity")
    # The smallest normal float32: a smaller scale would be 0, or a subnormal that kernels flush to 0.
    smallest = float(np.finfo(np.float32).tiny)
    scale = np.where(largest > 0, np.maximum(largest / (2 ** (bits - 1) - 1), smallest), 1.0).astype(np.float32)
    return Affine(scale, np.zeros(scale.shape, np.int64), axis, bits)


def quantize(values: NDArray[np.floating], parameters: Affine) -> NDArray[np.signedinteger]:
    """The stored values: values / scale + zero_point, rounded half to even, held within the symmetric range."""
    scale, zero_point = _broadcast(parameters, values.ndim)
    largest = 2 ** (parameters.bits - 1) - 1
    stored = np.rint(values / scale) + zero_point
    return np.clip(stored, -largest, largest).astype(_STORED[parameters.bits])


def dequantize(stored: NDArray[np.integer], parameters: Affine) -> NDArray[np.float64]:
    """The real values that the stored ones stand for, in float64."""
    scale, zero_point = _broadcast(parameters, stored.ndim)
    return (stored.astype(np.float64) - zero_point) * scale


def _broadcast(parameters: Affine, rank: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    shape = [1] * rank
    if parameters.axis is not None:
        shape[parameters.axis] = -1
    return parameters.scale.astype(np.float64).reshape(shape), parameters.zero_point.reshape(shape)
