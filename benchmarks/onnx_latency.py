"""The exporter's `.onnx` files beside those of the usual way, of the same weights: latency, size and error.

The usual way is transformers' model through `torch.onnx.export` and `onnxruntime.quantization`, in each of the settings
that people use. All files are loaded into this process and take turns on the same real texts, each in a row of its own
that is padded, and several in a row that they fill. What slows the machine down slows all of them. Both ways are fitted
to the same texts.
"""

import importlib.util
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import numpy as np
import typer
from full_size import SEQUENCE_LENGTH, SHARED, TRAINED, CheckpointArgument, SeedOption, load, weights_name
from mobilebert_reference import ReferenceModelError
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from mobilebert_export.precisions import CALIBRATED, Precision

if TYPE_CHECKING:
    from mobilebert_reference import Checkpoint

DATA = SHARED / "data"
TRAIN, TEST = DATA / "clinc150_train.jsonl", DATA / "clinc150_test.jsonl"
PRECISIONS = (Precision.NONE, Precision.DYNAMIC, Precision.INT8)
THREADS = (1, 2)
# A text in a row of its own, as an app pads it; and a row that texts fill.
PADDED, FULL = "padded", "full"
NEEDED = ("onnx", "onnxruntime", "onnxscript", "transformers")
_ERRORS_ONLY = 3
_WARM_UP = 2
_WIDTH = 190

Rows: TypeAlias = Sequence[Mapping[str, NDArray[np.integer]]]


@dataclass(frozen=True)
class Measured:
    """What one file turned out to be.

    Attributes:
        name: who made it, and how.
        size: in bytes.
        nodes: operators of the file.
        sqnr: of the logits against the reference in float64, in dB.
        cpu_ms: process CPU time of one inference on one thread, by the kind of row: the median, in ms.
        wall_ms: wall time of one inference, by the kind of row and the number of threads: the median, in ms.
    """

    name: str
    size: int
    nodes: int
    sqnr: float
    cpu_ms: dict[str, float]
    wall_ms: dict[str, dict[int, float]]


