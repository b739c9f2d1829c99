"""Whether a model answers as the reference does."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mobilebert_export.check.answers import TOP, Answer, Kind


@dataclass(frozen=True)
class Answered:
    """The answers to one row.

    Attributes:
        reference: what the reference answers, by kind.
        candidate: what the model answers.
        truth: what the data says, where it does.
    """

    reference: Mapping[Kind, Answer]
    candidate: Mapping[Kind, Answer]
    truth: Mapping[Kind, Answer]


@dataclass(frozen=True)
class Agreement:
    """Answers of one kind over all rows.

    Attributes:
        kind: what is answered.
        answers: how many.
        share: of answers that are the reference's, from 0 to 1.
        constant: the share that the best constant answer would have.
        kappa: Cohen's: (share - by chance) / (1 - by chance), where chance is what two models with these frequencies
            of answers would share. 1 is equal, 0 is no better than chance. None where the reference always answers
            the same: agreement with it then shows nothing. Of the five best tokens it is that of sets.
    """

    kind: Kind
    answers: int
    share: float
    constant: float
    kappa: float | None


def agreements(rows: Sequence[Answered]) -> list[Agreement]:
    """One for each kind of answer but scores, which are never quite the same."""
    return [_agreement(kind, rows) for kind in kinds(row.reference for row in rows) if kind != "score"]


def kinds(rows: Iterable[Mapping[Kind, Answer]]) -> list[Kind]:
    """The kinds of answers that rows have, in the order in which they come."""
    found: dict[Kind, None] = {}
    for answers in rows:
        found.update(dict.fromkeys(answers))
    return list(found)


def _agreement(kind: Kind, rows: Sequence[Answered]) -> Agreement:
    pairs = [(row.reference[kind], row.candidate[kind]) for row in rows if kind in row.reference]
    if kind == "masked token, top 5":
        return _agreement_of_sets(kind, pairs)
    expected = [answer for truth, _ in pairs for answer in truth]
    got = [answer for _, given in pairs for answer in given]
    share = _mean([float(a == b) for a, b in zip(expected, got, strict=True)])
    constant = max(Counter(expected).values()) / len(expected)
    return Agreement(kind, len(expected), share, constant, kappa(expected, got))


def _agreement_of_sets(kind: Kind, pairs: Sequence[tuple[Answer, Answer]]) -> Agreement:
    """Likewise of the best few, in any order: the share is of those in common; of one alone it would be the same."""
    share = _mean([len(set(truth) & set(given)) / TOP for truth, given in pairs])
    frequencies, others = (
        Counter(each for answer in answers for each in answer) for answers in zip(*pairs, strict=True)
    )
    constant = sum(count for _, count in frequencies.most_common(TOP)) / (TOP * len(pairs))
    chance = sum(count * others[each] for each, count in frequencies.items()) / (TOP * len(pairs) ** 2)
    return Agreement(kind, len(pairs), share, constant, (share - chance) / (1 - chance) if constant < 1 else None)


def kappa(expected: Sequence[float], got: Sequence[float]) -> float | None:
    """Cohen 1960: (observed - by chance) / (1 - by chance); None where only one answer is expected."""
    frequencies, others = Counter(expected), Counter(got)
    if len(frequencies) < 2:  # noqa: PLR2004 - two answers
        return None
    observed = sum(a == b for a, b in zip(expected, got, strict=True)) / len(expected)
    chance = sum(count * others[answer] for answer, count in frequencies.items()) / len(expected) ** 2
    return (observed - chance) / (1 - chance)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
