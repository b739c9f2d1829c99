"""The sensitivity report: what each node costs in int8, as numbers, as JSON and as a picture."""

import dataclasses
import json
import os
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from mobilebert_reference import Checkpoint, load_checkpoint

from mobilebert_export.calibration import Row
from mobilebert_export.calibration.calibrate import batches_of, full_recipe
from mobilebert_export.calibration.observe import Inputs, outputs
from mobilebert_export.calibration.report import SensitivityReport, sensitivity_report
from mobilebert_export.calibration.sensitivity import alone, sensitivity
from mobilebert_export.check.metrics import sqnr
from mobilebert_export.cli.sensitivity import sensitivity as command
from mobilebert_export.errors import UsageError
from mobilebert_export.graph import Graph
from mobilebert_export.graph.expand import expanded
from mobilebert_export.lowering import lower
from mobilebert_export.precisions import Precision, Recipe
from mobilebert_export.precisions.integer import integer
from mobilebert_export.precisions.rewrite import Rewriter
from tests.models import VOCABULARY_SIZE, random_model, write_checkpoint
from tests.text import queries

pytestmark = pytest.mark.usefixtures("one_thread")

BROKEN = "mobilebert.encoder.layer.1"


@pytest.fixture(scope="module")
def report(demo: Checkpoint) -> SensitivityReport:
    return sensitivity_report(demo, queries(16), length=24)


@pytest.fixture(scope="module")
def fitted(demo: Checkpoint) -> tuple[Graph, Recipe, Inputs]:
    inputs, _ = batches_of(demo, queries(16), length=24, progress=lambda _: None)
    graph = expanded(lower(demo.model, demo.config, dtype=np.float64))
    return graph, full_recipe(graph, inputs(""), Precision.INT8_FULL), next(iter(inputs("")))


def test_every_integer_node_is_reported_once_in_its_order(
    report: SensitivityReport, fitted: tuple[Graph, Recipe, Inputs]
) -> None:
    graph, recipe, _ = fitted
    expected = [node.outputs[0] for node in graph.nodes if node.outputs[0] in recipe.integer]
    assert [node.name for node in report.nodes] == expected
    kinds = {node.outputs[0]: type(node.operator).__name__ for node in graph.nodes}
    assert {node.name: node.operator for node in report.nodes} == {name: kinds[name] for name in expected}


def test_parts_cover_all_nodes_and_cost_more_than_any_of_their_nodes(
    report: SensitivityReport, demo: Checkpoint
) -> None:
    layers = [f"layer {index}" for index in range(demo.config.num_hidden_layers)]
    assert list(report.parts) == ["embeddings", *layers, "head"]
    assert {node.part for node in report.nodes} == set(report.parts)
    assert report.rows == 16
    # Noise adds up, but for chance: a part is at most 3 dB better than its worst node, and the whole than any part.
    for part, decibels in report.parts.items():
        assert decibels <= min(node.sqnr for node in report.nodes if node.part == part) + 3
    assert report.whole <= min(report.parts.values()) + 3
    assert 15 < report.whole < 60


def test_ranges_are_those_of_the_text_before_and_after(report: SensitivityReport) -> None:
    nodes = {node.name: node for node in report.nodes}
    changed = [node for node in report.nodes if node.before is not None and node.before != node.after]
    assert changed  # equalization does something
    assert all(node.after is not None and node.after[0] <= node.after[1] for node in changed)
    # The answer has no free coordinates.
    logits = nodes["logits"]
    assert logits.before is not None
    assert logits.after is not None
    # Ranges are found in float32: 2^-24 an operation, over the depth of the model.
    np.testing.assert_allclose(logits.before, logits.after, rtol=1e-5)


def test_node_that_is_made_bad_is_the_worst_one(fitted: tuple[Graph, Recipe, Inputs]) -> None:
    graph, recipe, batch = fitted
    honest = sensitivity(graph, recipe, alone(recipe.integer), batch)
    parameters = recipe.parameters[BROKEN]
    coarse = dataclasses.replace(parameters, scale=parameters.scale * np.float32(50))
    broken = dataclasses.replace(recipe, parameters={**recipe.parameters, BROKEN: coarse})
    measured = sensitivity(graph, broken, alone(recipe.integer), batch)
    assert min(honest, key=honest.__getitem__) != BROKEN
    # What reads the tensor has it quantized too, at the same parameters.
    readers = {node.outputs[0] for node in graph.nodes if BROKEN in node.inputs}
    assert min(measured, key=measured.__getitem__) in {BROKEN} | readers
    assert measured[BROKEN] < honest[BROKEN] - 20
    untouched = set(honest) - {BROKEN} - readers
    assert {name: measured[name] for name in untouched} == {name: honest[name] for name in untouched}


