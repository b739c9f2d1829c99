"""The measuring process, seen from outside: started, asked, and stopped when it does not answer."""

import json
import select
import subprocess
import sys
import tempfile
from types import TracebackType
from typing import Any

from typing_extensions import Self

from mobilebert_benchmarks.errors import HostError, ModelError
from mobilebert_benchmarks.model_file import ModelFile, Signature

ANSWER_SECONDS = 600.0
_LAST_WORDS = 300


class Worker:
    """One model with so many threads in a process, loaded and warm once this is made.

    Attributes:
        loaded: what the process said when the first answer was there.
    """

    def __init__(
        self, model: ModelFile, signature: Signature, threads: int, *, timeout: float = ANSWER_SECONDS
    ) -> None:
        """Starts it.

        Raises:
            ModelError: LiteRT refuses the model, or crashes on it.
            HostError: no answer comes in time.
        """
        self._what, self._timeout = model.name, timeout
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.worker", str(model.path.resolve()), signature.key, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        try:
            self.loaded = self._answer()
        except BaseException:
            self.stop()
            raise

    def run(self, count: int) -> dict[str, Any]:
        """Runs so many inferences: `times_ns` of each, `cpu_ns` of all, `peak_bytes` so far."""
        if self._process.stdin is None:
            raise HostError(f"expected a process for {self._what}, got none")
        try:
            self._process.stdin.write(f"{count}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # why stands on standard error
        return self._answer()

    def stop(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def _answer(self) -> dict[str, Any]:
        output = self._process.stdout
        if output is None or not select.select([output], [], [], self._timeout)[0]:
            raise HostError(f"expected {self._what} to answer within {self._timeout:.0f} s, got nothing")
        line = output.readline()
        if not line:
            code = self._process.wait(timeout=self._timeout)
            raise ModelError(
                f"expected a model that LiteRT runs, got {self._what}: exit code {code}, {self._last_words()}"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = [line for line in self._errors.read().decode(errors="replace").splitlines() if line.strip()]
        return lines[-1].strip()[-_LAST_WORDS:] if lines else "no word of why"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
