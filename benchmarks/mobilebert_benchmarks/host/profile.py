"""What each operator takes on this machine: the runner of the emulated side, compiled for this one.

LiteRT's Python has no profiler. Its C interface has, and the library comes with the Python package.
"""

import hashlib
import json
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from statistics import median

from mobilebert_benchmarks.emulation import cache
from mobilebert_benchmarks.emulation.litert import LIBRARY, VERSION
from mobilebert_benchmarks.emulation.sources import RUNNER_OPTIONS, compile_source, source
from mobilebert_benchmarks.emulation.tools import GCC, Tools
from mobilebert_benchmarks.errors import HostError, SetupError
from mobilebert_benchmarks.model_file import ModelFile, Signature
from mobilebert_benchmarks.operators import costs, parsed

_RUNNER, _SOURCE = "runner", "runner.c"
_WARMUPS = 3
_MOST_RUNS = 100  # each lists a thousand operators
_SECONDS = 600


def runner(root: Path | None = None) -> Path:
    """The runner for this machine, compiled if it is not in the cache.

    Raises:
        SetupError: there is no compiler, it fails, or LiteRT is another release than the runner is written for.
    """
    library()
    tools = Tools()
    compiler = tools.program(GCC)
    if compiler is None:
        raise SetupError(f"expected {GCC}, which is not installed")

    def build(directory: Path) -> None:
        compile_source(Path(compiler), _SOURCE, directory / _RUNNER, RUNNER_OPTIONS)

    return cache.built(root or cache.default_root(), key(tools), build) / _RUNNER


def key(tools: Tools | None = None) -> str:
    """The cache's name for the runner: all that decides its content.

    Raises:
        SetupError: there is no compiler, or it does not say its version.
    """
    compiler = (tools or Tools()).compiler_version(GCC)
    decides = "\0".join([source(_SOURCE), repr(RUNNER_OPTIONS), compiler, platform.machine()])
    return f"host-{hashlib.sha256(decides.encode()).hexdigest()[:16]}"


def library() -> Path:
    """LiteRT's own, in the Python package.

    Raises:
        SetupError: it is of another release than the runner is written for, or not there.
    """
    try:
        package = distribution("ai-edge-litert")
    except PackageNotFoundError as error:
        raise SetupError("expected ai-edge-litert, which is not installed") from error
    if package.version != VERSION:
        raise SetupError(f"expected ai-edge-litert {VERSION}, got {package.version}")
    return Path(str(package.locate_file(f"ai_edge_litert/{LIBRARY}")))


def operators_ms(program: Path, model: ModelFile, signature: Signature, threads: int, runs: int) -> dict[str, float]:
    """The milliseconds of each kernel in an inference, highest first: medians over so many of them, at most 100.

    Raises:
        HostError: the runner fails, or does not say what it should.
    """
    runs = min(runs, _MOST_RUNS)
    numbers = (signature.index, _WARMUPS, runs, threads, 1)
    command = [str(program), str(library()), str(model.path.resolve()), *map(str, numbers)]
    try:
        operators = parsed(json.loads(_output(command)))
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
        raise HostError(f"expected the operators of {model.name} from the runner, got: {error}") from error
    each = len(operators) // runs
    inferences = [costs(operators[start : start + each]) for start in range(0, each * runs, each)] if each else []
    times = {name: median(seen.get(name, 0) for seen in inferences) / 1e3 for name in costs(operators)}
    return dict(sorted(times.items(), key=lambda item: item[1], reverse=True))


def _output(command: list[str]) -> str:
    """What a program prints; if it fails, its last words are the error."""
    result = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_SECONDS,
        check=False,
    )
    if result.returncode:
        raise HostError((result.stderr.strip().splitlines() or [f"exit code {result.returncode}"])[-1])
    return result.stdout