def test_one_node_costs_what_a_run_from_the_start_says(fitted: tuple[Graph, Recipe, Inputs]) -> None:
    graph, recipe, batch = fitted
    names = sorted(recipe.integer)[:: max(1, len(recipe.integer) // 8)]
    measured = sensitivity(graph, recipe, {name: frozenset([name]) for name in names}, batch)
    rows = max(1, 256 // batch["attention_mask"].shape[1])
    few = {name: values[:rows] for name, values in batch.items()}
    truth = outputs(graph, [few])
    for name in names:
        single = integer(graph, dataclasses.replace(recipe, integer=frozenset([name])), rest=Rewriter.keep)
        assert measured[name] == sqnr(truth, outputs(single, [few], dtype=torch.float32)), name


def run(*arguments: object, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """The command as a person runs it."""
    command = [sys.executable, "-m", "mobilebert_export", "sensitivity", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def png_size(content: bytes) -> tuple[int, int]:
    """Width and height, after its chunks were checked and its pixels unpacked: a real picture."""
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    at, pixels, size, kind = 8, b"", (0, 0), b""
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        kind, data = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        assert struct.unpack(">I", content[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + data)
        if kind == b"IHDR":
            size = struct.unpack(">II", data[:8])
        if kind == b"IDAT":
            pixels += data
        at += 12 + length
    assert kind == b"IEND"
    assert len(set(zlib.decompress(pixels))) > 10
    return size


@pytest.mark.parametrize("form", ["png", "svg"])
def test_report_is_drawn_as_a_picture_the_same_one_twice(form: str, report: SensitivityReport) -> None:
    from mobilebert_export.calibration.plot import drawn

    picture = drawn(report, form)
    assert picture == drawn(report, form)
    if form == "png":
        width, height = png_size(picture)
        assert width > 800
        assert height > 500
    else:
        root = ET.fromstring(picture)  # noqa: S314 - our own
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        text = picture.decode()
        assert all(part in text for part in report.parts)


@pytest.mark.slow
def test_command_prints_json_and_draws(tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("\n".join(row.text for row in queries(4)) + "\n", encoding="utf-8")
    arguments = ("--calibration", "rows.txt", "--seq-len", 16, "--json", "--plot", "costs.png")
    result = run(*arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    printed = json.loads(result.stdout)
    assert printed["rows"] == 4
    assert set(printed) == {"nodes", "parts", "whole", "rows", "warnings"}
    assert printed["warnings"] == ["fitted to 4 rows; 100 or more would show its ranges better"]
    assert set(printed["nodes"][0]) == {"name", "part", "operator", "sqnr", "before", "after"}
    assert len({node["name"] for node in printed["nodes"]}) == len(printed["nodes"]) > 50
    assert {node["part"] for node in printed["nodes"]} == set(printed["parts"])
    picture = (tmp_path / "costs.png").read_bytes()
    png_size(picture)
    again = run(*arguments, cwd=tmp_path)  # without --overwrite
    assert again.returncode == 2
    assert (tmp_path / "costs.png").read_bytes() == picture


@pytest.mark.parametrize("name", ["costs.pdf", "costs", "png"])
def test_plot_of_another_kind_is_one_line_and_exit_code_2(name: str, tmp_path: Path) -> None:
    result = run("--plot", name, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "expected a plot named *.png or *.svg" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_rows_longer_than_the_model_are_cut(tmp_path: Path) -> None:
    model = random_model("MobileBertForSequenceClassification", vocab_size=VOCABULARY_SIZE)
    checkpoint = load_checkpoint(write_checkpoint(model, tmp_path / "short"))
    rows = [Row("a b c d e f g " * 20)] * 2
    report = sensitivity_report(checkpoint, rows, length=checkpoint.config.max_position_embeddings + 1)
    assert report.rows == 2


def test_plot_without_matplotlib_is_one_line_before_any_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("mobilebert_export.cli.sensitivity.find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"pip install 'mobilebert-export\[plot\]'"):
        command(plot=tmp_path / "a.svg")
