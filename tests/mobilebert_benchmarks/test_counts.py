"""The plugin's file: read as it is meant, refused when it is not whole."""

from pathlib import Path

import pytest
from mobilebert_benchmarks.emulation.counts import Block, Counts, read_counts
from mobilebert_benchmarks.errors import GuestError

WHOLE = """threads 1
moment 0 5 100 10 1
moment 1 8 300 30 3
moment 2 9 350 42 4
block 5500001000 1 4 10 4e80940091000000
block 5500002000 0 7 7 54000000
end
"""


def test_counts_are_differences_between_moments(tmp_path: Path) -> None:
    counts = read_counts_of(tmp_path, WHOLE)
    assert counts.blocks == (Block((0x4E809400, 0x91000000), 3, 6), Block((0x54000000,), 7, 0))
    assert (counts.instructions, counts.set_up_instructions) == (12, 13)
    assert (counts.accesses, counts.misses, counts.peak_bytes) == (50, (12, 1), 9 * 4096)


def read_counts_of(tmp_path: Path, text: str) -> Counts:
    (tmp_path / "counts").write_text(text)
    return read_counts(tmp_path / "counts")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (("end\n", ""), "complete counts"),
        (("moment 1 8 300 30 3\n", ""), "3 moments"),
        (("threads 1", "threads 2"), "one thread"),
        (("threads 1\n", ""), "one thread"),
        (("5500001000 1 4 10 ", "5500001000 1 4 "), "counts from the emulator"),
        (("10 4e80", "10 zz80"), "counts from the emulator"),
        (("moment 2 9 350 42 4", "moment 2 9 350 42"), "counts from the emulator"),
    ],
)
def test_a_file_that_is_not_whole_is_refused(tmp_path: Path, damage: tuple[str, str], reason: str) -> None:
    with pytest.raises(GuestError, match=reason):
        read_counts_of(tmp_path, WHOLE.replace(*damage))


def test_no_file_and_an_empty_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GuestError, match=r"counts from the emulator"):
        read_counts(tmp_path / "counts")
    with pytest.raises(GuestError, match=r"complete counts"):
        read_counts_of(tmp_path, "")
