"""The metrics, on values worked out by hand."""

import numpy as np
import pytest

from mobilebert_export.check.metrics import Energies, sqnr


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


@pytest.mark.parametrize("bad", [2.0, np.nan])
def test_energies_of_pieces_add_up_to_those_of_the_whole(bad: float) -> None:
    signal, given = np.array([3.0, -4.0, 2.0]), np.array([3.5, -4.0, bad])
    whole = Energies.of(signal, given)
    parts = Energies() + Energies.of(signal[:1], given[:1]) + Energies.of(signal[1:], given[1:])
    assert parts.sqnr == whole.sqnr == sqnr(signal, given)


@pytest.mark.parametrize(("first", "second"), [((2,), (3,)), ((0,), (0,)), ((2, 1), (2,))])
def test_shapes_that_cannot_be_compared_are_an_error(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected two arrays of one shape"):
        sqnr(np.zeros(first), np.zeros(second))
