"""Counts what every precision costs on every emulated core: the table and the baseline in `results/`.

Most of it is the full-size model: 20 to 45 seconds for each core in int8 on a busy machine, 120 in int16, whose kernels
are the plain reference ones, and float between, which QEMU computes in software.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from full_size import SHARED, TRAINED

from mobilebert_export.precisions import CALIBRATED, Precision

RESULTS = Path(__file__).parent / "results"
TEXT = SHARED / "data" / "clinc150_train.jsonl"
CALIBRATION_ROWS = 200
# pip puts the command beside the interpreter.
COMMAND = Path(sys.executable).with_name("mobilebert-export")


def main(
    full_size: Annotated[bool, typer.Option(help="Also count the full-size model.")] = True,
    precision: Annotated[list[Precision] | None, typer.Option(help="Default: every one.")] = None,
) -> None:
    """Export the models, count them on every core, and write the table and the baseline."""
    checkpoints = {"demo": None, "full": TRAINED} if full_size else {"demo": None}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        text = directory / "text.jsonl"
        lines = TEXT.read_text(encoding="utf-8").splitlines(keepends=True)
        text.write_text("".join(lines[:: len(lines) // CALIBRATION_ROWS]), encoding="utf-8")
        files = []
        for label, checkpoint in checkpoints.items():
            for each in precision or Precision:
                file = directory / f"{label}-{each.value}.tflite"
                arguments = ["tflite", *([checkpoint] if checkpoint else []), "--quantize", each.value]
                fitted_to = ["--calibration", text] if each in CALIBRATED else []
                _run(*arguments, *fitted_to, "--output", file)
                files.append(file)
        baseline = RESULTS / "arm-baseline.json"
        table = _run("benchmark", *files, "--baseline", baseline, "--update-baseline")
    command = " ".join(["python benchmarks/arm_counts.py", *sys.argv[1:]])
    (RESULTS / "arm.txt").write_text(f"{command}\n\n{table}", encoding="utf-8")
    typer.echo(table)


def _run(*arguments: object) -> str:
    """What the command prints; its own errors go to the terminal."""
    command = [str(COMMAND), *map(str, arguments)]
    wide = {**os.environ, "COLUMNS": "190"}  # a file has no terminal whose width the table could take
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=wide).stdout


if __name__ == "__main__":
    typer.run(main)
