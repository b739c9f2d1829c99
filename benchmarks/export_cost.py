"""What an export costs: CPU seconds of lowering and emission, and the peak memory of the whole process.

Each export runs in a process of its own. Its peak memory is what a user sees: Python, torch, the other imports and the
loaded model are in it. The peak before lowering stands beside it: the difference is what lowering and emission add. The
file stays in memory and is not verified.
"""

import json
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from full_size import SEQUENCE_LENGTH, TRAINED, CheckpointArgument, SeedOption, load, weights_name
from mobilebert_reference import ReferenceModelError
from rich.console import Console
from rich.table import Table

from mobilebert_export.precisions import Precision

# Without a fit to text, which `calibration_cost.py` measures.
PRECISIONS = (Precision.NONE, Precision.FLOAT16, Precision.DYNAMIC)
MOST_CPU_SECONDS = 5.0
MOST_MEMORY = 1_200_000_000

# getrusage's ru_maxrss is in bytes on macOS and in KiB elsewhere.
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Cost:
    """What one export took.

    Attributes:
        precision: of the file.
        import_seconds: CPU seconds of importing torch, the exporter and what they need.
        load_seconds: CPU seconds of reading the checkpoint.
        export_seconds: CPU seconds of lowering, rounding to the precision, and emission.
        peak_before: bytes of memory, at most, before lowering began.
        peak: bytes of memory, at most, over the whole life of the process.
        size: of the file, in bytes.
    """

    precision: Precision
    import_seconds: float
    load_seconds: float
    export_seconds: float
    peak_before: int
    peak: int
    size: int

    @property
    def within_targets(self) -> bool:
        """Whether this export kept to both targets."""
        return self.export_seconds <= MOST_CPU_SECONDS and self.peak <= MOST_MEMORY


def export(directory: Path, seed: int | None, precision: Precision) -> Cost:
    """Exports once and tells what that took. To be run in a fresh process."""
    started = time.process_time()
    from mobilebert_export.emitters.tflite import emit
    from mobilebert_export.lowering import lower
    from mobilebert_export.precisions import apply

    imported = time.process_time()
    checkpoint = load(directory, seed)
    loaded, peak_before = time.process_time(), _peak_memory()
    graph = lower(checkpoint.model, checkpoint.config).bind(batch=1, sequence=SEQUENCE_LENGTH)
    content = emit(apply(graph, precision))
    exported = time.process_time()
    return Cost(
        precision=precision,
        import_seconds=imported - started,
        load_seconds=loaded - imported,
        export_seconds=exported - loaded,
        peak_before=peak_before,
        peak=_peak_memory(),
        size=len(content),
    )


def main(
    checkpoint: CheckpointArgument = TRAINED,
    random_seed: SeedOption = None,
    runs: Annotated[int, typer.Option(min=1, help="Exports of each precision.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Measure what an export of the full-size model costs in CPU time and memory."""
    try:
        # The precisions take turns, so that a busy minute of the machine does not fall on one of them.
        costs = [_in_fresh_process(checkpoint, random_seed, each) for _ in range(runs) for each in PRECISIONS]
    except ReferenceModelError as error:
        raise typer.BadParameter(str(error)) from error
    if as_json:
        targets = {"export_seconds": MOST_CPU_SECONDS, "peak": MOST_MEMORY}
        exports = [asdict(cost) for cost in costs]
        typer.echo(
            json.dumps(
                {"weights": weights_name(checkpoint, random_seed), "targets": targets, "exports": exports}, indent=2
            )
        )
    else:
        _print(costs)


def _in_fresh_process(directory: Path, seed: int | None, precision: Precision) -> Cost:
    # A child's ru_maxrss starts from its parent's memory: this parent must stay small, so it imports nothing heavy.
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(export, directory, seed, precision).result()


def _peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT


def _print(costs: Sequence[Cost]) -> None:
    times = Table("CPU seconds", title="Each export in a process of its own: median, or the worst")
    memory = Table("MB")
    for column in ("importing", "loading", "lowering + emission", "worst"):
        times.add_column(column, justify="right")
    for column in ("peak before lowering", "peak", "worst", "file"):
        memory.add_column(column, justify="right")
    for precision in PRECISIONS:
        chosen = [cost for cost in costs if cost.precision == precision]
        times.add_row(
            precision.value,
            _median(cost.import_seconds for cost in chosen),
            _median(cost.load_seconds for cost in chosen),
            _median(cost.export_seconds for cost in chosen),
            f"{max(cost.export_seconds for cost in chosen):.2f}",
        )
        memory.add_row(
            precision.value,
            _median(cost.peak_before / 1e6 for cost in chosen),
            _median(cost.peak / 1e6 for cost in chosen),
            f"{max(cost.peak for cost in chosen) / 1e6:.2f}",
            _median(cost.size / 1e6 for cost in chosen),
        )
    kept = sum(cost.within_targets for cost in costs)
    console = Console()
    console.print(times, memory)
    console.print(f"{kept} of {len(costs)} exports kept to both targets:")
    console.print(f"lowering + emission in at most {MOST_CPU_SECONDS:g} CPU s,")
    console.print(f"a peak of at most {MOST_MEMORY / 1e6:g} MB, imports and the loaded model included.")


def _median(values: Iterable[float]) -> str:
    return f"{statistics.median(values):.2f}"


if __name__ == "__main__":
    typer.run(main)
