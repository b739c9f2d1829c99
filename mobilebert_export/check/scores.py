"""How right both models are, by the labels of the data, in the metric of their task.

Each metric is a function of sums over rows, so that a bootstrap draws rows and adds up again.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mobilebert_export.check.agreement import Answered, kappa, kinds
from mobilebert_export.check.answers import UNKNOWN, Answer, Kind, span_ends

Item = TypeVar("Item", float, Answer)

_RESAMPLES = 2000
_SEED = 0
_INTERVAL = (2.5, 97.5)
# Labelled rows from which a reference that answers by chance can be told from one that does not.
_ENOUGH_ROWS = 30
# Of the sums below, against their own rounding.
_NO_VARIANCE = 1e-12


@dataclass(frozen=True)
class Metric:
    """How right the answers of one kind are, from 0 (Pearson's from -1) to 1.

    Attributes:
        kind: what is answered.
        name: of the metric.
        rows: with a label.
        reference: the reference's.
        candidate: the model's.
        constant: what the commonest label, given as the answer to every row, would have.
        reference_kappa: agreement of the reference with the labels beyond chance, as in `Agreement`: about 0 where
            labels or vocabulary are those of another model. None for labels too few or too much alike to tell.
        low: of the 95 % interval of candidate - reference, by bootstrap over rows.
        high: likewise.
    """

    kind: Kind
    name: str
    rows: int
    reference: float
    candidate: float
    constant: float
    reference_kappa: float | None
    low: float
    high: float


@dataclass(frozen=True)
class _Score:
    """A metric.

    Attributes:
        name: the field's.
        counts: what a row adds to the sums, for the right answer and the one that was given.
        value: what the sums make.
    """

    name: str
    counts: Callable[[Answer, Answer], tuple[float, ...]]
    value: Callable[[NDArray[np.float64]], float]


def metrics(rows: Sequence[Answered]) -> list[Metric]:
    """Those of each kind of answer that the data knows."""
    return [
        _metric(kind, score, [row for row in rows if kind in row.truth])
        for kind in kinds(row.truth for row in rows)
        for score in _SCORES.get(kind, (_ACCURACY,))
    ]


def _metric(kind: Kind, score: _Score, rows: Sequence[Answered]) -> Metric:
    truths = [row.truth[kind] for row in rows]
    answers = ([row.reference[kind] for row in rows], [row.candidate[kind] for row in rows], _commonest(kind, truths))
    # In an order of their own, so that the interval does not depend on that of the rows.
    table = np.array(
        sorted(
            [score.counts(truth, answer) for answer in given] for truth, *given in zip(truths, *answers, strict=True)
        ),
        np.float64,
    )  # (row, model, count)
    reference, candidate, constant = map(score.value, table.sum(axis=0))
    low, high = _interval(score, table[:, :2])
    chance = kappa(*_known(truths, answers[0])) if kind != "score" and len(rows) >= _ENOUGH_ROWS else None
    return Metric(kind, score.name, len(rows), reference, candidate, constant, chance, low, high)


def _interval(score: _Score, table: NDArray[np.float64]) -> tuple[float, float]:
    """Percentile bootstrap (Efron 1979) of the difference; both models' answers to a row are drawn together."""
    generator = np.random.default_rng(_SEED)
    differences = []
    for _ in range(_RESAMPLES):
        reference, candidate = map(score.value, table[generator.integers(len(table), size=len(table))].sum(axis=0))
        differences.append(candidate - reference)
    low, high = np.percentile(differences, _INTERVAL)
    return float(low), float(high)


def _commonest(kind: Kind, truths: Sequence[Answer]) -> list[Answer]:
    """The label that the data has most often, as the answer to each row; of tags, to each position."""
    if kind == "tags":
        tag = _most(Counter(each for truth in truths for each in truth if each != UNKNOWN))
        return [(tag,) * len(truth) for truth in truths]
    return [_most(Counter(truths))] * len(truths)


def _most(counts: "Counter[Item]") -> Item:
    return max(counts, key=lambda each: (counts[each], each))


def _known(truths: Sequence[Answer], answers: Sequence[Answer]) -> tuple[list[float], list[float]]:
    """What is labelled, of all rows, and what was answered there."""
    pairs = [
        pair
        for truth, answer in zip(truths, answers, strict=True)
        for pair in zip(truth, answer, strict=True)
        if pair[0] != UNKNOWN
    ]
    return [truth for truth, _ in pairs], [answer for _, answer in pairs]


def _right(truth: Answer, answer: Answer) -> tuple[float, ...]:
    """Right answers, of all that are known."""
    known = [given == right for right, given in zip(truth, answer, strict=True) if right != UNKNOWN]
    return float(sum(known)), float(len(known))


def _labels_in_common(truth: Answer, answer: Answer) -> tuple[float, ...]:
    """Labels that both have, of the mean number that they have: F1 where it is summed over all rows (micro)."""
    return float(np.dot(truth, answer)), (sum(truth) + sum(answer)) / 2


def _positions_in_common(truth: Answer, answer: Answer) -> tuple[float, ...]:
    """F1 of the positions of two spans, of 1: the mean over rows (Rajpurkar et al. 2016, with tokens for words)."""
    (first, last), (begin, end) = span_ends(truth), span_ends(answer)
    common = max(min(last, end) - max(first, begin) + 1, 0)
    return 2 * common / (last - first + 1 + end - begin + 1), 1.0


def _moments(truth: Answer, answer: Answer) -> tuple[float, ...]:
    """What a correlation is made of."""
    (x,), (y,) = truth, answer
    return 1.0, x, y, x * x, y * y, x * y


def _share(sums: NDArray[np.float64]) -> float:
    return float(sums[0] / sums[1]) if sums[1] else 0.0


def _correlation(sums: NDArray[np.float64]) -> float:
    """Pearson's, of the sums of `_moments`; 0 where one of both never changes, or is not finite, and has none."""
    n, x, y, xx, yy, xy = sums.tolist()
    variances = [n * squares - total * total for total, squares in ((x, xx), (y, yy))]
    if any(each <= _NO_VARIANCE * n * squares for each, squares in zip(variances, (xx, yy), strict=True)):
        return 0.0
    found = (n * xy - x * y) / (sqrt(variances[0]) * sqrt(variances[1]))
    return min(max(found, -1.0), 1.0) if isfinite(found) else 0.0


_ACCURACY = _Score("accuracy", _right, _share)
# Of the other kinds it is the accuracy.
_SCORES: Mapping[Kind, tuple[_Score, ...]] = {
    "labels": (_Score("micro F1", _labels_in_common, _share),),
    "score": (_Score("Pearson", _moments, _correlation),),
    "span": (_Score("exact match", _right, _share), _Score("token F1", _positions_in_common, _share)),
}
