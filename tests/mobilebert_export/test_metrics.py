"""The metrics, on values worked out by hand."""

from collections.abc import Callable

import numpy as np
import pytest

from mobilebert_export.check.metrics import agreement, sqnr


@pytest.mark.parametrize(("share", "decibels"), [(0.1, 20.0), (0.01, 40.0), (1.0, 0.0), (10.0, -20.0)])
def test_noise_of_a_share_of_the_signal(share: float, decibels: float) -> None:
    signal = np.array([3.0, -4.0, 0.0])
    assert sqnr(signal, signal * (1 + share)) == pytest.approx(decibels, abs=1e-9)


def test_equal_values_are_infinitely_near() -> None:
    assert sqnr(np.array([1.0, 2.0]), np.array([1.0, 2.0])) == np.inf


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_value_that_is_not_finite_is_infinitely_far_on_either_side(bad: float) -> None:
    good, spoiled = np.array([1.0, 2.0]), np.array([1.0, bad])
    assert sqnr(good, spoiled) == -np.inf
    assert sqnr(spoiled, good) == -np.inf
    assert sqnr(spoiled, spoiled) == -np.inf


def test_no_signal_is_infinitely_far_from_any_noise() -> None:
    assert sqnr(np.zeros(2), np.array([0.0, 1e-9])) == -np.inf


def test_agreement_is_the_share_of_equal_answers() -> None:
    assert agreement(np.array([1, 2, 3, 4]), np.array([1, 2, 0, 0])) == 0.5


@pytest.mark.parametrize(("first", "second"), [((2,), (3,)), ((0,), (0,)), ((2, 1), (2,))])
def test_shapes_that_cannot_be_compared_are_an_error(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    metrics: tuple[Callable[..., float], ...] = (sqnr, agreement)
    for metric in metrics:
        with pytest.raises(ValueError, match="expected two arrays of one shape"):
            metric(np.zeros(first, np.int64), np.zeros(second, np.int64))
