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
            the same: agreement with it then shows nothing.
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
        shares = [len(set(truth) & set(given)) / TOP for truth, given in pairs]
        return Agreement(kind, len(pairs), _mean(shares), 0.0, None)
    expected = [answer for truth, _ in pairs for answer in truth]
    got = [answer for _, given in pairs for answer in given]
    share = _mean([float(a == b) for a, b in zip(expected, got, strict=True)])
    constant = max(Counter(expected).values()) / len(expected)
    return Agreement(kind, len(expected), share, constant, kappa(expected, got))


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
