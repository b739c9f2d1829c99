"""`mobilebert-export check` through its entry point."""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import parse

import onnx
import pytest
from mobilebert_reference import Checkpoint, load_checkpoint
from mobilebert_reference.demo import CHECKPOINT

from mobilebert_export.check import check
from mobilebert_export.cli.main import main
from mobilebert_export.errors import ModelFileError
from mobilebert_export.export import export_tflite
from tests import mutants
from tests.models import VOCABULARY_SIZE, random_model, write_checkpoint

Done = subprocess.CompletedProcess[str]
Call = Callable[..., Done]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """The entry point in this process: torch is imported once for all tests."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # handlers are for a process of its own

    def called(*arguments: object, cwd: Path) -> Done:
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["mobilebert-export", "check", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return Done(sys.argv, int(ended.value.code or 0), said.out, said.err)

    return called


def run(*arguments: object, cwd: Path) -> Done:
    command = [sys.executable, "-m", "mobilebert_export", "check", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, check=False, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("honest") / "honest.tflite"
    export_tflite(load_checkpoint(CHECKPOINT), path, sequence_length=32)
    return path


def test_honest_and_wrong_together(honest: Path, tmp_path: Path) -> None:
    wrong = mutants.mutant(honest, tmp_path / "wrong.tflite", mutants.DROPPED_MASK)
    done = run(CHECKPOINT, honest, wrong, "--rows", 12, "--report", "r.html", "--junit", "j.xml", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"{wrong}  FAILED"  # failing lines on top, whatever the order of the files
    assert f"{honest}  passed" in lines
    assert any(line.startswith("  accuracy     ") and "the reference" in line for line in lines)
    first_number = next(index for index, line in enumerate(lines[1:], 1) if not line.startswith("  FAILED       "))
    assert first_number > 1
    assert not any(line.startswith("  FAILED") for line in lines[first_number:])
    assert "<svg" in (tmp_path / "r.html").read_text(encoding="utf-8")
    assert int(parse(tmp_path / "j.xml").getroot().get("failures", "")) > 0  # noqa: S314 - our own


def test_json_is_one_object_and_nothing_else(honest: Path, tmp_path: Path, call: Call) -> None:
    done = call(CHECKPOINT, honest, "--rows", 8, "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told["passed"] is True
    assert told["models"][0]["precision"] == "none"


def test_file_name_of_other_bytes_is_shown_with_escapes(honest: Path, tmp_path: Path, call: Call) -> None:
    strange = Path(os.fsdecode(b"caf\xe9.tflite"))
    shutil.copy(honest, tmp_path / strange)
    done = call(CHECKPOINT, strange, "--rows", 1, "--report", "r.html", "--junit", "j.xml", "--json", cwd=tmp_path)
    assert done.stderr == ""
    assert json.loads(done.stdout)["models"][0]["model"] == str(strange)
    assert "caf?.tflite" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_data_that_begins_with_a_byte_order_mark_is_read(honest: Path, tmp_path: Path, call: Call) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "what time is it", "label": "time"}\n', encoding="utf-8-sig")
    done = call(CHECKPOINT, honest, "--data", "rows.jsonl", "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["models"][0]["metrics"][0]["rows"] == 1


def test_progress_is_shown_on_a_terminal(honest: Path, tmp_path: Path) -> None:
    """Standard error is a terminal here, and standard output none, as in `check ... > result.txt`."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "mobilebert_export", "check", str(CHECKPOINT), str(honest), "--rows", "200"]
    terminal = {**os.environ, "TERM": "xterm", "COLUMNS": "200"}
    with (tmp_path / "result.txt").open("wb") as result:
        started = subprocess.Popen(command, stdin=theirs, stdout=result, stderr=theirs, cwd=tmp_path, env=terminal)
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # how Linux says that nobody writes any more
        while piece := os.read(ours, 2**16):
            shown += piece
    os.close(ours)
    assert started.wait(timeout=60) == 0
    assert b"loading" in shown
    assert re.search(rb"honest.tflite: row \d+ of \d+", shown)
    printed = (tmp_path / "result.txt").read_text(encoding="utf-8")
    assert printed.startswith(f"{honest}  passed\n")
    assert "loading" not in printed


