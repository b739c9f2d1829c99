"""Runs a stranger's model in a child process with a limit of time and memory.

A hostile or damaged file can crash, hang or bloat the process that loads it. Here that process is a child, and what
becomes of it is something to report.
"""

import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from mobilebert_export.errors import ModelFileError, UsageError
from mobilebert_export.runtimes.interface import Arrays, Port, Runtime
from mobilebert_export.runtimes.wire import Message, WireError, pack, receive

_LONGEST_WORDS = 300
_PIPE_READ = 2**20


@dataclass(frozen=True)
class Limits:
    """What a child may take.

    Attributes:
        seconds: for loading the file, and for each run.
        memory: address space, in bytes, the runtime's own included.
    """

    seconds: float = 120.0
    memory: int = 16 * 2**30


class ModelFailedError(Exception):
    """The model crashed, hung, or was refused by its runtime: a finding about the model, in one line."""


class RunRefusedError(ModelFailedError):
    """The child says that it cannot, and lives: it can be asked something else."""


class ChildModel:
    """A model file, loaded in a child process; a context manager.

    Attributes:
        inputs: what it takes.
        outputs: what it gives.
        precision: how its numbers are stored and computed, where only its runtime's library can tell.
        findings: what is wrong with it before it runs, one line each.
    """

    def __init__(self, path: Path, runtime: Runtime, *, threads: int = 1, limits: Limits = Limits()) -> None:
        """Starts the child and loads the file.

        Raises:
            ModelFileError: the file is no model.
            UsageError: the runtime is not installed.
            ModelFailedError: the runtime refuses the file, or does not survive it.
        """
        self._runtime, self._limits = runtime, limits
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the child
        # What the child imports is what this process would, wherever it was started.
        code = "import sys; sys.path[:] = sys.argv.pop(1).split('\\n'); "
        code += "from mobilebert_export.runtimes.worker import main; main(*sys.argv[1:])"
        found = "\n".join(entry or str(Path.cwd()) for entry in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, found, str(path.absolute()), runtime.value, str(threads), str(limits.memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "TF_CPP_MIN_LOG_LEVEL": "3"},
            start_new_session=True,  # a Ctrl-C is for this process, which then ends the child
        )
        try:
            said = self._loaded(path)
            self.inputs, self.outputs = self._ports(said, "inputs"), self._ports(said, "outputs")
            self.precision = None if said.get("precision") is None else str(said["precision"])
            self.findings = self._findings(said)
        except BaseException:
            self.close()
            raise

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """The outputs, by the file's own names.

        Raises:
            ModelFailedError: the model does not run, or does not survive it.
        """
        return self._asked("run", inputs)

    def tensors(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Every tensor computed on the way, by name, in the order of the nodes; stored integers as real numbers.

        Raises:
            RunRefusedError: the model does not run.
            ModelFailedError: it does not survive it.
        """
        return self._asked("tensors", inputs)

    def exact(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Likewise, computed in float64 from the file's own constants; nothing where the format is not followed.

        Raises:
            RunRefusedError: the file has an operator that cannot be followed.
            ModelFailedError: the child does not survive it.
        """
        return self._asked("exact", inputs)

    def close(self) -> None:
        """Ends the child."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._complaints):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:  # what it held was for a child that is gone
                    continue

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _loaded(self, path: Path) -> dict[str, Any]:
        """What the child says of the file, once it is loaded."""
        said, _ = self._answer("loading")
        if "refused" not in said:
            return said
        words = _shown(said["refused"])
        if said.get("unreadable"):
            raise ModelFileError(f"{path}: expected a model that {self._runtime.value} reads, got: {words}")
        raise ModelFailedError(f"{self._runtime.value} refuses the file: {words}")

    def _asked(self, what: str, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        if self._process.stdin is None:
            raise ModelFailedError("the child takes no questions")
        try:
            self._process.stdin.write(pack({"what": what}, inputs))
            self._process.stdin.flush()
        except BrokenPipeError:
            raise ModelFailedError(self._end("running")) from None
        said, arrays = self._answer("running")
        if "failed" in said:
            raise RunRefusedError(f"{self._runtime.value} cannot run it: {_shown(said['failed'])}")
        return arrays

    def _answer(self, doing: str) -> Message:
        deadline = time.monotonic() + self._limits.seconds
        try:
            said, arrays = receive(lambda size: self._read(size, deadline, doing))
        except EOFError:
            raise ModelFailedError(self._end(doing)) from None
        except WireError as error:
            raise ModelFailedError(f"{self._runtime.value} answered nonsense while {doing}: {error}") from error
        if "missing" in said:
            raise UsageError(f"expected an installed runtime, but {said['missing']}")
        return said, arrays

    def _read(self, size: int, deadline: float, doing: str) -> bytes:
        stream = self._process.stdout
        if stream is None:
            raise EOFError
        parts: list[bytes] = []
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            while size:
                left = deadline - time.monotonic()
                if left <= 0 or not selector.select(left):
                    self._process.kill()
                    raise ModelFailedError(
                        f"{self._runtime.value} took more than {self._limits.seconds:g} s {doing}, and was stopped"
                    )
                part = os.read(stream.fileno(), min(size, _PIPE_READ))
                if not part:
                    raise EOFError
                parts.append(part)
                size -= len(part)
        return b"".join(parts)

    def _end(self, doing: str) -> str:
        """How the child ended, in one line."""
        code = self._process.wait()
        how = f"ended with exit code {code}"
        if code < 0:
            try:
                how = f"crashed with {signal.Signals(-code).name}"
            except ValueError:
                how = f"crashed with signal {-code}"
        words = os.pread(self._complaints.fileno(), 2**16, 0).decode(errors="replace").split("\n")
        last = next((line for line in reversed(words) if line.strip() and not line.startswith("INFO:")), "")
        return f"{self._runtime.value} {how} while {doing} it{': ' + _shown(last) if last else ''}"

    def _ports(self, said: Mapping[str, Any], which: str) -> tuple[Port, ...]:
        try:
            return tuple(map(Port.from_json, said[which]))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ModelFailedError(f"{self._runtime.value} answered nonsense while loading it") from error

    def _findings(self, said: Mapping[str, Any]) -> tuple[str, ...]:
        found = said.get("findings", [])
        if not isinstance(found, list):
            raise ModelFailedError(f"{self._runtime.value} answered nonsense while loading it")
        return tuple(map(_shown, found))


def _shown(words: object) -> str:
    line = " ".join(str(words).split())
    return line if len(line) <= _LONGEST_WORDS else f"{line[:_LONGEST_WORDS]}..."
