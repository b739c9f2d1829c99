"""Puts files in place whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mobilebert_export.errors import UsageError


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
        try:
            with self.path.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _cannot_write(self._output, error) from error


@contextmanager
def placed_whole(output: Path, *, overwrite: bool) -> Iterator[PartialFile]:
    """A file beside `output`, which takes its name when the block ends without an error, and is gone otherwise.

    The name is taken by one atomic step, so a reader of `output` sees the old file, or no file, or the new one.

    Raises:
        UsageError: the output exists and is not to be replaced, or cannot be written.
    """
    _refuse(output, overwrite=overwrite)
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{output.name}.", suffix=".part", dir=output.parent)
        os.close(descriptor)
    except OSError as error:
        raise _cannot_write(output, error) from error
    temporary = Path(name)
    try:
        yield PartialFile(temporary, output)
        _place(temporary, output, overwrite=overwrite)
    finally:
        temporary.unlink(missing_ok=True)


def _refuse(output: Path, *, overwrite: bool) -> None:
    if output.is_dir():
        raise UsageError(f"expected a file name for the output, got the directory {output}")
    if not output.parent.is_dir():
        raise UsageError(f"expected an output in a directory that exists, got {output}; create {output.parent} first")
    if output.exists() and not overwrite:
        raise UsageError(f"expected a new output file, got {output}, which exists; use --overwrite or another --output")


def _place(temporary: Path, output: Path, *, overwrite: bool) -> None:
    """Gives the file its name, and the permissions of any new file."""
    umask = os.umask(0)
    os.umask(umask)
    _refuse(output, overwrite=overwrite)  # it may have come to be meanwhile
    try:
        temporary.chmod(0o666 & ~umask)
        temporary.replace(output)
    except OSError as error:
        raise _cannot_write(output, error) from error


def _cannot_write(output: Path, error: OSError) -> UsageError:
    reason = error.strerror or type(error).__name__
    return UsageError(
        f"expected an output that can be written, got {output}: {reason}; free the space or use another --output"
    )
