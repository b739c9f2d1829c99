"""`mobilebert-export inspect`: what a model file holds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mobilebert_export.cli.terminal import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from mobilebert_export.inspection import ModelSummary, Quantization, Value

# What people can take in; a stranger's file may have a hundred thousand inputs with names of a million characters.
_LONGEST_TEXT = 200
_MOST_ROWS = 1000


def inspect(
    model: Annotated[Path, typer.Argument(metavar="MODEL.tflite", help="The file to look into.", show_default=False)],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """Show what a .tflite file holds: inputs, outputs, signatures, operators, quantization and sizes."""
    from mobilebert_export.inspection import read

    summary = read(model)
    if json:
        typer.echo(dumps({"file": str(model), **summary.to_dict()}))
        return
    from rich.console import Console

    # A stranger's names are not to be taken for markup.
    console = Console(markup=False, highlight=False, emoji=False)
    graphs = f" in {summary.subgraphs} subgraphs" if summary.subgraphs > 1 else ""
    heading = f"{summary.size:,} bytes, {summary.nodes:,} nodes{graphs}, TFLite schema {summary.schema_version}"
    console.print(_shown(f"{model.name}: {heading}", console))
    if summary.description:
        console.print(_shown(summary.description, console))
    sections = list(_sections(summary))
    if sum(1 + len(section.rows) for section in sections) > _MOST_ROWS:
        console.print(f"It would take more than {_MOST_ROWS:,} rows to show; --json has all of it.")
        return
    for section in sections:
        console.print()
        console.print(_shown(section.title, console), style="bold")
        console.print(_table(section, console))


@dataclass(frozen=True)
class _Section:
    """A table to print. A column with a number in it is set to the right."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str | int | float, ...]]


def _sections(summary: "ModelSummary") -> Iterator[_Section]:
    for signature in summary.signatures:
        yield _interface(f"Signature {signature.key}", signature.inputs, signature.outputs)
    if not summary.signatures:
        yield _interface("Inputs and outputs, without a signature", summary.inputs, summary.outputs)
    operators = [(operator.name, operator.version, operator.count) for operator in summary.operators]
    yield _Section("Operators", ("operator", "version", "nodes"), operators)
    if summary.quantized:
        kinds = [(kind.dtype, kind.granularity, kind.count) for kind in summary.quantized]
        yield _Section("Quantized tensors", ("type", "scales", "tensors"), kinds)
    sizes = [(kind.dtype, kind.tensors, kind.bytes, kind.bytes / summary.size) for kind in summary.constants]
    overhead = ("overhead", "", summary.overhead, summary.overhead / summary.size)
    yield _Section("Size", ("constants", "tensors", "bytes", "share"), [*sizes, overhead])
    if summary.metadata:
        yield _Section("Metadata", ("name",), [(name,) for name in summary.metadata])


def _interface(title: str, inputs: Sequence["Value"], outputs: Sequence["Value"]) -> _Section:
    rows = [
        (kind, value.name, value.dtype, str(list(value.shape)), _scaling(value.quantization))
        for kind, values in (("input", inputs), ("output", outputs))
        for value in values
    ]
    return _Section(title, ("", "name", "type", "shape", "quantization"), rows)


def _scaling(quantization: "Quantization | None") -> str:
    if quantization is None:
        return "none"
    if quantization.scale is None:
        return quantization.granularity
    return f"scale {quantization.scale:.6g}, zero point {quantization.zero_point}"


def _table(section: _Section, console: "Console") -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for position, column in enumerate(section.columns):
        numbers = any(not isinstance(row[position], str) for row in section.rows)
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in section.rows:
        table.add_row(*(_shown(_cell(value), console) for value in row))
    return table


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:.1%}"


def _shown(text: str, console: "Console") -> str:
    cut = text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}..."
    return printable(cut, console.encoding)
