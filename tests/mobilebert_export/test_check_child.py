"""Models of strangers in a child process: what they do to it is reported, and done to nobody else."""

import json
import os
import signal
import struct
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mobilebert_reference import load_checkpoint
from mobilebert_reference.demo import CHECKPOINT

from mobilebert_export.errors import ModelFileError, UsageError
from mobilebert_export.export import export_tflite
from mobilebert_export.inspection import read
from mobilebert_export.runtimes.child import ChildModel, Limits, ModelFailedError, RunRefusedError
from mobilebert_export.runtimes.interface import Runtime
from mobilebert_export.runtimes.litert import LiteRtModel
from mobilebert_export.runtimes.wire import Message, WireError, pack, receive
from tests import mutants

LENGTH = 16
# By the order of the nodes, with the elements that they have.
WANTED = {"mobilebert.pooler": 256, "logits": 150}


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("honest") / "model.tflite"
    export_tflite(load_checkpoint(CHECKPOINT), path, sequence_length=LENGTH)
    return path


def row() -> dict[str, np.ndarray]:
    ids = np.arange(LENGTH, dtype=np.int32)[None]
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


def test_child_gives_what_the_runtime_gives(honest: Path) -> None:
    with ChildModel(honest, Runtime.LITERT) as child:
        assert {port.name for port in child.inputs} == set(row())
        (output,) = child.outputs
        assert (output.name, output.dtype, output.shape) == ("logits", "float32", (1, 150))
        np.testing.assert_array_equal(child.run(row())["logits"], LiteRtModel(honest).run(row())["logits"])


def real(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float64)


def test_tensors_end_in_the_output(honest: Path) -> None:
    with ChildModel(honest, Runtime.LITERT) as child:
        (tensors, bad), exact, outputs = child.tensors(row(), WANTED), child.exact(row(), WANTED), child.run(row())
    assert bad == ()
    assert list(tensors) == list(exact) == list(WANTED)
    truth = real(outputs["logits"])
    # Plain kernels and the delegate's round float32 each in their own way; float64 not at all.
    for values in (tensors["logits"], exact["logits"]):
        np.testing.assert_allclose(real(values), truth, rtol=0, atol=1e-5 * np.abs(truth).max())


def test_child_that_reads_no_question_is_stopped(honest: Path) -> None:
    names = {f"a tensor with a long name, number {index}": 1 for index in range(10_000)}  # more than a pipe holds
    with ChildModel(honest, Runtime.LITERT, limits=Limits(seconds=2)) as child:
        os.kill(child._process.pid, signal.SIGSTOP)
        with pytest.raises(ModelFailedError, match="took more than 2 s"):
            child.tensors(row(), names)


def without_second_inputs(model: Any) -> None:
    for node in model.subgraphs[0].operators:
        node.inputs = node.inputs[:1]


def test_crash_is_reported_and_leaves_this_process_alive(honest: Path, tmp_path: Path) -> None:
    hostile = mutants.mutant(honest, tmp_path / "hostile.tflite", without_second_inputs)
    read(hostile)  # the structure is sound: only running it shows
    with pytest.raises(ModelFailedError, match=r"litert crashed with SIG[A-Z]+ while loading"):
        ChildModel(hostile, Runtime.LITERT)


def test_time_limit(honest: Path) -> None:
    with pytest.raises(ModelFailedError, match=r"took more than 0.001 s loading"):
        ChildModel(honest, Runtime.LITERT, limits=Limits(seconds=0.001))


def test_time_limit_of_all_together(honest: Path) -> None:
    with pytest.raises(ModelFailedError, match=r"took more than 0.001 s in all, and was stopped while loading"):
        ChildModel(honest, Runtime.LITERT, limits=Limits(total=0.001))
    with ChildModel(honest, Runtime.LITERT, limits=Limits(total=60)) as child:
        left = child._left
        child.run(row())
        assert 0 < child._left < left < 60
        child._left = 0.0  # as it is after many runs
        with pytest.raises(ModelFailedError, match="took more than 60 s in all, and was stopped while running: fewer"):
            child.run(row())


def test_memory_limit(honest: Path) -> None:
    with pytest.raises(ModelFailedError, match="litert"):
        ChildModel(honest, Runtime.LITERT, limits=Limits(memory=100 * 2**20))


def test_wrong_shape_is_an_answer_and_not_the_end(honest: Path) -> None:
    short = {name: values[:, :3] for name, values in row().items()}
    with ChildModel(honest, Runtime.LITERT) as child:
        with pytest.raises(RunRefusedError, match="litert cannot run it"):
            child.run(short)
        assert np.isfinite(child.run(row())["logits"]).all()


