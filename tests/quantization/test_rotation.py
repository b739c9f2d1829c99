import mobilebert_quantization as quantization
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mobilebert_quantization import SecondMoment
from numpy.typing import NDArray

SEEDS = st.integers(0, 2**32 - 1)


def orthogonal(size: int, seed: int) -> NDArray[np.float64]:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))[0]


def off_identity(axes: NDArray[np.float64]) -> float:
    return float(np.abs(axes.T @ axes - np.eye(len(axes))).max())


def test_axes_of_the_documentation() -> None:
    axes = quantization.principal_axes(np.array([[2.0, 1.0], [1.0, 2.0]]))
    # Two exact halves: the sign of the second column may fall either way by rounding, but for the rule.
    np.testing.assert_allclose(np.abs(axes), np.sqrt(0.5), rtol=1e-15)
    np.testing.assert_allclose(axes.T @ [[2, 1], [1, 2]] @ axes, [[3, 0], [0, 1]], atol=1e-15)


@settings(max_examples=50)
@given(st.lists(st.floats(-300, 300), min_size=1, max_size=40), SEEDS)
def test_axes_are_orthogonal_whatever_the_energies(powers: list[float], seed: int) -> None:
    basis = orthogonal(len(powers), seed)
    moment = (basis * 10.0 ** np.array(powers)) @ basis.T
    axes = quantization.principal_axes((moment + moment.T) / 2)
    assert off_identity(axes) < 1e-12


@settings(max_examples=50)
@given(st.lists(st.floats(-4, 4), min_size=1, max_size=40), SEEDS)
def test_axes_are_uncorrelated_and_the_largest_come_first(powers: list[float], seed: int) -> None:
    basis = orthogonal(len(powers), seed)
    energies = 10.0 ** np.array(powers)
    moment = (basis * energies) @ basis.T
    axes = quantization.principal_axes((moment + moment.T) / 2)
    # Backward stable: exact to rounding relative to the largest energy, times a small multiple of the size.
    bound = 1e-14 * len(powers) * energies.max()
    np.testing.assert_allclose(axes.T @ moment @ axes, np.diag(np.sort(energies)[::-1]), rtol=0, atol=bound)


def test_signs_and_order_do_not_hang_on_the_order_of_the_rows() -> None:
    chooser = np.random.default_rng(0)
    rows = chooser.standard_normal((400, 24)) * np.geomspace(1, 100, 24) @ orthogonal(24, 1)
    axes = quantization.principal_axes(SecondMoment.empty(24).update(rows).moment)
    again = quantization.principal_axes(SecondMoment.empty(24).update(rows[::-1].copy()).moment)
    # Neighbouring energies differ by half, and the largest is 1e4 times the smallest: 1e-16 * 1e4 and some.
    np.testing.assert_allclose(again, axes, rtol=0, atol=1e-11)
    leading = np.abs(axes).argmax(axis=0)
    assert np.all(axes[leading, np.arange(24)] > 0)


def test_same_moment_gives_the_same_bytes() -> None:
    moment = orthogonal(32, 0) * np.geomspace(1, 1e-6, 32) @ orthogonal(32, 0).T
    moment = (moment + moment.T) / 2
    assert quantization.principal_axes(moment).tobytes() == quantization.principal_axes(moment.copy()).tobytes()


def test_one_direction_of_1e12_times_the_energy_leaves_the_rest_their_axes() -> None:
    size, ratio = 128, 1e12
    basis = orthogonal(size, 5)
    energies = np.geomspace(1, 1e-2, size)
    massive, rest = basis[:, 0], basis[:, 1:]
    chooser = np.random.default_rng(6)
    state = SecondMoment.empty(size)
    moment_of_rest = np.zeros((size, size))
    for _ in range(20):
        ordinary = chooser.standard_normal((1000, size - 1)) * np.sqrt(energies[1:]) @ rest.T
        size_of_massive = np.sqrt(ratio) * chooser.standard_normal((1000, 1))
        state = state.update(ordinary + size_of_massive * massive)
        moment_of_rest += ordinary.T @ ordinary / 20_000
    axes = quantization.principal_axes(state.moment)
    assert off_identity(axes) < 1e-12
    # All of the massive direction is in the first axis: its share of the others is what the sample correlates it with
    # the rest, about 1 / sqrt(rows * ratio) an axis, ten times of that allowed.
    assert np.abs(axes[:, 1:].T @ massive).max() < 10 / np.sqrt(20_000 * ratio)
    # And the rest is uncorrelated in its own axes, but for the rounding of the massive energy: 1e12 * 1e-16, and some.
    among_rest = axes[:, 1:].T @ moment_of_rest @ axes[:, 1:]
    expected = np.sort(np.linalg.eigvalsh(moment_of_rest))[:0:-1]
    np.testing.assert_allclose(np.diag(among_rest), expected, rtol=0, atol=1e-3)
    assert np.abs(among_rest - np.diag(np.diag(among_rest))).max() < 1e-3


def test_no_energy_at_all_leaves_the_basis_as_it_is() -> None:
    np.testing.assert_array_equal(quantization.principal_axes(np.zeros((5, 5))), np.eye(5))


def test_rotation_keeps_what_a_reader_computes() -> None:
    chooser = np.random.default_rng(0)
    rows, weight = chooser.standard_normal((20, 16)), chooser.standard_normal((8, 16))
    rows[0] *= 1e6
    axes = quantization.principal_axes(SecondMoment.empty(16).update(rows).moment)
    expected = rows @ weight.T
    rotated = (rows @ axes) @ (weight @ axes).T
    np.testing.assert_allclose(rotated, expected, rtol=0, atol=1e-14 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("moment", "message"),
    [
        (np.zeros((2, 3)), "square matrix"),
        (np.zeros(4), "square matrix"),
        (np.full((2, 2), np.nan), "NaN or infinity"),
        (np.full((2, 2), np.inf), "NaN or infinity"),
        (np.array([[1.0, 2.0], [0.0, 1.0]]), "symmetric"),
    ],
)
def test_what_is_no_second_moment_is_an_error(moment: NDArray[np.float64], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quantization.principal_axes(moment)
