"""What several commands take, in the same words."""

import os
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from mobilebert_export.errors import UsageError

CheckpointArgument: TypeAlias = Annotated[
    Path | None,
    typer.Argument(help="Directory of the fine-tuned model. Without one: the demo model.", show_default=False),
]
CalibrationOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="Text like what the model will meet: .jsonl rows with a text, or lines. Default: the demo's queries.",
        show_default=False,
    ),
]
OutputOption: TypeAlias = Annotated[
    Path | None, typer.Option(help="The file. Default: named after model and precision, here.", show_default=False)
]
OverwriteOption: TypeAlias = Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists.")]
JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]


def refuse_unused(calibration: Path | None, precision: str) -> None:
    """Says that text would not be used. Raises UsageError for a precision that is fitted to none."""
    from mobilebert_export.precisions import CALIBRATED, Precision

    if calibration is not None and precision in set(Precision) - CALIBRATED:
        raise UsageError(f"expected no text to fit {precision} to, got {calibration}; leave out --calibration")


def default_output(checkpoint: Path | None, precision: str, suffix: str) -> Path:
    """A file here, named after the model and the precision."""
    # The name that was given: `resolve` would follow links.
    name = Path(os.path.abspath(checkpoint)).name if checkpoint else "mobilebert-demo"  # noqa: PTH100
    return Path(f"{name}-{precision}{suffix}")
