"""The C programs of this package, and how they are compiled: without a warning, without a path of this machine."""

import subprocess
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from mobilebert_benchmarks.errors import SetupError

OPTIONS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror")
RUNNER_OPTIONS = (*OPTIONS, "-Wno-unused-result", "-ldl")
LIBRARY_OPTIONS = (*OPTIONS, "-shared", "-fPIC")
_SECONDS = 120


def source(name: str) -> str:
    """The text of a file in `native`."""
    return resources.files("mobilebert_benchmarks.emulation").joinpath("native", name).read_text("utf-8")


def compile_source(compiler: Path, name: str, output: Path, options: Sequence[str]) -> None:
    """Compiles a file of `native` into `output`.

    Raises:
        SetupError: the compiler refuses it; with its first words.
    """
    command = [str(compiler), "-x", "c", "-", "-o", output.name, *options]
    try:
        result = subprocess.run(
            command,
            input=source(name),
            cwd=output.parent,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SetupError(f"expected {compiler.name} to compile {name}, got: {error}") from error
    if result.returncode:
        words = " ".join(result.stderr[:300].split())
        raise SetupError(f"expected {compiler.name} to compile {name}, got: {words}")
