"""Small `.onnx` files of strangers in a child process: what they hide, and what they cost the process that reports."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from mobilebert_export.errors import ModelFileError
from mobilebert_export.runtimes.child import ChildModel, ModelFailedError
from mobilebert_export.runtimes.interface import Runtime

OPSET = helper.make_opsetid("", 17)
OWN = helper.make_opsetid("own", 1)
IR_VERSION = 9
X, Y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy")
ZEROS = {"x": np.zeros(2, np.float32)}
NAN = np.array([np.nan, -1], np.float32)
MIB = 2**20


def constant(name: str, values: np.ndarray) -> NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(values))


def model(*nodes: NodeProto, constants: dict[str, np.ndarray] | None = None) -> ModelProto:
    initializers = [numpy_helper.from_array(values, name) for name, values in (constants or {}).items()]
    graph = helper.make_graph(list(nodes), "g", [X], [Y], initializers)
    return helper.make_model(graph, opset_imports=[OPSET, OWN], ir_version=IR_VERSION)


def relu_of(name: str) -> list[NodeProto]:
    """y = x + (n > 0 ? n : 0), which is x where n is NaN."""
    return [
        constant("zero", np.zeros(1, np.float32)),
        helper.make_node("Greater", [name, "zero"], ["positive"]),
        helper.make_node("Where", ["positive", name, "zero"], ["hidden"]),
        helper.make_node("Add", ["x", "hidden"], ["y"]),
    ]


def in_a_constant() -> ModelProto:
    return model(*relu_of("bad"), constants={"bad": NAN})


def in_a_node() -> ModelProto:
    return model(constant("bad", NAN), *relu_of("bad"))


def in_16_bits() -> ModelProto:
    cast = helper.make_node("Cast", ["bad"], ["real"], to=TensorProto.FLOAT)
    return model(cast, *relu_of("real"), constants={"bad": NAN.astype(ml_dtypes.bfloat16)})


def in_an_attribute() -> ModelProto:
    made = helper.make_node("Constant", [], ["bad"], value_floats=[np.nan, -1.0])
    return model(made, *relu_of("bad"))


def in_a_branch(*nodes: NodeProto) -> ModelProto:
    given = helper.make_tensor_value_info("bad", TensorProto.FLOAT, [2])
    branch = helper.make_graph(list(nodes) or [constant("bad", NAN)], "branch", [], [given])
    either = helper.make_node("If", ["yes"], ["chosen"], then_branch=branch, else_branch=branch)
    return model(constant("yes", np.array(True)), either, *relu_of("chosen"))


def in_a_function(*nodes: NodeProto) -> ModelProto:
    made = model(helper.make_node("Hide", ["x"], ["chosen"], domain="own"), *relu_of("chosen"))
    body = list(nodes) or [constant("bad", NAN), helper.make_node("Add", ["of", "bad"], ["given"])]
    made.functions.append(helper.make_function("own", "Hide", ["of"], ["given"], body, [OPSET]))
    return made


def opened(made: ModelProto, directory: Path) -> ChildModel:
    path = directory / "model.onnx"
    path.write_bytes(made.SerializeToString())
    return ChildModel(path, Runtime.ONNXRUNTIME)


@pytest.mark.parametrize("make", [in_a_constant, in_a_node, in_16_bits, in_an_attribute, in_a_branch, in_a_function])
def test_nan_in_a_constant_is_a_finding_wherever_it_is(make: Callable[[], ModelProto], tmp_path: Path) -> None:
    with opened(make(), tmp_path) as child:
        np.testing.assert_array_equal(child.run(ZEROS)["y"], ZEROS["x"])
        assert set(child.findings) in (
            {"constant bad holds 1 value(s) that are not finite"},
            {"constant value_floats of bad holds 1 value(s) that are not finite"},
        )


ROOT = [constant("least", np.array([-1.0, 1.0], np.float32)), helper.make_node("Sqrt", ["least"], ["root"])]


def test_nan_that_a_local_function_computes_is_seen(tmp_path: Path) -> None:
    made = in_a_function(*ROOT, helper.make_node("Add", ["of", "root"], ["given"]))
    with opened(made, tmp_path) as child:
        assert child.findings == child.remarks == ()
        _, bad = child.tensors(ZEROS, {})
    assert "chosen" in bad
    assert any("root" in name for name in bad)


def test_graph_within_a_node_is_a_remark(tmp_path: Path) -> None:
    made = in_a_branch(*ROOT, helper.make_node("Relu", ["root"], ["bad"]))
    with opened(made, tmp_path) as child:
        assert child.findings == ()
        assert child.remarks == ("what is computed within 1 If cannot be looked at",)


def test_only_what_is_wanted_comes_to_the_process_that_reports(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Expand", ["x", "shape"], ["large"]),  # 64 MiB
        helper.make_node("ReduceMax", ["large"], ["small"], axes=[0, 1], keepdims=0),
        helper.make_node("Add", ["x", "small"], ["y"]),
    ]
    made = model(*nodes, constants={"shape": np.array([1024, 8192, 2])})
    with opened(made, tmp_path) as child:
        tracemalloc.start()
        given, bad = child.tensors({"x": np.array([np.nan, 0], np.float32)}, {"small": 2, "y": 2, "large": 2})
        exact = child.exact(ZEROS, {"y": 2, "small": 1})
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert child.tensors(ZEROS, {"large": 2**24})[0]["large"].nbytes == 64 * MIB
    assert (list(given), bad) == (["small", "y"], ("large", "small", "y"))
    assert list(exact) == ["y"]  # what may have one element and has two stays away
    assert most < MIB


@pytest.mark.parametrize(
    ("stored", "precision"), [(np.zeros((4, 4), np.float32), "none"), (np.zeros((4, 4), np.float16), "float16")]
)
def test_constants_that_nothing_reads_tell_no_precision(stored: np.ndarray, precision: str, tmp_path: Path) -> None:
    cast = helper.make_node("Cast", ["stored"], ["weights"], to=TensorProto.FLOAT)
    total = helper.make_node("ReduceMax", ["weights"], ["total"], keepdims=0)
    made = model(
        cast,
        total,
        helper.make_node("Add", ["x", "total"], ["y"]),
        constants={"stored": stored, "unread": np.zeros((64, 64), np.int8)},
    )
    with opened(made, tmp_path) as child:
        assert child.precision == precision


def outside(location: str) -> Callable[[ModelProto], None]:
    def change(made: ModelProto) -> None:
        (tensor,) = made.graph.initializer
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    return change


def without_opset(made: ModelProto) -> None:
    del made.opset_import[:]


def with_a_short_constant(made: ModelProto) -> None:
    made.graph.initializer[0].raw_data = b"abc"


def with_a_type_that_there_is_not(made: ModelProto) -> None:
    made.graph.initializer[0].data_type = 99


def with_a_size_below_zero(made: ModelProto) -> None:
    made.graph.initializer[0].dims[0] = -2


CORRUPT = {
    "no opset": (without_opset, "it does not say of which opset it is"),
    "a short constant": (with_a_short_constant, "buffer size must be a multiple of element size"),
    "a type that there is not": (with_a_type_that_there_is_not, "99"),
    "a size below zero": (with_a_size_below_zero, "constant real has a size below 0"),
    "data that is missing": (outside("none.bin"), "none.bin"),
    "data outside of the folder": (outside("../secret.bin"), "points outside the directory"),
    "data of an absolute path": (outside("/etc/hostname"), "is an absolute path"),
}


@pytest.mark.parametrize("name", CORRUPT)
def test_corrupt_file_is_no_model(name: str, tmp_path: Path) -> None:
    change, said = CORRUPT[name]
    (tmp_path / "secret.bin").write_bytes(bytes(8))
    (tmp_path / "folder").mkdir()
    made = model(helper.make_node("Add", ["x", "real"], ["y"]), constants={"real": np.zeros(2, np.float32)})
    change(made)
    with pytest.raises(ModelFileError, match=r"onnxruntime reads, got: no sound \.onnx") as error:
        opened(made, tmp_path / "folder")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_data_in_the_folder_is_read(tmp_path: Path) -> None:
    made = model(helper.make_node("Add", ["x", "real"], ["y"]), constants={"real": np.full(2, np.inf, np.float32)})
    onnx.save(made, tmp_path / "model.onnx", save_as_external_data=True, location="data.bin", size_threshold=0)
    assert (tmp_path / "data.bin").stat().st_size
    with ChildModel(tmp_path / "model.onnx", Runtime.ONNXRUNTIME) as child:
        assert child.findings == ("constant real holds 2 value(s) that are not finite",)


def test_refusal_ends_with_its_reason(tmp_path: Path) -> None:
    made = model(helper.make_node("Identity", ["x"], ["y"]))
    made.ir_version = 99
    with pytest.raises(ModelFailedError, match=r"onnxruntime refuses the file: .* Unsupported model IR version: 99"):
        opened(made, tmp_path)
