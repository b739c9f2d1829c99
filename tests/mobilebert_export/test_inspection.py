"""What `inspection` says about a file, against LiteRT; and what it does about a file that is broken or hostile."""

import os
import struct
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from mobilebert_export.emitters.tflite import emit
from mobilebert_export.errors import ModelFileError
from mobilebert_export.graph import Graph, GraphBuilder
from mobilebert_export.graph import operators as op
from mobilebert_export.inspection import Constants, ModelSummary, Quantization, QuantizedTensors, read
from mobilebert_export.precisions import CALIBRATED, Precision, Recipe, apply
from mobilebert_export.precisions.choices import everything
from mobilebert_export.precisions.parameters import ActivationBits, parameters

# No file of this size takes a tenth of a second here; the budget of the reader allows any file about five.
LONGEST_READ = 10.0  # seconds


def small_model(precision: Precision = Precision.DYNAMIC) -> bytes:
    """Token ids to logits through a table, two Linears and an attention of one head."""
    generator = np.random.default_rng(0)

    def weights(*shape: int) -> np.ndarray:
        return generator.normal(size=shape)

    build = GraphBuilder(np.float32)
    ids = build.input("input_ids", (1, 6))
    mask = build.input("attention_mask", (1, 6))
    rows = build.node(op.Gather(), build.constant("table", weights(40, 16)), ids, name="rows")
    bias = build.node(op.Gather(), build.constant("penalties", weights(2)), mask, name="bias")
    hidden = build.node(
        op.Linear("relu"), rows, build.constant("w1", weights(8, 16)), build.constant("b1", weights(8)), name="hidden"
    )
    scores = build.node(op.MatMul(transpose_right=True), hidden, hidden, name="scores")
    masked = build.node(op.Add(), scores, bias, name="masked")
    mixed = build.node(op.MatMul(), build.node(op.Softmax(), masked, name="weights"), hidden, name="mixed")
    last = build.constant("w2", weights(2, 8)), build.constant("b2", weights(2))
    logits = build.node(op.Linear(), mixed, *last, name="last.result")
    graph = build.finish({"logits": logits})
    return emit(apply(graph, precision, some_recipe(graph, precision)), description="a small model")


def some_recipe(graph: Graph, precision: Precision) -> Recipe | None:
    """A recipe that fits no text: what is read here is how a file is made, not how well."""
    if precision not in CALIBRATED - {Precision.DYNAMIC}:
        return None
    bits: ActivationBits = 16 if precision is Precision.INT16 else 8
    ranges = dict.fromkeys(graph.tensors.keys() - set(graph.inputs), (-8.0, 8.0))
    return Recipe(parameters(graph, ranges, bits), everything(graph, bits), bits)


@pytest.fixture(params=list(Precision))
def content(request: pytest.FixtureRequest) -> bytes:
    return small_model(request.param)


def summary_of(content: bytes, directory: Path) -> ModelSummary:
    path = directory / "model.tflite"
    path.write_bytes(content)
    return read(path)


def interpreter_of(content: bytes) -> Any:
    # Without delegates: they would take nodes out of the graph.
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    return Interpreter(model_content=content, experimental_op_resolver_type=resolver)


def as_objects(content: bytes) -> Any:
    """The model through the object API that LiteRT ships, which is another reader than the one under test."""
    return schema.ModelT.InitFromPackedBuf(content)


def packed(model: Any) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def changed(change: Callable[[Any], None], content: bytes | None = None) -> bytes:
    """A sound model after a change to its objects."""
    model = as_objects(content or small_model())
    change(model)
    return packed(model)


# What it says, against LiteRT


@pytest.mark.parametrize("kind", ["input", "output"])
def test_inputs_and_outputs_are_those_of_the_runtime(kind: str, content: bytes, tmp_path: Path) -> None:
    summary = summary_of(content, tmp_path)
    found = [
        (value.name, value.dtype, list(value.shape))
        for value in (summary.inputs if kind == "input" else summary.outputs)
    ]
    details = getattr(interpreter_of(content), f"get_{kind}_details")()
    assert found == [(entry["name"], np.dtype(entry["dtype"]).name, entry["shape"].tolist()) for entry in details]


def test_signatures_are_those_of_the_runtime(content: bytes, tmp_path: Path) -> None:
    interpreter = interpreter_of(content)
    names = {
        signature.key: {
            "inputs": sorted(value.name for value in signature.inputs),
            "outputs": sorted(value.name for value in signature.outputs),
        }
        for signature in summary_of(content, tmp_path).signatures
    }
    expected = {
        key: {kind: sorted(names) for kind, names in signature.items()}
        for key, signature in interpreter.get_signature_list().items()
    }
    assert names == expected
    runner = interpreter.get_signature_runner("serving_default")
    (signature,) = summary_of(content, tmp_path).signatures
    for value in signature.outputs:  # the signature's name for it is another than the tensor's
        assert value.shape == tuple(runner.get_output_details()[value.name]["shape"])


