"""The real emulation: exact counts, the core that was asked for, its kernels, and what a bad guest gives."""

import re
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from mobilebert_benchmarks.cores import Core, cores
from mobilebert_benchmarks.emulation import guest
from mobilebert_benchmarks.emulation.delegation import delegation
from mobilebert_benchmarks.emulation.instructions import Kind, disassemble
from mobilebert_benchmarks.emulation.measure import measure
from mobilebert_benchmarks.emulation.setup import ArmSide
from mobilebert_benchmarks.errors import GuestError, MismatchError, ModelError
from mobilebert_benchmarks.model_file import Arithmetic, read_model
from mobilebert_benchmarks.results import CoreResult

pytestmark = pytest.mark.slow

A76 = cores()["cortex-a76"]


def counted(arm: ArmSide, core: Core, path: Path) -> CoreResult:
    model = read_model(path)
    return measure(arm, core, model, model.signatures[-1])


def test_two_runs_differ_by_nothing(arm: ArmSide, demo_dynamic: Path, tmp_path: Path) -> None:
    first = counted(arm, A76, demo_dynamic)
    (tmp_path / "a longer, stranger directory").mkdir()
    moved = tmp_path / "a longer, stranger directory" / demo_dynamic.name
    moved.write_bytes(demo_dynamic.read_bytes())
    assert counted(arm, A76, moved) == first


def test_cores_that_differ_run_their_own_kernels(arm: ArmSide, demo_dynamic: Path) -> None:
    results = {name: counted(arm, core, demo_dynamic) for name, core in cores().items()}
    counts = {name: result.instructions_per_inference for name, result in results.items()}
    assert counts["armv9-i8mm"] < counts["cortex-a76"] < counts["cortex-a72"] < counts["cortex-a53"]
    # One -cpu, told apart by the MIDR alone: if it did not reach the runtime, these would be one number.
    assert counts["cortex-a55"] != counts["cortex-a76"]
    for result in results.values():
        assert sum(result.mix.values()) == result.instructions_per_inference
    # Int8 sums are exact in any order; float steps between them round alike where the instructions are the same.
    assert results["cortex-a55"].output_hash == results["cortex-a76"].output_hash


def test_the_delegate_takes_all_but_the_lookups(arm: ArmSide, demo_dynamic: Path) -> None:
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    file = [
        operator["op_name"]
        for operator in Interpreter(str(demo_dynamic), experimental_op_resolver_type=plain)._get_ops_details()
    ]
    model = read_model(demo_dynamic)
    listed = guest.operators(arm, A76, model, model.signatures[-1])
    for name, kernel in (("FULLY_CONNECTED", "Fully Connected"), ("BATCH_MATMUL", "Batch Matrix Multiply")):
        taken = [each for each in listed if each.delegated and each.name.startswith(kernel)]
        assert len(taken) == file.count(name)
    seen = delegation(listed)
    assert seen.whole
    for name in ("GATHER", "EMBEDDING_LOOKUP"):
        assert seen.outside[name] == file.count(name)


def test_int8_is_the_cheapest_on_cores_with_dot_products(arm: ArmSide, demo_int8: Path, demo_dynamic: Path) -> None:
    for core in cores().values():
        if "asimddp" in core.features:
            counts = [counted(arm, core, path).instructions_per_inference for path in (demo_int8, demo_dynamic)]
            assert counts[0] < counts[1], core.name


def test_operators_add_up_to_the_count(arm: ArmSide, demo_dynamic: Path) -> None:
    """Two ways to count, by the blocks that ran and by the clock that the profiler reads."""
    result = counted(arm, A76, demo_dynamic)
    # The clock and the profiler cost some hundred instructions an operator; what is between operators is not theirs.
    assert sum(result.operators.values()) == pytest.approx(result.instructions_per_inference, rel=0.01)
    linear = sum(cost for name, cost in result.operators.items() if name.startswith("Fully Connected"))
    assert linear > 0.4 * result.instructions_per_inference
    assert counted(arm, A76, demo_dynamic).operators == result.operators


