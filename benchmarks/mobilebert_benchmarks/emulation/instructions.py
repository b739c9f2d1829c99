"""What kind of work an instruction is: its group by the encoding (Arm ARM, C4.1), the rest by its name."""

import re
import struct
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path

from mobilebert_benchmarks.emulation.counts import Counts
from mobilebert_benchmarks.errors import SetupError

_DISASSEMBLE_SECONDS = 120
_LINE = re.compile(r"^ *[0-9a-f]+:\t([0-9a-f]{8}) +\t(\S+)(?:\t(.*?))?(?: *//.*)?$", re.MULTILINE)


class Kind(str, Enum):
    """Kinds of work, of which every instruction is one."""

    MATRIX_MULTIPLY = "matrix multiply"  # 32 products of 8 bits each (FEAT_I8MM), or 16 of bfloat16
    DOT_PRODUCT = "dot product"  # 16 products of 8 bits (FEAT_DotProd)
    INTEGER_MULTIPLY = "integer multiply"  # of vectors
    FLOAT_MULTIPLY_ADD = "float multiply-add"  # of vectors
    FLOAT_OTHER = "other float"
    VECTOR_OTHER = "other vector"
    LOAD = "load"
    STORE = "store"
    INTEGER = "integer"
    BRANCH = "branch"
    OTHER = "other"


_MATRIX = frozenset({"smmla", "ummla", "usmmla", "bfmmla", "fmmla"})
_DOT = frozenset({"sdot", "udot", "usdot", "sudot", "bfdot"})
_MULTIPLY_ADD = re.compile(r"f(ml[as]l?2?|n?ml[as]|n?mad|n?msb)|bfmlal[bt]")
_INTEGER_MULTIPLY = re.compile(r"[su]ml[as]l[2bt]?|[su]mull[2bt]?|mul|ml[as]|sqr?dml?[as]?u?l?l?[has]?h?2?")
_FLOAT = re.compile(r"f.*|[su]cvtf|bf.*")

_GROUPS = {
    **dict.fromkeys((0b1000, 0b1001, 0b0101, 0b1101), Kind.INTEGER),
    **dict.fromkeys((0b1010, 0b1011), Kind.BRANCH),
}
_LOADS_AND_STORES = frozenset({0b0100, 0b0110, 0b1100, 0b1110})
_SYSTEM = 0xD5
_SVE = 0b0010
_SCALARS = 0b1111  # float ones, and SIMD of a single element
_VECTORS = frozenset({_SVE, 0b0111})


def kind(word: int, name: str) -> Kind:
    """Of one instruction, by its word and its name.

    >>> kind(0x4E829420, "sdot")
    <Kind.DOT_PRODUCT: 'dot product'>
    """
    group = word >> 25 & 0xF
    if group in _LOADS_AND_STORES or (group == _SVE and name.startswith(("ld", "st", "prf"))):
        return _transfer(name)
    if group in _VECTORS:
        return _vector(name)
    if group == _SCALARS:
        return _other(name)
    if word >> 24 == _SYSTEM:
        return Kind.OTHER
    return _GROUPS.get(group, Kind.OTHER)


def _transfer(name: str) -> Kind:
    if name.startswith("prf"):
        return Kind.OTHER
    return Kind.STORE if name.startswith("st") else Kind.LOAD


def _vector(name: str) -> Kind:
    if name in _MATRIX:
        return Kind.MATRIX_MULTIPLY
    if name in _DOT:
        return Kind.DOT_PRODUCT
    if _MULTIPLY_ADD.fullmatch(name):
        return Kind.FLOAT_MULTIPLY_ADD
    if _INTEGER_MULTIPLY.fullmatch(name):
        return Kind.INTEGER_MULTIPLY
    return _other(name)


def _other(name: str) -> Kind:
    return Kind.FLOAT_OTHER if _FLOAT.fullmatch(name) else Kind.VECTOR_OTHER


def disassemble(words: Iterable[int], objdump: Path) -> dict[int, str]:
    """The assembly of each word: its name, and after a space its operands.

    Raises:
        SetupError: objdump cannot be used.
    """
    unique = sorted(set(words))
    with tempfile.NamedTemporaryFile() as file:
        file.write(struct.pack(f"<{len(unique)}I", *unique))
        file.flush()
        command = [str(objdump), "-D", "-z", "-b", "binary", "-m", "aarch64", "-M", "no-aliases", file.name]
        try:
            result = subprocess.run(
                command, capture_output=True, text=True, timeout=_DISASSEMBLE_SECONDS, check=False, env={"LC_ALL": "C"}
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SetupError(f"expected {objdump} to disassemble, got: {error}; reinstall it") from error
    found = {
        int(word, 16): f"{name} {operands.strip()}".strip() for word, name, operands in _LINE.findall(result.stdout)
    }
    if sorted(found) != unique:
        raise SetupError(
            f"expected {objdump} to disassemble {len(unique)} instructions, got {len(found)}; reinstall it"
        )
    return found


def mix(counts: Counts, assembly: Mapping[int, str]) -> dict[Kind, int]:
    """How many instructions of each kind the measured inference took; their sum is all it took."""
    executed: Counter[int] = Counter()
    for block in counts.blocks:
        for word in block.code:
            executed[word] += block.inference
    result: Counter[Kind] = Counter()
    for word, times in executed.items():
        result[kind(word, assembly[word].partition(" ")[0])] += times
    return {every: result[every] for every in Kind}