def test_operators_are_those_of_the_runtime(content: bytes, tmp_path: Path) -> None:
    summary = summary_of(content, tmp_path)
    nodes = interpreter_of(content)._get_ops_details()
    counts: Counter[str] = Counter()
    for operator in summary.operators:
        counts[operator.name] += operator.count
    assert counts == Counter(node["op_name"] for node in nodes)
    assert summary.nodes == len(nodes)


def test_operator_versions_are_those_of_the_file(content: bytes, tmp_path: Path) -> None:
    model = as_objects(content)
    expected = Counter(
        (code.builtinCode, code.version)
        for node in model.subgraphs[0].operators
        for code in [model.operatorCodes[node.opcodeIndex]]
    )
    found = {
        (getattr(schema.BuiltinOperator, entry.name), entry.version): entry.count
        for entry in summary_of(content, tmp_path).operators
    }
    assert found == expected


def test_quantized_tensors_are_those_of_the_runtime(content: bytes, tmp_path: Path) -> None:
    expected: Counter[tuple[str, str]] = Counter()
    for tensor in interpreter_of(content).get_tensor_details():
        if scales := len(tensor["quantization_parameters"]["scales"]):
            expected[np.dtype(tensor["dtype"]).name, "per channel" if scales > 1 else "per tensor"] += 1
    found = {(entry.dtype, entry.granularity): entry.count for entry in summary_of(content, tmp_path).quantized}
    assert found == expected


def test_constants_and_overhead_fill_the_file(content: bytes, tmp_path: Path) -> None:
    model = as_objects(content)
    types = {code: name.lower() for name, code in vars(schema.TensorType).items() if isinstance(code, int)}
    tensors: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for tensor in model.subgraphs[0].tensors:
        data = model.buffers[tensor.buffer].data
        if data is not None:
            tensors[types[tensor.type]] += 1
            sizes[types[tensor.type]] += len(data)
    summary = summary_of(content, tmp_path)
    assert list(summary.constants) == [Constants(name, tensors[name], size) for name, size in sizes.most_common()]
    assert summary.overhead + sum(sizes.values()) == summary.size == len(content)


def test_precision_shows_in_the_constants(tmp_path: Path) -> None:
    largest = {precision: summary_of(small_model(precision), tmp_path).constants[0].dtype for precision in Precision}
    assert largest == {
        Precision.NONE: "float32",
        Precision.FLOAT16: "float16",
        Precision.DYNAMIC: "int8",
        Precision.INT8: "int8",
        Precision.INT8_FULL: "int8",
        Precision.INT16: "int16",  # the table's rows are activations
    }


def test_quantized_input_has_scale_and_zero_point(tmp_path: Path) -> None:
    def quantize(model: Any) -> None:
        tensor = model.subgraphs[0].tensors[0]
        tensor.type = schema.TensorType.INT8
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = np.array([0.125], np.float32)
        tensor.quantization.zeroPoint = np.array([-3], np.int64)

    content = packed(one_operator(schema.BuiltinOperator.RELU, change=quantize))
    (value,) = summary_of(content, tmp_path).inputs
    (details,) = interpreter_of(content).get_input_details()
    assert value.quantization == Quantization("per tensor", *details["quantization"])
    assert value.dtype == np.dtype(details["dtype"]).name


def test_size_set_at_run_time_is_minus_one(tmp_path: Path) -> None:
    def resize(model: Any) -> None:
        model.subgraphs[0].tensors[0].shapeSignature = np.array([-1, 4], np.int32)

    content = packed(one_operator(schema.BuiltinOperator.RELU, change=resize))
    (value,) = summary_of(content, tmp_path).inputs
    assert value.shape == tuple(interpreter_of(content).get_input_details()[0]["shape_signature"])


def test_description_schema_version_and_metadata(tmp_path: Path) -> None:
    def add(model: Any) -> None:
        for name, buffer in (("min_runtime_version", 0), ("vocabulary", 1)):
            entry = schema.MetadataT()
            entry.name, entry.buffer = name, buffer
            model.metadata = [*(model.metadata or []), entry]

    summary = summary_of(changed(add), tmp_path)
    assert summary.description == "a small model"
    assert summary.schema_version == 3
    assert summary.metadata == ("min_runtime_version", "vocabulary")


def test_custom_operator_has_its_own_name(tmp_path: Path) -> None:
    summary = summary_of(packed(one_operator(schema.BuiltinOperator.CUSTOM, custom="Sparkle")), tmp_path)
    assert [(entry.name, entry.version, entry.count) for entry in summary.operators] == [("Sparkle", 1, 1)]


