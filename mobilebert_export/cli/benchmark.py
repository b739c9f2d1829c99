"""`mobilebert-export benchmark`: what model files cost to run on ARM cores, which are emulated."""

import json as json_module
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mobilebert_export.cli.terminal import printable
from mobilebert_export.files import placed_whole, refuse_destroying, refuse_unusable

_LONGEST_TEXT = 1 << 16  # tokens; longer ones count as this long
_ANY_WIDTH = 10_000

if TYPE_CHECKING:
    from mobilebert_benchmarks.baseline import Baseline
    from mobilebert_benchmarks.results import Report
    from mobilebert_benchmarks.table import Table
    from rich.console import Console
    from rich.table import Table as RichTable


def benchmark(
    models: Annotated[list[Path], typer.Argument(metavar="MODEL...", help="Model files.", show_default=False)],
    cpu: Annotated[
        list[str] | None,
        typer.Option(
            help="A core to emulate, or host, this machine; may be given several times. Default: all cores.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Texts, .jsonl: how long they are weighs a file's signatures.", show_default=False),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Whose tokenizer counts the tokens of --data. Default: the demo's.", show_default=False),
    ] = None,
    adb: Annotated[
        str | None,
        typer.Option(
            metavar="SERIAL",
            help="A phone, as `adb devices` lists it; not exercised on hardware by this project's CI.",
            show_default=False,
        ),
    ] = None,
    runs: Annotated[
        int,
        typer.Option(help="Inferences to time on host and phone. What is emulated repeats exactly.", min=1, max=50_000),
    ] = 50,
    baseline: Annotated[
        Path | None, typer.Option(help="Counts to hold: exit code 1 if a model needs more.", show_default=False)
    ] = None,
    update_baseline: Annotated[
        bool, typer.Option("--update-baseline", help="Write these counts into the baseline instead.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="Also write a page with charts, .html.", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the report if it exists.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Count the instructions of one inference on emulated ARM cores, and compare models."""
    from mobilebert_benchmarks.baseline import compare, dropped, read_baseline, refuse_other_versions, updated
    from mobilebert_benchmarks.benchmark import read_models, run
    from mobilebert_benchmarks.cores import HOST, cores, known
    from mobilebert_benchmarks.emulation.setup import set_up
    from mobilebert_benchmarks.phone import Phone
    from rich.console import Console

    if update_baseline and baseline is None:
        raise typer.BadParameter("--update-baseline needs --baseline, the file to write.")
    if checkpoint is not None and data is None:
        raise typer.BadParameter("--checkpoint needs --data, the texts whose tokens it counts.")
    if baseline is not None and data is not None:
        raise typer.BadParameter("--baseline holds counts of a file's longest rows; use it without --data.")
    cpus = known(cpu or ([] if adb else list(cores())))
    phone = Phone(adb) if adb is not None else None
    if baseline is not None and not set(cpus) - {HOST}:
        raise typer.BadParameter("--baseline holds counts of emulated cores; name one with --cpu.")
    if report is not None:
        refuse_unusable(report, overwrite=overwrite)
    if baseline is not None and update_baseline:
        refuse_unusable(baseline, overwrite=True)
    outputs = {"--report": report, "--baseline": baseline}
    refuse_destroying({name: path for name, path in outputs.items() if path}, [*models, *filter(None, [data])])
    files = read_models(models)
    before: Baseline | None = None
    if baseline is not None and (baseline.exists() or not update_baseline):
        before = read_baseline(baseline)
    with Console(stderr=True).status("setting up") as status:  # shows nothing where there is no terminal
        lengths = _lengths(data, checkpoint) if data is not None else ()
        arm = None if cpus == (HOST,) and phone is None else set_up(progress=status.update)
        if before is not None and arm is not None and not update_baseline:
            refuse_other_versions(before, arm.versions)
        found = run(
            arm,
            files,
            cpus,
            runs=runs,
            phone=phone,
            lengths=lengths,
            tokenizer=str(checkpoint or "the demo"),
            progress=status.update,
        )
    # The files first: what is printed may go to a pipe that closes.
    if arm is not None and baseline is not None and update_baseline:
        after = updated(before, arm.versions, found.results)
        with placed_whole(baseline, overwrite=True) as file:
            file.write(after.to_json().encode())
        if before is not None and (lost := dropped(before, after)):
            found = replace(found, warnings=(*found.warnings, lost))
    if report is not None:
        from mobilebert_benchmarks.html import page

        with placed_whole(report, overwrite=overwrite) as file:
            file.write(page(found).encode())
    if json:
        typer.echo(json_module.dumps(found.to_dict()))
    else:
        # A file's name is not to be taken for markup.
        show(found, Console(markup=False, highlight=False, emoji=False))
    if before is not None and not update_baseline:
        compare(before, found.results)


def _lengths(data: Path, checkpoint: Path | None) -> tuple[int, ...]:
    """Of the rows, in tokens, [CLS] and [SEP] included."""
    from mobilebert_reference.demo import CHECKPOINT
    from mobilebert_reference.tokenizer import Tokenizer

    from mobilebert_export.check.data import read_rows

    tokenizer = Tokenizer.from_directory(checkpoint or CHECKPOINT)
    rows = read_rows(data)
    return tuple(len(tokenizer.encode(row.text, row.text_pair, max_length=_LONGEST_TEXT, pad=False)) for row in rows)


def show(report: "Report", console: "Console") -> None:
    """Prints the notes and the tables, which are parted where they do not fit the console's width."""
    from mobilebert_benchmarks.table import tables

    for note in report.notes():
        console.print(printable(note, console.encoding))
    for table in tables(report):
        console.print()
        console.print(printable(table.title, console.encoding), style="bold")
        for part in _fitting(table, console):
            console.print(part, crop=False)  # a column wider than the terminal


def _fitting(table: "Table", console: "Console") -> "Iterator[RichTable]":
    """The table in as few parts as fit the width, one below the other, each with the first column."""
    start = 1
    while start < len(table.columns):
        end = len(table.columns)
        part = _part(table, start, end, console)
        while end > start + 1 and part.width is not None and part.width > console.width:
            end -= 1
            part = _part(table, start, end, console)
        yield part
        start = end


def _part(table: "Table", start: int, end: int, console: "Console") -> "RichTable":
    from rich import box
    from rich.table import Table as RichTable

    part = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for position in (0, *range(start, end)):
        name = printable(table.columns[position], console.encoding)
        part.add_column(name, justify="right" if position else "left", no_wrap=True)
    for row in table.rows:
        part.add_row(*(printable(cell, console.encoding) for cell in (row[0], *row[start:end])))
    part.width = console.measure(part, options=console.options.update(width=_ANY_WIDTH)).maximum
    return part
