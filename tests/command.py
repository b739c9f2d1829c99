"""The command in a process of its own."""

import subprocess
import sys
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-m", "mobilebert_export"]


def run(*arguments: object, cwd: Path, **options: Any) -> "subprocess.CompletedProcess[str]":
    """What it says and how it ends; `options` are those of `subprocess.run`."""
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, check=False, capture_output=True, text=True, timeout=300, **options)
