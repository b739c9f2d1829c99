"""What the plugin counted, read from the file it writes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mobilebert_benchmarks.errors import GuestError

PAGE_BYTES = 4096
_BEFORE_LOAD, _BEFORE_RUN, _AFTER_RUN = range(3)
_MOMENTS = 3
_DIGITS = 8  # of an instruction


@dataclass(frozen=True)
class Block:
    """Instructions that run one after the other.

    Attributes:
        code: each instruction as its 32-bit word.
        set_up: how often it ran from load to the first answer.
        inference: how often it ran in the measured inference.
    """

    code: tuple[int, ...]
    set_up: int
    inference: int


@dataclass(frozen=True)
class Counts:
    """One run of the runner: set-up, one inference that warms up and belongs to it, one that is measured.

    Attributes:
        blocks: what ran.
        accesses: loads and stores of the measured inference.
        misses: of each modelled cache level in the measured inference, from the first on.
        peak_bytes: most memory in use at once, pages of 4 KiB that were touched and not given back, code included.
    """

    blocks: tuple[Block, ...]
    accesses: int
    misses: tuple[int, ...]
    peak_bytes: int

    @property
    def instructions(self) -> int:
        """Of the measured inference."""
        return sum(len(block.code) * block.inference for block in self.blocks)

    @property
    def set_up_instructions(self) -> int:
        """From load to the first answer."""
        return sum(len(block.code) * block.set_up for block in self.blocks)


def read_counts(path: Path) -> Counts:
    """Reads a file of the plugin.

    Raises:
        GuestError: the file is not one that the plugin finished, or the guest had more than one thread.
    """
    try:
        return _parsed([line.split() for line in path.read_text(encoding="ascii").splitlines()])
    except (OSError, ValueError, IndexError) as error:
        raise GuestError(f"expected counts from the emulator, got: {error}; run it again") from error


def _parsed(lines: Sequence[Sequence[str]]) -> Counts:
    if not lines or lines[-1] != ["end"]:
        raise GuestError("expected complete counts from the emulator, got none; run it again")
    threads = [int(line[1]) for line in lines if line[0] == "threads"]
    if threads != [1]:  # counts of threads that run at once are not exact
        raise GuestError(f"expected one thread on the guest, got {threads}")
    moments = {int(line[1]): [int(number) for number in line[2:]] for line in lines if line[0] == "moment"}
    if sorted(moments) != list(range(_MOMENTS)):
        raise GuestError(f"expected the guest to mark {_MOMENTS} moments, got {sorted(moments)}")
    before, after = moments[_BEFORE_RUN], moments[_AFTER_RUN]
    accesses, *misses = (later - earlier for earlier, later in zip(before[1:], after[1:], strict=True))
    blocks = tuple(_block(line[2:]) for line in lines if line[0] == "block")
    return Counts(blocks, accesses, tuple(misses), after[0] * PAGE_BYTES)


def _block(fields: Sequence[str]) -> Block:
    *counts, code = fields
    at = [int(count) for count in counts]
    words = tuple(int(code[place : place + _DIGITS], 16) for place in range(0, len(code), _DIGITS))
    return Block(words, at[_BEFORE_RUN] - at[_BEFORE_LOAD], at[_AFTER_RUN] - at[_BEFORE_RUN])
