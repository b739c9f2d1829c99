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

# Below the lowest of the demo at 4 to 128 tokens on any core: 43 % of a float file's instructions are multiply-adds
# on the A53, and 76 % of the products of `dynamic` are made by matrix multiplies with i8mm. At 512 tokens attention,
# which is float there, outweighs Linear layers as small as the demo's: such a file is refused. One of full size is not.
_FLOAT_FLOOR = 0.3
_FLOOR_OF_PRODUCTS = 0.7


def expected_kind(core: Core, arithmetic: Arithmetic | None) -> Kind | None:
    """The kind of instruction by which this core's Linear layers multiply; None if it has none the delegate takes."""
    if arithmetic is None or arithmetic is Arithmetic.INT16:
        return None
    if arithmetic is Arithmetic.FLOAT:
        return Kind.FLOAT_MULTIPLY_ADD
    return next(kind for kind, (_, feature) in _PRODUCTS.items() if feature in core.features)


def check_kernels(mix: Mapping[Kind, int], core: Core, arithmetic: Arithmetic | None) -> None:
    """Passes if the mix is one that the core's own kernels make.

    Raises:
        MismatchError: it has instructions that the core has not, or hardly any of those that it must have.
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
    share = mix[expected] / sum(mix.values())
    if share < floor:
        raise MismatchError(
            f"expected {expected.value} as {floor:.0%} of instructions or more on {core.name}, got {share:.1%}; "
            "the Linear layers are not run by the delegate's kernels, or hardly count beside the attention"
        )
    made = {kind: products * mix[kind] for kind, (products, _) in _PRODUCTS.items()}
    share = made[expected] / sum(made.values())
    if share < _FLOOR_OF_PRODUCTS:
        raise MismatchError(
            f"expected {core.name} to make {_FLOOR_OF_PRODUCTS:.0%} of products or more by {expected.value}, got "
            f"{share:.1%}; the runtime took the kernels of a lesser core"
        )
