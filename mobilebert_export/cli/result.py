"""How the commands that export show what they made."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mobilebert_export.cli.terminal import printable

if TYPE_CHECKING:
    from mobilebert_export.exported import Exported

Rows = list[tuple[str, str]]

# Fewer calibration rows than this hardly show a tensor's range.
ENOUGH_ROWS = 100


def before(export: "Exported", calibration: Path | None, checkpoint: Path | None) -> Rows:
    """What every format is told of: how the file was made, and its size."""
    return [
        ("precision", _integers(export)),
        ("calibration", _calibrated_on(export, calibration, checkpoint)),
        ("size", f"{export.size / 1e6:.2f} MB"),
        ("nodes", str(export.nodes)),
    ]


def after(export: "Exported") -> Rows:
    """What every format is told of, behind what is its own: how near the reference, and where the file is."""
    verification = export.verification
    rows = [
        ("SQNR", f"{decibels:.1f} dB at {name}, floor {export.floor:.0f} dB, {verification.rows} rows")
        for name, decibels in verification.sqnr.items()
    ]
    if verification.agreement is not None:
        rows.append(("agreement", f"{100 * verification.agreement:.1f} % of answers as the reference gives them"))
    return [*rows, ("file", str(export.output))]


def show(rows: Iterable[tuple[str, str]]) -> None:
    """A line for each, never wrapped, so that a path can be copied."""
    for name, value in rows:
        typer.echo(f"{name:<11}  {printable(value, sys.stdout.encoding)}")


def _calibrated_on(export: "Exported", calibration: Path | None, checkpoint: Path | None) -> str:
    """What the file was fitted to, and what to do if that is not what the model will meet."""
    if not export.calibration_rows:
        return "none needed"
    rows = f"{export.calibration_rows} rows"
    if calibration is None and checkpoint is not None:
        return f"{rows} of generic text; --calibration FILE with text of your own does better"
    few = f"; {ENOUGH_ROWS} or more would show its ranges better" if export.calibration_rows < ENOUGH_ROWS else ""
    return f"{rows} of {calibration or 'the demo model'}{few}"


def _integers(export: "Exported") -> str:
    """How much of the file computes in integers, where the precision leaves a choice."""
    if not export.integer_nodes and not export.released:
        return export.precision.value
    kept = f", {export.released} more keep float32: they cost the answer most" if export.released else ""
    return f"{export.precision.value} ({export.integer_nodes} nodes compute in integers{kept})"
