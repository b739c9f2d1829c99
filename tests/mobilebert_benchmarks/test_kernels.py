"""The mix proves the kernels: a count from others than the core's own is refused."""

import pytest
from mobilebert_benchmarks.cores import cores
from mobilebert_benchmarks.emulation.instructions import Kind
from mobilebert_benchmarks.emulation.kernels import check_kernels, expected_kind
from mobilebert_benchmarks.errors import MismatchError
from mobilebert_benchmarks.model_file import Arithmetic

BEST = {
    "cortex-a53": Kind.INTEGER_MULTIPLY,
    "cortex-a55": Kind.DOT_PRODUCT,
    "cortex-a72": Kind.INTEGER_MULTIPLY,
    "cortex-a76": Kind.DOT_PRODUCT,
    "armv9-i8mm": Kind.MATRIX_MULTIPLY,
}


def mix(**shares: int) -> dict[Kind, int]:
    """Counts, of 100 instructions in all."""
    counts = {kind: shares.get(kind.name.lower(), 0) for kind in Kind}
    return {**counts, Kind.LOAD: 100 - sum(counts.values())}


@pytest.mark.parametrize("name", BEST)
def test_each_core_multiplies_by_its_best_instruction(name: str) -> None:
    assert expected_kind(cores()[name], Arithmetic.INT8) is BEST[name]
    assert expected_kind(cores()[name], Arithmetic.FLOAT) is Kind.FLOAT_MULTIPLY_ADD
    check_kernels(mix(**{BEST[name].name.lower(): 20}), cores()[name], Arithmetic.INT8)
    check_kernels(mix(float_multiply_add=20), cores()[name], Arithmetic.FLOAT)


@pytest.mark.parametrize("name", ["cortex-a53", "cortex-a72"])
def test_an_instruction_that_the_core_has_not_is_refused(name: str) -> None:
    with pytest.raises(MismatchError, match=rf"expected no dot product on {name}, got 1"):
        check_kernels(mix(dot_product=1, integer_multiply=40), cores()[name], Arithmetic.INT8)


@pytest.mark.parametrize("name", ["cortex-a53", "cortex-a55", "cortex-a72", "cortex-a76"])
def test_matrix_multiplies_before_armv9_are_refused(name: str) -> None:
    with pytest.raises(MismatchError, match=rf"expected no matrix multiply on {name}"):
        check_kernels(mix(matrix_multiply=1, dot_product=0), cores()[name], Arithmetic.FLOAT)


def test_a_dot_product_core_that_runs_older_kernels_is_refused() -> None:
    with pytest.raises(MismatchError, match=r"cortex-a76 to make most products by dot product, got only 31.2%"):
        check_kernels(mix(dot_product=10, integer_multiply=44), cores()["cortex-a76"], Arithmetic.INT8)


def test_linear_layers_outside_the_delegate_are_refused() -> None:
    with pytest.raises(MismatchError, match=r"got 4.0%; the Linear layers are not run by the delegate's kernels"):
        check_kernels(mix(float_multiply_add=4), cores()["cortex-a76"], Arithmetic.FLOAT)


def test_int8_layers_that_are_multiplied_in_float_are_refused() -> None:
    with pytest.raises(MismatchError, match=r"cortex-a76 to make most products by dot product, got only 44.4%"):
        check_kernels(mix(dot_product=10, float_multiply_add=50), cores()["cortex-a76"], Arithmetic.INT8)


def test_nothing_is_expected_of_16_bit_layers_but_what_the_core_has() -> None:
    check_kernels(mix(), cores()["cortex-a76"], Arithmetic.INT16)
    with pytest.raises(MismatchError, match=r"expected no dot product on cortex-a53"):
        check_kernels(mix(dot_product=1), cores()["cortex-a53"], Arithmetic.INT16)
