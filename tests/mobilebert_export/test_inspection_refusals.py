"""What `inspection` does about a file that is broken or hostile."""

import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from mobilebert_export.errors import ModelFileError
from mobilebert_export.inspection import Constants, read
from tests.small_files import changed, one_operator, packed, small_model, summary_of

# No file of this size takes a tenth of a second here; the budget of the reader allows any file about five.
LONGEST_READ = 10.0  # CPU seconds, which a busy machine does not stretch


def assert_refused(path: Path, reason: str) -> None:
    with pytest.raises(ModelFileError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert reason in message.removeprefix(str(path))
    assert "\n" not in message


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path / "missing.tflite", "No such file")
    assert_refused(tmp_path, "got a directory")
    os.mkfifo(tmp_path / "pipe.tflite")  # to open it would wait for a writer
    assert_refused(tmp_path / "pipe.tflite", "got a device or a pipe")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"TFL3", "identifier"),
        (b"PK\x03\x04 and the rest of a ZIP file", "identifier"),
        (b"\x08\x00\x00\x00TFL3", "within"),
        (b"\xff\xff\xff\xffTFL3" + bytes(64), "within"),
        (b"\x00\x00\x00\x00TFL3" + bytes(64), "vtable"),  # a root that is its own reference
        (b"\x08\x00\x00\x00TFL3" + struct.pack("<i", 2**31 - 1) + bytes(64), "within"),  # a vtable before the file
        (b"\x08\x00\x00\x00TFL3" + struct.pack("<i", -(2**31)) + bytes(64), "within"),  # and one behind it
    ],
)
def test_what_is_no_model_is_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    assert_refused(path, reason)


def set_path(target: str, value: object) -> Callable[[Any], None]:
    """A change that sets one attribute, as in `subgraphs.0.inputs`."""

    def change(model: Any) -> None:
        *parents, last = target.split(".")
        place = model
        for name in parents:
            place = place[int(name)] if name.isdigit() else getattr(place, name)
        setattr(place, last, value)

    return change


@pytest.mark.parametrize(
    ("target", "value", "reason"),
    [
        ("subgraphs", [], "0 subgraphs"),
        ("subgraphs.0.inputs", np.array([0, 1000], np.int32), "tensors, got 1000"),
        ("subgraphs.0.outputs", np.array([-1], np.int32), "tensors, got -1"),
        ("subgraphs.0.operators.0.inputs", np.array([0, 1000], np.int32), "tensors, got 1000"),
        ("subgraphs.0.operators.0.outputs", np.array([-2], np.int32), "tensors, got -2"),
        ("subgraphs.0.operators.0.opcodeIndex", 77, "operator codes, got 77"),
        ("subgraphs.0.tensors.0.buffer", 2**32 - 1, "buffers, got 4294967295"),
        ("subgraphs.0.tensors.0.name", b"\xff\xfe", "UTF-8"),
        ("signatureDefs.0.signatureKey", b"\xc3(", "UTF-8"),
        ("signatureDefs.0.subgraphIndex", 1, "1 subgraphs, got 1"),
        ("signatureDefs.0.inputs.0.tensorIndex", 1000, "tensors, got 1000"),
        ("description", b"\x80", "UTF-8"),
    ],
)
def test_index_or_name_that_means_nothing_is_refused(target: str, value: object, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(changed(set_path(target, value)))
    assert_refused(path, reason)


@pytest.mark.parametrize(
    ("scales", "zero_points", "reason"),
    [([1.0], [0, 0], "zero points"), ([np.nan], [0], "finite"), ([1.0], [], "zero")],
)
def test_scales_that_mean_nothing_are_refused(
    scales: list[float], zero_points: list[int], reason: str, tmp_path: Path
) -> None:
    def quantize(model: Any) -> None:
        parameters = model.subgraphs[0].tensors[0].quantization = schema.QuantizationParametersT()
        parameters.scale, parameters.zeroPoint = np.array(scales, np.float32), np.array(zero_points, np.int64)

    path = tmp_path / "model.tflite"
    path.write_bytes(packed(one_operator(schema.BuiltinOperator.RELU, change=quantize)))
    assert_refused(path, reason)


def test_optional_input_that_is_left_out_is_no_mistake(tmp_path: Path) -> None:
    content = changed(set_path("subgraphs.0.operators.0.inputs", np.array([0, -1], np.int32)))
    assert summary_of(content, tmp_path).nodes


def test_buffer_that_ends_behind_the_file_is_refused(tmp_path: Path) -> None:
    elements = b"32 bytes that stand in a buffer."

    def add(model: Any) -> None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(elements, np.uint8)
        model.buffers.append(buffer)
        model.subgraphs[0].tensors[0].buffer = 1

    content = packed(one_operator(schema.BuiltinOperator.RELU, change=add))
    start = content.index(elements)
    length = len(content) - start + 1
    assert length < len(content)  # so the sum of all constants alone would not give it away
    path = tmp_path / "model.tflite"
    path.write_bytes(content[: start - 4] + struct.pack("<I", length - 1) + content[start:])
    assert read(path).constants == (Constants("float32", 1, length - 1),)
    path.write_bytes(content[: start - 4] + struct.pack("<I", length) + content[start:])
    assert_refused(path, "within")


def test_buffers_that_overlap_to_more_than_the_file_are_refused(tmp_path: Path) -> None:
    def overlap(model: Any) -> None:
        for index in range(3):
            buffer = schema.BufferT()
            buffer.offset, buffer.size = 2 + index, 400
            model.buffers.append(buffer)
            tensor = schema.TensorT()
            tensor.buffer = len(model.buffers) - 1
            model.subgraphs[0].tensors.append(tensor)

    content = packed(one_operator(schema.BuiltinOperator.RELU, change=overlap))
    assert 402 < len(content) < 1200
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    assert_refused(path, "constants of at most")


def folded(tensors: int, subgraphs: int, inputs: int, name_size: int) -> bytes:
    """A file in which one tensor stands for `tensors`, one subgraph for `subgraphs`, and input 0 for `inputs`."""
    builder = flatbuffers.Builder(1024)

    def references(target: int, count: int) -> int:
        builder.StartVector(4, count, 4)
        for _ in range(count):
            builder.PrependUOffsetTRelative(target)
        return int(builder.EndVector())

    name = builder.CreateString("x" * name_size)
    schema.TensorStart(builder)
    schema.TensorAddName(builder, name)
    tensor_vector = references(schema.TensorEnd(builder), tensors)
    input_vector = builder.CreateNumpyVector(np.zeros(inputs, np.int32))
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, tensor_vector)
    schema.SubGraphAddInputs(builder, input_vector)
    subgraph_vector = references(schema.SubGraphEnd(builder), subgraphs)
    schema.BufferStart(builder)
    buffer_vector = references(schema.BufferEnd(builder), 1)
    schema.ModelStart(builder)
    schema.ModelAddSubgraphs(builder, subgraph_vector)
    schema.ModelAddBuffers(builder, buffer_vector)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    return bytes(builder.Output())


