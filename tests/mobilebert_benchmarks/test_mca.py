"""Estimates: which llvm-mca is taken, what is made of its answer, and what the real one says of instructions known."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from mobilebert_benchmarks.cores import Core, cores
from mobilebert_benchmarks.emulation.counts import Block, Counts
from mobilebert_benchmarks.emulation.mca import Estimate, Mca, estimate, find_mca

A53, A55, A72, A76, ARMV9 = cores().values()
SDOT, ADD, BRANCH, FMLA, LITERAL = 0x4E809400, 0x91000400, 0x54000000, 0x4E20CC00, 0x58091A21
ASSEMBLY = {
    SDOT: "sdot v0.4s, v0.16b, v0.16b",
    ADD: "add x0, x0, #0x1000",
    BRANCH: "b.eq 0x1234",
    FMLA: "fmla v0.4s, v0.4s, v0.4s",
    LITERAL: "ldr x1, 0x12344",
}
# How XNNPACK's int8 kernel for the A55 goes: each load takes 8 bytes beside a dot product that does not need them.
INTERLEAVED = tuple(
    text for n in range(4) for text in (f"sdot v{n}.4s, v{n + 4}.16b, v8.16b", f"ldr d{n + 16}, [x{n + 1}], #8")
)


def program(directory: Path, name: str, version: str, answer: object = None) -> Mca:
    """An llvm-mca of this version that keeps what it is given beside it, and gives this answer."""
    script = f"""#!/bin/sh
