"""The programs and libraries of the system that emulation needs: which are there, how to install the others."""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mobilebert_benchmarks.emulation.network import unreachable
from mobilebert_benchmarks.errors import SetupError, UnreachableError

QEMU, CROSS_GCC, OBJDUMP, GCC = "qemu-aarch64", "aarch64-linux-gnu-gcc", "aarch64-linux-gnu-objdump", "gcc"

# Before 7.1 QEMU has neither a cortex-a76 nor the switch for SME. Plugin interface 1 ends with 8.2; from 8.1 on QEMU
# answers /proc/cpuinfo itself, where a profile's MIDR stands.
OLDEST_QEMU, FIRST_QEMU_TOO_NEW = (7, 1), (8, 1)

_PROGRAM_PACKAGES = {
    QEMU: ("qemu-user",),
    CROSS_GCC: ("gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"),
    OBJDUMP: ("binutils-aarch64-linux-gnu",),
    GCC: ("gcc", "libc6-dev"),
}
# Debian's names. The cross compiler says where it keeps these.
_SYSROOT_PACKAGES = {
    "crt1.o": "libc6-dev-arm64-cross",
    "libc.so.6": "libc6-arm64-cross",
    "libstdc++.so.6": "libstdc++6-arm64-cross",
    "libgcc_s.so.1": "libgcc-s1-arm64-cross",
}
_PROBE_SECONDS = 30
_INSTALL_SECONDS = 1800
_FETCHED = re.compile(r"^(Get|Hit):", re.MULTILINE)  # as apt-get tells of each list
_NO_RIGHT = re.compile(r"sudo: a (password|terminal) is required|is not in the sudoers file|is not allowed to execute")


@dataclass(frozen=True)
class Versions:
    """What decides how many instructions an inference takes, beside the model.

    Attributes:
        qemu: as the program says it, such as `7.2.22`.
        libc: of the guest, as the library says it, such as `Debian 2.36-8`.
        litert: the release of the runtime's aarch64 build.
    """

    qemu: str
    libc: str
    litert: str