def test_16_bit_models_are_counted_outside_the_delegate(arm: ArmSide, demo_int16: Path) -> None:
    result = counted(arm, A76, demo_int16)
    assert (result.delegation.partitions, result.delegation.whole) == (0, False)
    assert next(iter(result.operators)) == "FULLY_CONNECTED"


def test_float_models_multiply_in_float(arm: ArmSide, demo_float: Path) -> None:
    result = counted(arm, A76, demo_float)
    assert result.mix[Kind.FLOAT_MULTIPLY_ADD] > 0.4 * result.instructions_per_inference
    assert result.mix[Kind.DOT_PRODUCT] == 0


def test_the_multiply_adds_are_those_of_the_matrices(arm: ArmSide, demo_float: Path) -> None:
    """An oracle for the count itself: a vector `fmla` makes 4 multiply-adds, and the model has so many."""
    result = counted(arm, A76, demo_float)
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(str(demo_float), experimental_op_resolver_type=plain)
    details = {detail["index"]: detail["shape"] for detail in interpreter.get_tensor_details()}
    needed = 0
    for operator in interpreter._get_ops_details():
        shapes = [details[index] for index in operator["inputs"] if index >= 0]
        output = int(np.prod(details[operator["outputs"][0]]))
        if operator["op_name"] in {"FULLY_CONNECTED", "BATCH_MATMUL"}:
            needed += output * int(shapes[0][-1])
        elif operator["op_name"] == "CONV_2D":
            needed += output * int(np.prod(shapes[1][1:]))
    made = 4 * result.mix[Kind.FLOAT_MULTIPLY_ADD]
    # Tiles that are not full, and the polynomials of softmax and tanh, add to what is needed; nothing takes away.
    assert needed <= made <= 1.3 * needed


def test_set_up_is_loading_and_one_inference(arm: ArmSide, demo_float: Path) -> None:
    result = counted(arm, A76, demo_float)
    assert result.set_up_instructions > result.instructions_per_inference


def test_memory_holds_the_weights_and_little_more_than_packing_them(arm: ArmSide, demo_float: Path) -> None:
    result = counted(arm, A76, demo_float)
    size = demo_float.stat().st_size
    library = arm.library.stat().st_size
    assert size < result.peak_memory_bytes < 3 * size + library


