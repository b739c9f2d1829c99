"""Which instructions a core must show: a count of other kernels than a phone runs would mislead."""

from collections.abc import Mapping

from mobilebert_benchmarks.cores import Core
from mobilebert_benchmarks.emulation.instructions import Kind
from mobilebert_benchmarks.errors import MismatchError
from mobilebert_benchmarks.model_file import Arithmetic

# How many products one instruction makes, and the feature that it needs. A core's best for int8 is the first it has.
_PRODUCTS = {
    Kind.MATRIX_MULTIPLY: (32, "i8mm"),
    Kind.DOT_PRODUCT: (16, "asimddp"),
    Kind.INTEGER_MULTIPLY: (8, "asimd"),
    Kind.FLOAT_MULTIPLY_ADD: (4, "asimd"),
}

# An inference's multiplies are at least as many as this share of the Linear layers' instructions; the floors of int8
# stand with the cores. Each is a fifth or more below what the demo shows on that core in any precision, at 4 to 128
# tokens.
_FLOAT_FLOOR = 0.4
_INTEGERS = (Kind.MATRIX_MULTIPLY, Kind.DOT_PRODUCT, Kind.INTEGER_MULTIPLY)
# Of the products of integers: those of a float attention grow with the square of the length.
_FLOOR_OF_PRODUCTS = 0.7


def expected_kind(core: Core, arithmetic: Arithmetic | None) -> Kind | None:
    """The kind of instruction by which this core's Linear layers multiply; None if it has none the delegate takes."""
    if arithmetic is None or arithmetic is Arithmetic.INT16:
        return None
    if arithmetic is Arithmetic.FLOAT:
        return Kind.FLOAT_MULTIPLY_ADD
    return next(kind for kind, (_, feature) in _PRODUCTS.items() if feature in core.features)


def check_kernels(mix: Mapping[Kind, int], core: Core, arithmetic: Arithmetic | None, linear_share: float) -> None:
    """Passes if the mix is one that the core's own kernels make.

    Args:
        mix: instructions of an inference.
        core: that ran them.
        arithmetic: of the Linear layers.
        linear_share: the share of the instructions that the Linear layers take.

    Raises:
        MismatchError: it has instructions that the core has not, or fewer of those that it must have than a
            share of the Linear layers' instructions.
    """
    for kind, (_, feature) in _PRODUCTS.items():
        if mix[kind] and feature not in core.features:
            raise MismatchError(
                f"expected no {kind.value} on {core.name}, got {mix[kind]:,}; the emulator's -cpu is wrong"
            )
    expected = expected_kind(core, arithmetic)
    if expected is None:
        return
    floor = core.int8_floor if arithmetic is Arithmetic.INT8 else _FLOAT_FLOOR
    linear = linear_share * sum(mix.values())
    if not linear:
        raise MismatchError("expected Linear layers among the operators that the runtime's profiler lists, got none")
    if mix[expected] < floor * linear:
        raise MismatchError(
            f"expected at least as many {expected.value} instructions as {floor:.0%} of the Linear layers' "
            f"instructions on {core.name}, got {mix[expected] / linear:.1%}; they are not run by the delegate's kernels"
        )
    if arithmetic is Arithmetic.FLOAT:
        return
    made = {kind: _PRODUCTS[kind][0] * mix[kind] for kind in _INTEGERS}
    share = made[expected] / sum(made.values())
    if share < _FLOOR_OF_PRODUCTS:
        raise MismatchError(
            f"expected {core.name} to make {_FLOOR_OF_PRODUCTS:.0%} of products or more by {expected.value}, got "
            f"{share:.1%}; the runtime took the kernels of a lesser core"
        )
