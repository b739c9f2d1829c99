"""`mobilebert-export inspect` through its entry point."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mobilebert_export.emitters.tflite import emit
from mobilebert_export.graph import GraphBuilder
from mobilebert_export.graph import operators as op
from mobilebert_export.inspection import read
from mobilebert_export.precisions import Precision, apply


def run(*arguments: object, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "mobilebert_export", "inspect", *map(str, arguments)],
        check=False,
        capture_output=True,
        encoding="utf-8",
        env=os.environ | {"COLUMNS": "80"} | environment,
        timeout=60,
    )


def write_model(path: Path, *, output: str = "logits", outputs: int = 1, description: str = "") -> Path:
    generator = np.random.default_rng(0)
    build = GraphBuilder(np.float32)
    table = build.constant("table", generator.normal(size=(300, 64)))
    rows = build.node(op.Gather(), table, build.input("input_ids", (1, 8)), name="rows")
    weight, bias = build.constant("weight", generator.normal(size=(5, 64))), build.constant("bias", np.zeros(5))
    logits = build.node(op.Linear(), rows, weight, bias, name="result")
    names = [output, *(f"{output} {index}" for index in range(1, outputs))]
    graph = build.finish(dict.fromkeys(names, logits))
    path.write_bytes(emit(apply(graph, Precision.DYNAMIC), description=description))
    return path


def test_tables_show_what_the_file_holds_in_80_columns(tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.tflite", description="a table and a Linear")
    result = run(path)
    assert (result.returncode, result.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    size = path.stat().st_size
    assert lines[:2] == [f"model.tflite: {size:,} bytes, 4 nodes, TFLite schema 3", "a table and a Linear"]
    for expected in (
        "Signature serving_default",
        "input input_ids int32 [1, 8] none",
        "output logits float32 [1, 8, 5] none",
        "EMBEDDING_LOOKUP 4 1",
        "FULLY_CONNECTED 12 1",
        "int8 per channel 2",
        f"int8 2 19,520 {19520 / size:.1%}",  # (300 + 5) x 64 bytes
        f"float32 1 20 {20 / size:.1%}",
    ):
        assert expected in lines
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_json_is_one_object_and_the_same(tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.tflite")
    result = run(path, "--json")
    assert (result.returncode, result.stderr) == (0, "")

    def refuse(constant: str) -> Any:
        raise AssertionError(f"{constant} is no JSON")

    document = json.loads(result.stdout, parse_constant=refuse)
    assert document.pop("file") == str(path)
    assert document == json.loads(json.dumps(read(path).to_dict()))


HOSTILE = "\x1b[2J [red]name[/red] :smile: \u202e\r\n 名"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_names_of_a_stranger_do_nothing_to_the_terminal(encoding: str, tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.tflite", output=HOSTILE, description=HOSTILE)
    result = run(path, PYTHONIOENCODING=encoding, COLUMNS="200")
    assert (result.returncode, result.stderr) == (0, "")
    last = "名" if encoding == "utf-8" else "\\u540d"
    shown = f"\\x1b[2J [red]name[/red] :smile: \\u202e\\r\\n {last}"
    assert result.stdout.splitlines()[1] == shown
    assert sum(shown in line for line in result.stdout.splitlines()) == 2
    assert all(character.isprintable() or character == "\n" for character in result.stdout)
    document = json.loads(run(path, "--json", PYTHONIOENCODING=encoding).stdout)
    assert document["description"] == HOSTILE


def test_long_text_is_cut_and_json_has_it_whole(tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.tflite", output="n" * 100_000)
    assert len(run(path).stdout) < 10_000
    assert "n" * 100_000 in run(path, "--json").stdout


def test_too_many_rows_are_left_to_json(tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.tflite", outputs=2000)
    result = run(path)
    assert result.returncode == 0
    assert "--json" in result.stdout
    assert len(result.stdout.splitlines()) < 5
    assert len(json.loads(run(path, "--json").stdout)["outputs"]) == 2000


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [("missing.tflite", None, "No such file"), ("empty.tflite", b"", "empty"), ("zip.tflite", b"PK\3\4" * 9, "TFL3")],
)
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_bad_file_is_one_line_and_exit_code_2(
    name: str, content: bytes | None, reason: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    result = run(path, *options)
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert str(path) in line
    assert reason in line


def test_call_without_a_file_is_exit_code_2() -> None:
    result = run()
    assert (result.returncode, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1


def test_neither_torch_nor_a_runtime_is_loaded(tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.tflite")
    loaded = run(path, "--json", PYTHONPROFILEIMPORTTIME="1").stderr
    assert "mobilebert_export.inspection" in loaded
    assert " torch\n" not in loaded
    assert "ai_edge_litert.interpreter" not in loaded
