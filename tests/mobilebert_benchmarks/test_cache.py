"""The cache: whole or not there, one builder at a time, nothing half-built believed."""

import multiprocessing
import os
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from mobilebert_benchmarks.emulation import cache
from mobilebert_benchmarks.emulation.cache import built, default_root, prune, whole
from mobilebert_benchmarks.errors import SetupError


def write(directory: Path) -> None:
    (directory / "file").write_text("content")


def refuse(directory: Path) -> None:
    raise AssertionError(f"built again: {directory}")


def test_what_is_built_is_whole_and_not_built_again(tmp_path: Path) -> None:
    directory = built(tmp_path / "cache", "key", write)
    assert whole(directory)
    assert built(tmp_path / "cache", "key", refuse) == directory
    assert (directory / "file").read_text() == "content"


@pytest.mark.parametrize(
    "damage", ["changed", "truncated", "removed", "added", "manifest", "empty manifest", "directory"]
)
def test_what_is_not_whole_is_built_again(tmp_path: Path, damage: str) -> None:
    directory = built(tmp_path, "key", write)
    match damage:
        case "changed":
            (directory / "file").write_text("CONTENT")
        case "truncated":
            (directory / "file").write_text("")
        case "removed":
            (directory / "file").unlink()
        case "added":
            (directory / "more").write_text("")
        case "manifest":
            (directory / "manifest.json").write_text("[")
        case "empty manifest":
            (directory / "manifest.json").write_text("{}")
        case "directory":
            (directory / "file").unlink()
            (directory / "file").mkdir()
    assert not whole(directory)
    assert built(tmp_path, "key", write) == directory
    assert whole(directory)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key", "lock"]


def test_a_file_in_the_directorys_place_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("")
    assert whole(built(tmp_path, "key", write))


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(directory: Path) -> None:
        write(directory)
        raise SetupError("no download")

    with pytest.raises(SetupError, match=r"no download"):
        built(tmp_path, "key", fail)
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def build_and_hang(directory: Path) -> None:
    write(directory)
    (directory.parents[1] / "hanging").write_text("")
    time.sleep(60)


def start_hanging(root: Path) -> BaseProcess:
    process = multiprocessing.get_context("fork").Process(target=built, args=(root, "key", build_and_hang))
    process.start()
    deadline = time.monotonic() + 30
    while not (root / "hanging").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (root / "hanging").unlink()
    return process


def test_a_killed_build_is_neither_believed_nor_in_the_way(tmp_path: Path) -> None:
    process = start_hanging(tmp_path)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not whole(tmp_path / "key")
    assert list(tmp_path.glob("unfinished-*")) != []
    assert whole(built(tmp_path, "key", write, lock_seconds=1))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key", "lock"]


def test_a_second_setup_waits_and_says_so_when_it_is_too_long(tmp_path: Path) -> None:
    process = start_hanging(tmp_path)
    try:
        with pytest.raises(SetupError, match=r"expected another setup to end within 0 s"):
            built(tmp_path, "key", write, lock_seconds=0.2)
    finally:
        process.kill()
        process.join()


def slow_write(directory: Path) -> None:
    time.sleep(0.3)
    write(directory)
    with (directory.parents[1] / "builds").open("a") as file:
        file.write("built\n")


def test_two_setups_at_once_build_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=built, args=(tmp_path, "key", slow_write)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert (tmp_path / "builds").read_text() == "built\n"


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(SetupError, match=r"expected a cache that can be written"):
        built(tmp_path / "taken", "key", write)


def test_the_users_cache_directory_is_honoured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_root() == tmp_path / "mobilebert-export" / "arm"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which the XDG specification says to ignore
    assert default_root() == Path.home() / ".cache" / "mobilebert-export" / "arm"


def test_what_is_of_no_use_any_more_is_removed(tmp_path: Path) -> None:
    assert prune(tmp_path / "none yet", keep=()) == ()
    for key in ("key", "older", "host"):
        built(tmp_path, key, write)
    (tmp_path / "unfinished-abc").mkdir()
    assert prune(tmp_path, keep={"key", "host"}) == ("older", "unfinished-abc")
    assert whole(tmp_path / "key")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["host", "key", "lock"]
    assert prune(tmp_path, keep={"key", "host"}) == ()


def test_nothing_is_removed_while_another_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = start_hanging(tmp_path)
    monkeypatch.setattr(cache, "_LOCK_SECONDS", 0.2)
    try:
        with pytest.raises(SetupError, match=r"expected another setup to end within 0 s"):
            prune(tmp_path, keep=())
        assert list(tmp_path.glob("unfinished-*")) != []
    finally:
        process.kill()
        process.join()
