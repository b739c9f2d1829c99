"""Weights for kernels that add the products of two neighbouring inputs in 16 bits.

x86 without VNNI has an instruction for that (`vpmaddubsw`), of unsigned inputs with signed weights. A sum that passes
16 bits is cut off to 32,767 or -32,768, without a word.

Source: the description of the instruction, and ONNX Runtime's documentation of quantization, which halves all weights
("reduce range") against it; here only the rows that need it are scaled down, by as much as they need.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mobilebert_quantization.affine import Affine

# Inputs of at most 255 times two weights whose magnitudes sum to this stay within 16 bits: 32,640.
LARGEST_PAIR = 128
# Each of the two may round up by half.
_LARGEST_UNROUNDED = LARGEST_PAIR - 1


def largest_pairs(weight: NDArray[np.generic]) -> NDArray[np.float64]:
    """The largest magnitude, (outputs,), that two neighbouring inputs of one sign sum to in a weight (outputs, inputs).

    Neighbours are inputs 2k and 2k + 1. For a row (3, 4, -5, 1, -2) the sums are 7, 5, 1 and 2, the largest of them 7.
    """
    even = np.pad(weight.astype(np.float64), ((0, 0), (0, weight.shape[1] % 2)))
    pairs = even.reshape(len(even), -1, 2)
    return np.asarray(np.maximum(pairs.clip(min=0).sum(axis=2), -pairs.clip(max=0).sum(axis=2)).max(axis=1, initial=0))


def paired(weight: NDArray[np.floating], parameters: Affine) -> Affine:
    """Parameters of a weight (outputs, inputs) with the scales widened, so that no pair of stored values passes 128.

        scale = max(scale, p / 127)

    p is `largest_pairs` of the weight. Rounding adds at most a half to each of the two. An input that is stored
    without a sign, in 8 bits, then never makes their products pass 16 bits.
    For a row (1.27, 1.27) at scale 0.01 the scale becomes 0.02, and the stored values (63, 63) instead of (127, 127).

    Raises:
        ValueError: the parameters are not those of 8 bits with zero point 0 and a scale for each output.
    """
    if parameters.bits != 8 or parameters.axis != 0 or parameters.zero_point.any():  # noqa: PLR2004 - as the kernels
        raise ValueError("expected parameters of 8 bits with zero point 0 and a scale for each output")
    widened = largest_pairs(weight) / _LARGEST_UNROUNDED
    # Up to the next float32: at a scale that was rounded down, a sum could pass the limit.
    scale = np.where(widened > parameters.scale, np.nextafter(widened.astype(np.float32), np.float32(np.inf)), 0)
    return replace(parameters, scale=np.maximum(parameters.scale, scale.astype(np.float32)))
