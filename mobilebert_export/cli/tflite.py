"""`mobilebert-export tflite`."""

import json as json_module
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
    from rich.console import Console

    console = Console(stderr=True)
    with console.status("loading") as status:  # shows nothing where there is no terminal
        from mobilebert_reference import load_checkpoint
        from mobilebert_reference.demo import CHECKPOINT

        from mobilebert_export.calibration import CalibrationText
        from mobilebert_export.export import export_tflite
        from mobilebert_export.precisions import Precision

        directory = checkpoint or CHECKPOINT
        name = checkpoint.resolve().name if checkpoint else "mobilebert-demo"
        precision = Precision.DYNAMIC if quantize is Quantize.INT8 else Precision(quantize.value)
        export = export_tflite(
            load_checkpoint(directory),
            output or Path(f"{name}-{quantize.value}.tflite"),
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
    from rich.console import Console
    from rich.table import Table

    verification = export.verification
    precision = export.precision.value
    if quantize.value != precision:
        precision = f"{precision} ({quantize.value} means {precision} until static int8 is built)"
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("precision", precision)
    table.add_row("calibration", calibrated_on)
    table.add_row("size", f"{export.size / 1e6:.2f} MB")
    table.add_row("nodes", str(export.nodes))
    table.add_row("partitions", f"{export.partitions} (LiteRT on this CPU; 1 is best)")
    for name, decibels in verification.sqnr.items():
        table.add_row("SQNR", f"{decibels:.1f} dB at {name}, floor {export.floor:.0f} dB, {verification.rows} rows")
    if verification.agreement is not None:
        table.add_row("agreement", f"{100 * verification.agreement:.1f} % of answers as the reference gives them")
    table.add_row("file", str(export.output))
    table.add_row("next", f"mobilebert-export inspect {export.output}")
    Console(soft_wrap=True, highlight=False).print(table)
