"""The entry point: commands, and what a mistake looks like.

Exit codes: 0 done, 1 the file failed its check, 2 the input or the call cannot be used, 130 interrupted.
"""

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn, TextIO

import typer
from mobilebert_benchmarks.errors import BenchmarkError, RegressionError
from mobilebert_reference.errors import ReferenceModelError

from mobilebert_export.cli.benchmark import benchmark
from mobilebert_export.cli.check import check
from mobilebert_export.cli.inspect import inspect
from mobilebert_export.cli.onnx import onnx
from mobilebert_export.cli.sensitivity import sensitivity
from mobilebert_export.cli.setup_arm import setup_arm
from mobilebert_export.cli.terminal import printable
from mobilebert_export.cli.tflite import tflite
from mobilebert_export.errors import EquivalenceError, ExportError

PROGRAM = "mobilebert-export"
_STANDARD_ERROR = 2
FAILED_CHECK, BAD_USE, INTERRUPTED = 1, 2, 130

app = typer.Typer(
    name=PROGRAM,
    help="A fine-tuned MobileBERT checkpoint in, a verified on-device model out.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(tflite)
app.command()(onnx)
app.command()(check)
app.command()(inspect)
app.command()(sensitivity)
app.command()(benchmark)
app.command(name="setup-arm")(setup_arm)


def main() -> NoReturn:
    """Runs the command line and exits."""
    _open_closed_streams()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, _interrupted)
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
        sys.stdout.flush()
    except (EquivalenceError, RegressionError) as error:
        _fail(error, FAILED_CHECK)
    except (ExportError, ReferenceModelError, BenchmarkError) as error:
        _fail(error, BAD_USE)
    except (BrokenPipeError, SystemExit):  # Rich and Typer turn the one into the other
        _exit(BAD_USE)
    except OSError as error:
        _fail(f"expected files and a standard output that can be used, got: {error}", BAD_USE)
    except KeyboardInterrupt:
        _fail("interrupted", INTERRUPTED)
    except Exception as error:
        if not hasattr(error, "format_message"):  # Typer's own usage errors have it, whichever click they come from
            raise
        _fail(f"{error.format_message()} See {PROGRAM} --help.", BAD_USE)
    if code == INTERRUPTED:  # Typer's, for a KeyboardInterrupt
        _fail("interrupted", INTERRUPTED)
    _exit(code if isinstance(code, int) else 0)


def _open_closed_streams() -> None:
    """Opens what the caller has closed: the next file would get its number, and with it what native code says there."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STANDARD_ERROR:
        pass
    os.close(descriptor)
    sys.stderr = sys.stderr or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    if sys.stdout is None:
        _fail("expected a standard output for the result, got a closed one; use > /dev/null", BAD_USE)


def _interrupted(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _fail(message: object, code: int) -> NoReturn:
    line = printable(" ".join(str(message).split()), sys.stderr.encoding)
    with suppress(OSError):  # the exit code still says it
        sys.stderr.write(f"{PROGRAM}: {line}\n")
    _exit(code)


def _exit(code: int) -> NoReturn:
    """Exits with this code, which Python would replace where a stream keeps what it cannot write."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            _flush_or_lose(stream)
    sys.exit(code)


def _flush_or_lose(stream: TextIO) -> None:
    try:
        stream.flush()
    except OSError:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())
