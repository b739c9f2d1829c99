"""The numbers of a check, on values whose numbers are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mobilebert_export.check.agreement import Answered, agreements
from mobilebert_export.check.answers import Kind
from mobilebert_export.check.comparison import compare, summarize
from mobilebert_export.check.scores import metrics


def test_one_row_with_known_numbers() -> None:
    error = compare(np.array([3.0, 4.0, 0.0]), np.array([3.0, 3.5, 0.0]))
    assert (error.signal, error.noise, error.largest, error.scale, error.rank) == (25.0, 0.25, 0.5, 4.0, 1.0)
    assert error.sqnr == pytest.approx(20.0)


def test_rank_agreement_is_spearmans() -> None:
    # Ranks 1 2 3 4 against 2 1 4 3: rho = 1 - 6 * 4 / (4 * 15).
    assert compare(np.arange(4.0), np.array([20.0, 10.0, 40.0, 30.0])).rank == pytest.approx(0.6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_the_worst_of_all(bad: float) -> None:
    good, worst = compare(np.ones(3), np.ones(3)), compare(np.ones(3), np.array([1.0, bad, 1.0]))
    summary = summarize("logits", "padded", [good, worst])
    assert (summary.sqnr, summary.worst_row_sqnr) == (-np.inf, -np.inf)


@pytest.mark.parametrize("large", [1e153, 1e160, 1e308])
def test_values_too_large_to_add_up_are_infinitely_far(large: float) -> None:
    rows = [compare(np.ones(3), np.full(3, large)) for _ in range(200)]
    summary = summarize("logits", "padded", [compare(np.ones(3), np.ones(3)), *rows])
    assert (summary.sqnr, summary.cosine, summary.largest_error) == (-np.inf, 0.0, np.inf)


@given(arrays(np.float64, (5, 4), elements=st.floats(-1e6, 1e6)), st.permutations(range(5)))
def test_summary_does_not_depend_on_the_order_of_rows(values: np.ndarray, order: list[int]) -> None:
    rows = [compare(row, row * 0.99 + 0.1) for row in values]
    assert summarize("x", "padded", rows) == summarize("x", "padded", [rows[index] for index in order])


def test_nothing_is_no_summary() -> None:
    with pytest.raises(ValueError, match="got none"):
        summarize("x", "padded", [])


def answered(reference: int, candidate: int, truth: int | None = None) -> Answered:
    return Answered({"label": (reference,)}, {"label": (candidate,)}, {} if truth is None else {"label": (truth,)})


def test_agreement_of_a_constant_answer_is_worth_nothing() -> None:
    # 14 of 16 labels agree, as a peer's model that answered NaN did; a constant answer has the same 14.
    rows = [answered(0, 0)] * 14 + [answered(1, 0)] * 2
    (agreement,) = agreements(rows)
    assert (agreement.share, agreement.constant, agreement.kappa) == (14 / 16, 14 / 16, 0.0)


def test_kappa_with_known_value() -> None:
    # Cohen's own form of table: 20 and 15 agree, 5 and 10 do not: po = .7, pe = .5.
    rows = [answered(0, 0)] * 20 + [answered(0, 1)] * 5 + [answered(1, 0)] * 10 + [answered(1, 1)] * 15
    assert agreements(rows)[0].kappa == pytest.approx(0.4)


def test_reference_that_always_answers_the_same_shows_nothing() -> None:
    assert agreements([answered(3, 3)] * 5)[0].kappa is None


def test_top_five_is_the_share_in_common() -> None:
    kind: Kind = "masked token, top 5"
    (agreement,) = agreements([Answered({kind: (1, 2, 3, 4, 5)}, {kind: (1, 2, 3, 9, 8)}, {})])
    assert agreement.share == pytest.approx(0.6)


def test_metric_of_both_with_the_interval_of_the_difference() -> None:
    rows = [answered(1, 1, 1)] * 80 + [answered(1, 0, 1)] * 10 + [answered(0, 0, 1)] * 5 + [answered(0, 0, 0)] * 5
    (metric,) = metrics(rows)
    assert (metric.rows, metric.reference, metric.candidate, metric.constant) == (100, 0.95, 0.85, 0.95)
    # The difference is minus a binomial share of 10 of 100: 1.96 standard deviations are 5.9 points.
    assert metric.low == pytest.approx(-0.159, abs=0.015)
    assert metric.high == pytest.approx(-0.041, abs=0.015)
    assert metrics(rows[::-1]) == [metric]


def test_rows_without_a_label_have_no_metric() -> None:
    assert metrics([answered(1, 1)]) == []
