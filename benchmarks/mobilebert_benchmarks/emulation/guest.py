"""Runs of a model on an emulated core: one that is counted, and one that lists its operators."""

import json
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilebert_benchmarks.cores import HWCAP, HWCAP2, Core
from mobilebert_benchmarks.emulation.counts import Counts, read_counts
from mobilebert_benchmarks.emulation.root import make_root
from mobilebert_benchmarks.emulation.setup import ArmSide
from mobilebert_benchmarks.errors import GuestError, MismatchError, ModelError
from mobilebert_benchmarks.model_file import ModelFile, Signature
from mobilebert_benchmarks.operators import Operator, parsed

TIMEOUT_SECONDS = 900.0

# A guest's addresses are the same in every run if QEMU hands them out in a range of its own, as are the random bytes
# that a program starts with if QEMU has a seed. Nothing else but code and data decides what an inference counts.
_REPEATABLE = ("-R", "0x4000000000", "-seed", "1")
_RUNNER = ("runner", "./lib", "./model")
_BAD_MODEL = 4  # the runner's exit code
_LAST_WORDS = 300
_SAID = {"hwcap": int, "hwcap2": int, "midr": int, "output_hash": str}


class Guests:
    """The emulators that were started, for another thread to stop: one that waits for a program cannot be stopped."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started: list[subprocess.Popen[str]] = []
        self._stopped = False

    def run(self, command: list[str], directory: Path, timeout: float) -> subprocess.CompletedProcess[str]:
        """Runs the command in the directory, as `subprocess.run` does."""
        with self._lock:
            process = subprocess.Popen(
                command,
                cwd=directory,
                env={},  # the guest gets it, and works through it
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
            self._started.append(process)
            if self._stopped:
                process.kill()
        with process:
            try:
                said, complained = process.communicate(timeout=timeout)
            finally:
                process.kill()  # does nothing to one that has ended
        return subprocess.CompletedProcess(command, process.returncode, said, complained)

    def stop(self) -> None:
        """Kills those that run, and each that starts later."""
        with self._lock:
            self._stopped = True
            for process in self._started:
                process.kill()


@dataclass(frozen=True)
class GuestRun:
    """What one run showed.

    Attributes:
        counts: the plugin's.
        output_hash: FNV-1a of all outputs' bytes, as hexadecimal digits.
    """

    counts: Counts
    output_hash: str


def run(
    arm: ArmSide,
    core: Core,
    model: ModelFile,
    signature: Signature,
    guests: Guests | None = None,
    *,
    timeout: float = TIMEOUT_SECONDS,
) -> GuestRun:
    """Loads the model on the core, runs it once, and once more, which is what is counted; `guests` can stop it.

    Raises:
        ModelError: the runtime refuses the model.
        GuestError: the guest crashes, does not end in time, or does not say what it should.
        MismatchError: the guest sees another core.
    """
    with _guest(arm, core, model) as directory:
        caches = "/".join(f"{level.kib}:{level.ways}" for level in core.caches)
        command = [*_qemu(arm, core), "-plugin", f"./plugin,output=counts,caches={caches}"]
        command += [*_RUNNER, str(signature.index), "1", "1", "1", "0"]
        what = f"{model.name} on {core.name}"
        said = _said(command, directory, what, timeout, guests)
        _check_core(said, core)
        try:
            return GuestRun(read_counts(directory / "counts"), said["output_hash"])
        except GuestError as error:
            raise GuestError(f"{what}: {error}") from error


def operators(
    arm: ArmSide,
    core: Core,
    model: ModelFile,
    signature: Signature,
    guests: Guests | None = None,
    *,
    timeout: float = TIMEOUT_SECONDS,
) -> tuple[Operator, ...]:
    """The operators of one inference, in their order, each with its instructions; `guests` can stop it.

    To profile costs instructions itself, about a hundred an operator, so this is a run beside the one that is counted.

    Raises:
        ModelError: the runtime refuses the model.
        GuestError: the guest crashes, does not end in time, or does not say what it should.
    """
    with _guest(arm, core, model) as directory:
        clock = ["-plugin", "./plugin,output=/dev/null,clock=clock", "-E", "LD_PRELOAD=./preloaded"]
        command = [*_qemu(arm, core), *clock, *_RUNNER, str(signature.index), "1", "1", "1", "1"]
        what = f"{model.name} on {core.name}"
        said = _said(command, directory, what, timeout, guests)
    try:
        return parsed(said)
    except (ValueError, TypeError, KeyError) as error:
        raise GuestError(f"expected a list of operators from {what}, got: {error}") from error


@contextmanager
def _guest(arm: ArmSide, core: Core, model: ModelFile) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mobilebert-arm-") as name:
        directory = Path(name)
        make_root(directory / "root", core, arm.sysroot)
        # Short names that are always the same: a guest's work depends on the length of its arguments.
        for link, target in (
            ("runner", arm.runner),
            ("lib", arm.library),
            ("plugin", arm.plugin),
            ("preloaded", arm.clock),
            ("model", model.path),
        ):
            (directory / link).symlink_to(target.resolve())
        yield directory


def _qemu(arm: ArmSide, core: Core) -> list[str]:
    return [str(arm.qemu), *_REPEATABLE, "-cpu", core.qemu_cpu, "-L", "root"]


def _said(command: list[str], directory: Path, what: str, timeout: float, guests: Guests | None) -> dict[str, Any]:
    try:
        result = (guests or Guests()).run(command, directory, timeout)
    except subprocess.TimeoutExpired as error:
        raise GuestError(f"expected {what} to end within {timeout:.0f} s, got no answer") from error
    except OSError as error:
        raise GuestError(f"expected {command[0]} to start, got: {error}") from error
    if result.returncode == _BAD_MODEL:
        raise ModelError(f"expected a model that LiteRT runs, got {what}: {_last_words(result.stderr)}")
    if result.returncode:
        raise GuestError(f"expected {what} to end well, got {_ending(result.returncode)}: {_last_words(result.stderr)}")
    try:
        said = json.loads(result.stdout)
        return {**said, **{name: kind(said[name]) for name, kind in _SAID.items()}}
    except (ValueError, TypeError, KeyError) as error:
        raise GuestError(f"expected a line of JSON from {what}, got {result.stdout[:_LAST_WORDS]!r}") from error


def _ending(code: int) -> str:
    if code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"


def _last_words(said: str) -> str:
    """The runner's own line, and LiteRT's errors before it."""
    lines = [line for line in said.splitlines() if line.strip() and not line.startswith(("INFO:", "WARNING:"))]
    return " ".join(" ".join(lines[-3:]).split())[-_LAST_WORDS:] or "no word of why"


def _check_core(said: dict[str, Any], core: Core) -> None:
    found = {name for name, bit in HWCAP.items() if said["hwcap"] >> bit & 1}
    found |= {name for name, bit in HWCAP2.items() if said["hwcap2"] >> bit & 1}
    if found != core.features:
        raise MismatchError(
            f"expected a guest with the features {_named(core.features)} for {core.name}, got {_named(found)}; "
            "the emulator's -cpu and cores.json disagree"
        )
    if said["midr"] != core.midr:
        raise MismatchError(f"expected a guest with MIDR {core.midr:#x} for {core.name}, got {said['midr']:#x}")


def _named(features: set[str] | frozenset[str]) -> str:
    return " ".join(sorted(features)) or "none"