def test_a_smaller_cache_misses_more(arm: ArmSide, demo_float: Path) -> None:
    small = replace(A76, caches=tuple(replace(level, kib=level.kib // 8) for level in A76.caches))
    misses, more = counted(arm, A76, demo_float).cache_misses, counted(arm, small, demo_float).cache_misses
    assert list(misses) == sorted(misses, reverse=True)
    assert more[0] > misses[0]


def test_a_guest_of_another_core_is_refused(arm: ArmSide, demo_float: Path) -> None:
    with pytest.raises(
        MismatchError, match=r"^demo-none: expected a guest with the features .*asimddp.* for cortex-a76, got asimd;"
    ):
        counted(arm, replace(A76, qemu_cpu="cortex-a53"), demo_float)


def test_a_guest_that_is_said_to_have_less_than_it_has_is_refused(arm: ArmSide, demo_float: Path) -> None:
    with pytest.raises(MismatchError, match=r"for cortex-a53, got .*i8mm"):
        counted(arm, replace(cores()["cortex-a53"], qemu_cpu="max,sme=off"), demo_float)


def test_kernels_of_another_arithmetic_are_refused(arm: ArmSide, demo_float: Path) -> None:
    model = replace(read_model(demo_float), arithmetic=Arithmetic.INT8)
    with pytest.raises(MismatchError, match=r"^demo-none: expected at least as many dot product instructions"):
        measure(arm, A76, model, model.signatures[-1])


def test_a_model_that_does_not_load_is_one_line(arm: ArmSide, demo_float: Path, tmp_path: Path) -> None:
    model = read_model(demo_float)
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"\xff\xff\xff\xffTFL3" + bytes(1000))
    with pytest.raises(
        ModelError, match=r"expected a model that LiteRT runs, got broken on cortex-a76: .*LiteRt"
    ) as raised:
        measure(arm, A76, replace(model, path=broken), model.signatures[-1])
    assert "\n" not in str(raised.value)


def test_a_model_that_crashes_the_guest_is_one_line(arm: ArmSide, demo_float: Path, tmp_path: Path) -> None:
    model = read_model(demo_float)
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(demo_float.read_bytes()[:20_000])  # its tables are whole, its weights are beyond the end
    with pytest.raises(GuestError, match=r"expected cut on cortex-a76 to end well, got signal SIGSEGV") as raised:
        measure(arm, A76, replace(model, path=cut), model.signatures[-1])
    assert "\n" not in str(raised.value)


def test_a_guest_that_uses_an_instruction_its_core_lacks_is_one_line(
    arm: ArmSide, demo_float: Path, tmp_path: Path
) -> None:
    sdot = compiled(tmp_path, 'int main(void) { __asm__ volatile(".inst 0x4e809400"); return 0; }')
    model = read_model(demo_float)
    with pytest.raises(GuestError, match=r"got signal SIGILL"):
        guest.run(replace(arm, runner=sdot), cores()["cortex-a53"], model, model.signatures[-1])


def test_a_guest_that_hangs_is_stopped(arm: ArmSide, demo_float: Path, tmp_path: Path) -> None:
    hanging = compiled(tmp_path, 'int main(void) { for (;;) __asm__ volatile("nop"); }')
    model = read_model(demo_float)
    with pytest.raises(GuestError, match=r"expected demo-none on cortex-a76 to end within 1 s"):
        guest.run(replace(arm, runner=hanging), A76, model, model.signatures[-1], timeout=1)


def test_a_guest_that_says_nothing_is_one_line(arm: ArmSide, demo_float: Path, tmp_path: Path) -> None:
    model = read_model(demo_float)
    silent = compiled(tmp_path, "int main(void) { return 0; }")
    with pytest.raises(GuestError, match=r"expected a line of JSON from demo-none on cortex-a76, got ''"):
        guest.run(replace(arm, runner=silent), A76, model, model.signatures[-1])


def test_more_threads_than_one_are_refused(arm: ArmSide, demo_float: Path, tmp_path: Path) -> None:
    source = (Path(guest.__file__).parent / "native" / "runner.c").read_text()
    two = source.replace('"num_threads = %d\\n", threads', '"num_threads = %d\\n", 2 * threads')
    assert two != source
    model = read_model(demo_float)
    with pytest.raises(GuestError, match=r"^demo-none on cortex-a76: expected one thread on the guest, got \[2\]"):
        guest.run(replace(arm, runner=compiled(tmp_path, two)), A76, model, model.signatures[-1])


def test_the_disassembler_knows_every_kind(arm: ArmSide) -> None:
    words = {0x4E80A400: "smmla", 0x4E809400: "sdot", 0x0E608000: "smlal", 0x4E20CC00: "fmla", 0xF9400000: "ldr"}
    assert {word: text.split()[0] for word, text in disassemble(words, arm.objdump).items()} == words


def compiled(directory: Path, source: str) -> Path:
    program = directory / "program"
    command = ["aarch64-linux-gnu-gcc", "-x", "c", "-", "-o", str(program), "-std=gnu11", "-ldl", "-w"]
    subprocess.run(command, input=source, text=True, check=True)
    return program


def test_the_signals_that_a_guest_dies_of_are_named() -> None:
    assert re.fullmatch("signal SIGKILL", guest._ending(-signal.SIGKILL))
    assert guest._ending(139) == "exit code 139"
