"""Files that take their place whole or not at all."""

import errno
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mobilebert_export.errors import UsageError
from mobilebert_export.files import placed_whole, refuse_unusable


def place(output: Path, content: bytes = b"new", *, overwrite: bool = False) -> None:
    with placed_whole(output, overwrite=overwrite) as file:
        file.write(content)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize("name", ["out.tflite", "n" * 250, "-x", " a b ", "[b].tflite", "名.tflite", "a\nb"])
def test_new_file_is_whole_and_alone(name: str, tmp_path: Path) -> None:
    place(tmp_path / name)
    assert (tmp_path / name).read_bytes() == b"new"
    assert names(tmp_path) == [name]


def test_nothing_is_at_the_output_before_the_end(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with placed_whole(output, overwrite=False) as file:
        file.write(b"new")
        assert not output.exists()
        assert file.path.parent == tmp_path


def test_existing_file_is_kept(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.write_bytes(b"old")
    with pytest.raises(UsageError, match="which exists; use --overwrite"):
        place(output)
    assert output.read_bytes() == b"old"
    assert names(tmp_path) == ["out"]


def test_overwriting_gives_the_name_to_another_file(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.write_bytes(b"old")
    with output.open("rb") as reader:
        place(output, overwrite=True)
        assert reader.read() == b"old"
        assert os.fstat(reader.fileno()).st_ino != output.stat().st_ino
    assert output.read_bytes() == b"new"
    assert names(tmp_path) == ["out"]


def test_overwriting_a_link_leaves_the_file_it_led_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    output = tmp_path / "out"
    output.symlink_to("file")
    with pytest.raises(UsageError, match="which exists"):
        place(output)
    place(output, overwrite=True)
    assert not output.is_symlink()
    assert (output.read_bytes(), (tmp_path / "file").read_bytes()) == (b"new", b"old")


def dangling_link(output: Path) -> None:
    output.symlink_to("nowhere")


def looping_link(output: Path) -> None:
    output.symlink_to(output.name)


def pipe(output: Path) -> None:
    os.mkfifo(output)


def link_to_a_device(output: Path) -> None:
    output.symlink_to(os.devnull)


@pytest.mark.parametrize("make", [dangling_link, looping_link, pipe, link_to_a_device], ids=lambda make: make.__name__)
def test_what_is_no_file_is_never_replaced(make: Callable[[Path], None], tmp_path: Path) -> None:
    output = tmp_path / "out"
    make(output)
    before = output.lstat()
    with pytest.raises(UsageError, match="which exists"):
        place(output)
    with pytest.raises(UsageError, match="expected a regular file to overwrite"):
        place(output, overwrite=True)
    assert os.path.samestat(before, output.lstat())
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_directory_is_never_replaced(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="got the directory"):
        place(tmp_path / "out", overwrite=overwrite)
    assert names(tmp_path) == ["out"]


def test_device_is_never_replaced() -> None:
    with pytest.raises(UsageError, match="expected a regular file to overwrite"):
        refuse_unusable(Path(os.devnull), overwrite=True)
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("n" * 300, "File name too long"),
        (f"{'n' * 300}/out", "File name too long"),
        ("nowhere/out", "directory that exists"),
        ("file/out", "directory that exists"),
    ],
)
def test_output_that_cannot_be_is_refused(name: str, said: str, overwrite: bool, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(UsageError, match=said) as refused:
        refuse_unusable(tmp_path / name, overwrite=overwrite)
    assert "\n" not in str(refused.value)
    with pytest.raises(UsageError, match=said):
        place(tmp_path / name, overwrite=overwrite)
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("mode", [0o000, 0o555])
def test_closed_directory_is_refused(mode: int) -> None:
    # Not `tmp_path`: only its owner may enter that.
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(mode)
        with without_the_rights_of_root(), pytest.raises(UsageError, match="Permission denied"):
            place(Path(directory, "out"))
        Path(directory).chmod(0o700)
        assert names(Path(directory)) == []


@contextmanager
def without_the_rights_of_root() -> Iterator[None]:
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("overwrite", [False, True])
def test_failed_block_leaves_what_was_there(tmp_path: Path, overwrite: bool) -> None:
    output = tmp_path / "out"
    if overwrite:
        output.write_bytes(b"old")
    before = names(tmp_path)

    def fail() -> None:
        with placed_whole(output, overwrite=overwrite) as file:
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert names(tmp_path) == before
    assert not overwrite or output.read_bytes() == b"old"


@pytest.mark.parametrize("linking", [True, False], ids=["links", "no links"])
def test_file_that_came_meanwhile_is_kept(
    linking: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = tmp_path / "out"
    if not linking:
        monkeypatch.setattr(os, "link", refuse_link)

    def race() -> None:
        with placed_whole(output, overwrite=False) as file:
            file.write(b"new")
            output.write_bytes(b"of another")

    with pytest.raises(UsageError, match="which exists"):
        race()
    assert output.read_bytes() == b"of another"
    assert names(tmp_path) == ["out"]


def test_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", refuse_link)
    place(tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"new"
    assert names(tmp_path) == ["out"]


def refuse_link(*_: object, **__: object) -> None:
    """As FAT does."""
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
@pytest.mark.parametrize("overwrite", [False, True])
def test_permissions_are_those_of_a_new_file(umask: int, overwrite: bool, tmp_path: Path) -> None:
    output = tmp_path / "out"
    if overwrite:
        output.write_bytes(b"old")
    before = os.umask(umask)
    try:
        place(output, overwrite=overwrite)
    finally:
        os.umask(before)
    assert stat.S_IMODE(output.stat().st_mode) == 0o666 & ~umask
