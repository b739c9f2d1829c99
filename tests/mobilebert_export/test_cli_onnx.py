"""`mobilebert-export onnx` through its entry point."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import mobilebert_export
from mobilebert_export import ExportError, UsageError
from mobilebert_export.check import FLOORS
from mobilebert_export.emitters.onnx import CURRENT_OPSET, FLOOR_OPSET
from mobilebert_export.precisions import Precision
from mobilebert_export.runtimes.onnx import OnnxModel
from tests.command import run
from tests.models import VOCABULARY_SIZE, random_inputs, random_model

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(call: Call) -> Call:
    """The same, of this command."""
    return partial(call, "onnx")


def test_demo_without_a_checkpoint(tmp_path: Path) -> None:
    done = run("onnx", "--quantize", "int8", "--seq-len", 32, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["mobilebert-demo-int8.onnx"]
    shown = {line.split(maxsplit=1)[0]: line.split(maxsplit=1)[1].strip() for line in done.stdout.splitlines()}
    assert {"precision", "size", "nodes", "opset", "kernels", "SQNR", "agreement", "file", "next"} <= set(shown)
    assert shown["calibration"] == "300 rows of the demo's queries"
    model = OnnxModel(tmp_path / "mobilebert-demo-int8.onnx")
    assert shown["kernels"].startswith(f"{model.integer_kernels} multiply integers")
    kernels = model.kernels()
    assert model.integer_kernels == kernels["QGemm"] + kernels["QLinearMatMul"]
    assert min(kernels["QGemm"], kernels["QLinearMatMul"]) > 0
    assert_signed(tmp_path / "mobilebert-demo-int8.onnx", kernels["QGemm"])
    again = run(*shown["next"].split()[1:], "--rows", 8, cwd=tmp_path)
    assert (again.returncode, again.stderr) == (0, "")


def assert_signed(path: Path, linears: int) -> None:
    """That Linears over all positions have signed weights: others would be exact too, and run on slower kernels."""
    graph = onnx.load(path).graph
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    weights = {name for name in kinds if f"{name}.quantization.zero_point" in kinds}
    rows = {value.name: value.type.tensor_type.shape.dim[:1] for value in (*graph.value_info, *graph.output)}
    single = {
        name
        for name in weights
        for size in rows[name.removesuffix(".weight")]
        if size.dim_value == 1 or size.dim_param == "batch"
    }
    assert len(weights) == linears > len(single) > 0
    assert {kinds[name] for name in weights - single} == {onnx.TensorProto.INT8}


def test_dynamic_weights_stay_signed_where_it_counts(checkpoint: Path, call: Call) -> None:
    Path("rows.txt").write_text("some text\nand more\n")
    assert call(checkpoint, "--quantize", "dynamic", "--calibration", "rows.txt", "--output", "out.onnx")[0] == 0
    assert_signed(Path("out.onnx"), OnnxModel(Path("out.onnx")).integer_kernels)


def test_json_is_one_object_and_nothing_else(checkpoint: Path, tmp_path: Path) -> None:
    done = run("onnx", checkpoint, "--quantize", "float16", "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    path = tmp_path / "small-float16.onnx"
    assert report["output"] == path.name
    assert report["size"] == path.stat().st_size
    assert report["precision"] == report["quantize"] == "float16"
    assert report["sequence_length"] is None
    assert report["opset"] == CURRENT_OPSET
    assert report["verification"]["sqnr"]["logits"] >= report["floor"]
    assert (report["nodes"], report["integer_kernels"]) == (OnnxModel(path).nodes, 0)


def test_any_batch_and_length_unless_one_is_asked_for(checkpoint: Path, call: Call) -> None:
    config = random_model("MobileBertForSequenceClassification", vocab_size=VOCABULARY_SIZE).config
    assert call(checkpoint, "--output", "any.onnx")[0] == 0
    for batch, sequence in ((1, 2), (3, 7)):
        inputs = random_inputs(config, batch=batch, sequence=sequence)
        assert OnnxModel(Path("any.onnx")).run(inputs)["logits"].shape == (batch, 5)
    assert call(checkpoint, "--seq-len", 16, "--output", "one.onnx")[0] == 0
    (size, *_) = {
        tuple(dimension.dim_value for dimension in value.type.tensor_type.shape.dim)
        for value in onnx.load("one.onnx").graph.input
    }
    assert size == (1, 16)


@pytest.mark.parametrize("opset", [FLOOR_OPSET, CURRENT_OPSET])
def test_opset_is_the_one_that_was_asked_for(opset: int, checkpoint: Path, call: Call) -> None:
    assert call(checkpoint, "--opset", opset, "--output", "model.onnx")[0] == 0
    assert [entry.version for entry in onnx.load("model.onnx").opset_import] == [opset]


def test_same_checkpoint_gives_the_same_bytes(checkpoint: Path, call: Call) -> None:
    Path("rows.txt").write_text("some text\nand more\n")
    for name in ("a.onnx", "b.onnx"):
        assert call(checkpoint, "--quantize", "dynamic", "--calibration", "rows.txt", "--output", name)[0] == 0
    assert Path("a.onnx").read_bytes() == Path("b.onnx").read_bytes()


def test_existing_output_is_replaced_only_when_asked(checkpoint: Path, call: Call) -> None:
    output = Path("out.onnx")
    output.write_text("mine")
    code, _, error = call(checkpoint, "--output", output)
    assert (code, output.read_text()) == (2, "mine")
    assert "which exists; use --overwrite" in error
    assert call(checkpoint, "--output", output, "--overwrite")[0] == 0
    onnx.checker.check_model(onnx.load(output), full_check=True)


def test_file_below_the_floor_is_not_put_in_place(
    checkpoint: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FLOORS, Precision.FLOAT16, 200.0)  # more than float16 can reach
    before = set(tmp_path.iterdir())
    code, output, error = call(checkpoint, "--quantize", "float16")
    assert (code, output) == (1, "")
    assert "expected an SQNR of at least 200 dB against the reference with float16" in error
    assert error.count("\n") == 1
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("wrong", [2, 17])  # without padding, and with it
def test_file_that_is_wrong_at_some_length_is_not_put_in_place(
    wrong: int, checkpoint: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = OnnxModel.run

    def spoilt(model: OnnxModel, inputs: Any) -> dict[str, np.ndarray]:
        outputs = right(model, inputs)
        length = inputs["input_ids"].shape[1]
        return {name: value + 10 * (length <= 2 if wrong == 2 else length >= wrong) for name, value in outputs.items()}

    monkeypatch.setattr(OnnxModel, "run", spoilt)
    assert call(checkpoint)[0] == 1
    assert not list(Path().glob("*.onnx"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seq-len", 1], "from 2 to the model's 20 positions, got 1"),
        (["--seq-len", 21], "from 2 to the model's 20 positions, got 21"),
        (["--seq-len", "many"], "expected dynamic or a number of tokens as --seq-len, got many"),
        (["--opset", FLOOR_OPSET - 1], f"from {FLOOR_OPSET} to {CURRENT_OPSET}, got {FLOOR_OPSET - 1}"),
        (["--opset", CURRENT_OPSET + 1], f"from {FLOOR_OPSET} to {CURRENT_OPSET}, got {CURRENT_OPSET + 1}"),
        (["--quantize", "int16"], "int16"),
        (["--output", "nowhere/out.onnx"], "create nowhere first"),
        (["--quantize", "dynamic", "--calibration", "nowhere.txt"], "nowhere.txt: No such file"),
        (["--frobnicate"], "--frobnicate"),
    ],
)
def test_bad_call_is_one_line(arguments: list[Any], said: str, checkpoint: Path, call: Call) -> None:
    code, output, error = call(checkpoint, *arguments)
    assert (code, output) == (2, "")
    assert error.count("\n") == 1
    assert said in error
    assert not list(Path().glob("*.onnx"))


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_missing_extra_is_one_line_that_names_it(
    missing: str, checkpoint: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else found(name))
    code, output, error = call(checkpoint)
    assert (code, output) == (2, "")
    assert error == (
        f"mobilebert-export: expected the package {missing}, found none; install mobilebert-export[onnx]\n"
    )


def test_python_api_names_the_precisions_it_has(tmp_path: Path) -> None:
    from mobilebert_reference import load_checkpoint
    from mobilebert_reference.demo import CHECKPOINT

    demo = load_checkpoint(CHECKPOINT)
    for precision in ("int16", Precision.INT8_FULL, "auto"):
        with pytest.raises(UsageError, match="expected a precision of none, float16, dynamic, int8 for ONNX, got"):
            mobilebert_export.export_onnx(demo, tmp_path / "m.onnx", precision=precision)
    export = mobilebert_export.export_onnx(demo, tmp_path / "m.onnx", sequence_length=32)
    assert isinstance(export, mobilebert_export.OnnxExport)
    assert issubclass(UsageError, ExportError)
    # As issue 4 asks of float32.
    assert export.verification.worst_sqnr >= 110


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['mobilebert-export', 'onnx', '--help']\n"
        "from mobilebert_export.cli import main\n"
        "try: main()\n"
        "except SystemExit: print(sorted({'torch', 'numpy', 'onnx', 'onnxruntime', 'tokenizers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "--opset" in done.stdout