def test_gate_file_decides(honest: Path, tmp_path: Path, call: Call) -> None:
    (tmp_path / "gate.toml").write_text("[none]\nsqnr = 200")
    done = call(CHECKPOINT, honest, "--rows", 8, "--gate", "gate.toml", cwd=tmp_path)
    assert done.returncode == 1
    assert "sqnr of logits, padded" in done.stdout


def test_precision_is_told_by_the_types_in_the_file(tmp_path: Path, call: Call) -> None:
    export_tflite(load_checkpoint(CHECKPOINT), tmp_path / "m.tflite", precision="float16", sequence_length=32)
    (tmp_path / "gate.toml").write_text("[none]\nsqnr = 20")
    done = call(CHECKPOINT, "m.tflite", "--rows", 8, "--gate", "gate.toml", cwd=tmp_path)
    assert done.returncode == 1
    assert "nothing was compared: gate.toml has no floor that applies to float16" in done.stdout


def another_task(directory: Path) -> Path:
    model = random_model("MobileBertForTokenClassification", "near_one", vocab_size=VOCABULARY_SIZE)
    checkpoint = load_checkpoint(write_checkpoint(model, directory / "tags"))
    export_tflite(checkpoint, directory / "tags.tflite", sequence_length=16)
    return directory / "tags.tflite"


BAD: dict[str, tuple[list[str], str]] = {
    "no model": (["none.tflite"], "expected a .tflite or .onnx file"),
    "no model file": (["rows.jsonl"], "which is neither"),
    "empty file": (["empty.tflite"], "expected a .tflite file, got an empty one"),
    "truncated file": (["cut.tflite"], "no sound .tflite file"),
    "foreign file": (["text.tflite"], "no sound .tflite file"),
    "another task": (["tags.tflite"], "expected the outputs of the checkpoint's task, logits [1, 150]"),
    "data without text": (["m.tflite", "--data", "notext.jsonl"], "a row without a text in line 2 of notext.jsonl"),
    "data that is not there": (["m.tflite", "--data", "none.jsonl"], "expected a .jsonl file of text"),
    "empty data": (["m.tflite", "--data", "empty.jsonl"], "expected rows of text"),
    "data without a token": (
        ["m.tflite", "--data", "blank.jsonl"],
        "expected text that has a token in blank.jsonl, got 3",
    ),
    "unknown label": (["m.tflite", "--data", "label.jsonl"], "expected one of the model's 150 labels, got 'nonsense'"),
    "unknown gate key": (["m.tflite", "--gate", "bad.toml"], "got sqrn"),
    "no rows": (["m.tflite", "--rows", "0"], "--rows"),
    "length that no row has": (["m.tflite", "--seq-len", "129"], "from 2 to the model's 128 positions, got 129"),
    "runtime of the other format": (["m.tflite", "--runtime", "onnxruntime"], "expected a runtime for .tflite files"),
    "unknown runtime": (["m.tflite", "--runtime", "mine"], "--runtime"),
    "report into no directory": (["m.tflite", "--report", "none/r.html"], "expected an output in a directory"),
    "report over a model": (["m.tflite", "--report", "m.tflite"], "got m.tflite as --report, which is an input"),
    "report over a link's model": (["link.tflite", "--report", "./m.tflite"], "as --report, which is an input"),
    "report over another name of a model": (["m.tflite", "--report", "same.html"], "as --report, which is an input"),
    "report over the gate": (
        ["m.tflite", "--gate", "bad.toml", "--report", "bad.toml"],
        "as --report, which is an input",
    ),
    "XML over the data": (
        ["m.tflite", "--data", "rows.jsonl", "--junit", "x/../rows.jsonl"],
        "as --junit, which is an input",
    ),
    "XML over the report": (
        ["m.tflite", "--report", "r.html", "--junit", "./r.html"],
        "as --report and --junit, one for both",
    ),
}


