"""The executor's integer arithmetic against LiteRT's kernels, one kind of node at a time.

Each graph holds one node. Its operands are rows of stored integers that a gather picks, for ids are all that our files
take; what is compared are the stored integers of its output.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

import mobilebert_quantization as quantization
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from hypothesis import given, settings
from hypothesis import strategies as st
from mobilebert_quantization import Affine
from numpy.typing import NDArray

from mobilebert_export.emitters.tflite import emit
from mobilebert_export.emitters.tflite.file import SIGNATURE
from mobilebert_export.graph import Graph, Node, Tensor
from mobilebert_export.graph import operators as op
from mobilebert_export.graph.builder import output_shape
from mobilebert_export.graph.executor import execute
from mobilebert_export.precisions.parameters import ActivationBits

Values: TypeAlias = NDArray[np.generic]
Inputs: TypeAlias = dict[str, NDArray[np.int32]]

# With XNNPACK, with LiteRT's optimized kernels, and with those that define what an operator means.
RESOLVERS = {
    "delegate": OpResolverType.AUTO,
    "optimized": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    "reference": OpResolverType.BUILTIN_REF,
}
DTYPES: dict[int, np.dtype[np.generic]] = {8: np.dtype(np.int8), 16: np.dtype(np.int16)}
ROWS, WIDTH = 6, 16
IDS: Inputs = {"ids": np.arange(ROWS, dtype=np.int32)[None]}
MODELS = range(16)


@dataclass(frozen=True)
class Operand:
    """Stored integers, or real numbers: of a constant, or the rows that a gather picks in their order."""

    stored: Values
    parameters: Affine | None
    constant: bool = False


@dataclass(frozen=True)
class Case:
    """A node, what it reads, and how its output is stored; None where that is chosen from what it gives."""

    operator: op.Operator
    operands: Sequence[Operand]
    output: Affine | None = None


Chooser: TypeAlias = np.random.Generator
Maker: TypeAlias = Callable[[Chooser, ActivationBits], Case]


def affine(scale: float, zero_point: int = 0, bits: ActivationBits = 8) -> Affine:
    return Affine(np.array([scale], np.float32), np.array([zero_point]), None, bits)


def parameters(chooser: Chooser, bits: ActivationBits, low: float = 1e-4, high: float = 1e2) -> Affine:
    """Of an activation: any scale between two, and any zero point where there may be one."""
    scale = np.exp(chooser.uniform(np.log(low), np.log(high)))
    return affine(scale, int(chooser.integers(-128, 128)) if bits == 8 else 0, bits)


def beside(chooser: Chooser, other: Affine, bits: ActivationBits) -> Affine:
    """Of what meets another activation: a scale within a factor of ten of it."""
    scale = float(other.scale[0])
    return parameters(chooser, bits, scale / 10, scale * 10)


def values(chooser: Chooser, shape: tuple[int, ...], stored_by: Affine) -> Operand:
    """Stored values from all of the range, both ends among them."""
    stored = chooser.integers(*stored_by.limits, shape, endpoint=True)
    stored.reshape(-1)[:2] = stored_by.limits
    return Operand(stored.astype(DTYPES[stored_by.bits]), stored_by)


def graph_of(operator: op.Operator, operands: Sequence[Operand], outputs: Sequence[Affine | None]) -> Graph:
    """A graph of one node, behind the gathers of its operands."""
    tensors = {"ids": Tensor("ids", (1, ROWS), np.dtype(np.int32))}
    nodes, names = [], []
    for index, operand in enumerate(operands):
        name = f"operand{index}"
        shape: tuple[int, ...] = operand.stored.shape
        constant = Tensor(name, shape, operand.stored.dtype, operand.stored, operand.parameters)
        tensors[name] = constant
        if not operand.constant:
            table, name = name, f"{name}.rows"
            tensors[name] = replace(constant, name=name, shape=(1, ROWS, *shape[1:]), data=None)
            nodes.append(Node(op.Gather(), (table, "ids"), (name,)))
        names.append(name)
    shape_out = output_shape(operator, [tensors[name].shape for name in names], parts=len(outputs))
    given_names = tuple(f"output{index}" for index in range(len(outputs)))
    for name, stored_by in zip(given_names, outputs, strict=True):
        dtype = np.dtype(np.float32) if stored_by is None else DTYPES[stored_by.bits]
        tensors[name] = Tensor(name, shape_out, dtype, None, stored_by)
    nodes.append(Node(operator, tuple(names), given_names))
    return Graph(tensors, tuple(nodes), ("ids",), {name: name for name in given_names})


def of_litert(graph: Graph, resolver: str, inputs: Inputs = IDS) -> dict[str, Values]:
    """What the emitted file gives, as it is stored."""
    interpreter = Interpreter(
        model_content=emit(graph), num_threads=1, experimental_op_resolver_type=RESOLVERS[resolver]
    )
    given: dict[str, Values] = interpreter.get_signature_runner(SIGNATURE)(**inputs)
    return given


def of_executor(graph: Graph, inputs: Inputs = IDS) -> dict[str, Values]:
    """What the executor gives, as it is stored."""
    given: dict[str, Values] = {}
    for name, real in execute(graph, inputs).items():
        stored_by = graph.tensors[graph.outputs[name]].quantization
        given[name] = real if stored_by is None else quantization.quantize(real, stored_by)
    return given


def differences(graph: Graph, resolver: str, inputs: Inputs = IDS) -> NDArray[np.int64]:
    """What LiteRT stores less what the executor does, of all outputs in a row."""
    ours, theirs = of_executor(graph, inputs), of_litert(graph, resolver, inputs)
    assert ours.keys() == theirs.keys()
    for name, mine in ours.items():
        assert (mine.shape, mine.dtype) == (theirs[name].shape, theirs[name].dtype)
    return np.concatenate([(theirs[name].astype(np.int64) - ours[name].astype(np.int64)).ravel() for name in ours])


def of_case(case: Case, bits: ActivationBits) -> Graph:
    """Its output holds most of what the node gives; both ends are cut off."""
    if case.output is not None:
        return graph_of(case.operator, case.operands, [case.output])
    real = execute(graph_of(case.operator, case.operands, [None]), IDS)["output0"]
    low, high = (float(end) for end in np.quantile(real, [0.02, 0.98]))
    low, high = min(low, 0.0), max(high, 0.0)
    stored_by = quantization.asymmetric(low, high) if bits == 8 else quantization.symmetric_range(low, high, bits=bits)
    return graph_of(case.operator, case.operands, [stored_by])


def weighed(chooser: Chooser, bits: ActivationBits, operator: op.Linear | op.Convolution) -> Case:
    """Weights over six powers of ten, and biases as large as what they are added to."""
    activation = parameters(chooser, bits)
    inner = (3, WIDTH) if isinstance(operator, op.Convolution) else (WIDTH,)
    weight = chooser.standard_normal((12, *inner))
    weight *= (10 ** chooser.uniform(-3, 3, 12)).reshape(12, *(1 for _ in inner))
    reach = np.abs(weight).reshape(12, -1).sum(axis=1) * float(activation.scale[0]) * activation.limits[1] / 4
    bias = chooser.standard_normal(12) * reach
    stored_by = quantization.weight_parameters(weight, bias, activation=activation)
    unit = quantization.bias_parameters(bias, activation=activation, weight=stored_by)
    return Case(
        operator,
        [
            values(chooser, (ROWS, WIDTH), activation),
            Operand(quantization.quantize(weight, stored_by), stored_by, constant=True),
            Operand(quantization.quantize(bias, unit), unit, constant=True),
        ],
    )


def paired(
    chooser: Chooser,
    bits: ActivationBits,
    operator: op.Operator,
    shape: tuple[int, ...] = (ROWS, WIDTH),
    constant: bool = False,
) -> Case:
    """Two operands whose scales are alike."""
    left = parameters(chooser, bits)
    right = replace(values(chooser, shape, beside(chooser, left, bits)), constant=constant)
    return Case(operator, [values(chooser, (ROWS, WIDTH), left), right])


def scaled(chooser: Chooser, bits: ActivationBits) -> Case:
    """Factors over six powers of ten, each with a scale of its own."""
    factors = chooser.standard_normal(WIDTH) * 10 ** chooser.uniform(-3, 3, WIDTH)
    stored_by = quantization.symmetric(factors, axis=0)
    constant = Operand(quantization.quantize(factors, stored_by), stored_by, constant=True)
    return Case(op.Multiply(), [values(chooser, (ROWS, WIDTH), parameters(chooser, bits)), constant])


def multiplied(chooser: Chooser, bits: ActivationBits, transposed: bool) -> Case:
    left = parameters(chooser, bits)
    right = replace(beside(chooser, left, bits), zero_point=np.zeros(1, np.int64))
    shape = (ROWS, 7, WIDTH) if transposed else (ROWS, WIDTH, 7)
    return Case(op.MatMul(transposed), [values(chooser, (ROWS, 5, WIDTH), left), values(chooser, shape, right)])


def alone(chooser: Chooser, bits: ActivationBits, operator: op.Operator) -> Case:
    return Case(operator, [values(chooser, (ROWS, WIDTH), parameters(chooser, bits))])


def natural(chooser: Chooser, bits: ActivationBits, operator: op.Operator, output: Affine) -> Case:
    """What reaches from half of what matters to a multiple of it, with an output as TFLite fixes it."""
    largest = chooser.uniform(2, 8 if isinstance(operator, op.Softmax) else 40)
    span = largest / 2**bits
    return Case(operator, [values(chooser, (ROWS, WIDTH), parameters(chooser, bits, span, span * 1.001))], output)


def smooth(chooser: Chooser, bits: ActivationBits, function: op.Function) -> Case:
    return Case(op.Activation(function), [values(chooser, (ROWS, WIDTH), parameters(chooser, bits, 1e-3, 0.3))])


def root(chooser: Chooser, bits: ActivationBits) -> Case:
    """Positive values. In 16 bits only what its table is fit for: entries are 128 apart, and saturate early."""
    stored_by = replace(parameters(chooser, bits), zero_point=np.array([-128 if bits == 8 else 0]))
    low, high = (-127, 127) if bits == 8 else (2**13, 2**15 - 1)
    stored = chooser.integers(low, high, (ROWS, WIDTH), endpoint=True).astype(DTYPES[bits])
    largest = 1 / np.sqrt((low - 256) * float(stored_by.scale[0])) if bits == 16 else 0.0
    output = quantization.symmetric_range(0, largest, bits=16) if bits == 16 else None
    return Case(op.Activation("rsqrt"), [Operand(stored, stored_by)], output)


PROBABILITY, UNIT = {8: affine(2**-8, -128), 16: affine(2**-15, 0, 16)}, {8: affine(2**-7), 16: affine(2**-15, 0, 16)}

MAKERS: dict[str, Maker] = {
    "linear": partial(weighed, operator=op.Linear()),
    "linear with relu": partial(weighed, operator=op.Linear("relu")),
    "convolution": partial(weighed, operator=op.Convolution()),
    "add": partial(paired, operator=op.Add()),
    "add a constant": partial(paired, operator=op.Add(), shape=(WIDTH,), constant=True),
    "subtract": partial(paired, operator=op.Subtract()),
    "subtract one a row": partial(paired, operator=op.Subtract(), shape=(ROWS, 1)),
    "multiply": partial(paired, operator=op.Multiply()),
    "multiply by one a row": partial(paired, operator=op.Multiply(), shape=(ROWS, 1)),
    "factors": scaled,
    "mean": partial(alone, operator=op.Mean()),
    "matrices": partial(multiplied, transposed=False),
    "matrices, right one transposed": partial(multiplied, transposed=True),
    "relu": partial(alone, operator=op.Activation("relu")),
    "rsqrt": root,
    "softmax": lambda chooser, bits: natural(chooser, bits, op.Softmax(), PROBABILITY[bits]),
    "sigmoid": lambda chooser, bits: natural(chooser, bits, op.Activation("sigmoid"), PROBABILITY[bits]),
    "tanh": lambda chooser, bits: natural(chooser, bits, op.Activation("tanh"), UNIT[bits]),
    "gelu": partial(smooth, function="gelu"),
    "gelu_new": partial(smooth, function="gelu_new"),
}
# An 8-bit function is a table with an entry for each stored value, each rounded once; XNNPACK's sigmoid and tanh are
# rational approximations, and it takes no softmax.
TABLES = ("sigmoid", "tanh", "gelu", "gelu_new")
NO_16_BIT_KERNEL = ("gelu", "gelu_new")

# The steps that kernels may be off where it is not one. 16-bit tables have 513 entries, with straight lines between:
# - tanh: at most 0.77 h²/8 of 2^15 steps off the curve, 2 at the h of 1/41 between its 256 entries up to 6.2, rounded.
# - softmax: each exponential is rounded twice to a step and their sum divides: a step for each entry of a row.
# - rsqrt: at most 3/32 (h/x)² of the value, which at a quarter of the range (h/x = 1/64) is 0.75 steps; two roundings.
STEPS = {("tanh", 16): 3, ("softmax", 16): WIDTH, ("rsqrt", 16): 3}

# How often kernels may take the step beside: where two roundings meet a tie, or, with 64-bit sums, a multiplier of 15
# bits shifts a result of 16 by up to half a step. A zero point that is one off, or rounding down, is half the time off.
SHARE = {8: 0.02, 16: 0.25}
# Their sums are rounded before they are divided, or the tables above are in play: straight lines above a hollow curve.
SHARES = {("mean", 8): 0.2, ("softmax", 16): 1.0, ("tanh", 16): 0.7, ("sigmoid", 16): 0.4, ("rsqrt", 16): 0.9}


@pytest.mark.parametrize("resolver", RESOLVERS)
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("kind", MAKERS)
def test_kernel_gives_the_same_step_or_the_one_beside(kind: str, bits: ActivationBits, resolver: str) -> None:
    if bits == 16 and kind in NO_16_BIT_KERNEL:
        return
    apart = []
    for seed in MODELS:
        case = MAKERS[kind](np.random.default_rng(seed), bits)
        apart.append(differences(of_case(case, bits), resolver))
    steps, share = np.abs(np.concatenate(apart)), SHARES.get((kind, bits), SHARE[bits])
    exact = bits == 8 and kind in TABLES and resolver != "delegate"
    assert steps.max() <= (0 if exact else STEPS.get((kind, bits), 1))
    assert np.mean(steps > 0) <= share


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(sorted(MAKERS)), st.integers(0, 2**32 - 1), st.sampled_from(sorted(RESOLVERS)))
def test_any_8_bit_kernel_is_within_a_step(kind: str, seed: int, resolver: str) -> None:
    graph = of_case(MAKERS[kind](np.random.default_rng(seed), 8), 8)
    assert np.abs(differences(graph, resolver)).max() <= 1


@pytest.mark.parametrize("resolver", RESOLVERS)
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(
    ("operator", "parts"),
    [(op.Transpose((0, 2, 1)), 1), (op.Split(-1), 2), (op.First(1), 1), (op.Reshape((1, WIDTH // 2, 2 * ROWS)), 1)],
    ids=["transpose", "split", "first", "reshape"],
)
def test_what_moves_elements_keeps_them_to_the_bit(
    operator: op.Operator, parts: int, bits: ActivationBits, resolver: str
) -> None:
    chooser = np.random.default_rng(0)
    stored_by = parameters(chooser, bits)
    graph = graph_of(operator, [values(chooser, (ROWS, WIDTH), stored_by)], [stored_by] * parts)
    np.testing.assert_array_equal(differences(graph, resolver), 0)


@pytest.mark.parametrize("resolver", RESOLVERS)
@pytest.mark.parametrize("bits", [8, 16])
def test_gather_picks_rows_to_the_bit(bits: ActivationBits, resolver: str) -> None:
    chooser = np.random.default_rng(0)
    stored_by = parameters(chooser, bits)
    table = values(chooser, (50, WIDTH), stored_by)
    graph = graph_of(op.Reshape((1, ROWS, WIDTH)), [table], [stored_by])
    ids: Inputs = {"ids": np.array([[49, 0, 7, 7, 31, 0]], np.int32)}
    np.testing.assert_array_equal(of_litert(graph, resolver, ids)["output0"][0], table.stored[ids["ids"][0]])
    np.testing.assert_array_equal(differences(graph, resolver, ids), 0)


@pytest.mark.parametrize("resolver", RESOLVERS)
@pytest.mark.parametrize("bits", [8, 16])
def test_real_numbers_are_stored_to_the_nearest_step(bits: ActivationBits, resolver: str) -> None:
    chooser = np.random.default_rng(0)
    for _ in MODELS:
        stored_by = parameters(chooser, bits)
        scale, zero_point = float(stored_by.scale[0]), int(stored_by.zero_point[0])
        low, high = stored_by.limits
        # Beyond both ends too. Kept off the ties by 2^-5 of a step: float32 divides 16-bit numbers to 2^-8 of one.
        whole = chooser.integers(2 * low, 2 * high, (ROWS, WIDTH)) - zero_point
        real = (whole + chooser.uniform(-1, 1, (ROWS, WIDTH)) * (0.5 - 2.0**-5)) * scale
        table = Operand(real.astype(np.float32), None)
        graph = graph_of(op.Quantize(), [table], [stored_by])
        expected = np.clip(whole + zero_point, low, high)
        np.testing.assert_array_equal(of_litert(graph, resolver)["output0"][0], expected)
        np.testing.assert_array_equal(of_executor(graph)["output0"][0], expected)


@pytest.mark.parametrize("resolver", RESOLVERS)
@pytest.mark.parametrize("bits", [8, 16])
def test_stored_numbers_stand_for_the_same_real_ones(bits: ActivationBits, resolver: str) -> None:
    chooser = np.random.default_rng(0)
    for _ in MODELS:
        stored_by = parameters(chooser, bits)
        graph = graph_of(op.Dequantize(), [values(chooser, (ROWS, WIDTH), stored_by)], [None])
        # Some kernels multiply the value and the zero point each by the scale: 2^-24 of each, and of their difference.
        bound = 3 * 2.0**-24 * 2.0**bits * float(stored_by.scale[0])
        np.testing.assert_allclose(
            of_litert(graph, resolver)["output0"].astype(np.float64),
            of_executor(graph)["output0"].astype(np.float64),
            rtol=0,
            atol=bound,
        )


@pytest.mark.parametrize("resolver", RESOLVERS)
@pytest.mark.parametrize("depth", [9.9, 12.0, 1000.0])
def test_16_bit_softmax_gives_two_steps_to_what_is_far_below(depth: float, resolver: str) -> None:
    """Its table ends at exp(-10), which is 1.5 steps of 2^-15: masked positions keep that much, 8-bit ones none."""
    scores = np.full((ROWS, WIDTH), -(2**15) + 1, np.int16)
    scores[:, 0] = 0
    graph = graph_of(op.Softmax(), [Operand(scores, affine(depth / (2**15 - 1), 0, 16))], [PROBABILITY[16]])
    given = of_litert(graph, resolver)["output0"][0]
    assert np.all(given[:, 1:] == 2)
    np.testing.assert_allclose(given[:, 0] / 2**15, 1 / (1 + (WIDTH - 1) * np.exp(-10)), atol=WIDTH / 2**15)
    narrow = Operand(np.where(scores == 0, 127, -128).astype(np.int8), affine(depth / 255))
    given = of_litert(graph_of(op.Softmax(), [narrow], [PROBABILITY[8]]), resolver)["output0"][0]
    assert np.all(given[:, 1:] == -128)


@pytest.mark.parametrize("resolver", RESOLVERS)
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("inner", [512, 2048])
def test_sums_as_long_as_the_models_do_not_overflow(inner: int, bits: ActivationBits, resolver: str) -> None:
    activation = affine(0.01, 0, bits)
    most = activation.limits[1]
    rows = np.full((ROWS, inner), most, DTYPES[bits])
    rows[1] *= -1
    weight, bias = np.ones((3, inner)), np.array([0.0, 5.0, -5.0])
    weight[1] = -1
    stored_by = quantization.weight_parameters(weight, bias, activation=activation)
    unit = quantization.bias_parameters(bias, activation=activation, weight=stored_by)
    constants = [(quantization.quantize(weight, stored_by), stored_by), (quantization.quantize(bias, unit), unit)]
    linear = Case(op.Linear(), [Operand(rows, activation), *(Operand(*each, constant=True) for each in constants)])
    columns = np.full((ROWS, inner, 3), most, DTYPES[bits])
    columns[:, :, 1] *= -1
    product = Case(op.MatMul(), [Operand(rows[:, None], activation), Operand(columns, activation)])
    for case, largest in ((linear, inner * most * 0.01), (product, inner * (most * 0.01) ** 2)):
        graph = graph_of(case.operator, case.operands, [affine(1.1 * largest / most, 0, bits)])
        # All sums are about 1 / 1.1 of the range.
        assert np.abs(of_executor(graph)["output0"].astype(int)).min() > 0.85 * most
        assert np.abs(differences(graph, resolver)).max() <= 1
