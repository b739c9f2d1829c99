"""Kinds of instructions, against the encodings of Arm's manual (DDI 0487, C7.2 and C6.2)."""

import pytest
from mobilebert_benchmarks.emulation.counts import Block, Counts
from mobilebert_benchmarks.emulation.instructions import Kind, kind, mix


@pytest.mark.parametrize(
    ("word", "name", "expected"),
    [
        (0x4E80A400, "smmla", Kind.MATRIX_MULTIPLY),
        (0x4E809400, "sdot", Kind.DOT_PRODUCT),
        (0x4F80E000, "sdot", Kind.DOT_PRODUCT),
        (0x0E608000, "smlal", Kind.INTEGER_MULTIPLY),
        (0x4E608000, "smlal2", Kind.INTEGER_MULTIPLY),
        (0x0E60C000, "smull", Kind.INTEGER_MULTIPLY),
        (0x4EA09400, "mla", Kind.INTEGER_MULTIPLY),
        (0x6EA0B400, "sqrdmulh", Kind.INTEGER_MULTIPLY),
        (0x4E20CC00, "fmla", Kind.FLOAT_MULTIPLY_ADD),
        (0x4F801000, "fmla", Kind.FLOAT_MULTIPLY_ADD),
        (0x1F000000, "fmadd", Kind.FLOAT_OTHER),
        (0x1F208000, "fnmsub", Kind.FLOAT_OTHER),
        (0x5F801000, "fmla", Kind.FLOAT_OTHER),
        (0x5EA0B400, "sqdmulh", Kind.VECTOR_OTHER),
        (0x6E20DC00, "fmul", Kind.FLOAT_OTHER),
        (0x4E21D800, "scvtf", Kind.FLOAT_OTHER),
        (0x4EA08400, "add", Kind.VECTOR_OTHER),
        (0x4E003800, "zip1", Kind.VECTOR_OTHER),
        (0x3DC00000, "ldr", Kind.LOAD),
        (0xAD400000, "ldp", Kind.LOAD),
        (0xF9400000, "ldr", Kind.LOAD),
        (0x3D800000, "str", Kind.STORE),
        (0xF9800000, "prfm", Kind.OTHER),
        (0x91000000, "add", Kind.INTEGER),
        (0x9B000000, "madd", Kind.INTEGER),
        (0x54000000, "b.eq", Kind.BRANCH),
        (0xD65F03C0, "ret", Kind.BRANCH),
        (0xD5033BBF, "dmb", Kind.OTHER),
        (0xA5400000, "ld1w", Kind.LOAD),
        (0x65A00000, "fmla", Kind.FLOAT_MULTIPLY_ADD),
    ],
)
def test_an_instruction_is_of_its_kind(word: int, name: str, expected: Kind) -> None:
    assert kind(word, name) is expected


def test_the_mix_counts_each_instruction_as_often_as_its_block_ran() -> None:
    sdot, add, branch = 0x4E809400, 0x91000000, 0x54000000
    blocks = (Block((sdot, sdot, branch), set_up=9, inference=10), Block((add, branch), set_up=5, inference=1))
    counts = Counts(blocks, accesses=0, misses=(), peak_bytes=0)
    found = mix(counts, {sdot: "sdot v0.4s, v0.16b, v0.16b", add: "add x0, x0, #0x0", branch: "b.eq 0"})
    assert {kind: count for kind, count in found.items() if count} == {
        Kind.DOT_PRODUCT: 20,
        Kind.INTEGER: 1,
        Kind.BRANCH: 11,
    }
    assert sum(found.values()) == counts.instructions == 32
    assert counts.set_up_instructions == 37
