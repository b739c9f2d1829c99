"""A model file as a test: run it with `pytest examples/gate.py`, no plugin needed.

Set MOBILEBERT_CHECKPOINT and MOBILEBERT_MODEL to a directory and a file of yours; without them, the demo is exported to
a temporary file and checked.
"""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from mobilebert_reference import load_checkpoint
from mobilebert_reference.demo import CHECKPOINT

from mobilebert_export import export_tflite
from mobilebert_export.check import check


def test_model_computes_what_its_checkpoint_does() -> None:
    """Fails with the lines that the gate refused."""
    with TemporaryDirectory() as directory:
        checkpoint = load_checkpoint(os.environ.get("MOBILEBERT_CHECKPOINT", CHECKPOINT))
        model = Path(os.environ.get("MOBILEBERT_MODEL", f"{directory}/demo.tflite"))
        if "MOBILEBERT_MODEL" not in os.environ:
            export_tflite(checkpoint, model, sequence_length=64)
        (checked,) = check(checkpoint, [model], rows=50).models
    failing = [str(line) for line in checked.verdict.lines if not line.passed]
    assert not failing, failing
