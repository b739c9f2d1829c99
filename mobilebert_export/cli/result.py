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


def before(export: "Exported", calibration: Path | None) -> Rows:
    """What every format is told of: how the file was made, and its size."""
    rows = export.calibration_rows
    text = calibration or "the demo's queries"
    return [
        ("precision", _integers(export)),
        ("calibration", f"{rows} rows of {text}" if rows else "none needed"),
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


def warnings(rows: int, calibration: Path | None, checkpoint: Path | None) -> list[str]:
    """What is wrong with the text that a model was fitted to: so many rows, of a file or of the demo."""
    if rows and calibration is None and checkpoint is not None:
        return ["fitted to generic queries, not to text of yours; --calibration FILE does better"]
    if 0 < rows < ENOUGH_ROWS:
        return [f"fitted to {rows} rows; {ENOUGH_ROWS} or more would show its ranges better"]
    return []


def show(rows: Iterable[tuple[str, str]]) -> None:
    """A line for each, never wrapped, so that a path can be copied."""
    for name, value in rows:
        typer.echo(f"{name:<11}  {printable(value, sys.stdout.encoding)}")


def _integers(export: "Exported") -> str:
    """How much of the file computes in integers, where the precision leaves a choice."""
    if not export.integer_nodes and not export.released:
        return export.precision.value
    kept = f", {export.released} more keep float32: they cost the answer most" if export.released else ""
    return f"{export.precision.value} ({export.integer_nodes} nodes compute in integers{kept})"
