"""`mobilebert-export tflite`."""

import json as json_module
import os
import shlex
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mobilebert_export.cli.result import after, before, show
from mobilebert_export.files import refuse_unusable

if TYPE_CHECKING:
    from mobilebert_export.export import Export


class Quantize(str, Enum):
    """The precisions a user can ask for."""

    NONE = "none"
    FLOAT16 = "float16"
    DYNAMIC = "dynamic"
    INT8 = "int8"
    INT8_FULL = "int8-full"
    INT16 = "int16"
    AUTO = "auto"


def tflite(
    checkpoint: Annotated[
        Path | None,
        typer.Argument(help="Directory of the fine-tuned model. Without one: the demo model.", show_default=False),
    ] = None,
    quantize: Annotated[Quantize, typer.Option(help="How numbers are stored and computed.")] = Quantize.NONE,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="Text like what the model will meet: .jsonl rows with a text, or lines. Default: the demo's queries.",
            show_default=False,
        ),
    ] = None,
    max_drop: Annotated[
        float, typer.Option(help="With auto: answers that may change, in percent.", min=0, max=100)
    ] = 0.5,
    seq_len: Annotated[int, typer.Option(help="Tokens of a row, padding included.")] = 128,
    output: Annotated[
        Path | None,
        typer.Option(help="The file. Default: named after model and precision, here.", show_default=False),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Export a checkpoint as a .tflite file that was compared with the PyTorch reference."""
    # The name that was given: `resolve` would follow links.
    name = Path(os.path.abspath(checkpoint)).name if checkpoint else "mobilebert-demo"  # noqa: PTH100
    output = output or Path(f"{name}-{quantize.value}.tflite")
    refuse_unusable(output, overwrite=overwrite)  # before minutes of work
    from rich.console import Console

    console = Console(stderr=True)
    with console.status("loading") as status:  # shows nothing where there is no terminal
        from mobilebert_reference import load_checkpoint
        from mobilebert_reference.demo import CHECKPOINT

        from mobilebert_export.calibration import CalibrationText
        from mobilebert_export.export import export_tflite

        directory = checkpoint or CHECKPOINT
        export = export_tflite(
            load_checkpoint(directory),
            output,
            precision=quantize.value,
            max_drop=max_drop,
            calibration=CalibrationText(calibration) if calibration else None,
            sequence_length=seq_len,
            overwrite=overwrite,
            progress=status.update,
        )
    if json:
        print(json_module.dumps({"checkpoint": str(directory), "quantize": quantize.value, **export.to_dict()}))  # noqa: T201
    else:
        _show(export, calibration, checkpoint)


def _show(export: "Export", calibration: Path | None, checkpoint: Path | None) -> None:
    rows = before(export, calibration, checkpoint)
    if export.reason is not None:
        rows.insert(1, ("chosen", export.reason))
    rows.append(("partitions", f"{export.partitions} (LiteRT on this CPU; 1 is best)"))
    show([*rows, *after(export), ("next", f"mobilebert-export inspect {shlex.quote(str(export.output))}")])
