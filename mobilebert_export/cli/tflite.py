"""`mobilebert-export tflite`."""

import json as json_module
import os
import shlex
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mobilebert_export.cli.terminal import printable
from mobilebert_export.files import refuse_unusable

# Fewer calibration rows than this hardly show a tensor's range.
ENOUGH_ROWS = 100

if TYPE_CHECKING:
    from mobilebert_export.export import Export


class Quantize(str, Enum):
    """The precisions a user can ask for."""

    NONE = "none"
    FLOAT16 = "float16"
    DYNAMIC = "dynamic"
    INT8 = "int8"


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
        from mobilebert_export.precisions import Precision

        directory = checkpoint or CHECKPOINT
        precision = Precision.DYNAMIC if quantize is Quantize.INT8 else Precision(quantize.value)
        export = export_tflite(
            load_checkpoint(directory),
            output,
            precision=precision,
            calibration=CalibrationText(calibration) if calibration else None,
            sequence_length=seq_len,
            overwrite=overwrite,
            progress=status.update,
        )
    if json:
        print(json_module.dumps({"checkpoint": str(directory), "quantize": quantize.value, **export.to_dict()}))  # noqa: T201
    else:
        _show(export, quantize, _calibrated_on(export, calibration, checkpoint))


def _calibrated_on(export: "Export", calibration: Path | None, checkpoint: Path | None) -> str:
    """What the file was fitted to, and what to do if that is not what the model will meet."""
    if not export.calibration_rows:
        return "none needed"
    rows = f"{export.calibration_rows} rows"
    if calibration is None and checkpoint is not None:
        return f"{rows} of generic text; --calibration FILE with text of your own does better"
    few = f"; {ENOUGH_ROWS} or more would show its ranges better" if export.calibration_rows < ENOUGH_ROWS else ""
    return f"{rows} of {calibration or 'the demo model'}{few}"


def _show(export: "Export", quantize: Quantize, calibrated_on: str) -> None:
    verification = export.verification
    precision = export.precision.value
    if quantize.value != precision:
        precision = f"{precision} ({quantize.value} means {precision} until static int8 is built)"
    rows = [
        ("precision", precision),
        ("calibration", calibrated_on),
        ("size", f"{export.size / 1e6:.2f} MB"),
        ("nodes", str(export.nodes)),
        ("partitions", f"{export.partitions} (LiteRT on this CPU; 1 is best)"),
    ]
    for name, decibels in verification.sqnr.items():
        rows.append(("SQNR", f"{decibels:.1f} dB at {name}, floor {export.floor:.0f} dB, {verification.rows} rows"))
    if verification.agreement is not None:
        rows.append(("agreement", f"{100 * verification.agreement:.1f} % of answers as the reference gives them"))
    rows.append(("file", str(export.output)))
    rows.append(("next", f"mobilebert-export inspect {shlex.quote(str(export.output))}"))
    for name, value in rows:  # never wrapped, so that a path can be copied
        typer.echo(f"{name:<11}  {printable(value, sys.stdout.encoding)}")
