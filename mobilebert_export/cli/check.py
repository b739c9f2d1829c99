"""`mobilebert-export check`: whether model files compute what their checkpoint does."""

import json as json_module
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mobilebert_export.cli.terminal import printable
from mobilebert_export.files import placed_whole, refuse_destroying, refuse_unusable

if TYPE_CHECKING:
    from mobilebert_export.check.run import Checked, CheckReport

FAILED = 1
# What a checkpoint's configuration, weights and vocabulary are in.
_CHECKPOINT_FILES = frozenset({".json", ".safetensors", ".bin", ".txt"})


class RuntimeName(str, Enum):
    """What can run a model."""

    LITERT = "litert"
    ONNXRUNTIME = "onnxruntime"
    TENSORFLOW = "tensorflow"
    TFLITE_RUNTIME = "tflite-runtime"


def check(
    checkpoint: Annotated[Path, typer.Argument(help="Directory of the fine-tuned model.", show_default=False)],
    models: Annotated[
        list[Path], typer.Argument(metavar="MODEL...", help="Files to check, .tflite or .onnx.", show_default=False)
    ],
    data: Annotated[
        Path | None,
        typer.Option(help="Text, with labels where known: .jsonl. Default: the demo's queries.", show_default=False),
    ] = None,
    gate: Annotated[
        Path | None, typer.Option(help="Floors by precision, TOML. Default: the shipped ones.", show_default=False)
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML page.", show_default=False)] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML.", show_default=False)] = None,
    seq_len: Annotated[
        int | None,
        typer.Option(
            help="Tokens of a row that the app feeds. Default: as many as the text needs.", show_default=False
        ),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="The most rows of text to use.")] = 200,
    runtime: Annotated[
        RuntimeName | None,
        typer.Option(help="What runs the files. Default: LiteRT or ONNX Runtime.", show_default=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Check that model files, of this package or of others, compute what a checkpoint does.

    A row of the data is JSON, {"text": …, "text_pair": …} or {"text": …} alone,
    and where they are known:

    "label": a class, by name or number; several that hold, as a list; the
    number of a regression

    "choices": texts to choose between, with the number of the right one, from 0,
    as "label"

    "tags": the class of each word of the text, as a list

    "answer": {"text": …, "start": …}, a piece of the last text, from a character on
    """
    # Before minutes of work.
    outputs = {name: path for name, path in (("--report", report), ("--junit", junit)) if path is not None}
    for path in outputs.values():
        refuse_unusable(path, overwrite=True)
    refuse_destroying(outputs, [*models, *filter(None, (data, gate)), *_files(checkpoint)])
    from rich.console import Console

    with Console(stderr=True).status("loading") as status:  # shows nothing where there is no terminal
        from mobilebert_reference import load_checkpoint

        from mobilebert_export.check.gate import Gate
        from mobilebert_export.check.run import check as run
        from mobilebert_export.runtimes.interface import Runtime

        floors = Gate.default() if gate is None else Gate.read(gate)
        result = run(
            load_checkpoint(checkpoint),
            models,
            data=data,
            gate=floors,
            sequence_length=seq_len,
            runtime=None if runtime is None else Runtime(runtime.value),
            rows=rows,
            progress=status.update,
        )
    _write(result, report, junit)
    if json:
        typer.echo(json_module.dumps(result.to_dict(), allow_nan=False))
    else:
        for checked in result.failed_first:
            _show(checked)
    if not result.passed:
        raise typer.Exit(FAILED)


def _files(checkpoint: Path) -> list[Path]:
    """What may be read of a checkpoint."""
    return [path for path in checkpoint.glob("*") if path.suffix in _CHECKPOINT_FILES]


def _write(result: "CheckReport", report: Path | None, junit: Path | None) -> None:
    from mobilebert_export.check.junit import to_junit
    from mobilebert_export.check.report import to_html

    if report is not None:
        with placed_whole(report, overwrite=True) as file:
            file.write(to_html(result).encode(errors="replace"))  # a file name may be no UTF-8
    if junit is not None:
        with placed_whole(junit, overwrite=True) as file:
            file.write(to_junit(result))


def _show(checked: "Checked") -> None:
    measured, verdict = checked.measured, checked.verdict
    _say(f"{measured.model}  {'passed' if verdict.passed else 'FAILED'}")
    failing = [line for line in verdict.lines if not line.passed]
    for line in failing:
        _say(f"  FAILED       {line}")
    length = "any length" if measured.length is None else f"{measured.length} tokens"
    _say(f"  precision    {measured.precision}, {length}, {measured.rows} rows, run by {measured.runtime}")
    for error in measured.errors:
        rank = "" if error.rank is None else f", rank {error.rank:.4f}"
        _say(
            f"  SQNR         {error.sqnr:.1f} dB at {error.output}, {error.padding}, {error.rows} rows; "
            f"worst row {error.worst_row_sqnr:.1f} dB, cosine {error.cosine:.6f}, "
            f"largest error {error.largest_error:.1e}{rank}"
        )
    for agreement in measured.agreements:
        kappa = "" if agreement.kappa is None else f", kappa {agreement.kappa:.3f}"
        _say(
            f"  agreement    {agreement.share:.1%} of {agreement.answers} answers ({agreement.kind}){kappa}; "
            f"a constant answer has {agreement.constant:.1%}"
        )
    for metric in measured.metrics:
        _say(
            f"  {metric.name:<12} {metric.candidate:.1%} ({metric.kind}), the reference {metric.reference:.1%}, "
            f"a constant answer {metric.constant:.1%}; "
            f"difference {100 * metric.low:+.1f} to {100 * metric.high:+.1f} points"
        )
    depth = measured.depth
    if depth is not None and depth.points:
        where = f"most from {depth.behind or 'the inputs'} to {depth.jump}, by {depth.growth:.1f} dB"
        _say(f"  depth        the error grows {'evenly' if depth.jump is None else where}")
        if depth.constants is not None:
            _say(f"  constants    {depth.constants:.1f} dB at the outputs, computed in real numbers")
    for remark in measured.remarks:
        _say(f"  remark       {remark}")


def _say(text: str) -> None:
    typer.echo(printable(text, sys.stdout.encoding))
