"""A cache of built directories: each whole or not there, whoever else builds, whatever was interrupted.

A directory is built under another name while a lock is held, and takes its own name in one step, with a manifest of its
files' hashes. It is believed only if every file is as the manifest says. The lock goes with the process that holds it.
"""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from mobilebert_benchmarks.errors import SetupError

_MANIFEST = "manifest.json"
_UNFINISHED = "unfinished-"
_LOCK_SECONDS = 900.0
_POLL_SECONDS = 0.1


def default_root() -> Path:
    """Where the user's caches are (`XDG_CACHE_HOME`, or `~/.cache`)."""
    configured = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(configured) if os.path.isabs(configured) else Path.home() / ".cache"  # noqa: PTH117
    return base / "mobilebert-export" / "arm"


def whole(directory: Path) -> bool:
    """Whether this directory is one that a build finished, unchanged since."""
    try:
        manifest = json.loads((directory / _MANIFEST).read_bytes())
        return isinstance(manifest, dict) and bool(manifest) and manifest == _hashes(directory)
    except (OSError, ValueError):
        return False


def built(root: Path, key: str, build: Callable[[Path], None], *, lock_seconds: float = _LOCK_SECONDS) -> Path:
    """The directory `root/key`: as it is there if whole, otherwise built anew.

    Args:
        root: the cache.
        key: the directory's name, which names all that decides its content.
        build: fills the empty directory that it is given.
        lock_seconds: how long to wait for another process that builds.

    Raises:
        SetupError: the cache cannot be written, or another process holds it for too long.
    """
    directory = root / key
    if whole(directory):
        return directory
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root, lock_seconds):
            if not whole(directory):  # built meanwhile, or not
                _build_whole(root, directory, build)
    except OSError as error:
        raise SetupError(f"expected a cache that can be written, got {root}: {error}; set XDG_CACHE_HOME") from error
    return directory


def prune(root: Path, keep: Collection[str]) -> tuple[str, ...]:
    """Removes every directory but those of these keys: of other versions, damaged, never finished. Their names, sorted.

    Raises:
        SetupError: the cache cannot be written, or another process holds it for too long.
    """
    if not root.is_dir():
        return ()
    try:
        with _locked(root, _LOCK_SECONDS):
            stale = sorted(path for path in root.iterdir() if path.is_dir() and path.name not in keep)
            for directory in stale:
                shutil.rmtree(directory)
    except OSError as error:
        raise SetupError(f"expected a cache that can be written, got {root}: {error}; remove it") from error
    return tuple(directory.name for directory in stale)


def _build_whole(root: Path, directory: Path, build: Callable[[Path], None]) -> None:
    for unfinished in root.glob(f"{_UNFINISHED}*"):  # of a process that was stopped: this one has the lock
        shutil.rmtree(unfinished, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=root, ignore_cleanup_errors=True) as name:
        content = Path(name) / "content"
        content.mkdir()
        build(content)
        manifest = json.dumps(_hashes(content), indent=1)
        (content / _MANIFEST).write_text(manifest, encoding="utf-8")
        if directory.exists():  # and is not whole
            directory.rename(Path(name) / "broken")
        content.rename(directory)


def _hashes(directory: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.iterdir())
        if path.name != _MANIFEST
    }


@contextmanager
def _locked(root: Path, seconds: float) -> Iterator[None]:
    deadline = time.monotonic() + seconds
    with (root / "lock").open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise SetupError(
                        f"expected another setup to end within {seconds:.0f} s, it holds {root / 'lock'} still; end it"
                    ) from error
                time.sleep(_POLL_SECONDS)
        yield
