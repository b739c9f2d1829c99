"""Sets up the emulated ARM side: the runner and the plugin are compiled here, the runtime is downloaded."""

import hashlib
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mobilebert_benchmarks.emulation import cache
from mobilebert_benchmarks.emulation.litert import LIBRARY, VERSION, download_library
from mobilebert_benchmarks.emulation.mca import Mca, find_mca
from mobilebert_benchmarks.emulation.sources import LIBRARY_OPTIONS, RUNNER_OPTIONS, compile_source, source
from mobilebert_benchmarks.emulation.tools import CROSS_GCC, GCC, Tools, Versions
from mobilebert_benchmarks.errors import SetupError

RUNNER, CLOCK, PLUGIN = "runner", "libclock.so", "libcounter.so"
# What is compiled: from which source, by which compiler, with which options.
_PROGRAMS = {
    RUNNER: ("runner.c", CROSS_GCC, RUNNER_OPTIONS),
    CLOCK: ("clock.c", CROSS_GCC, LIBRARY_OPTIONS),
    PLUGIN: ("counter.c", GCC, LIBRARY_OPTIONS),
}


@dataclass(frozen=True)
class ArmSide:
    """What emulation runs with.

    Attributes:
        qemu: the emulator.
        objdump: the disassembler.
        sysroot: the directory with the guest's `lib`.
        runner: drives the runtime on the guest.
        clock: counts instructions where the runtime's profiler asks for the time.
        plugin: counts, inside the emulator.
        library: the runtime.
        versions: what the counts depend on.
        mca: models the time that a count takes, if installed.
    """

    qemu: Path
    objdump: Path
    sysroot: Path
    runner: Path
    clock: Path
    plugin: Path
    library: Path
    versions: Versions
    mca: Mca | None


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
        mca: the version of llvm-mca, which is optional, or None.
    """

    missing: tuple[str, ...]
    packages: tuple[str, ...]
    problem: str | None
    versions: Versions | None
    directory: Path | None
    built: bool
    mca: str | None

    @property
    def ready(self) -> bool:
        """Whether a benchmark can run at once."""
        return self.built and self.problem is None


def state(tools: Tools | None = None, root: Path | None = None) -> SetupState:
    """How far this machine is. Changes nothing."""
    tools, root = tools or Tools(), root or cache.default_root()
    found = find_mca(tools.path)
    mca = found.version if found else None
    try:
        tools.require()
    except SetupError as error:
        return SetupState(tools.missing, tools.packages, str(error), None, None, built=False, mca=mca)
    directory = root / key(tools)
    return SetupState((), (), None, _versions(tools), directory, built=cache.whole(directory), mca=mca)


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
        for name, (file, compiler, options) in _PROGRAMS.items():
            progress(f"compiling {file}")
            compile_source(_path(tools, compiler), file, directory / name, options)

    directory = cache.built(root, key(tools), build)
    return ArmSide(
        qemu=_path(tools, "qemu-aarch64"),
        objdump=_path(tools, "aarch64-linux-gnu-objdump"),
        sysroot=tools.sysroot,
        runner=directory / RUNNER,
        clock=directory / CLOCK,
        plugin=directory / PLUGIN,
        library=directory / LIBRARY,
        versions=_versions(tools),
        mca=find_mca(tools.path),
    )


def _versions(tools: Tools) -> Versions:
    return Versions(tools.qemu_version, tools.libc_version, VERSION)


def key(tools: Tools) -> str:
    """The cache's name for what is built: the versions for a person, and all that decides it as a hash."""
    decides = [VERSION, tools.qemu_version, tools.libc_version, repr(_PROGRAMS)]
    decides += [tools.compiler_version(CROSS_GCC), tools.compiler_version(GCC), platform.machine()]
    decides += [source(file) for file, _, _ in _PROGRAMS.values()]
    digest = hashlib.sha256("\0".join(decides).encode()).hexdigest()
    return f"litert-{VERSION}-qemu-{tools.qemu_version}-{digest[:16]}"


def _path(tools: Tools, name: str) -> Path:
    program = tools.program(name)
    if program is None:
        raise SetupError(f"expected the program {name}, got none; run `mobilebert-export setup-arm --install`")
    return Path(program)
