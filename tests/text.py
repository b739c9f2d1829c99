"""Text to calibrate on."""

from itertools import islice

import numpy as np
from mobilebert_reference.demo import CALIBRATION

from mobilebert_export.calibration import CalibrationText, Row


def queries(count: int) -> list[Row]:
    """Some of those that the demo model is calibrated on."""
    return list(islice(CalibrationText(CALIBRATION), count))


def letters(count: int, longest: int, seed: int = 0) -> list[Row]:
    """Texts of single letters, from one to more than a row holds, and pairs of them, for small vocabularies."""
    chooser = np.random.default_rng(seed)
    texts = [" ".join(chooser.choice(list("abcdefghij"), chooser.integers(1, longest))) for _ in range(count)]
    return [Row(text, texts[index - 1] if index % 4 == 3 else None) for index, text in enumerate(texts)]
