"""A phone, by way of `adb`: the emulated side's runner and runtime, on a real core.

They are built for Linux, not for Android, so they bring their own loader and C library, and start through it. What this
gives was not exercised on hardware by this project's CI: only its commands and its parser are tested.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from mobilebert_benchmarks.emulation.setup import ArmSide
from mobilebert_benchmarks.errors import PhoneError
from mobilebert_benchmarks.model_file import ModelFile, Signature
from mobilebert_benchmarks.results import TimedResult
from mobilebert_benchmarks.timing import ROUNDS, each_round, summary

THREADS = (1, 2)
DIRECTORY = "/data/local/tmp/mobilebert-export"
_LOADER = "ld-linux-aarch64.so.1"
_LIBRARIES = (_LOADER, "libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1")
_CPP_LIBRARIES = ("libstdc++.so.6", "libgcc_s.so.1")
_SERIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")
_WARMUPS = 3
_SECONDS = 900
_LAST_WORDS = 300


class Phone:
    """A device that `adb` reaches."""

    def __init__(self, serial: str) -> None:
        """Finds it.

        Raises:
            PhoneError: there is no adb, no such device, or it does not let itself be used.
        """
        if not _SERIAL.fullmatch(serial):
            raise PhoneError(f"expected a serial as `adb devices` lists them, got {serial!r}")
        program = shutil.which("adb")
        if program is None:
            raise PhoneError(
                "expected the program adb, got none; install adb (Debian's name) or Android's platform-tools"
            )
        self.serial, self._adb = serial, (program, "-s", serial)
        state = self.call("get-state").strip()
        if state != "device":
            raise PhoneError(
                f"expected a device that can be used, got one whose state is {state[:40]!r}; see `adb devices`"
            )

    def call(self, *arguments: str) -> str:
        """What `adb` with these arguments says.

        Raises:
            PhoneError: it fails; with its last words.
        """
        try:
            result = subprocess.run(
                [*self._adb, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PhoneError(f"expected adb to end, got: {error}") from error
        if result.returncode:
            words = " ".join((result.stderr or result.stdout).split())[-_LAST_WORDS:]
            raise PhoneError(
                f"expected adb {arguments[0]} to succeed on {self.serial}, got: {words or 'no word of why'}"
            )
        return result.stdout


def measure(
    phone: Phone,
    arm: ArmSide,
    models: Sequence[tuple[ModelFile, Signature]],
    runs: int,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[TimedResult, ...]:
    """Every model with every number of threads, about `runs` inferences of each. Leaves nothing on the phone.

    Memory is the most that the process had, runtime and C library included: more than it grew by, which `host` tells.

    Raises:
        PhoneError: the phone refuses a step, or does not say what it should.
    """
    try:
        phone.call("shell", f"mkdir -p {DIRECTORY}")
        libraries = [arm.sysroot / "lib" / name for name in (*_LIBRARIES, *_CPP_LIBRARIES)]
        for source in (arm.runner, arm.library, *libraries):
            phone.call("push", str(source.resolve()), f"{DIRECTORY}/{source.name}")
        for place, (model, _) in enumerate(models):
            progress(f"pushing {model.name}")
            phone.call("push", str(model.path.resolve()), f"{DIRECTORY}/{place}.tflite")
        results = []
        for threads in THREADS:
            rounds: list[list[dict[str, Any]]] = [[] for _ in models]
            for turn in range(ROUNDS):
                progress(f"measuring on {phone.serial} with {threads} threads, round {turn + 1} of {ROUNDS}")
                for place, (_, signature) in enumerate(models):
                    said = phone.call("shell", command(place, signature, each_round(runs), threads))
                    rounds[place].append(parsed(said))
            results += [
                summary(model.name, f"adb:{phone.serial}", signature.length, threads, seen[0]["cold_start_ns"], seen)
                for (model, signature), seen in zip(models, rounds, strict=True)
            ]
        return tuple(results)
    finally:
        with suppress(PhoneError):  # what went wrong before is what to tell
            phone.call("shell", f"rm -rf {DIRECTORY}")


def command(place: int, signature: Signature, runs: int, threads: int) -> str:
    """The runner's call, for the phone's shell: nothing in it comes from a file."""
    runner = f"./{_LOADER} --library-path . ./runner ./libLiteRt.so ./{place}.tflite"
    return f"cd {DIRECTORY} && chmod 755 {_LOADER} runner && {runner} {signature.index} {_WARMUPS} {runs} {threads} 0"


def parsed(said: str) -> dict[str, Any]:
    """The runner's line of JSON, as `summary` takes it.

    Raises:
        PhoneError: it is none.
    """
    try:
        fields = json.loads(said.strip().splitlines()[-1])
        times = [int(each) for each in fields["times_ns"]]
        answer = {
            "times_ns": times,
            "cpu_ns": int(fields["cpu_ns"]),
            "cold_start_ns": int(fields["first_answer_ns"]),
            "peak_bytes": int(fields["peak_kib"]) * 1024,
        }
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise PhoneError(f"expected the runner's line of JSON from the phone, got {said[:_LAST_WORDS]!r}") from error
    if min(times, default=0) <= 0:
        raise PhoneError(f"expected the runner's line of JSON from the phone, with times, got {said[:_LAST_WORDS]!r}")
    return answer