@dataclass(frozen=True)
class Tools:
    """The system as it is now. Nothing is changed by looking."""

    path: str | None = None

    @cached_property
    def missing(self) -> tuple[str, ...]:
        """The programs and libraries that are not there."""
        programs = [name for name in _PROGRAM_PACKAGES if self.program(name) is None]
        if CROSS_GCC in programs:  # which knows the sysroot
            return (*programs, *_SYSROOT_PACKAGES)
        return (*programs, *(name for name in _SYSROOT_PACKAGES if self._library(name) is None))

    @cached_property
    def packages(self) -> tuple[str, ...]:
        """The Debian packages that bring what is missing, sorted."""
        needed: set[str] = set()
        for name in self.missing:
            needed.update(_PROGRAM_PACKAGES.get(name) or (_SYSROOT_PACKAGES[name],))
        return tuple(sorted(needed))

    def require(self) -> None:
        """Passes if all is there and can be used.

        Raises:
            SetupError: something is missing, or QEMU is one that the plugin cannot serve; with what to install.
        """
        if self.missing:
            raise SetupError(
                f"expected {', '.join(self.missing)}, not installed here; run `mobilebert-export setup-arm "
                f"--install`, or install {' '.join(self.packages)} (Debian's names)"
            )
        version = tuple(int(part) for part in self.qemu_version.split(".")[:2])
        if not OLDEST_QEMU <= version < FIRST_QEMU_TOO_NEW:
            raise SetupError(
                f"expected QEMU from {_dotted(OLDEST_QEMU)} and before {_dotted(FIRST_QEMU_TOO_NEW)}, got "
                f"{self.qemu_version}; install Debian 12's qemu-user"
            )
        if "-plugin" not in self._output(QEMU, "-h"):
            raise SetupError(
                f"expected a {QEMU} with plugins, got one without; install Debian's qemu-user, not -static"
            )

    def program(self, name: str) -> str | None:
        """The path of a program, or None."""
        return shutil.which(name, path=self.path)

    @property
    def sysroot(self) -> Path:
        """The directory with the guest's `lib`."""
        library = self._library("libc.so.6")
        if library is None:
            raise SetupError("expected libc.so.6 for aarch64, got none; run `mobilebert-export setup-arm --install`")
        return library.parents[1]

    @cached_property
    def qemu_version(self) -> str:
        """As QEMU says it, such as `7.2.22`."""
        return self._match(r"version (\d+\.\d+(\.\d+)?)", self._output(QEMU, "--version"), QEMU)

    @cached_property
    def libc_version(self) -> str:
        """As the guest's C library says it, such as `Debian 2.36-8`."""
        content = (self.sysroot / "lib" / "libc.so.6").read_bytes().decode("latin-1")
        return self._match(r"GNU C Library \(([^)\n]{1,80})\)", content, "libc.so.6")

    def compiler_version(self, name: str) -> str:
        """Of one of the two compilers, as it says it, such as `12.2.0`."""
        return self._match(r"(\d+\.\d+\.\d+)", self._output(name, "-dumpfullversion"), name)

    def _library(self, name: str) -> Path | None:
        answer = self._output(CROSS_GCC, f"-print-file-name={name}").strip()
        return Path(answer).resolve() if os.path.isabs(answer) and Path(answer).exists() else None  # noqa: PTH117

    def _output(self, name: str, *arguments: str) -> str:
        program = self.program(name)
        if program is None:
            raise SetupError(f"expected the program {name}, got none; run `mobilebert-export setup-arm --install`")
        try:
            result = subprocess.run(
                [program, *arguments],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_PROBE_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SetupError(f"expected {program} to run, got: {error}; reinstall it") from error
        return result.stdout + result.stderr

    @staticmethod
    def _match(pattern: str, text: str, name: str) -> str:
        found = re.search(pattern, text)
        if found is None:
            raise SetupError(f"expected {name} to say its version, got {text[:80]!r}; reinstall it")
        return found[1]


def install(packages: Sequence[str]) -> None:
    """Installs Debian packages with apt-get, by way of sudo where this is not root.

    Raises:
        UnreachableError: there is no apt-get, no right to use it, or no network.
        SetupError: apt-get fails otherwise; with its last words.
    """
    apt = shutil.which("apt-get")
    if apt is None:
        raise UnreachableError(
            f"expected apt-get to install with, got none; install {' '.join(packages)} (Debian's names)"
        )
    prefix: list[str] = []
    if os.geteuid() != 0:
        sudo = shutil.which("sudo")
        if sudo is None:
            raise UnreachableError(f"expected root or sudo, got neither; as root: apt-get install {' '.join(packages)}")
        prefix = [sudo, "--non-interactive"]
    options = ["-o", "DPkg::Lock::Timeout=300", "--quiet", "--yes"]  # another apt may be at work
    # A source that is down need not be one of those needed, so this may fail. Without a network it does, by its words
    # alone, fetches no list, and leaves lists in which no package can be located.
    updated = _ended([*prefix, apt, *options, "update"])
    command = [*prefix, apt, *options, "install", "--no-install-recommends", *packages]
    installed = _ended(command)
    if installed.returncode:
        words = " ".join((installed.stderr or installed.stdout)[-300:].split())
        unheard = "" if _FETCHED.search(updated.stdout) else updated.stderr
        excused = unreachable(unheard + installed.stderr) or _NO_RIGHT.search(installed.stderr)
        raise (UnreachableError if excused else SetupError)(
            f"expected `{' '.join(command)}` to succeed, got exit code {installed.returncode}: {words}"
        )


def _ended(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            env=environment,
            stdin=subprocess.DEVNULL,
            timeout=_INSTALL_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SetupError(f"expected `{' '.join(command)}` to end, got: {error}") from error


def _dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))
