"""The entry point: commands, and what a mistake looks like.

Exit codes: 0 done, 1 the file failed its check, 2 the input or the call cannot be used, 130 interrupted.
"""

import signal
import sys
from types import FrameType
from typing import NoReturn

import typer
from mobilebert_reference.errors import ReferenceModelError

from mobilebert_export.cli.inspect import inspect
from mobilebert_export.cli.tflite import tflite
from mobilebert_export.errors import EquivalenceError, ExportError

PROGRAM = "mobilebert-export"
FAILED_CHECK, BAD_USE, INTERRUPTED = 1, 2, 130

app = typer.Typer(
    name=PROGRAM,
    help="A fine-tuned MobileBERT checkpoint in, a verified on-device model out.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(tflite)
app.command()(inspect)


def main() -> NoReturn:
    """Runs the command line and exits."""
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        code = app(standalone_mode=False)
    except EquivalenceError as error:
        _fail(error, FAILED_CHECK)
    except (ExportError, ReferenceModelError) as error:
        _fail(error, BAD_USE)
    except Exception as error:
        if not hasattr(error, "format_message"):  # Typer's own usage errors have it, whichever click they come from
            raise
        _fail(f"{error.format_message()} See {PROGRAM} --help.", BAD_USE)
    if code == INTERRUPTED:  # Typer's, for a KeyboardInterrupt
        _fail("interrupted; nothing was written", INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def _interrupted(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _fail(message: object, code: int) -> NoReturn:
    sys.stderr.write(f"{PROGRAM}: {' '.join(str(message).split())}\n")
    sys.exit(code)
