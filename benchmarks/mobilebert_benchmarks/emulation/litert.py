"""LiteRT's aarch64 build, out of its wheel. Of that, one library is needed; no Python runs on the guest."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

from mobilebert_benchmarks.emulation.network import unreachable
from mobilebert_benchmarks.errors import SetupError, UnreachableError

VERSION = "2.3.0"
LIBRARY = "libLiteRt.so"
LIBRARY_SHA256 = "b57687dc234d2b8b0598aef5a9c961ed24263df8f8b3f56adbee1cff618e544b"
WHEEL_SHA256 = "853fc608f96da87bd5f3458465dfb9abbf18d5ae6b94eceacead407146f175ae"

_PLATFORM, _PYTHON = "manylinux_2_27_aarch64", "3.11"
_MEMBER = f"ai_edge_litert/{LIBRARY}"
_MOST_BYTES = 64 << 20
_DOWNLOAD_SECONDS = 600
_LAST_WORDS = 300


def download_library(directory: Path) -> Path:
    """The library, in this directory, checked.

    Raises:
        UnreachableError: there is no network.
        SetupError: pip cannot get the wheel, or what it gets is another than the one pinned here.
    """
    requirements = directory / "requirements.txt"
    requirements.write_text(f"ai-edge-litert=={VERSION} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
    _pip_download(requirements, directory)
    wheels = list(directory.glob("*.whl"))
    if len(wheels) != 1:
        raise SetupError(f"expected one wheel of ai-edge-litert {VERSION}, got {len(wheels)}; try again")
    library = directory / LIBRARY
    library.write_bytes(_member(wheels[0]))
    wheels[0].unlink()
    requirements.unlink()
    return library


def _pip_download(requirements: Path, directory: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--retries=2"]  # without any pip does not warn of the network
    command += ["--no-deps", "--only-binary=:all:", "--require-hashes", f"--platform={_PLATFORM}"]
    command += [f"--python-version={_PYTHON}", f"--dest={directory}", f"--requirement={requirements}"]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_DOWNLOAD_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SetupError(f"expected pip to download ai-edge-litert {VERSION} for aarch64, got: {error}") from error
    if result.returncode:
        words = " ".join(result.stderr.partition("ERROR: ")[2].split())[:_LAST_WORDS]
        # Without a network pip ends by saying that it found no release; it warned of the network before.
        kind = UnreachableError if unreachable(result.stderr) and "HASH" not in words else SetupError
        raise kind(f"expected pip to download ai-edge-litert {VERSION} for aarch64, got: {words}")


def _member(wheel: Path) -> bytes:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(_MEMBER) as member:
            content = member.read(_MOST_BYTES)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise SetupError(f"expected a wheel with {_MEMBER}, got: {error}; try again") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != LIBRARY_SHA256:
        raise SetupError(f"expected {LIBRARY} of sha256 {LIBRARY_SHA256}, got {digest}; do not use this download")
    return content
