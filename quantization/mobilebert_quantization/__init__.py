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
)
from mobilebert_quantization.bias_correction import bias_correction
from mobilebert_quantization.centring import centre
from mobilebert_quantization.observers import ChannelRange, Histogram, SecondMoment
from mobilebert_quantization.ranges import entropy, min_max, mse, percentile
from mobilebert_quantization.rotation import principal_axes
from mobilebert_quantization.smoothing import smoothing_scales

__all__ = [
    "Affine",
    "Bits",
    "ChannelRange",
    "Histogram",
    "SecondMoment",
    "asymmetric",
    "bias_correction",
    "bias_parameters",
    "centre",
    "dequantize",
    "entropy",
    "min_max",
    "mse",
    "percentile",
    "principal_axes",
    "quantize",
    "smoothing_scales",
    "symmetric",
    "symmetric_range",
]
