"""How far channels have grown apart."""

import numpy as np
import pytest
from mobilebert_quantization import LogMagnitude, growth_apart


def seen(*rows: tuple[float, ...]) -> LogMagnitude:
    return LogMagnitude.empty(len(rows[0])).update(np.array(rows))


def test_mean_is_that_of_the_logarithms() -> None:
    np.testing.assert_allclose(seen((1, 10), (-1, 1000)).mean, [0, np.log(100)], atol=1e-12)


def test_growth_is_of_the_fastest_channel_beside_the_median_one() -> None:
    assert growth_apart(seen((1, 1, 1)), seen((2, 2, 200))) == pytest.approx(100)


def test_growth_of_all_channels_alike_is_none() -> None:
    assert growth_apart(seen((1, 2, 3)), seen((50, 100, 150))) == pytest.approx(1)


def test_one_massive_token_of_many_moves_it_little() -> None:
    quiet = [(1.0, 1.0, 1.0)] * 99
    assert growth_apart(seen((1, 1, 1)), seen(*quiet, (1e6, 1.0, 1.0))) < 1.2


def test_channel_that_was_always_zero_is_left_out() -> None:
    assert growth_apart(seen((0, 1, 1)), seen((5, 1, 1))) == pytest.approx(1)
    assert growth_apart(seen((0, 0)), seen((5, 1))) == 1


def test_nothing_seen_is_an_error() -> None:
    with pytest.raises(ValueError, match="expected at least one row"):
        growth_apart(LogMagnitude.empty(2), seen((1, 1)))