@pytest.fixture(scope="module")
def place(honest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bad")
    shutil.copy(honest, directory / "m.tflite")
    another_task(directory)
    files: dict[str, Any] = {
        "rows.jsonl": b'{"text": "a"}\n',
        "empty.tflite": b"",
        "cut.tflite": honest.read_bytes()[:200_000],
        "text.tflite": b"this is a file of text and of nothing else",
        "notext.jsonl": b'{"text": "a"}\n{"label": 1}\n',
        "empty.jsonl": b"\n",
        "blank.jsonl": b'{"text": ""}\n{"text": " "}\n{"text": "", "text_pair": "\\n"}\n',
        "label.jsonl": b'{"text": "a", "label": "nonsense"}\n',
        "bad.toml": b"[none]\nsqrn = 1\n",
    }
    for name, content in files.items():
        (directory / name).write_bytes(content)
    (directory / "x").mkdir()
    image = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 3, 8, 8])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["image"], ["y"])], "g", [image], [image])
    graph.output[0].name = "y"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]), directory / "image.onnx")
    (directory / "cut.onnx").write_bytes((directory / "image.onnx").read_bytes()[:40])
    (directory / "link.tflite").symlink_to("m.tflite")
    os.link(directory / "m.tflite", directory / "same.html")
    return directory


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(name: str, place: Path, call: Call) -> None:
    arguments, said = BAD[name]
    before = contents(place)
    done = call(CHECKPOINT, *arguments, cwd=place)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert contents(place) == before


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("none.tflite", "expected a .tflite or .onnx file, got none.tflite"),
        ("cut.tflite", "no sound .tflite file"),
        ("cut.onnx", "expected a model that onnxruntime reads"),
        ("image.onnx", "found inputs image"),
    ],
)
def test_file_that_cannot_be_used_is_named_before_another_is_measured(
    bad: str, said: str, place: Path, demo: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    steps: list[str] = []
    with pytest.raises(ModelFileError, match=re.escape(said)):
        check(demo, ["m.tflite", bad], rows=1, progress=steps.append)
    assert [step for step in steps if "row" in step] == []


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "vocab.txt"])
def test_file_of_the_checkpoint_is_not_overwritten(name: str, checkpoint: Path, honest: Path, call: Call) -> None:
    before = contents(checkpoint)
    done = call(checkpoint, honest, "--report", checkpoint / name, cwd=checkpoint.parent)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"got {checkpoint / name} as --report, which is an input" in done.stderr
    assert contents(checkpoint) == before


def test_report_beside_the_checkpoint_is_overwritten(checkpoint: Path, honest: Path, call: Call) -> None:
    (checkpoint / "r.html").write_text("an older one")
    assert "which is an input" not in call(checkpoint, honest, "--report", checkpoint / "r.html", cwd=checkpoint).stderr


def contents(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.iterdir() if path.is_file()}


@pytest.mark.parametrize(
    "architecture",
    [
        "MobileBertModel",
        "MobileBertForPreTraining",
        "MobileBertForMaskedLM",
        "MobileBertForNextSentencePrediction",
        "MobileBertForQuestionAnswering",
        "MobileBertForMultipleChoice",
        "MobileBertForTokenClassification",
    ],
)
def test_every_head(architecture: str, tmp_path: Path, call: Call) -> None:
    model = random_model(architecture, "near_one", vocab_size=VOCABULARY_SIZE)
    directory = write_checkpoint(model, tmp_path / "checkpoint")
    export_tflite(load_checkpoint(directory), tmp_path / "m.tflite", sequence_length=16)
    done = call(directory, "m.tflite", "--rows", 8, "--seq-len", 16, "--json", cwd=tmp_path)
    told = json.loads(done.stdout)["models"][0]
    assert [line["text"] for line in told["lines"] if not line["passed"]] == []
    kinds = {
        "MobileBertForPreTraining": {"next sentence", "masked token", "masked token, top 5"},
        "MobileBertForMaskedLM": {"masked token", "masked token, top 5"},
        "MobileBertForNextSentencePrediction": {"next sentence"},
        "MobileBertForQuestionAnswering": {"span"},
        "MobileBertForTokenClassification": {"tags"},
    }
    assert {each["kind"] for each in told["agreements"]} == kinds.get(architecture, set())
