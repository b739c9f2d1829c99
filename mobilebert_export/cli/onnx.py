"""`mobilebert-export onnx`."""

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
from mobilebert_export.errors import UsageError
from mobilebert_export.files import refuse_unusable

if TYPE_CHECKING:
    from mobilebert_export.onnx_export import OnnxExport

DYNAMIC = "dynamic"


class Quantize(str, Enum):
    """The precisions a user can ask for."""

    NONE = "none"
    FLOAT16 = "float16"
    DYNAMIC = "dynamic"
    INT8 = "int8"


def onnx(
    checkpoint: CheckpointArgument = None,
    quantize: Annotated[Quantize, typer.Option(help="How numbers are stored and computed.")] = Quantize.NONE,
    calibration: CalibrationOption = None,
    seq_len: Annotated[
        str,
        typer.Option(
            metavar="dynamic|N", help="Tokens of the one row that it takes, padding included; or any batch and length."
        ),
    ] = DYNAMIC,
    opset: Annotated[
        int | None, typer.Option(help="Of ONNX's operators. Default: the current one.", show_default=False)
    ] = None,
    output: OutputOption = None,
    overwrite: OverwriteOption = False,
    json: JsonOption = False,
) -> None:
    """Export a checkpoint as an .onnx file that was compared with the PyTorch reference."""
    length = _length(seq_len)
    output = output or default_output(checkpoint, quantize.value, ".onnx")
    refuse_unusable(output, overwrite=overwrite)  # before minutes of work
    from rich.console import Console

    with Console(stderr=True).status("loading") as status:  # shows nothing where there is no terminal
        from mobilebert_reference import load_checkpoint
        from mobilebert_reference.demo import CHECKPOINT

        from mobilebert_export.calibration import CalibrationText
        from mobilebert_export.onnx_export import export_onnx

        directory = checkpoint or CHECKPOINT
        export = export_onnx(
            load_checkpoint(directory),
            output,
            precision=quantize.value,
            calibration=CalibrationText(calibration) if calibration else None,
            sequence_length=length,
            opset=opset,
            overwrite=overwrite,
            progress=status.update,
        )
    warned = warnings(export.calibration_rows, calibration, checkpoint)
    if json:
        told = {"checkpoint": str(directory), "quantize": quantize.value, **export.to_dict(), "warnings": warned}
        print(json_module.dumps(told))  # noqa: T201
    else:
        _show(export, calibration, warned, directory)


def _length(given: str) -> int | None:
    """The length that an option names, None for any.

    Raises:
        UsageError: it names none.
    """
    if given == DYNAMIC:
        return None
    try:
        return int(given)
    except ValueError as error:
        raise UsageError(f"expected {DYNAMIC} or a number of tokens as --seq-len, got {given}") from error


def _show(export: "OnnxExport", calibration: Path | None, warned: list[str], directory: Path) -> None:
    checked = shlex.join(["mobilebert-export", "check", str(directory), str(export.output)])
    show(
        [
            *before(export, calibration),
            ("opset", str(export.opset)),
            ("kernels", f"{export.integer_kernels} multiply integers (ONNX Runtime on this CPU)"),
            *(("warning", each) for each in warned),
            *after(export),
            ("next", checked),
        ]
    )
