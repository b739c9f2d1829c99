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


INT8, FLOAT = Arithmetic.INT8, Arithmetic.FLOAT


def mix(**permille: int) -> dict[Kind, int]:
    """Counts, of 1,000 instructions in all."""
    counts = {kind: permille.get(kind.name.lower(), 0) for kind in Kind}
    return {**counts, Kind.LOAD: 1000 - sum(counts.values())}


@pytest.mark.parametrize("name", BEST)
def test_each_core_multiplies_by_its_best_instruction(name: str) -> None:
    assert expected_kind(cores()[name], INT8) is BEST[name]
    assert expected_kind(cores()[name], FLOAT) is Kind.FLOAT_MULTIPLY_ADD


@pytest.mark.parametrize("linear_share", [0.8, 0.2])
@pytest.mark.parametrize(
    ("name", "arithmetic", "kind", "floor"),
    [
        ("cortex-a53", INT8, "integer_multiply", 40),
        ("cortex-a55", INT8, "dot_product", 20),
        ("cortex-a72", INT8, "integer_multiply", 25),
        ("cortex-a76", INT8, "dot_product", 20),
        ("armv9-i8mm", INT8, "matrix_multiply", 12),
        *((name, FLOAT, "float_multiply_add", 40) for name in BEST),
    ],
)
def test_fewer_of_them_than_the_kernels_make_are_refused(
    name: str, arithmetic: Arithmetic, kind: str, floor: int, linear_share: float
) -> None:
    least = round(10 * floor * linear_share)  # of 1,000 instructions; the floor is in percent
    check_kernels(mix(**{kind: least}), cores()[name], arithmetic, linear_share)
    least_of_kind = (
        f"expected at least as many {Kind[kind.upper()].value} instructions as {floor}% of the Linear layers'"
    )
    with pytest.raises(MismatchError, match=rf"{least_of_kind} instructions on {name}, got"):
        check_kernels(mix(**{kind: least - 1}), cores()[name], arithmetic, linear_share)


@pytest.mark.parametrize(
    ("name", "kind", "other", "most"),  # most of the other kind with 300 of the first, which make 70 % of the products
    [
        ("cortex-a55", "dot_product", "integer_multiply", 257),  # 4800 products of 6856
        ("cortex-a76", "dot_product", "integer_multiply", 257),
        ("armv9-i8mm", "matrix_multiply", "dot_product", 257),  # 9600 of 13712
    ],
)
def test_products_of_other_kernels_are_refused(name: str, kind: str, other: str, most: int) -> None:
    check_kernels(mix(**{kind: 300, other: most}), cores()[name], INT8, 0.5)
    with pytest.raises(MismatchError, match=rf"{name} to make 70% of products or more by {BEST[name].value}, got"):
        check_kernels(mix(**{kind: 300, other: most + 1}), cores()[name], INT8, 0.5)


def test_long_rows_whose_attention_is_float_pass() -> None:
    # A model as small as the demo, of 512 tokens: most products are those of scores and contexts.
    check_kernels(mix(dot_product=133, float_multiply_add=450), cores()["cortex-a76"], INT8, 0.34)


@pytest.mark.parametrize("name", ["cortex-a53", "cortex-a72"])
def test_an_instruction_that_the_core_has_not_is_refused(name: str) -> None:
    with pytest.raises(MismatchError, match=rf"expected no dot product on {name}, got 1"):
        check_kernels(mix(dot_product=1, integer_multiply=400), cores()[name], INT8, 0.5)


@pytest.mark.parametrize("name", ["cortex-a53", "cortex-a55", "cortex-a72", "cortex-a76"])
def test_matrix_multiplies_before_armv9_are_refused(name: str) -> None:
    with pytest.raises(MismatchError, match=rf"expected no matrix multiply on {name}"):
        check_kernels(mix(matrix_multiply=1, float_multiply_add=400), cores()[name], FLOAT, 0.5)


@pytest.mark.parametrize(
    ("name", "arithmetic", "counts"),
    [
        ("cortex-a76", INT8, {"dot_product": 60, "integer_multiply": 110}),
        ("cortex-a76", INT8, {"dot_product": 200, "integer_multiply": 440}),
        ("cortex-a76", INT8, {"dot_product": 90, "float_multiply_add": 500}),
        ("armv9-i8mm", INT8, {"matrix_multiply": 100, "dot_product": 190}),
        ("armv9-i8mm", INT8, {"dot_product": 600}),
        ("cortex-a76", FLOAT, {"float_multiply_add": 40, "float_other": 600}),
    ],
)
def test_kernels_of_a_lesser_core_or_outside_the_delegate_are_refused(
    name: str, arithmetic: Arithmetic, counts: dict[str, int]
) -> None:
    with pytest.raises(MismatchError, match=rf"expected .*{name}"):
        check_kernels(mix(**counts), cores()[name], arithmetic, 0.5)


def test_nothing_is_expected_of_16_bit_layers_but_what_the_core_has() -> None:
    check_kernels(mix(), cores()["cortex-a76"], Arithmetic.INT16, 0.5)
    with pytest.raises(MismatchError, match=r"expected no dot product on cortex-a53"):
        check_kernels(mix(dot_product=1), cores()["cortex-a53"], Arithmetic.INT16, 0.5)


def test_linear_layers_that_the_profiler_does_not_list_are_refused() -> None:
    with pytest.raises(MismatchError, match="expected Linear layers among the operators"):
        check_kernels(mix(dot_product=400), cores()["cortex-a76"], Arithmetic.INT8, 0.0)
