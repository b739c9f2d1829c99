"""How long an inference may take on a core, modelled by llvm-mca from the blocks that ran: never a measurement.

A block's cycles are those of its steady state, as if it ran a hundred times in a row, with every load in the first
cache and every branch foreseen. So their sum over an inference leaves out what a core waits for memory and branches. It
is no lower bound: some models are too slow at what our kernels do (`Core.mca_note`).
"""

import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mobilebert_benchmarks.cores import Core
from mobilebert_benchmarks.emulation.counts import Block, Counts
from mobilebert_benchmarks.emulation.instructions import Kind, kind, mix

LABEL = "modelled, not measured"
# A judgement and no fit, from the prototypes of this harness, whose sums were 1.1 to 3 times below published times.
CALIBRATION = (1.1, 3.0)

_COVERED = 0.99  # of the instructions: the rest are thousands of blocks that hardly run, and counts at the same rate
_MOST_FLOAT = 0.01  # of the instructions, where the core's model of multiply-adds is not to be believed
# A base register that a load or store writes back, before its access or after it, and the address without that.
_WRITE_BACK = re.compile(r"(\[(?:x\d+|sp)\b[^\]]*\])(?:!|, \S+)$")
_ITERATIONS = 100
_SECONDS = 120
PACKAGE = "llvm-19"  # Debian's name; it models every core
_NAME = re.compile(r"llvm-mca(-\d+)?")
_VERSION = re.compile(r"version (\d+(?:\.\d+)*)")


@dataclass(frozen=True)
class Mca:
    """An llvm-mca that is installed."""

    program: Path
    version: str

    @property
    def release(self) -> int:
        """The number that LLVM's scheduling models go by."""
        return int(self.version.split(".")[0])


@dataclass(frozen=True)
class Estimate:
    """What one inference may take on a core, in milliseconds: the sum of cycles times the calibration's ends.

    Attributes:
        low_ms: the lower end.
        high_ms: the upper end.
        cycles: their sum, at the core's clock.
        covered: share of the instructions that were modelled; the others count at the same rate.
        made_by: llvm-mca's version, its model of the core, and what is known against it.
    """

    low_ms: float
    high_ms: float
    cycles: int
    covered: float
    made_by: str

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        return {**vars(self), "calibration": CALIBRATION, "label": LABEL}


def find_mca(path: str | None = None) -> Mca | None:
    """The newest llvm-mca among the programs, or None."""
    found: dict[tuple[int, ...], Mca] = {}
    directories = (os.environ.get("PATH", "") if path is None else path).split(os.pathsep)
    for program in (
        program for directory in filter(None, directories) for program in Path(directory).glob("llvm-mca*")
    ):
        if _NAME.fullmatch(program.name) and os.access(program, os.X_OK):
            with suppress(ValueError, IndexError, OSError, subprocess.SubprocessError):  # one that does not run is none
                version = _VERSION.findall(_output([str(program), "--version"]))[0]
                found[tuple(map(int, version.split(".")))] = Mca(program, version)
    return found[max(found)] if found else None


def estimate(mca: Mca | None, core: Core, counts: Counts, assembly: Mapping[int, str]) -> Estimate | str:
    """An estimate, or why there is none.

    Args:
        mca: the program, if there is one.
        core: which core.
        counts: what ran.
        assembly: of every word of it, as `disassemble` gives it.
    """
    if mca is None:
        return f"llvm-mca is not installed; {PACKAGE} has it (Debian's name)"
    if mca.release < core.mca_llvm:
        return f"llvm-mca {mca.version} has no model of {core.name}; install {PACKAGE} (Debian's name)"
    float_share = mix(counts, assembly)[Kind.FLOAT_MULTIPLY_ADD] / counts.instructions
    if float_share > _MOST_FLOAT and not core.mca_float:
        return f"in llvm-mca's model float multiply-adds of {core.name} wait ten cycles for each other, which is wrong"
    blocks = _hottest(counts)
    modelled = sum(len(block.code) * block.inference for block in blocks)
    try:
        cycles = _cycles(mca, core, blocks, assembly) * counts.instructions / modelled
    except (ValueError, KeyError, TypeError, ZeroDivisionError, OSError, subprocess.SubprocessError) as error:
        return f"llvm-mca {mca.version} failed: {' '.join(str(error).split())[:200]}"
    low, high = (cycles / core.clock_ghz / 1e6 * factor for factor in CALIBRATION)
    model = f"{core.mca_cpu} at {core.clock_ghz} GHz"
    made_by = ", ".join(filter(None, (f"llvm-mca {mca.version}", model, core.mca_note)))
    return Estimate(low, high, round(cycles), modelled / counts.instructions, made_by)


def _hottest(counts: Counts) -> list[Block]:
    """As few blocks as cover what is to be covered."""
    blocks, left = [], _COVERED * counts.instructions
    for block in sorted(counts.blocks, key=lambda block: len(block.code) * block.inference, reverse=True):
        if left <= 0:
            break
        blocks.append(block)
        left -= len(block.code) * block.inference
    return blocks


def _cycles(mca: Mca, core: Core, blocks: Sequence[Block], assembly: Mapping[int, str]) -> float:
    regions = "".join(_region(index, block, core, assembly) for index, block in enumerate(blocks))
    command = [str(mca.program), "-mtriple=aarch64", f"-mcpu={core.mca_cpu}", f"-iterations={_ITERATIONS}", "-json"]
    found = json.loads(_output(command, regions))["CodeRegions"]
    views = {region["Name"]: region["SummaryView"] for region in found}
    each = {name: float(view["TotalCycles"]) / int(view["Iterations"]) for name, view in views.items()}
    return sum(block.inference * each[str(index)] for index, block in enumerate(blocks))


def _region(index: int, block: Block, core: Core, assembly: Mapping[int, str]) -> str:
    lines = "".join(f"{_line(word, core, assembly[word])}\n" for word in block.code)
    return f"# LLVM-MCA-BEGIN {index}\n{lines}# LLVM-MCA-END\n"


def _line(word: int, core: Core, text: str) -> str:
    if kind(word, text.partition(" ")[0]) is Kind.BRANCH:
        return "b #4"  # a call would count a hundred cycles, though what is called is counted itself
    if core.in_order:
        # LLVM lets no result be written before those of earlier instructions, and an address is written back after one
        # cycle. So each such load would wait for the dot products before it, beside which a core issues it at once.
        return _WRITE_BACK.sub(r"\1", text)
    return text


def _output(command: Sequence[str], content: str = "") -> str:
    result = subprocess.run(
        command, input=content, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False
    )
    if result.returncode:
        raise ValueError(next((line for line in result.stderr.splitlines() if "error:" in line), "no word of why"))
    return result.stdout
