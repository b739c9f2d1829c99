"""Sets up the emulated ARM side: the runner and the plugin are compiled here, the runtime is downloaded."""

import hashlib
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from mobilebert_benchmarks.emulation import cache
from mobilebert_benchmarks.emulation.litert import LIBRARY, VERSION, download_library
from mobilebert_benchmarks.emulation.tools import CROSS_GCC, GCC, Tools, Versions
from mobilebert_benchmarks.errors import SetupError

RUNNER, PLUGIN = "runner", "libcounter.so"
_SOURCES = {RUNNER: "runner.c", PLUGIN: "counter.c"}
_WARNINGS = ("-Wall", "-Wextra", "-Werror")
_COMPILERS = {
    RUNNER: (CROSS_GCC, "-std=gnu11", "-O2", *_WARNINGS, "-Wno-unused-result", "-ldl"),
    PLUGIN: (GCC, "-std=gnu11", "-O2", *_WARNINGS, "-shared", "-fPIC"),
}
_COMPILE_SECONDS = 120


@dataclass(frozen=True)
class ArmSide:
    """What emulation runs with.

    Attributes:
        qemu: the emulator.
        objdump: the disassembler.
        sysroot: the directory with the guest's `lib`.
        runner: drives the runtime on the guest.
        plugin: counts, inside the emulator.
        library: the runtime.
        versions: what the counts depend on.
    """

    qemu: Path
    objdump: Path
    sysroot: Path
    runner: Path
    plugin: Path
    library: Path
    versions: Versions


@dataclass(frozen=True)
class SetupState:
    """What `setup-arm --check` shows.

    Attributes:
        missing: programs and libraries that are not installed.
        packages: the Debian packages that bring them.
        problem: what else stands against it, or None.
        versions: of what is there, or None.
        directory: where runner, plugin and runtime are or will be, or None.
        built: whether they are there, whole.
    """

    missing: tuple[str, ...]
    packages: tuple[str, ...]
    problem: str | None
    versions: Versions | None
    directory: Path | None
    built: bool

    @property
    def ready(self) -> bool:
        """Whether a benchmark can run at once."""
        return self.built and self.problem is None


def state(tools: Tools | None = None, root: Path | None = None) -> SetupState:
    """How far this machine is. Changes nothing."""
    tools, root = tools or Tools(), root or cache.default_root()
    try:
        tools.require()
    except SetupError as error:
        return SetupState(tools.missing, tools.packages, str(error), None, None, built=False)
    directory = root / _key(tools)
    return SetupState((), (), None, _versions(tools), directory, built=cache.whole(directory))


def set_up(
    tools: Tools | None = None, root: Path | None = None, progress: Callable[[str], None] = lambda _: None
) -> ArmSide:
    """The ARM side, built if it is not there whole. Installs nothing on the system.

    Raises:
        SetupError: a tool is missing, the download is not what is pinned, or the cache cannot be written.
    """
    tools, root = tools or Tools(), root or cache.default_root()
    tools.require()

    def build(directory: Path) -> None:
        progress(f"downloading LiteRT {VERSION} for aarch64")
        download_library(directory)
        for name in _SOURCES:
            progress(f"compiling {name}")
            _compile(tools, name, directory)

    directory = cache.built(root, _key(tools), build)
    return ArmSide(
        qemu=_path(tools, "qemu-aarch64"),
        objdump=_path(tools, "aarch64-linux-gnu-objdump"),
        sysroot=tools.sysroot,
        runner=directory / RUNNER,
        plugin=directory / PLUGIN,
        library=directory / LIBRARY,
        versions=_versions(tools),
    )


def _versions(tools: Tools) -> Versions:
    return Versions(tools.qemu_version, tools.libc_version, VERSION)


def _key(tools: Tools) -> str:
    """Names all that decides what is built: the versions for a person, and with the sources as a hash."""
    decides = [VERSION, tools.qemu_version, tools.libc_version, tools.compiler_version, repr(_COMPILERS)]
    decides += [_source(name) for name in _SOURCES]
    digest = hashlib.sha256("\0".join(decides).encode()).hexdigest()
    return f"litert-{VERSION}-qemu-{tools.qemu_version}-{digest[:16]}"


def _source(name: str) -> str:
    return resources.files("mobilebert_benchmarks.emulation").joinpath("native", _SOURCES[name]).read_text("utf-8")


def _compile(tools: Tools, name: str, directory: Path) -> None:
    compiler, *options = _COMPILERS[name]
    command = [str(_path(tools, compiler)), "-x", "c", "-", "-o", name, *options]
    try:
        result = subprocess.run(
            command,
            input=_source(name),
            cwd=directory,  # so that no path of this machine gets into what is built
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_COMPILE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SetupError(f"expected {compiler} to compile {_SOURCES[name]}, got: {error}") from error
    if result.returncode:
        words = " ".join(result.stderr[:300].split())
        raise SetupError(f"expected {compiler} to compile {_SOURCES[name]}, got: {words}")


def _path(tools: Tools, name: str) -> Path:
    program = tools.program(name)
    if program is None:
        raise SetupError(f"expected the program {name}, got none; run `mobilebert-export setup-arm --install`")
    return Path(program)