[ "$1" = --version ] && echo "Debian LLVM version {version}" && exit
echo "$@" > "$0.call"; cat > "$0.input"; echo '{json.dumps(answer)}'
"""
    (directory / name).write_text(script)
    (directory / name).chmod(0o755)
    return Mca(directory / name, version)


def view(name: str, cycles: int) -> dict[str, object]:
    return {"Name": name, "SummaryView": {"TotalCycles": cycles, "Iterations": 100}}


def counts(*blocks: tuple[int, ...], times: int = 1_000_000) -> Counts:
    return Counts(tuple(Block(block, 0, times) for block in blocks), 0, (), 0)


def test_the_newest_program_on_the_path_is_taken(tmp_path: Path) -> None:
    assert find_mca(str(tmp_path)) is None
    (tmp_path / "more").mkdir()
    program(tmp_path, "llvm-mca", "9.0.1")
    newest = program(tmp_path / "more", "llvm-mca-19", "19.1.7")
    program(tmp_path, "llvm-mca-18", "18.2.0")
    program(tmp_path, "llvm-mca-best", "99.0.0")
    program(tmp_path, "llvm-mca-20", "of no number")
    (tmp_path / "llvm-mca-21").write_text("#!/bin/sh\necho version 21.0.0; exit 1")
    (tmp_path / "llvm-mca-21").chmod(0o755)
    (tmp_path / "llvm-mca-22").mkdir()
    (tmp_path / "llvm-mca-77").write_text("")
    assert find_mca(f"{tmp_path}:{tmp_path / 'more'}") == newest


def test_cycles_are_weighed_by_how_often_a_block_ran_and_become_a_range(tmp_path: Path) -> None:
    mca = program(tmp_path, "llvm-mca", "19.1.7", {"CodeRegions": [view("1", 150), view("0", 400)]})
    ran = Counts((Block((SDOT, BRANCH), 0, 3_000_000), Block((ADD,), 0, 2_000_000)), 0, (), 0)
    found = estimate(mca, A76, ran, ASSEMBLY)
    assert isinstance(found, Estimate)
    assert found.cycles == 4 * 3_000_000 + 1.5 * 2_000_000
    bound_ms = 15e6 / 2.4e9 * 1e3
    assert (found.low_ms, found.high_ms) == pytest.approx((1.1 * bound_ms, 3 * bound_ms))
    assert (found.covered, found.made_by) == (1.0, "llvm-mca 19.1.7, neoverse-n1 at 2.4 GHz")
    assert "-mcpu=neoverse-n1" in (tmp_path / "llvm-mca.call").read_text()
    first, _ = (tmp_path / "llvm-mca.input").read_text().split("# LLVM-MCA-BEGIN 1")
    assert first.splitlines()[1:3] == [ASSEMBLY[SDOT], "b #4"]


@pytest.mark.parametrize(
    ("written", "without"),
    [
        ("ldr d9, [x1], #8", "ldr d9, [x1]"),
        ("ldr x3, [x1, #8]!", "ldr x3, [x1, #8]"),
        ("ldp q17, q18, [sp], #32", "ldp q17, q18, [sp]"),
        ("stp x29, x30, [sp, #-32]!", "stp x29, x30, [sp, #-32]"),
        ("st1 {v30.16b, v31.16b}, [x7], x0", "st1 {v30.16b, v31.16b}, [x7]"),
        ("ld4 {v4.s-v7.s}[3], [x18], x17", "ld4 {v4.s-v7.s}[3], [x18]"),
        ("ld2 {v0.s, v1.s}[1], [x17]", "ld2 {v0.s, v1.s}[1], [x17]"),
        ("ldr x3, [x1, #8]", "ldr x3, [x1, #8]"),
        ("ins v3.d[0], x10", "ins v3.d[0], x10"),
    ],
)
def test_only_cores_that_issue_in_order_are_shown_loads_and_stores_without_their_write_back(
    tmp_path: Path, written: str, without: str
) -> None:
    mca = program(tmp_path, "llvm-mca", "19.1.7", {"CodeRegions": [view("0", 100)]})
    for core in cores().values():
        assert isinstance(estimate(mca, core, counts((LITERAL,)), {LITERAL: written}), Estimate)
        shown = (tmp_path / "llvm-mca.input").read_text().splitlines()[1]
        assert shown == (without if core in {A53, A55} else written)


@pytest.mark.parametrize("core", [A55, ARMV9], ids=lambda core: core.name)
def test_what_is_known_against_a_model_is_said_beside_its_name(tmp_path: Path, core: Core) -> None:
    mca = program(tmp_path, "llvm-mca", "19.1.7", {"CodeRegions": [view("0", 100)]})
    found = estimate(mca, core, counts((ADD,)), ASSEMBLY)
    assert isinstance(found, Estimate)
    assert core.mca_note
    assert found.made_by == f"llvm-mca 19.1.7, {core.mca_cpu} at {core.clock_ghz} GHz, {core.mca_note}"


def test_what_hardly_runs_counts_at_the_rate_of_the_rest(tmp_path: Path) -> None:
    mca = program(tmp_path, "llvm-mca", "19.1.7", {"CodeRegions": [view("0", 100)]})
    ran = Counts((Block((ADD,), 0, 995), Block((SDOT,), 0, 5)), 0, (), 0)
    found = estimate(mca, A76, ran, ASSEMBLY)
    assert isinstance(found, Estimate)
    assert (found.cycles, found.covered) == (1000, 0.995)


@pytest.mark.parametrize(
    ("core", "version", "code", "reason"),
    [
        (A76, None, SDOT, r"llvm-mca is not installed; llvm-19 has it"),
        (A76, "14.0.6", SDOT, r"llvm-mca 14.0.6 has no model of cortex-a76; install llvm-19"),
        (A53, "19.1.7", FMLA, r"multiply-adds of cortex-a53 wait ten cycles for each other, which is wrong"),
        (A76, "19.1.7", SDOT, r"llvm-mca 19.1.7 failed: "),  # answers nothing of use
    ],
)
def test_where_there_is_none_it_says_why(
    tmp_path: Path, core: Core, version: str | None, code: int, reason: str
) -> None:
    mca = program(tmp_path, "llvm-mca", version) if version else None
    found = estimate(mca, core, counts((code,)), ASSEMBLY)
    assert isinstance(found, str)
    assert found.startswith(reason) or reason in found
    assert "\n" not in found


@pytest.fixture
def real() -> Mca:
    found = find_mca()
    if found is None:
        pytest.skip("llvm-mca is not installed, which is optional: apt-get install llvm-19")
    return found


@pytest.mark.parametrize("core", [replace(core, mca_llvm=1) for core in cores().values()], ids=lambda core: core.name)
def test_the_real_one_reads_what_the_disassembler_writes(real: Mca, core: Core) -> None:
    found = estimate(real, core, counts((LITERAL, ADD, BRANCH)), ASSEMBLY)
    assert isinstance(found, Estimate), found
    # Three instructions, no two of which wait for each other in a way that takes more than three cycles.
    assert 0.3 <= found.cycles / 1e6 <= 5


def test_the_real_one_knows_how_long_a_chain_of_multiply_adds_waits(real: Mca) -> None:
    """Each waits for the one before through all its inputs: 4 cycles on the A55 (Arm's optimization guide)."""
    found = estimate(real, A55, counts((FMLA,)), ASSEMBLY)
    assert isinstance(found, Estimate), found
    assert found.cycles / 1e6 == pytest.approx(4, abs=0.1)


def test_the_real_one_overlaps_the_loads_of_an_in_order_core_with_its_dot_products(real: Mca) -> None:
    """The write-backs of the loads' addresses are not waited for: with them, these eight take 20 cycles."""
    assembly = dict(enumerate(INTERLEAVED))
    found = estimate(real, A55, counts(tuple(assembly)), assembly)
    assert isinstance(found, Estimate), found
    # The model issues one such dot product or load a cycle: 4 if they go in pairs, 8 if they take turns, 0.03 to start.
    assert 4 <= found.cycles / 1e6 <= 8.1


def test_the_real_one_gives_the_a72_the_model_that_is_named(real: Mca) -> None:
    """LLVM has none of the A72: it takes the A57's. Should that end, the core is to name its own."""
    assert A72.mca_cpu == "cortex-a57"
    ran = counts((FMLA, ADD, LITERAL), (FMLA,))
    named, own = (estimate(real, core, ran, ASSEMBLY) for core in (A72, replace(A72, mca_cpu="cortex-a72")))
    assert isinstance(named, Estimate), named
    assert isinstance(own, Estimate), own
    assert named.cycles == own.cycles
