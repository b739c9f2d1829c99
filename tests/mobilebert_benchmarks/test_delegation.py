"""What the delegate takes, by the operators that the profiler lists."""

import pytest
from mobilebert_benchmarks.emulation.delegation import delegation
from mobilebert_benchmarks.operators import Operator, costs


def operators(*names: str) -> list[Operator]:
    """`+` before a name: delegated; `|`: the first of a partition."""
    found, index = list[Operator](), 0
    for name in names:
        index = 0 if name.startswith("|") else index + 1
        found.append(Operator(name.lstrip("+|"), delegated=name[0] in "+|", index=index, cost=len(found)))
    return found


def test_one_partition_behind_lookups_is_whole() -> None:
    seen = delegation(operators("GATHER", "RESHAPE", "EMBEDDING_LOOKUP", "|Add (ND)", "+Fully Connected"))
    assert (seen.partitions, seen.delegated, seen.whole) == (1, 2, True)
    assert seen.outside == {"EMBEDDING_LOOKUP": 1, "GATHER": 1, "RESHAPE": 1}


@pytest.mark.parametrize(("cost", "whole"), [(900, True), (2_000, False)])
def test_a_dequantize_may_stay_outside_if_it_costs_nothing(cost: int, whole: bool) -> None:
    """That of a float16 word table is done once, and costs its call from then on: 869 of 34 million on the demo."""
    seen = delegation(
        [
            Operator("DEQUANTIZE", delegated=False, index=0, cost=cost),
            Operator("Fully Connected", delegated=True, index=0, cost=1_000_000),
        ]
    )
    assert (seen.whole, seen.outside) == (whole, {"DEQUANTIZE": 1})


@pytest.mark.parametrize(
    ("names", "partitions"),
    [
        (("|Add (ND)", "SOFTMAX", "|Add (ND)", "+Add (ND)"), 2),
        (("|Add (ND)", "GATHER", "|Add (ND)"), 2),
        (("|Add (ND)", "BATCH_MATMUL"), 1),
        (("ADD", "GATHER"), 0),
        ((), 0),
    ],
)
def test_more_partitions_or_work_left_outside_is_not(names: tuple[str, ...], partitions: int) -> None:
    seen = delegation(operators(*names))
    assert seen.partitions == partitions
    assert not seen.whole


def test_the_cost_of_a_kernel_is_that_of_all_its_operators() -> None:
    assert costs(operators("GATHER", "|Add (ND)", "+Softmax", "+Add (ND)")) == {
        "Add (ND)": 4,
        "Softmax": 2,
        "GATHER": 0,
    }
