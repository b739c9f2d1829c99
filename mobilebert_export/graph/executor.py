"""Runs a graph in PyTorch: the meaning of every operator, in one place.

Real numbers are computed in float64 or float32; an emitted file is judged by how near it comes. A tensor of stored
integers is held as the real numbers that they stand for: an operator on such tensors computes in real numbers, and what
it gives is rounded to a step of its output. Kernels reach the same step by integers, or the one beside it where their
multiplier is rounded too.
"""

from collections.abc import Callable, Mapping

import mobilebert_quantization as quantization
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F
from typing_extensions import assert_never

from mobilebert_export.errors import GraphError
from mobilebert_export.graph import operators as op
from mobilebert_export.graph.graph import Graph, Node, Tensor, bound
from mobilebert_export.graph.operators import BATCH, SEQUENCE, TOKENS

_ACTIVATIONS: dict[op.Function, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "rsqrt": torch.rsqrt,
}

Observer = Callable[[str, NDArray[np.floating]], None]


def execute(
    graph: Graph,
    inputs: Mapping[str, NDArray[np.integer]],
    *,
    dtype: torch.dtype = torch.float64,
    observe: Observer | None = None,
    known: Mapping[str, NDArray[np.floating]] | None = None,
) -> dict[str, NDArray[np.floating]]:
    """Runs the graph on integer inputs (batch, sequence).

    Args:
        graph: bound or not; symbols take the inputs' sizes.
        inputs: an array for each of the graph's inputs.
        dtype: what real numbers are computed in.
        observe: is given the name and the value of each computed tensor, as it is computed. Values are let go after
            their last reader, so memory does not grow with the depth.
        known: values of tensors from an earlier run: a node that gives nothing else is not run again.

    Returns:
        The outputs, by name.

    Raises:
        GraphError: an input is missing or of another shape, or an id is outside of its table.
    """
    values = {name: torch.from_numpy(np.asarray(_expected(inputs, name), np.int64)) for name in graph.inputs}
    shapes = {tuple(value.shape) for value in values.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2:  # noqa: PLR2004 - (batch, sequence)
        raise GraphError(f"expected inputs of one shape (batch, sequence), got {', '.join(map(str, sorted(shapes)))}")
    batch, sequence = next(iter(shapes))
    sizes = {BATCH: batch, SEQUENCE: sequence}
    last_reader = {name: index for index, node in enumerate(graph.nodes) for name in node.inputs}
    kept = set(graph.outputs.values())

    with torch.no_grad():
        for index, node in enumerate(graph.nodes):
            if known is not None and known.keys() >= set(node.outputs):
                values.update({name: torch.from_numpy(known[name]) for name in node.outputs})
                continue
            operands = [values[name] if name in values else _real(graph.tensors[name], dtype) for name in node.inputs]
            results = _run(node, operands, graph, sizes)
            if isinstance(node.operator, op.Trim):
                sizes[TOKENS] = results[0].shape[1]
            for name, value in zip(node.outputs, results, strict=True):
                values[name] = _rounded(value, graph.tensors[name].quantization)
                if observe is not None:
                    observe(name, values[name].numpy())
            for name in set(node.inputs) - kept:
                if last_reader[name] == index:
                    values.pop(name, None)
    return {output: np.asarray(values[name].numpy()) for output, name in graph.outputs.items()}


def _expected(inputs: Mapping[str, NDArray[np.integer]], name: str) -> NDArray[np.integer]:
    if name not in inputs:
        raise GraphError(f"expected an input {name}, got {', '.join(inputs) or 'none'}")
    return inputs[name]


def _real(tensor: Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A constant, as the real numbers that it stands for."""
    if tensor.data is None:
        raise GraphError(f"tensor {tensor.name} is read, but nothing gave it")
    if tensor.quantization is not None:
        stored = tensor.data.astype(np.int64)
        return torch.from_numpy(quantization.dequantize(stored, tensor.quantization)).to(dtype)
    return torch.from_numpy(tensor.data).to(dtype)


def _run(node: Node, operands: list[torch.Tensor], graph: Graph, sizes: Mapping[str, int]) -> tuple[torch.Tensor, ...]:
    if isinstance(node.operator, op.Split):
        return torch.tensor_split(operands[0], len(node.outputs), dim=node.operator.axis)
    if isinstance(node.operator, op.Linear):
        values, weight = (graph.tensors[name] for name in node.inputs[:2])
        if values.quantization is None and weight.quantization is not None:
            operands = [dynamically_rounded(operands[0]), *operands[1:]]
    return (_compute(node.operator, operands, sizes),)


def _compute(operator: op.Operator, operands: list[torch.Tensor], sizes: Mapping[str, int]) -> torch.Tensor:
    x = operands[0]
    match operator:
        case op.Gather():
            ids = operands[1]
            if ids.numel() and not (int(ids.min()) >= 0 and int(ids.max()) < len(x)):
                raise GraphError(f"expected ids from 0 to {len(x) - 1}, got {int(ids.min())} to {int(ids.max())}")
            return x[ids]
        case op.Trim():
            occupied = operands[1].any(dim=0).nonzero()
            return x[:, : int(occupied.max()) + 2 if len(occupied) else None]
        case op.Positions():
            return x[None, : operands[1].shape[1]]
        case op.Linear(activation=activation):
            y = F.linear(x, operands[1], operands[2])
            return F.relu(y) if activation == "relu" else y
        case op.Convolution():
            # torch has channels first, and taps last.
            return F.conv1d(x.transpose(1, 2), operands[1].transpose(1, 2), operands[2], padding="same").transpose(1, 2)
        case op.Add():
            return x + operands[1]
        case op.Multiply():
            return x * operands[1]
        case op.Subtract():
            return x - operands[1]
        case op.Mean():
            return x.mean(dim=-1, keepdim=True)
        case op.MatMul(transpose_right=transposed):
            return x @ (operands[1].transpose(-1, -2) if transposed else operands[1])
        case op.Softmax():
            return torch.softmax(x, dim=-1)
        case op.Activation(function=function):
            return _ACTIVATIONS[function](x)
        case op.LayerNorm(epsilon=epsilon):
            return F.layer_norm(x, x.shape[-1:], operands[1], operands[2], epsilon)
        case op.Reshape(shape=shape):
            return x.reshape(bound(shape, sizes))
        case op.Transpose(permutation=permutation):
            return x.permute(permutation)
        case op.First(axis=axis):
            return x.narrow(axis, 0, 1)
        case op.Quantize() | op.Dequantize():
            return x  # an output that is stored in integers is rounded as any other
        case op.Split():
            raise GraphError("a split has several outputs")
        case _:
            assert_never(operator)


def _rounded(x: torch.Tensor, parameters: quantization.Affine | None) -> torch.Tensor:
    """Activations as a tensor with one scale holds them."""
    if parameters is None:
        return x
    scale, zero_point = float(parameters.scale[0]), int(parameters.zero_point[0])
    low, high = parameters.limits
    return ((x / scale).round().clamp(low - zero_point, high - zero_point)) * scale


def dynamically_rounded(x: torch.Tensor) -> torch.Tensor:
    """Activations as a Linear with int8 weights sees them: each row rounded to 8 bits within its own range.

    step = (max(x, 0) - min(x, 0)) / 255 over the last axis, with an integer zero point: what XNNPACK computes for
    its `qd8` kernels.
    """
    low, high = x.amin(-1, keepdim=True).clamp(max=0), x.amax(-1, keepdim=True).clamp(min=0)
    step = (high - low) / 255
    step = torch.where(step > 0, step, torch.ones_like(step))
    zero_point = (-128 - low / step).round()
    return ((x / step + zero_point).round().clamp(-128, 127) - zero_point) * step
