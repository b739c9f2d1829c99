"""What the system is asked, on systems made of small scripts; the real one is in test_setup.py."""

import os
import platform
from pathlib import Path

import pytest
from mobilebert_benchmarks.emulation import setup
from mobilebert_benchmarks.emulation.setup import state
from mobilebert_benchmarks.emulation.tools import Tools, install
from mobilebert_benchmarks.errors import SetupError, UnreachableError
from mobilebert_benchmarks.host import profile


class System:
    """A directory of programs, and a sysroot."""

    def __init__(self, directory: Path) -> None:
        self.programs = directory / "bin"
        self.library = directory / "sysroot" / "lib"
        self.programs.mkdir()
        self.library.mkdir(parents=True)
        for name in ("crt1.o", "libstdc++.so.6", "libgcc_s.so.1"):
            (self.library / name).write_text("")
        (self.library / "libc.so.6").write_bytes(b"\0\xff GNU C Library (Debian GLIBC 2.36-8) stable release\0")
        self.add("gcc", "echo 12.2.0")
        self.add("aarch64-linux-gnu-objdump", "exit 0")
        finds = f'file="{self.library}/${{1#-print-file-name=}}"; [ -e "$file" ] && echo "$file" || echo "${{1#*=}}"'
        self.add("aarch64-linux-gnu-gcc", f'[ "$1" = -dumpfullversion ] && echo 12.2.0 && exit; {finds}')
        self.add_qemu("7.2.22 (Debian 1:7.2+dfsg-7)")

    def add(self, name: str, script: str) -> None:
        (self.programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.programs / name).chmod(0o755)

    def add_qemu(self, version: str, options: str = "-plugin") -> None:
        self.add("qemu-aarch64", f'[ "$1" = -h ] && echo "{options}" || echo "qemu-aarch64 version {version}"')

    @property
    def tools(self) -> Tools:
        return Tools(str(self.programs))


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path)


def test_a_system_with_everything_passes_and_knows_its_versions(system: System) -> None:
    system.tools.require()
    assert (system.tools.missing, system.tools.packages) == ((), ())
    assert (system.tools.qemu_version, system.tools.libc_version) == ("7.2.22", "Debian GLIBC 2.36-8")
    assert system.tools.sysroot == system.library.parent


def test_a_bare_system_names_every_package(tmp_path: Path) -> None:
    bare = Tools(str(tmp_path))
    assert set(bare.packages) >= {
        "qemu-user", "gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross", "libstdc++6-arm64-cross", "gcc", "libc6-dev",
    }  # fmt: skip
    with pytest.raises(SetupError, match=r"`mobilebert-export setup-arm --install`, or install binutils.*qemu-user"):
        bare.require()


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("qemu-aarch64", "qemu-user"),
        ("gcc", "gcc"),
        ("aarch64-linux-gnu-objdump", "binutils-aarch64-linux-gnu"),
        ("libstdc++.so.6", "libstdc++6-arm64-cross"),
        ("libc.so.6", "libc6-arm64-cross"),
        ("crt1.o", "libc6-dev-arm64-cross"),
    ],
)
def test_what_is_missing_is_named_with_its_package(system: System, name: str, package: str) -> None:
    (system.library if (system.library / name).exists() else system.programs).joinpath(name).unlink()
    assert system.tools.missing == (name,)
    assert package in system.tools.packages
    with pytest.raises(
        SetupError, match=rf"expected {name.replace('+', '.')}, .* install .*{package.replace('+', '.')}"
    ):
        system.tools.require()


@pytest.mark.parametrize("version", ["5.2.0", "6.2.0", "7.0.0", "8.1.0", "9.0.1", "10.0.2"])
def test_a_qemu_that_the_plugin_cannot_serve_is_refused(system: System, version: str) -> None:
    system.add_qemu(version)
    with pytest.raises(SetupError, match=rf"expected QEMU from 7.1 and before 8.1, got {version}"):
        system.tools.require()


@pytest.mark.parametrize("version", ["7.1.0", "7.2.22", "8.0.5"])
def test_a_qemu_that_the_plugin_can_serve_passes(system: System, version: str) -> None:
    system.add_qemu(version)
    system.tools.require()


def test_a_qemu_without_plugins_is_refused(system: System) -> None:
    system.add_qemu("7.2.22", options="-strace")
    with pytest.raises(SetupError, match=r"with plugins, got one without"):
        system.tools.require()


def test_a_program_that_says_nonsense_is_one_line(system: System) -> None:
    system.add("qemu-aarch64", "echo -e 'what?\\nno'")
    with pytest.raises(SetupError, match=r"expected qemu-aarch64 to say its version"):
        system.tools.require()


