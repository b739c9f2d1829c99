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


def test_rank_of_an_output_is_that_of_its_worst_row() -> None:
    rows = [compare(np.arange(4.0), np.array(given)) for given in ([0.0, 1, 2, 3], [20.0, 10, 40, 30])]
    summary = summarize("logits", "padded", rows)
    assert [summary.rank, summary.ranked] == pytest.approx([0.6, 4])


def test_rank_of_rows_of_several_lengths_is_told_with_the_fewest_values() -> None:
    rows = [compare(np.arange(float(size)), np.arange(float(size))) for size in (1, 1, 1, 2, 7, 40)]
    summary = summarize("start_logits", "padded", rows)
    assert (summary.rank, summary.ranked) == (1.0, 7)


def test_single_scores_are_ranked_over_the_rows() -> None:
    rows = [
        compare(np.array([float(a)]), np.array([float(b)])) for a, b in zip(range(4), [20, 10, 40, 30], strict=True)
    ]
    summary = summarize("logits", "padded", rows)
    assert [summary.rank, summary.ranked] == pytest.approx([0.6, 4])
    assert summarize("logits", "padded", rows[:2]).rank is None


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
    single = [compare(row[:1], row[:1] * 0.99 + 0.1) for row in values]
    assert summarize("x", "padded", single) == summarize("x", "padded", [single[index] for index in order])


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
    rows = [Answered({kind: (1, 2, 3, 4, 5)}, {kind: (1, 2, 3, 8, 9)}, {})]
    (agreement,) = agreements(rows)
    assert (agreement.share, agreement.constant, agreement.kappa) == (0.6, 1.0, None)  # always the same five
    rows.append(Answered({kind: (6, 7, 8, 9, 10)}, {kind: (6, 7, 8, 9, 10)}, {}))
    # Each of 10 tokens is expected in one row of 2; of both answers 6 are in one, 8 and 9 in both, 4 and 5 in none.
    # By chance that is (6 * 1 + 2 * 2) / (5 * 2 * 2) = 0.5 in common.
    (agreement,) = agreements(rows)
    assert [agreement.share, agreement.constant, agreement.kappa] == pytest.approx([0.8, 0.5, (0.8 - 0.5) / (1 - 0.5)])


def test_metric_of_both_with_the_interval_of_the_difference() -> None:
    rows = [answered(1, 1, 1)] * 80 + [answered(1, 0, 1)] * 10 + [answered(0, 0, 1)] * 5 + [answered(0, 0, 0)] * 5
    (metric,) = metrics(rows)
    assert (metric.rows, metric.reference, metric.candidate, metric.constant) == (100, 0.95, 0.85, 0.95)
    # The difference is minus a binomial share of 10 of 100: 1.96 standard deviations are 5.9 points.
    assert metric.low == pytest.approx(-0.159, abs=0.015)
    assert metric.high == pytest.approx(-0.041, abs=0.015)
    assert metrics(rows[::-1]) == [metric]


def scored(reference: float, candidate: float, truth: float) -> Answered:
    return Answered({"score": (reference,)}, {"score": (candidate,)}, {"score": (truth,)})


@pytest.mark.parametrize("largest", [1e100, 1e-100])
def test_correlation_of_large_and_small_labels(largest: float) -> None:
    (metric,) = metrics([scored(index, index**2, largest * index / 40) for index in range(40)])
    # Pearson's of 0 ... 39 and their squares, by NumPy.
    expected = np.corrcoef(np.arange(40), np.arange(40) ** 2)[0, 1]
    assert [metric.reference, metric.candidate] == pytest.approx([1.0, expected])


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_scores_without_a_correlation_have_that_of_a_constant_answer(bad: float) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        (metric,) = metrics([scored(index, bad if index == 3 else index, index) for index in range(40)])
    assert (metric.candidate, metric.constant) == (0.0, 0.0)
    assert -1 <= metric.low <= metric.high <= 0.0


def test_rows_without_a_label_have_no_metric() -> None:
    assert metrics([answered(1, 1)]) == []