def test_shared_parts_of_a_sane_number_are_read(tmp_path: Path) -> None:
    summary = summary_of(folded(tensors=100, subgraphs=10, inputs=100, name_size=1000), tmp_path)
    assert len(summary.inputs) == 100
    assert summary.subgraphs == 10


@pytest.mark.parametrize(
    "shape",
    [
        {"tensors": 10_000, "subgraphs": 10_000, "inputs": 1, "name_size": 1},
        {"tensors": 1, "subgraphs": 1, "inputs": 20_000, "name_size": 20_000},
        {"tensors": 1, "subgraphs": 1, "inputs": 5_000_000, "name_size": 1},
    ],
)
def test_small_file_that_folds_into_a_huge_one_is_refused_in_time(shape: dict[str, int], tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(folded(**shape))
    start = time.process_time()
    assert_refused(path, "MiB of structure")
    assert time.process_time() - start < LONGEST_READ


def read_in_time(path: Path, content: bytes) -> bool:
    """Whether there was a summary; anything but one, or an error of the right kind, or a timely end, fails."""
    path.write_bytes(content)
    summary, message = None, ""
    start = time.process_time()
    try:
        summary = read(path)
    except ModelFileError as error:
        message = str(error)
    assert time.process_time() - start < LONGEST_READ
    assert "\n" not in message
    if summary is not None:
        assert summary.size == len(content)
        assert sum(entry.bytes for entry in summary.constants) + summary.overhead == summary.size
    return summary is not None


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    content = small_model()
    path = tmp_path / "model.tflite"
    assert read_in_time(path, content)
    survivors = [length for length in range(len(content)) if read_in_time(path, content[:length])]
    assert not survivors


def test_random_damage_is_refused_or_survived(tmp_path: Path) -> None:
    content = small_model()
    path = tmp_path / "model.tflite"
    generator = np.random.default_rng(0)
    # What offsets, counts and indices turn bad with.
    words = np.array([0, 1, 4, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 4, 2**32 - 1], "<u4")
    survived = 0
    rounds = 3000
    for _ in range(rounds):
        damaged = bytearray(content)
        for position in generator.integers(0, len(content) - 4, generator.integers(1, 8)):
            new = generator.choice(words).tobytes() if generator.random() < 0.5 else generator.bytes(1)
            damaged[position : position + len(new)] = new
        survived += read_in_time(path, bytes(damaged))
    assert 0 < survived < rounds
