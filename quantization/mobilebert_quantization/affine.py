"""Affine quantization: how an integer stands for a real number.

    real = scale * (stored - zero_point)

Source: Jacob et al. 2018 (arXiv 1712.05877), section 2.1; and the TFLite quantization specification, which keeps
symmetric int8 weights within [-127, 127], lets int8 activations use all of [-128, 127], wants zero point 0 of 16-bit
activations, and allows one scale for each slice along one axis.
"""

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

# 4 and 8 for weights, 8 and 16 for activations, 32 for biases behind the former and 64 behind the latter. Values of 4
# bits lie one to a byte here: packing two into one is the file's matter.
Bits: TypeAlias = Literal[4, 8, 16, 32, 64]
_STORED: dict[Bits, type[np.signedinteger]] = {4: np.int8, 8: np.int8, 16: np.int16, 32: np.int32, 64: np.int64}

# Kernels add the products to the bias. Half of 32 bits is left to them: 2^30 holds the products of 33,000 inputs of 8
# bits at their largest (255 * 127). Behind 16-bit activations kernels sum in 64 bits and rescale sums of 48.
_LARGEST_BIAS: dict[Bits, int] = {32: 2**30, 64: 2**46}
# The smallest normal float32: a smaller scale would be 0, or a subnormal that kernels flush to 0.
_SMALLEST_SCALE = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Affine:
    """Parameters of a quantized tensor.

    Attributes:
        scale: (1,) or (channels,), float32, positive: the step between neighbouring stored values.
        zero_point: the same shape, int64: the stored value that stands for 0.
        axis: the axis along which the scales differ; None for one scale.
        bits: width of a stored value.
        narrow: leave the lowest stored value unused, so that the range is symmetric, as TFLite wants of weights.
    """

    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]
    axis: int | None
    bits: Bits
    narrow: bool = False

    def __post_init__(self) -> None:
        if self.scale.ndim != 1 or self.scale.shape != self.zero_point.shape:
            shapes = f"{self.scale.shape}, {self.zero_point.shape}"
            raise ValueError(f"expected one scale and one zero point a channel, got shapes {shapes}")
        if not (np.all(np.isfinite(self.scale)) and np.all(self.scale > 0)):
            raise ValueError("expected finite, positive scales")

    @property
    def limits(self) -> tuple[int, int]:
        """The lowest and the highest stored value: (-127, 127) for narrow 8 bits, else (-128, 127)."""
        return -(2 ** (self.bits - 1)) + self.narrow, 2 ** (self.bits - 1) - 1


def symmetric(values: NDArray[np.floating], *, axis: int | None, bits: Bits = 8) -> Affine:
    """Parameters of weights: zero point 0, the largest magnitude of each slice along `axis` stored as 2^(bits-1) - 1.

    scale = max |values| / (2^(bits-1) - 1); a slice of zeros gets scale 1. The stored range is narrow.
    For 8 bits and values (-2.54, 1.0) the scale is 0.02 and the stored values are (-127, 50).

    Raises:
        ValueError: a value is not finite, or too large for a float32 scale.
    """
    rest = None if axis is None else tuple(i for i in range(values.ndim) if i != axis % values.ndim)
    largest = np.atleast_1d(np.abs(values).max(axis=rest)).astype(np.float64)
    if not np.all(np.isfinite(largest)):
        raise ValueError("expected finite values to quantize, got NaN or infinity")
    scale = _step(largest, 2 ** (bits - 1) - 1)
    return Affine(scale, np.zeros(scale.shape, np.int64), axis, bits, narrow=True)


def symmetric_range(low: float, high: float, *, bits: Bits) -> Affine:
    """Parameters of activations from `low` to `high` with zero point 0: 16-bit ones, and 8-bit ones that must have it.

    scale = max(-low, high) / (2^(bits-1) - 1); an empty range gets scale 1.
    For 8 bits and (-1.0, 2.54) the scale is 0.02; 2.54 is stored as 127.

    Raises:
        ValueError: `low` is above `high`, or one of them is not finite or too large for a float32 scale.
    """
    low, high = _holding_zero(low, high)
    return Affine(_step(np.array([max(-low, high)]), 2 ** (bits - 1) - 1), np.zeros(1, np.int64), None, bits)


def asymmetric(low: float, high: float, *, bits: Bits = 8) -> Affine:
    """Parameters of activations from `low` to `high`, widened to hold 0, which is stored exactly.

    scale = (high - low) / (2^bits - 1), zero_point = round(-2^(bits-1) - low / scale): every value of the range is
    within half a step of its stored one. An empty range gets scale 1 and zero point 0.
    For 8 bits and (-1.0, 4.1) the scale is 0.02, the zero point -78; -1.0 is stored as -128, 4.1 as 127.

    Raises:
        ValueError: `low` is above `high`, one of them is not finite or the range too wide for a float32 scale, or
            `bits` is above 8: TFLite's kernels take wider values with zero point 0 alone (`symmetric_range`).
    """
    if bits > 8:  # noqa: PLR2004
        raise ValueError(f"expected at most 8 bits for a zero point other than 0, got {bits}; use symmetric_range")
    low, high = _holding_zero(low, high)
    # Halves: the difference of two float64 may be infinite, and that is for Affine to refuse.
    scale = _step(np.array([high / 2 - low / 2]), (2**bits - 1) / 2)
    lowest, highest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    zero_point = np.clip(np.rint(lowest - low / scale.astype(np.float64)), lowest, highest).astype(np.int64)
    return Affine(scale, zero_point if low < high else np.zeros(1, np.int64), None, bits)


