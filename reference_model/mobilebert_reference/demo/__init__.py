"""The demo: a small trained checkpoint, and real text to calibrate and evaluate with.

``README.md`` beside this file is its model card: how it was made, what it scores, the licences. Both files of rows hold
one JSON object a line, ``{"text": …, "label": …}``.

Attributes:
    CHECKPOINT: A directory for `mobilebert_reference.load_checkpoint`.
    CALIBRATION: Rows of the train split.
    EVALUATION: Rows of the test split; none of them is in the train split.
"""

from pathlib import Path

__all__ = ["CALIBRATION", "CHECKPOINT", "EVALUATION"]

_FOLDER = Path(__file__).parent

CHECKPOINT = _FOLDER / "checkpoint"
CALIBRATION = _FOLDER / "calibration.jsonl"
EVALUATION = _FOLDER / "evaluation.jsonl"