def main(
    checkpoint: CheckpointArgument = TRAINED,
    random_seed: SeedOption = None,
    runs: Annotated[int, typer.Option(min=10, help="Timed runs of each file.")] = 40,
    texts: Annotated[int, typer.Option(min=1, help="CLINC150 test texts to compare and to run on.")] = 32,
    fitted_to: Annotated[int, typer.Option(min=1, help="CLINC150 train texts that both ways are fitted to.")] = 200,
    files: Annotated[
        Path | None, typer.Option(help="Folder to keep the files in; those that are there are not made again.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Compare the exporter's .onnx files of the full-size model with those of torch.onnx and ONNX Runtime's tools."""
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise typer.BadParameter(
            f"expected {missing[0]}, found none; install 'mobilebert-export[onnx,test]' and onnxscript"
        )
    if absent := [path for path in (TRAIN, TEST) if not path.is_file()]:
        raise typer.BadParameter(f"{absent[0]}: expected a split of CLINC150, found none")
    try:
        model = load(checkpoint, random_seed)
    except ReferenceModelError as error:
        raise typer.BadParameter(str(error)) from error
    with nullcontext(files) if files else tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        folder.mkdir(exist_ok=True)
        with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as pool:
            theirs = pool.submit(_theirs, folder, checkpoint, random_seed, fitted_to).result()
        measured = _measured({**_ours(model, folder, fitted_to), **theirs}, model, texts, runs)
    if as_json:
        results = {"weights": weights_name(checkpoint, random_seed), "texts": texts, "runs": runs}
        typer.echo(json.dumps({**results, "files": [asdict(each) for each in measured]}, indent=2))
    else:
        _print(measured)


def _ours(checkpoint: "Checkpoint", folder: Path, fitted_to: int) -> dict[str, Path]:
    """The exporter's files, of any batch and length, as its command makes them."""
    from mobilebert_export import export_onnx
    from mobilebert_export.calibration import Row

    rows = [Row(text) for text in _texts(TRAIN, fitted_to)]
    return {
        f"exporter, {precision.value}": _made(
            folder / f"ours-{precision.value}.onnx",
            partial(
                export_onnx, checkpoint, precision=precision, calibration=rows if precision in CALIBRATED else None
            ),
        )
        for precision in PRECISIONS
    }


def _theirs(folder: Path, directory: Path, seed: int | None, fitted_to: int) -> dict[str, Path]:
    """The files of the usual way. To be run in a child process, whose output is of no interest."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    import torch
    import transformers
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_dynamic,
        quantize_static,
    )

    checkpoint = load(directory, seed)
    model = transformers.MobileBertForSequenceClassification(
        transformers.MobileBertConfig(**checkpoint.config.to_dict(), attn_implementation="eager")
    )
    model.load_state_dict(checkpoint.model.state_dict())
    batch = checkpoint.tokenizer.encode_batch(_texts(TRAIN, fitted_to), max_length=SEQUENCE_LENGTH)
    names = ("input_ids", "attention_mask", "token_type_ids")
    example = {name: torch.from_numpy(np.asarray(batch[name][:1], np.int64)) for name in names}
    export = partial(
        torch.onnx.export,
        model.eval(),
        (),
        kwargs=example,
        input_names=names,
        output_names=["logits"],
        external_data=False,
    )
    exported = _made(folder / "theirs-none.onnx", lambda path: export(f=path))

    class Reader(CalibrationDataReader):  # type: ignore[misc] # onnxruntime ships no types
        def __init__(self) -> None:
            self._rows: Iterator[dict[str, NDArray[np.int64]]] = (
                {name: np.asarray(batch[name][[row]], np.int64) for name in names} for row in range(fitted_to)
            )

        def get_next(self) -> dict[str, NDArray[np.int64]] | None:
            return next(self._rows, None)

    signed, unsigned = {"weight_type": QuantType.QInt8}, {"weight_type": QuantType.QUInt8}
    files = {"torch.onnx": exported}
    for name, options in {
        "dynamic, s8": signed,
        "dynamic, s8 per channel": {**signed, "per_channel": True},
        "dynamic, u8": unsigned,
        "dynamic, u8 per channel": {**unsigned, "per_channel": True},
        # Per channel alone, the better one: it takes minutes to make.
        "static, QDQ per channel": {"quant_format": QuantFormat.QDQ, "per_channel": True},
    }.items():
        path = folder / f"theirs-{name.replace(', ', '-').replace(' ', '-')}.onnx"
        if name.startswith("static"):
            _made(path, partial(quantize_static, exported, calibration_data_reader=Reader(), **options))
        else:
            _made(path, partial(quantize_dynamic, exported, **options))
        files[f"onnxruntime, {name}"] = path
    return files


def _made(path: Path, make: Callable[[Path], object]) -> Path:
    """A file, made unless it is there; one that was not finished goes by another name."""
    if not path.exists():
        unfinished = path.with_suffix(".unfinished")
        unfinished.unlink(missing_ok=True)
        make(unfinished)
        unfinished.rename(path)
    return path


def _texts(split: Path, count: int) -> list[str]:
    """Some of a split, over all of it: texts of one intent stand together."""
    lines = split.read_text(encoding="utf-8").splitlines()
    return [json.loads(lines[index])["text"] for index in np.linspace(0, len(lines) - 1, count).astype(int)]


def _measured(files: Mapping[str, Path], checkpoint: "Checkpoint", texts: int, runs: int) -> list[Measured]:
    import onnx

    from mobilebert_export.check.metrics import sqnr
    from mobilebert_export.check.verify import Reference

    chosen = _texts(TEST, texts)
    rows = _rows(checkpoint, chosen)
    kinds = {
        PADDED: rows,
        FULL: _rows(checkpoint, [" ".join((chosen * SEQUENCE_LENGTH)[start:]) for start in range(texts)]),
    }
    reference = Reference(checkpoint)
    truth = np.concatenate([reference.run(row)["logits"] for row in rows])
    cpu, wall = {}, {}
    for threads in THREADS:
        sessions = {name: _session(path, threads) for name, path in files.items()}
        for kind, each in kinds.items():
            cpu[kind, threads], wall[kind, threads] = _take_turns(sessions, each, runs)
    logits = {name: np.concatenate([_run(session, row) for row in rows]) for name, session in sessions.items()}
    return [
        Measured(
            name=name,
            size=path.stat().st_size,
            nodes=len(onnx.load(path).graph.node),
            sqnr=sqnr(truth, logits[name]),
            cpu_ms={kind: cpu[kind, 1][name] for kind in kinds},
            wall_ms={kind: {threads: wall[kind, threads][name] for threads in THREADS} for kind in kinds},
        )
        for name, path in files.items()
    ]


def _rows(checkpoint: "Checkpoint", texts: Sequence[str]) -> Rows:
    """A row of each text, padded to the length that all files take, or cut to it."""
    batch = checkpoint.tokenizer.encode_batch(texts, max_length=SEQUENCE_LENGTH)
    return [{name: values[[row]] for name, values in batch.items()} for row in range(len(texts))]


def _session(path: Path, threads: int) -> Any:  # noqa: ANN401 - onnxruntime ships no types
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = _ERRORS_ONLY
    options.add_session_config_entry("session.force_spinning_stop", "1")  # or it would disturb the next one's turn
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _run(session: Any, row: Mapping[str, NDArray[np.integer]]) -> NDArray[np.floating]:  # noqa: ANN401 - as above
    kinds = {port.name: np.int64 if "int64" in port.type else np.int32 for port in session.get_inputs()}
    (logits,) = session.run(["logits"], {name: np.asarray(row[name], kind) for name, kind in kinds.items()})
    return np.asarray(logits)


def _take_turns(sessions: Mapping[str, Any], rows: Rows, runs: int) -> tuple[dict[str, float], dict[str, float]]:
    """Medians of CPU and wall time of an inference in ms, by name."""
    cpu, wall = np.empty((2, len(sessions), _WARM_UP + runs))
    for run in range(_WARM_UP + runs):
        for index, session in enumerate(sessions.values()):
            wall_start, cpu_start = time.perf_counter(), time.process_time()
            _run(session, rows[run % len(rows)])
            cpu[index, run], wall[index, run] = time.process_time() - cpu_start, time.perf_counter() - wall_start
    medians = (1e3 * np.median(times[:, _WARM_UP:], axis=1) for times in (cpu, wall))
    first, second = (dict(zip(sessions, map(float, times), strict=True)) for times in medians)
    return first, second


def _print(measured: Sequence[Measured]) -> None:
    table = Table("file", title="Medians in ms, and the fastest of theirs / this: above 1 is faster than all of theirs")
    for column in ("MB", "nodes", "SQNR, dB"):
        table.add_column(column, justify="right")
    for kind in (PADDED, FULL):
        for column in (f"{kind}: CPU", "1 thread", "2 threads"):
            table.add_column(column, justify="right")
            table.add_column("ratio", justify="right")
    theirs = [each for each in measured if not each.name.startswith("exporter")]
    for each in measured:
        columns = [f"{each.size / 1e6:.2f}", f"{each.nodes}", f"{each.sqnr:.1f}"]
        for kind in (PADDED, FULL):
            times = [_times(one, kind) for one in (each, *theirs)]
            for mine, *others in zip(*times, strict=True):
                columns += [f"{mine:.1f}", f"{min(others) / mine:.2f}"]
        table.add_row(each.name, *columns)
    Console(width=_WIDTH).print(table)


def _times(measured: Measured, kind: str) -> list[float]:
    return [measured.cpu_ms[kind], *measured.wall_ms[kind].values()]


if __name__ == "__main__":
    typer.run(main)
