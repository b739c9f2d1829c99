"""`setup-arm`: the real download, the real compilers, and what can go wrong with them."""

import json
import os
import socket
import stat
import subprocess
from pathlib import Path

import pytest
import typer
from mobilebert_benchmarks.emulation import litert, setup, sources
from mobilebert_benchmarks.emulation.setup import ArmSide, set_up, state
from mobilebert_benchmarks.emulation.tools import Tools
from mobilebert_benchmarks.errors import BenchmarkError, SetupError, UnreachableError
from typer.testing import CliRunner, Result

from mobilebert_export.cli.setup_arm import setup_arm

PROJECT = Path(__file__).parents[2]


def invoke(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(setup_arm)
    return CliRunner().invoke(app, arguments)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Where the runtime can be downloaded; `arm` may come from a cache."""
    try:
        litert.download_library(tmp_path_factory.mktemp("download"))
    except UnreachableError as error:
        pytest.skip(str(error))


def test_the_release_is_the_one_that_the_project_is_tested_with() -> None:
    assert f"ai-edge-litert=={litert.VERSION}" in (PROJECT / "constraints.txt").read_text().splitlines()


def test_check_on_a_bare_system_says_what_to_install_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "no-programs"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    result = invoke("--check", "--json")
    report = json.loads(result.stdout)
    assert (result.exit_code, report["ready"], report["built"]) == (1, False, False)
    assert "qemu-user" in report["packages"]
    shown = invoke("--check")
    assert shown.exit_code == 1
    assert "mobilebert-export setup-arm --install" in shown.stdout
    assert list(tmp_path.iterdir()) == []


def test_setup_on_a_bare_system_installs_nothing_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = invoke()
    assert isinstance(result.exception, SetupError)
    assert "setup-arm --install" in str(result.exception)


def test_check_and_install_together_are_refused() -> None:
    assert invoke("--check", "--install").exit_code == 2


@pytest.mark.usefixtures("network")
@pytest.mark.slow
def test_the_real_thing_is_built_whole_and_found_again(arm: ArmSide, tmp_path: Path) -> None:
    root, steps = tmp_path / "cache", list[str]()
    assert not state(root=root).ready
    built = set_up(root=root, progress=steps.append)
    assert steps == [
        "downloading LiteRT 2.3.0 for aarch64",
        *(f"compiling {name}.c" for name in ("runner", "clock", "counter")),
    ]
    assert state(root=root).ready
    assert set_up(root=root, progress=steps.append) == built
    assert len(steps) == 4
    assert built.versions == arm.versions
    assert {path.name for path in built.runner.parent.iterdir()} == {
        "runner", "libclock.so", "libcounter.so", "libLiteRt.so", "manifest.json",
    }  # fmt: skip
    described = subprocess.run(
        ["readelf", "-h", built.runner, built.library], check=True, capture_output=True, text=True
    ).stdout
    assert described.count("AArch64") == 2
    assert built.runner.stat().st_mode & stat.S_IXUSR


@pytest.mark.usefixtures("network")
@pytest.mark.slow
def test_a_corrupt_runtime_is_fetched_again(arm: ArmSide, tmp_path: Path) -> None:
    root = tmp_path / "cache"
    library = set_up(root=root).library
    content = library.read_bytes()
    library.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert not state(root=root).ready
    assert set_up(root=root).library.read_bytes() == content == arm.library.read_bytes()


@pytest.mark.usefixtures("network")
@pytest.mark.slow
def test_a_wheel_of_another_hash_is_refused(arm: ArmSide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litert, "WHEEL_SHA256", "0" * 64)
    with pytest.raises(
        SetupError, match=r"expected pip to download ai-edge-litert 2\.3\.0 for aarch64, got: .*HASHES"
    ) as e:
        set_up(root=tmp_path / "cache")
    assert "\n" not in str(e.value)
    assert not isinstance(e.value, UnreachableError)  # a test would be skipped for that
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["lock"]
    assert arm.library.is_file()


@pytest.mark.usefixtures("network")
@pytest.mark.slow
def test_a_library_of_another_hash_is_refused(arm: ArmSide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litert, "LIBRARY_SHA256", "0" * 64)
    with pytest.raises(SetupError, match=r"expected libLiteRt.so of sha256 0000"):
        set_up(root=tmp_path / "cache")
    assert not state(root=tmp_path / "cache").built
    assert arm.library.is_file()


def test_without_a_network_the_download_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unheard:  # bound, but nobody listens: connections are refused
        unheard.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{unheard.getsockname()[1]}/simple")
        for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_PROXY"):
            monkeypatch.setenv(name, "")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.setenv(name, "127.0.0.1")
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_RETRIES", "0")  # with which pip does not warn of the network
        with pytest.raises(UnreachableError, match=r"expected pip to download ai-edge-litert") as raised:
            litert.download_library(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_release_that_the_index_lacks_is_no_excuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(SetupError, match=r"No matching distribution found for ai-edge-litert") as raised:
        litert.download_library(tmp_path)
    assert not isinstance(raised.value, UnreachableError)
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_another_source_or_compiler_is_another_directory(arm: ArmSide, monkeypatch: pytest.MonkeyPatch) -> None:
    key = setup.key(Tools())
    assert arm.runner.parent.name == key
    assert f"litert-2.3.0-qemu-{arm.versions.qemu}-" in key
    source = sources.source
    monkeypatch.setattr(setup, "source", lambda name: source(name) + "\n")
    assert setup.key(Tools()) != key


@pytest.mark.usefixtures("network")
@pytest.mark.slow
def test_a_source_that_does_not_compile_is_one_line(
    arm: ArmSide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "source", lambda _: "int main(void) { return missing; }")
    with pytest.raises(BenchmarkError, match=r"expected .*gcc to compile .*missing") as raised:
        set_up(root=tmp_path / "cache")
    assert "\n" not in str(raised.value)
    assert arm.library.is_file()


@pytest.mark.slow
def test_the_command_reports_a_machine_that_is_ready(arm: ArmSide) -> None:
    result = invoke("--check", "--json")
    report = json.loads(result.stdout)
    assert (result.exit_code, report["ready"], report["missing"]) == (0, True, [])
    assert report["versions"] == {
        "qemu": arm.versions.qemu,
        "libc": arm.versions.libc,
        "litert": arm.versions.litert,
    }
