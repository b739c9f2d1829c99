"""What several commands take, in the same words."""

import os
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

CheckpointArgument: TypeAlias = Annotated[
    Path | None,
    typer.Argument(help="Directory of the fine-tuned model. Without one: the demo model.", show_default=False),
]
CalibrationOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="Text like what the model will meet: .jsonl rows with a text, or lines. "
        "Default: the demo's queries, and none where numbers stay real.",
        show_default=False,
    ),
]
OutputOption: TypeAlias = Annotated[
    Path | None, typer.Option(help="The file. Default: named after model and precision, here.", show_default=False)
]
OverwriteOption: TypeAlias = Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists.")]
JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]


def default_output(checkpoint: Path | None, precision: str, suffix: str) -> Path:
    """A file here, named after the model and the precision."""
    # The name that was given: `resolve` would follow links.
    name = Path(os.path.abspath(checkpoint)).name if checkpoint else "mobilebert-demo"  # noqa: PTH100
    return Path(f"{name}-{precision}{suffix}")
