"""Puts files in place whole or not at all."""

import errno
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import combinations
from os.path import realpath
from pathlib import Path

from mobilebert_export.errors import UsageError

# What a file system says that has no hard links; which one, depends on the system.
_NO_LINKS = frozenset({errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})


class PartialFile:
    """A file that is being written, under a name of its own."""

    def __init__(self, path: Path, output: Path) -> None:
        self.path = path
        self._output = output

    def write(self, content: bytes) -> None:
        """Writes all of the file, down to the disk.

        Raises:
            UsageError: the disk is full, or fails.
        """
        with _failures_named(self._output), self.path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def placed_whole(output: Path, *, overwrite: bool) -> Iterator[PartialFile]:
    """A file beside `output`, which takes its name when the block ends without an error, and is gone otherwise.

    The name is taken by one atomic step, so a reader of `output` sees the old file, or no file, or the new one. A
    symbolic link is replaced, not followed.

    Raises:
        UsageError: the output exists and is not to be replaced, or cannot be written.
    """
    refuse_unusable(output, overwrite=overwrite)
    temporary = output.with_name(f".{secrets.token_hex(8)}.part")
    with _failures_named(output):
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    try:
        yield PartialFile(temporary, output)
        with _failures_named(output):
            if overwrite:
                temporary.replace(output)
            else:
                _take_new_name(temporary, output)
    finally:
        temporary.unlink(missing_ok=True)


def refuse_unusable(output: Path, *, overwrite: bool) -> None:
    """Says early what `placed_whole` would say about a name.

    Raises:
        UsageError: the output is a directory or in none, exists and is not to be replaced, or is no regular file.
    """
    with _failures_named(output):
        if not output.parent.is_dir():
            raise UsageError(
                f"expected an output in a directory that exists, got {output}; create {output.parent} first"
            )
        mode = _mode(output)
    if mode is None:
        return
    if stat.S_ISDIR(mode):
        raise UsageError(f"expected a file name for the output, got the directory {output}")
    if not overwrite:
        raise _exists(output)
    if not stat.S_ISREG(mode):
        raise UsageError(f"expected a regular file to overwrite, got {output}, which is none; use another --output")


def refuse_destroying(outputs: Mapping[str, Path], inputs: Iterable[Path]) -> None:
    """Says early that a file to write is one that is read, or that two are one.

    Args:
        outputs: by the names of their options.
        inputs: the files that are read.

    Raises:
        UsageError: so it is.
    """
    read = list(inputs)
    for name, output in outputs.items():
        if any(_same(output, path) for path in read):
            raise UsageError(f"expected a file of its own to write, got {output} as {name}, which is an input")
    for (name, output), (other, path) in combinations(outputs.items(), 2):
        if _same(output, path):
            raise UsageError(f"expected a file for each to write, got {output} as {name} and {other}, one for both")


def _same(first: Path, second: Path) -> bool:
    """Whether two names lead to one file, or would."""
    return realpath(first) == realpath(second) or (first.exists() and second.exists() and first.samefile(second))


def _mode(output: Path) -> int | None:
    """The mode of what has the name: of a link's target if it leads to one, None if nothing has it."""
    try:
        mode = output.lstat().st_mode
    except FileNotFoundError:
        return None
    return output.stat().st_mode if output.exists() else mode


def _take_new_name(temporary: Path, output: Path) -> None:
    """Renames, but never replaces, which a plain rename would."""
    try:
        os.link(temporary, output)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.close(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL))  # from here on the name is this file's
        temporary.replace(output)


@contextmanager
def _failures_named(output: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise _exists(output) from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UsageError(
            f"expected an output that can be written, got {output}: {reason}; free the space or use another --output"
        ) from error


def _exists(output: Path) -> UsageError:
    return UsageError(f"expected a new output file, got {output}, which exists; use --overwrite or another --output")
