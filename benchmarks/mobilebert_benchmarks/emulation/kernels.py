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

# Linear layers make most of a transformer's products: 77 % or more in the demo, whose convolution is float, at 128
# tokens. Reference kernels make none by such instructions; where one makes 32 products, 12 % of them do all the work.
_LEAST_SHARE_OF_PRODUCTS = 0.5
_LEAST_SHARE = 0.05


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
    share = mix[expected] / sum(mix.values())
    if share < _LEAST_SHARE:
        raise MismatchError(
            f"expected {expected.value} as {_LEAST_SHARE:.0%} of instructions or more on {core.name}, got {share:.1%}; "
            "the Linear layers are not run by the delegate's kernels"
        )
    made = {kind: products * mix[kind] for kind, (products, _) in _PRODUCTS.items()}
    share = made[expected] / sum(made.values())
    if share < _LEAST_SHARE_OF_PRODUCTS:
        raise MismatchError(
            f"expected {core.name} to make most products by {expected.value}, got only {share:.1%} of them; "
            "the runtime took the kernels of a lesser core"
        )
