"""`mobilebert-export tflite`."""

import json as json_module
import shlex
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mobilebert_export.cli.options import (
    CalibrationOption,
    CheckpointArgument,
    JsonOption,
    OutputOption,
    OverwriteOption,
    default_output,
)
from mobilebert_export.cli.result import after, before, show, warnings
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
    checkpoint: CheckpointArgument = None,
    quantize: Annotated[Quantize, typer.Option(help="How numbers are stored and computed.")] = Quantize.NONE,
    calibration: CalibrationOption = None,
    max_drop: Annotated[
        float | None,
        typer.Option(help="With auto: answers that may change, in percent. Default: 0.5.", show_default=False),
    ] = None,
    seq_len: Annotated[int, typer.Option(help="Tokens of a row, padding included.")] = 128,
    output: OutputOption = None,
    overwrite: OverwriteOption = False,
    json: JsonOption = False,
) -> None:
    """Export a checkpoint as a .tflite file that was compared with the PyTorch reference."""
    output = output or default_output(checkpoint, quantize.value, ".tflite")
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
    warned = warnings(export.calibration_rows, calibration, checkpoint)
    if json:
        told = {"checkpoint": str(directory), "quantize": quantize.value, **export.to_dict(), "warnings": warned}
        print(json_module.dumps(told))  # noqa: T201
    else:
        _show(export, calibration, warned)


def _show(export: "Export", calibration: Path | None, warned: list[str]) -> None:
    rows = before(export, calibration)
    if export.reason is not None:
        rows.insert(1, ("chosen", export.reason))
    rows.append(("partitions", f"{export.partitions} (LiteRT on this CPU; 1 is best)"))
    rows += [("warning", each) for each in warned]
    show([*rows, *after(export), ("next", f"mobilebert-export inspect {shlex.quote(str(export.output))}")])
