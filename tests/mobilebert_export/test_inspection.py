"""What `inspection` says about a file, against LiteRT."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from mobilebert_export.errors import ModelFileError
from mobilebert_export.inspection import Constants, Quantization, QuantizedTensors, read
from mobilebert_export.precisions import Precision
from tests.small_files import as_objects, changed, one_operator, packed, small_model, summary_of


@pytest.fixture(params=list(Precision))
def content(request: pytest.FixtureRequest) -> bytes:
    return small_model(request.param)


def interpreter_of(content: bytes) -> Any:
    # Without delegates: they would take nodes out of the graph.
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    return Interpreter(model_content=content, experimental_op_resolver_type=resolver)


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