def test_looking_changes_nothing(system: System, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    seen = state(system.tools, tmp_path / "cache")
    assert (seen.ready, seen.built, seen.missing, seen.problem) == (False, False, (), None)
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_built_for_this_machine_is_kept_by_its_compiler_and_its_kind(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plugin and the runner of this machine are its own code, in a cache that another machine may share."""
    keys = [(setup.key(system.tools), profile.key(system.tools))]
    system.add("gcc", "echo 13.1.0")
    keys.append((setup.key(system.tools), profile.key(system.tools)))
    monkeypatch.setattr(platform, "machine", lambda: "another")
    keys.append((setup.key(system.tools), profile.key(system.tools)))
    assert [len(set(each)) for each in zip(*keys, strict=True)] == [3, 3]


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An apt-get that writes down how it was called, and does what the file `script` says."""
    programs, log = tmp_path / "apt-bin", tmp_path / "log"
    programs.mkdir()
    (programs / "apt-get").write_text(f'#!/bin/sh\necho "$DEBIAN_FRONTEND $@" >> {log}\n. {tmp_path}/script\n')
    (programs / "apt-get").chmod(0o755)
    (tmp_path / "script").write_text("exit 0")
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return tmp_path


def test_packages_are_installed_without_questions_and_without_extras(apt: Path) -> None:
    install(["one", "two"])
    update, added = (apt / "log").read_text().splitlines()
    assert update.startswith("noninteractive ")
    assert update.endswith(" update")
    assert "--yes" in added
    assert added.endswith("install --no-install-recommends one two")


def test_an_update_that_fails_does_not_stop_the_installation(apt: Path) -> None:
    (apt / "script").write_text('case "$*" in *update) exit 100;; esac')
    install(["one"])
    assert len((apt / "log").read_text().splitlines()) == 2


# What apt-get of Debian 12 says, and sudo; without a network `update` ends with exit code 0, and no package is found.
LOCATES_NOTHING = 'echo "E: Unable to locate package one" >&2; exit 100'
RESOLVES_NOTHING = "echo \"W: Failed to fetch http://deb/InRelease  Could not resolve 'deb'\" >&2; exit 0"
HITS_ONE = 'echo "Hit:1 http://deb.debian.org/debian bookworm InRelease"; '
GETS_NO_ANSWER = 'echo "E: Failed to fetch http://deb/one.deb  Connection timed out [IP: 1.2.3.4 80]" >&2; exit 100'
NOT_FOUND = 'echo "E: Failed to fetch http://deb/one.deb  404  Not Found" >&2; exit 100'
LOCKED = 'echo "E: Could not get lock /var/lib/dpkg/lock-frontend" >&2; exit 100'
DENIED = 'echo "sudo: a password is required" >&2; exit 1'
UNNAMED_HOST = 'echo "sudo: unable to resolve host x: Name or service not known" >&2; '


@pytest.mark.parametrize(
    ("update", "added", "reason"),
    [
        ("exit 0", LOCATES_NOTHING, "got exit code 100: E: Unable to locate package one"),
        ("exit 0", NOT_FOUND, "404 Not Found"),
        ("exit 0", LOCKED, "Could not get lock"),
        (HITS_ONE + RESOLVES_NOTHING, LOCATES_NOTHING, "Unable to locate package one"),
        (UNNAMED_HOST, UNNAMED_HOST + LOCATES_NOTHING, "Unable to locate package one"),
        ("exit 0", "exit 1", "got exit code 1: "),
    ],
    ids=["no package", "no file", "a lock", "another source is down", "a nameless host", "no word"],
)
def test_an_installation_that_fails_is_one_line_and_no_excuse(apt: Path, update: str, added: str, reason: str) -> None:
    (apt / "script").write_text(f'case "$*" in *update) {update};; *) {added};; esac')
    with pytest.raises(SetupError, match=reason) as raised:
        install(["one"])
    assert not isinstance(raised.value, UnreachableError)  # tests would be skipped for that
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("update", "added"),
    [(RESOLVES_NOTHING, LOCATES_NOTHING), ("exit 0", GETS_NO_ANSWER), (DENIED, DENIED)],
    ids=["no resolver", "no answer", "no password"],
)
def test_an_installation_without_network_or_right_is_told_apart(apt: Path, update: str, added: str) -> None:
    (apt / "script").write_text(f'case "$*" in *update) {update};; *) {added};; esac')
    with pytest.raises(UnreachableError, match=r"got exit code 1"):
        install(["one"])


def test_without_apt_or_the_right_to_use_it_the_packages_are_named(
    apt: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", str(apt / "apt-bin"))
    with pytest.raises(UnreachableError, match=r"expected root or sudo, got neither; as root: apt-get install one"):
        install(["one"])
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnreachableError, match=r"expected apt-get to install with, got none; install one"):
        install(["one"])
