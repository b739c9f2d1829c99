"""Quantization arithmetic: numpy arrays in, numpy arrays and parameters out. Knows no graph and no file."""

from mobilebert_quantization.affine import Affine, Bits, dequantize, quantize, symmetric

__all__ = ["Affine", "Bits", "dequantize", "quantize", "symmetric"]
