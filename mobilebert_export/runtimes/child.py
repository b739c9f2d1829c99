"""Runs a stranger's model in a child process with a limit of time and memory.

A hostile or damaged file can crash, hang or bloat the process that loads it. Here that process is a child, and what
becomes of it is something to report.
"""

import os
import select
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
from mobilebert_export.runtimes.wire import LARGEST_MESSAGE, Message, WireError, pack, receive

Tensors = Mapping[str, NDArray[np.generic]]

_LONGEST_WORDS = 300
# Of an element of the widest type.
_MOST_BYTES = 8
# Files of 16-bit activations are the slowest honest ones: at full size and 128 tokens one took 1.06 s a run on one core
# of a virtual x86-64 machine, which is 4 minutes for the 223 runs of the usual 200 rows.
_TOTAL = 3600.0


@dataclass(frozen=True)
class Limits:
    """What a child may take.

    Attributes:
        seconds: for loading the file, and for each run.
        memory: address space, in bytes, the runtime's own included.
        total: seconds for all of it together; what passes between its answers does not count.
    """

    seconds: float = 120.0
    memory: int = 16 * 2**30
    total: float = _TOTAL


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
        remarks: what of it cannot be looked at, one line each.
    """

    def __init__(self, path: Path, runtime: Runtime, *, threads: int = 1, limits: Limits = Limits()) -> None:
        """Starts the child and loads the file.

        Raises:
            ModelFileError: the file is no model.
            UsageError: the runtime is not installed.
            ModelFailedError: the runtime refuses the file, or does not survive it.
        """
        self._runtime, self._limits, self._left = runtime, limits, limits.total
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
            self.findings, self.remarks = self._lines(said, "findings"), self._lines(said, "remarks")
        except BaseException:
            self.close()
            raise

    def run(self, inputs: Tensors) -> Arrays:
        """The outputs, by the file's own names.

        Raises:
            ModelFailedError: the model does not run, or does not survive it.
        """
        _, given = self._asked("run", inputs, {})
        return given

    def tensors(self, inputs: Tensors, wanted: Mapping[str, int]) -> tuple[Arrays, tuple[str, ...]]:
        """What is computed on the way, stored integers as real numbers.

        Args:
            inputs: by name.
            wanted: the names of the tensors to give, and how many elements each may have: a larger one stays away.

        Returns:
            The tensors by name, in the order of the nodes; and of all that there are, the names of those that are not
            finite.

        Raises:
            RunRefusedError: the model does not run.
            ModelFailedError: it does not survive it.
        """
        said, given = self._asked("tensors", inputs, wanted)
        return given, self._lines(said, "not_finite")

    def exact(self, inputs: Tensors, wanted: Mapping[str, int]) -> Arrays:
        """Likewise, computed in float64 from the file's own constants.

        Raises:
            RunRefusedError: the file has an operator that cannot be followed.
            ModelFailedError: the child does not survive it.
        """
        _, given = self._asked("exact", inputs, wanted)
        return given

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
        said, _ = self._answer("loading", LARGEST_MESSAGE)
        if "refused" not in said:
            return said
        words = _shown(said["refused"])
        if said.get("unreadable"):
            raise ModelFileError(f"{path}: expected a model that {self._runtime.value} reads, got: {words}")
        raise ModelFailedError(f"{self._runtime.value} refuses the file: {words}")

    def _asked(self, what: str, inputs: Tensors, wanted: Mapping[str, int]) -> Message:
        try:
            self._send(pack({"what": what, "wanted": dict(wanted)}, inputs))
        except BrokenPipeError:
            raise ModelFailedError(self._end("running")) from None
        said, arrays = self._answer("running", LARGEST_MESSAGE + _MOST_BYTES * sum(wanted.values()))
        if "failed" in said:
            who = "" if what == "exact" else f"{self._runtime.value} cannot run it: "
            raise RunRefusedError(f"{who}{_shown(said['failed'])}")
        return said, arrays

    def _send(self, question: bytes) -> None:
        stream = self._process.stdin
        if stream is None:
            raise BrokenPipeError
        deadline = time.monotonic() + min(self._limits.seconds, self._left)
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_WRITE)
            while question:
                self._wait(selector, deadline, "running")
                # A pipe that is ready takes as many bytes at once.
                question = question[os.write(stream.fileno(), question[: select.PIPE_BUF]) :]

    def _answer(self, doing: str, largest: int) -> Message:
        started = time.monotonic()
        try:
            said, arrays = receive(lambda size: self._read(size, started, doing), largest=largest)
        except EOFError:
            raise ModelFailedError(self._end(doing)) from None
        except WireError as error:
            raise ModelFailedError(f"{self._runtime.value} answered nonsense while {doing}: {error}") from error
        self._left -= time.monotonic() - started
        if "missing" in said:
            raise UsageError(f"expected an installed runtime, but {said['missing']}")
        return said, arrays

    def _wait(self, selector: selectors.BaseSelector, deadline: float, doing: str) -> None:
        """Until the pipe is ready, which the child's deadline ends."""
        left = deadline - time.monotonic()
        if left <= 0 or not selector.select(left):
            self._process.kill()
            raise ModelFailedError(f"{self._runtime.value} took more than {self._too_long(doing)}")

    def _read(self, size: int, started: float, doing: str) -> bytearray:
        stream = self._process.stdout
        if stream is None:
            raise EOFError
        data = bytearray(size)
        deadline = started + min(self._limits.seconds, self._left)
        with selectors.DefaultSelector() as selector, memoryview(data) as view:
            selector.register(stream, selectors.EVENT_READ)
            position = 0
            while position < size:
                self._wait(selector, deadline, doing)
                count = os.readv(stream.fileno(), [view[position:]])
                if not count:
                    raise EOFError
                position += count
        return data

    def _too_long(self, doing: str) -> str:
        if self._left < self._limits.seconds:
            return f"{self._limits.total:g} s in all, and was stopped while {doing}: fewer rows take less"
        return f"{self._limits.seconds:g} s {doing}, and was stopped"

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

    def _lines(self, said: Mapping[str, Any], which: str) -> tuple[str, ...]:
        lines = said.get(which, [])
        if not isinstance(lines, list):
            raise ModelFailedError(f"{self._runtime.value} answered nonsense instead of {which}")
        return tuple(map(_shown, lines))


def _shown(words: object) -> str:
    """One line; of a long one its beginning and its end, where a runtime says what is wrong."""
    line = " ".join(str(words).split())
    half = _LONGEST_WORDS // 2
    return line if len(line) <= _LONGEST_WORDS else f"{line[:half]} ... {line[-half:]}"
