"""The operators of an inference, as the runtime's profiler lists them, and what they cost by kernel."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Operator:
    """One operator of an inference.

    Attributes:
        name: the kernel's, if delegated, else the one of the schema.
        delegated: whether the delegate runs it.
        index: its place among those of its partition, if delegated, else in the graph.
        cost: instructions, if emulated, else microseconds.
    """

    name: str
    delegated: bool
    index: int
    cost: int


def parsed(said: Mapping[str, Any]) -> tuple[Operator, ...]:
    """From the runner's JSON.

    Raises:
        ValueError, TypeError, KeyError: the list is not there, or is no such list.
    """
    return tuple(
        Operator(str(name), delegated=bool(delegated), index=int(index), cost=int(cost))
        for name, delegated, index, cost in said["operators"]
    )


def linear_share(operators: Sequence[Operator]) -> float:
    """The share of the cost that Linear layers have: `Fully Connected (NC, F32) GEMM` inside of the delegate."""
    linear = sum(each.cost for each in operators if each.name.upper().replace(" ", "_").startswith("FULLY_CONNECTED"))
    return linear / max(sum(each.cost for each in operators), 1)


def costs(operators: Sequence[Operator]) -> dict[str, int]:
    """The cost of each kernel, highest first."""
    total = Counter[str]()
    for operator in operators:
        total[operator.name] += operator.cost
    return dict(total.most_common())
