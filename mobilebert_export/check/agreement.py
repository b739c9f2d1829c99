"""Whether a model answers as the reference does, and both as the data says."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mobilebert_export.check.answers import TOP, Answer, Kind

_RESAMPLES = 2000
_SEED = 0
_INTERVAL = (2.5, 97.5)
UNKNOWN = -1
# Labelled rows from which a reference that answers by chance can be told from one that does not.
_ENOUGH_ROWS = 30


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


@dataclass(frozen=True)
class Metric:
    """How often the answers of one kind are right.

    Attributes:
        kind: what is answered.
        rows: with a label.
        reference: the reference's share of right answers.
        candidate: the model's.
        constant: the share that the best constant answer would have.
        reference_kappa: agreement of the reference with the labels beyond chance, as in `Agreement`: about 0 where
            labels or vocabulary are those of another model. None for labels too few or too much alike to tell.
        low: of the 95 % interval of candidate - reference, by bootstrap over rows.
        high: likewise.
    """

    kind: Kind
    rows: int
    reference: float
    candidate: float
    constant: float
    reference_kappa: float | None
    low: float
    high: float


def agreements(rows: Sequence[Answered]) -> list[Agreement]:
    """One for each kind of answer."""
    return [_agreement(kind, rows) for kind in _kinds(row.reference for row in rows)]


def metrics(rows: Sequence[Answered]) -> list[Metric]:
    """One for each kind of answer that the data knows."""
    return [_metric(kind, [row for row in rows if kind in row.truth]) for kind in _kinds(row.truth for row in rows)]


def _kinds(rows: Iterable[Mapping[Kind, Answer]]) -> list[Kind]:
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
    return Agreement(kind, len(expected), share, constant, _kappa(expected, got))


def _kappa(expected: Sequence[int], got: Sequence[int]) -> float | None:
    """Cohen 1960: (observed - by chance) / (1 - by chance); None where only one answer is expected."""
    frequencies, others = Counter(expected), Counter(got)
    if len(frequencies) < 2:  # noqa: PLR2004 - two answers
        return None
    observed = sum(a == b for a, b in zip(expected, got, strict=True)) / len(expected)
    chance = sum(count * others[answer] for answer, count in frequencies.items()) / len(expected) ** 2
    return (observed - chance) / (1 - chance)


def _metric(kind: Kind, rows: Sequence[Answered]) -> Metric:
    counts = []
    labels: list[int] = []
    answered: list[int] = []
    for row in rows:
        known = [index for index, label in enumerate(row.truth[kind]) if label != UNKNOWN]
        labels += [row.truth[kind][index] for index in known]
        answered += [row.reference[kind][index] for index in known]
        right = [
            sum(answers[kind][i] == row.truth[kind][i] for i in known) for answers in (row.reference, row.candidate)
        ]
        counts.append((len(known), *right))
    # In an order of their own, so that the interval does not depend on that of the rows.
    table = np.array(sorted(counts), np.float64)
    total, reference, candidate = table.sum(axis=0).tolist()
    low, high = _interval(table)
    constant = max(Counter(labels).values()) / total
    kappa = _kappa(labels, answered) if len(rows) >= _ENOUGH_ROWS else None
    return Metric(kind, len(rows), reference / total, candidate / total, constant, kappa, low, high)


def _interval(table: "np.ndarray[tuple[int, int], np.dtype[np.float64]]") -> tuple[float, float]:
    """Percentile bootstrap (Efron 1979) of the difference of both shares; both models' answers are drawn together."""
    generator = np.random.default_rng(_SEED)
    differences = []
    for _ in range(_RESAMPLES):
        total, reference, candidate = table[generator.integers(len(table), size=len(table))].sum(axis=0)
        differences.append((candidate - reference) / total if total else 0.0)
    low, high = np.percentile(differences, _INTERVAL)
    return float(low), float(high)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
