"""`mobilebert-export sensitivity`."""

import json as json_module
import sys
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mobilebert_export.cli.options import CalibrationOption, CheckpointArgument
from mobilebert_export.cli.result import warnings
from mobilebert_export.cli.terminal import printable
from mobilebert_export.errors import UsageError
from mobilebert_export.files import placed_whole, refuse_unusable

if TYPE_CHECKING:
    from mobilebert_export.calibration.report import SensitivityReport

# Nodes that the table lists; `--json` has all.
WORST = 20
_PLOTS = (".png", ".svg")


def sensitivity(
    checkpoint: CheckpointArgument = None,
    calibration: CalibrationOption = None,
    seq_len: Annotated[int, typer.Option(help="The longest row, in tokens.")] = 128,
    plot: Annotated[
        Path | None, typer.Option(help="Also draw it, as .png or .svg (needs the extra plot).", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the plot if it exists.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print all nodes as one JSON object.")] = False,
) -> None:
    """Show where int8 hurts: the error when one node, or one layer, alone computes in int8."""
    if plot is not None:
        if plot.suffix not in _PLOTS:
            raise UsageError(f"expected a plot named {' or '.join(f'*{each}' for each in _PLOTS)}, got {plot}")
        refuse_unusable(plot, overwrite=overwrite)
        if find_spec("matplotlib") is None:
            raise UsageError("expected matplotlib for a plot, got none; pip install 'mobilebert-export[plot]'")
    from rich.console import Console

    with Console(stderr=True).status("loading") as status:
        from mobilebert_reference import load_checkpoint
        from mobilebert_reference.demo import CALIBRATION, CHECKPOINT

        from mobilebert_export.calibration import CalibrationText
        from mobilebert_export.calibration.report import sensitivity_report
        from mobilebert_export.exported import refuse_length

        model = load_checkpoint(checkpoint or CHECKPOINT)
        refuse_length(model, seq_len)
        report = sensitivity_report(
            model,
            CalibrationText(calibration or CALIBRATION),
            length=seq_len,
            progress=status.update,
        )
    if plot is not None:
        from mobilebert_export.calibration.plot import drawn

        with placed_whole(plot, overwrite=overwrite) as file:
            file.write(drawn(report, plot.suffix.removeprefix(".")))
    warned = warnings(report.rows, calibration, checkpoint)
    if json:
        print(json_module.dumps({**_finite(asdict(report)), "warnings": warned}, allow_nan=False))  # noqa: T201
    else:
        for each in warned:
            typer.echo(f"warning: {each}")
        _show(report)


def _show(report: "SensitivityReport") -> None:
    def line(*columns: str) -> None:
        typer.echo(printable("  ".join(columns), sys.stdout.encoding))

    line(f"{'all of it in int8':<56}", f"{report.whole:7.1f} dB")
    for part, decibels in report.parts.items():
        line(f"{part:<56}", f"{decibels:7.1f} dB")
    typer.echo("")
    line(f"{f'the {WORST} nodes that cost most':<56}", f"{'SQNR':>10}", f"{'range before':>22}", f"{'after':>22}")
    for node in sorted(report.nodes, key=lambda each: each.sqnr)[:WORST]:
        name = node.name.removeprefix("mobilebert.").removeprefix("encoder.")
        line(f"{name:<56}", f"{node.sqnr:7.1f} dB", f"{_range(node.before):>22}", f"{_range(node.after):>22}")


def _range(span: tuple[float, float] | None) -> str:
    return "" if span is None else f"{span[0]:.3g} … {span[1]:.3g}"


def _finite(value: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    """The same without infinities, which JSON has no word for: a node that changes nothing has no SQNR."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and value in {float("inf"), float("-inf")} else value
