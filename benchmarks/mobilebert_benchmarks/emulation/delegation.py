"""How much of a model the delegate (XNNPACK) takes, from the operators that the runtime's profiler lists."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mobilebert_benchmarks.operators import Operator

# The delegate has no kernel for the first two; a RESHAPE between or before them moves nothing.
_STAY_OUTSIDE = frozenset({"GATHER", "EMBEDDING_LOOKUP", "RESHAPE"})


@dataclass(frozen=True)
class Delegation:
    """What the delegate takes.

    Attributes:
        partitions: in how many pieces; 1 is best, 0 means nothing.
        delegated: operators inside, as the delegate counts them: it fuses and splits those of the file.
        outside: operators that are left to the interpreter, by name.
    """

    partitions: int
    delegated: int
    outside: Mapping[str, int]

    @property
    def whole(self) -> bool:
        """Whether one partition holds every operator that a delegate can take: lookups of tables stay outside."""
        return self.partitions == 1 and self.outside.keys() <= _STAY_OUTSIDE


def delegation(operators: Sequence[Operator]) -> Delegation:
    """Of one inference's operators, in the order in which they ran."""
    delegated = [operator for operator in operators if operator.delegated]
    outside = Counter(operator.name for operator in operators if not operator.delegated)
    return Delegation(sum(operator.index == 0 for operator in delegated), len(delegated), dict(sorted(outside.items())))