@pytest.mark.parametrize(
    "said",
    [
        {"findings": 5},
        {"findings": "words"},
        {"findings": {"a": 1}},
        {"inputs": 5},
        {"inputs": [["ids", "int32", [float("inf")]]]},
        {"unreadable": True, "inputs": None},
    ],
)
def test_child_that_was_taken_over_may_say_what_it_likes(
    said: dict[str, Any], honest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(child: ChildModel, doing: str, largest: int) -> Message:
        true, arrays = honestly(child, doing, largest)
        return {**true, **said}, arrays

    honestly = ChildModel._answer
    monkeypatch.setattr(ChildModel, "_answer", answer)
    with pytest.raises(ModelFailedError, match="litert answered nonsense"):
        ChildModel(honest, Runtime.LITERT)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits another process")
def test_child_that_runs_out_of_memory_is_no_refusal(honest: Path) -> None:
    import resource  # which Windows has not

    with ChildModel(honest, Runtime.LITERT) as child:
        child.tensors(row(), {})  # what it imports for this is there
        resource.prlimit(child._process.pid, resource.RLIMIT_AS, (2**20, 2**20))
        with pytest.raises(ModelFailedError) as failed:
            list(map(child.exact, [row()] * 100, [{}] * 100))  # until what it has is used up
        assert not isinstance(failed.value, RunRefusedError)


def test_child_is_gone_afterwards(honest: Path) -> None:
    with ChildModel(honest, Runtime.LITERT) as child:
        process = child._process
        os.kill(process.pid, 0)
    assert process.returncode is not None


def test_onnx_file_that_is_none(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs ONNX Runtime: pip install 'mobilebert-export[onnx]'")
    path = tmp_path / "x.onnx"
    path.write_bytes(b"no protobuf at all")
    with pytest.raises(ModelFileError, match="expected a model that onnxruntime reads"):
        ChildModel(path, Runtime.ONNXRUNTIME)


def test_runtime_that_is_not_installed(honest: Path) -> None:
    try:
        import_module("tflite_runtime")
    except ImportError:
        with pytest.raises(UsageError, match="tflite-runtime is not installed; pip install"):
            ChildModel(honest, Runtime.TFLITE_RUNTIME)
    else:
        ChildModel(honest, Runtime.TFLITE_RUNTIME).close()


def reader(content: bytes) -> Callable[[int], bytes]:
    position = 0

    def read_exactly(size: int) -> bytes:
        nonlocal position
        if size > len(content) - position:
            raise EOFError
        position += size
        return content[position - size : position]

    return read_exactly


def test_message_comes_as_it_went() -> None:
    arrays: dict[str, np.ndarray] = {
        "a": np.arange(6, dtype=np.int64).reshape(2, 3),
        "b": np.zeros((0, 2), np.float32),
        "c": np.array(True),
    }
    said, received = receive(reader(pack({"what": "run"}, arrays)))
    assert said == {"what": "run"}
    assert list(received) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(received[name], array)
        assert received[name].dtype == array.dtype


def test_message_is_no_larger_than_what_was_asked_for() -> None:
    message = pack({}, {"a": np.zeros(1000, np.int8)})
    receive(reader(message), largest=len(message))
    with pytest.raises(WireError, match="expected a message of at most 1000 bytes"):
        receive(reader(message), largest=1000)


def framed(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    body = struct.pack("<I", len(header) if length is None else length) + header + data
    return struct.pack("<Q", len(body)) + body


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<Q", 2**60),
        struct.pack("<Q", 1) + b"x",
        framed(b"no json"),
        framed(b"{}"),
        framed(b"[1]"),
        framed(b'{"said": {}, "arrays": []}', length=2**31),
        framed(b'{"said": {}, "arrays": [["a", "object", [1]]]}', b"x" * 8),
        framed(b'{"said": {}, "arrays": [["a", "int8", [-1]]]}', b"x"),
        framed(b'{"said": {}, "arrays": [["a", "float64", [1000]]]}', b"x" * 8),
        framed(b'{"said": {}, "arrays": [["a", "int8", [1180591620717411303424]]]}', b"x"),
        framed(b"[" * 100_000),
        framed(b'{"said": {}, "arrays": []}' + b" " * 2**24),
    ],
)
def test_message_of_nonsense_is_refused(content: bytes) -> None:
    with pytest.raises(WireError):
        receive(reader(content))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_read(content: bytes) -> None:
    try:
        said, _ = receive(reader(framed(content)))
    except WireError:
        return
    json.dumps(said)
