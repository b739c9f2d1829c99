"""Quantization arithmetic: numpy arrays in, numpy arrays and parameters out. Knows no graph and no file."""

from mobilebert_quantization.affine import (
    Affine,
    Bits,
    asymmetric,
    bias_parameters,
    dequantize,
    quantize,
    symmetric,
    symmetric_range,
    weight_parameters,
)
from mobilebert_quantization.bias_correction import bias_correction
from mobilebert_quantization.centring import centre
from mobilebert_quantization.growth import LogMagnitude, growth_apart
from mobilebert_quantization.observers import ChannelRange, Histogram, RowMaximum, SecondMoment
from mobilebert_quantization.pairing import LARGEST_PAIR, largest_pairs, paired
from mobilebert_quantization.ranges import entropy, min_max, mse, percentile
from mobilebert_quantization.rotation import principal_axes
from mobilebert_quantization.smoothing import product_scales, smoothing_scales

__all__ = [
    "LARGEST_PAIR",
    "Affine",
    "Bits",
    "ChannelRange",
    "Histogram",
    "LogMagnitude",
    "RowMaximum",
    "SecondMoment",
    "asymmetric",
    "bias_correction",
    "bias_parameters",
    "centre",
    "dequantize",
    "entropy",
    "growth_apart",
    "largest_pairs",
    "min_max",
    "mse",
    "paired",
    "percentile",
    "principal_axes",
    "product_scales",
    "quantize",
    "smoothing_scales",
    "symmetric",
    "symmetric_range",
    "weight_parameters",
]