def test_unknown_operator_and_type_are_shown_as_numbers(tmp_path: Path) -> None:
    def retype(model: Any) -> None:
        model.subgraphs[0].tensors[0].type = 99

    summary = summary_of(packed(one_operator(54321, change=retype)), tmp_path)
    assert summary.operators[0].name == "operator 54321"
    assert summary.inputs[0].dtype == "type 99"


def test_file_of_the_first_schema_has_its_code_in_one_byte(tmp_path: Path) -> None:
    def age(model: Any) -> None:
        (code,) = model.operatorCodes
        code.deprecatedBuiltinCode, code.builtinCode = schema.BuiltinOperator.TANH, 0

    content = packed(one_operator(0, change=age))
    assert summary_of(content, tmp_path).operators[0].name == interpreter_of(content)._get_ops_details()[0]["op_name"]


def test_subgraphs_with_signatures_of_their_own_share_their_constants(tmp_path: Path) -> None:
    def double(model: Any) -> None:
        model.subgraphs.append(as_objects(small_model()).subgraphs[0])
        (signature,) = as_objects(small_model()).signatureDefs
        signature.signatureKey, signature.subgraphIndex = "second", 1
        model.signatureDefs.append(signature)

    content = changed(double)
    single, summary = summary_of(small_model(), tmp_path), summary_of(content, tmp_path)
    assert [signature.key for signature in summary.signatures] == ["serving_default", "second"]
    assert set(interpreter_of(content).get_signature_list()) == {"serving_default", "second"}
    assert (summary.subgraphs, summary.nodes) == (2, 2 * single.nodes)
    for one, two in zip(single.constants, summary.constants, strict=True):
        assert two == Constants(one.dtype, 2 * one.tensors, one.bytes)


def test_blockwise_quantization_is_told_apart(tmp_path: Path) -> None:
    def quantize(model: Any) -> None:
        parameters = model.subgraphs[0].tensors[0].quantization = schema.QuantizationParametersT()
        parameters.detailsType = schema.QuantizationDetails.BlockwiseQuantization
        parameters.details = schema.BlockwiseQuantizationT()

    summary = summary_of(packed(one_operator(schema.BuiltinOperator.RELU, change=quantize)), tmp_path)
    assert summary.quantized == (QuantizedTensors("float32", "per block", 1),)


def test_constants_behind_the_flatbuffer_are_measured_and_not_read(tmp_path: Path) -> None:
    size = 2**36  # more than a machine could read; a sparse file has it for nothing
    start = 4096

    def move(model: Any) -> None:
        buffer = schema.BufferT()
        buffer.offset, buffer.size = start, size
        model.buffers.append(buffer)
        tensor = schema.TensorT()
        tensor.name, tensor.buffer = "huge", len(model.buffers) - 1
        model.subgraphs[0].tensors.append(tensor)

    path = tmp_path / "huge.tflite"
    path.write_bytes(packed(one_operator(schema.BuiltinOperator.RELU, change=move)))
    assert path.stat().st_size < start
    os.truncate(path, start + size)
    summary = read(path)
    assert summary.constants == (Constants("float32", 1, size),)
    assert summary.overhead == start
    os.truncate(path, start + size - 1)
    with pytest.raises(ModelFileError, match="within"):
        read(path)


def one_operator(code: int, *, custom: str | None = None, change: Callable[[Any], None] = lambda _model: None) -> Any:
    """The objects of a model that runs one operator on a (2, 4) tensor, after a change."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.buffers = 3, [graph], [schema.BufferT()]
    model.operatorCodes = [schema.OperatorCodeT()]
    model.operatorCodes[0].builtinCode, model.operatorCodes[0].customCode = code, custom
    model.operatorCodes[0].version = 1
    graph.tensors = []
    for name in ("x", "y"):
        tensor = schema.TensorT()
        tensor.name, tensor.shape = name, np.array([2, 4], np.int32)
        graph.tensors.append(tensor)
    graph.operators = [schema.OperatorT()]
    graph.operators[0].inputs, graph.operators[0].outputs = np.array([0], np.int32), np.array([1], np.int32)
    graph.inputs, graph.outputs = np.array([0], np.int32), np.array([1], np.int32)
    change(model)
    return model


# What it refuses


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
    start = time.perf_counter()
    assert_refused(path, "MiB of structure")
    assert time.perf_counter() - start < LONGEST_READ


def read_in_time(path: Path, content: bytes) -> bool:
    """Whether there was a summary; anything but one, or an error of the right kind, or a timely end, fails."""
    path.write_bytes(content)
    summary, message = None, ""
    start = time.perf_counter()
    try:
        summary = read(path)
    except ModelFileError as error:
        message = str(error)
    assert time.perf_counter() - start < LONGEST_READ
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