def weight_parameters(weight: NDArray[np.floating], bias: NDArray[np.floating], *, activation: Affine) -> Affine:
    """Parameters of an 8-bit weight (outputs, ...) with a scale for each output, wide enough for the bias (outputs,).

    As `symmetric` along axis 0, but for an output whose bias would pass the limits of `bias_parameters`: its scale is
    the smallest at which it does not. An output whose weights are all 0 gets the median scale of the others, beside
    which no kernel finds it odd. For weights (1e-12) and a bias of 1 at an activation scale of 2^-10 the scale is
    2^-20, where the weight is stored as 0: beside such a bias it says nothing.

    Raises:
        ValueError: a weight or a bias is not finite.
    """
    parameters = symmetric(weight, axis=0)
    dead = ~np.any(weight, axis=tuple(range(1, weight.ndim)))
    if dead.any() and not dead.all():
        parameters = replace(parameters, scale=np.where(dead, np.median(parameters.scale[~dead]), parameters.scale))
    unit = np.maximum(np.abs(bias).astype(np.float64) / _LARGEST_BIAS[_bias_bits(activation)], _SMALLEST_SCALE)
    # The scale and its product with the activation's are each rounded to float32: by at most 2^-24 of them.
    smallest = (unit / float(activation.scale[0]) * (1 + 2**-22)).astype(np.float32)
    return replace(parameters, scale=np.maximum(parameters.scale, smallest))


def bias_parameters(values: NDArray[np.floating], *, activation: Affine, weight: Affine) -> Affine:
    """Parameters of the bias (channels,) of a Linear: the unit in which its products of integers are summed.

    scale = activation scale * weight scale, for each output channel if the weight has one for each; zero point 0. The
    width is 32 bits for activations of 8, and 64 for those of 16.
    For an activation scale of 0.1 and weight scales (0.02, 0.01) the scales are (0.002, 0.001), and biases (1, 1) are
    stored as (500, 1000).

    Raises:
        ValueError: a bias is not finite or passes 2^30 (2^46 behind 16 bits: the products are added to it); the product
            of the scales is no normal float32; the activation has several scales; or the channels differ in number.
    """
    if activation.axis is not None:
        raise ValueError(f"expected one scale for the activation, got {activation.scale.size}")
    if weight.axis is not None and values.shape != weight.scale.shape:
        raise ValueError(f"expected one bias for each of {weight.scale.size} channels, got shape {values.shape}")
    with np.errstate(over="ignore", under="ignore"):
        scale = (activation.scale.astype(np.float64) * weight.scale).astype(np.float32)
    if not np.all(np.isfinite(scale) & (scale >= np.finfo(np.float32).tiny)):
        raise ValueError(f"expected a normal float32 as product of scales, got {scale.min():g} to {scale.max():g}")
    bits = _bias_bits(activation)
    # The negation also holds for NaN.
    outside = ~(np.abs(values) <= _LARGEST_BIAS[bits] * scale.astype(np.float64))
    if np.any(outside):
        channel = int(np.argmax(outside))
        step = scale[channel if scale.size > 1 else 0]
        limit = f"2^{_LARGEST_BIAS[bits].bit_length() - 1}"
        raise ValueError(
            f"expected biases within {limit} steps, got {values[channel]:g} at a step of {step:g} in channel {channel};"
            " give its weights a larger scale"
        )
    axis = None if weight.axis is None else 0
    return Affine(scale, np.zeros(scale.shape, np.int64), axis, bits)


def _bias_bits(activation: Affine) -> Bits:
    return 32 if activation.bits <= 8 else 64  # noqa: PLR2004 - as the kernels' accumulators


def quantize(values: NDArray[np.floating], parameters: Affine) -> NDArray[np.signedinteger]:
    """The stored values: values / scale rounded half to even, plus zero_point, held within the stored limits.

    Raises:
        ValueError: a value is NaN.
    """
    scale, zero_point = _broadcast(parameters, values.ndim)
    with np.errstate(over="ignore"):
        stored = np.rint(values / scale) + zero_point
    if np.any(np.isnan(stored)):
        raise ValueError("expected numbers to quantize, got NaN")
    return np.clip(stored, *parameters.limits).astype(_STORED[parameters.bits])


def dequantize(stored: NDArray[np.integer], parameters: Affine) -> NDArray[np.float64]:
    """The real values that the stored ones stand for, in float64."""
    scale, zero_point = _broadcast(parameters, stored.ndim)
    return (stored.astype(np.float64) - zero_point) * scale


def _broadcast(parameters: Affine, rank: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    shape = [1] * rank
    if parameters.axis is not None:
        shape[parameters.axis] = -1
    return parameters.scale.astype(np.float64).reshape(shape), parameters.zero_point.reshape(shape)


def _holding_zero(low: float, high: float) -> tuple[float, float]:
    if not (np.isfinite(low) and np.isfinite(high) and low <= high):
        raise ValueError(f"expected a finite range with low <= high, got ({low:g}, {high:g})")
    return min(float(low), 0.0), max(float(high), 0.0)


def _step(widths: NDArray[np.float64], steps: float) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return np.where(widths > 0, np.maximum(widths / steps, _SMALLEST_SCALE), 1.0).astype(np.float32)
