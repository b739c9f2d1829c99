"""How much of a model the delegate (XNNPACK) takes, from the operators that the runtime's profiler lists."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mobilebert_benchmarks.operators import Operator

# The delegate has no kernel for the first two; a RESHAPE between or before them moves nothing.
_STAY_OUTSIDE = frozenset({"GATHER", "EMBEDDING_LOOKUP", "RESHAPE"})
# So may this one, where it costs nothing: the interpreter does that of a constant, a float16 word table, once.
_ONCE = "DEQUANTIZE"
_NOTHING = 0.001  # of the inference's instructions; the profiler alone takes some hundred an operator


@dataclass(frozen=True)
class Delegation:
    """What the delegate takes.

    Attributes:
        partitions: in how many pieces; 1 is best, 0 means nothing.
        delegated: operators inside, as the delegate counts them: it fuses and splits those of the file.
        outside: operators that are left to the interpreter, by name.
        whole: whether one partition holds every operator that has work for a delegate: lookups of tables stay outside.
    """

    partitions: int
    delegated: int
    outside: Mapping[str, int]
    whole: bool


def delegation(operators: Sequence[Operator]) -> Delegation:
    """Of one inference's operators, in the order in which they ran."""
    delegated = [operator for operator in operators if operator.delegated]
    left = [operator for operator in operators if not operator.delegated]
    partitions = sum(operator.index == 0 for operator in delegated)
    nothing = _NOTHING * sum(operator.cost for operator in operators)
    stays = [
        operator.name in _STAY_OUTSIDE or (operator.name == _ONCE and operator.cost <= nothing) for operator in left
    ]
    outside = Counter(operator.name for operator in left)
    return Delegation(partitions, len(delegated), dict(sorted(outside.items())), partitions == 1 and all(stays))
