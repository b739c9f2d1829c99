"""The examples, as a user runs them."""

import ast
import importlib
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from ai_edge_litert.schema_py_generated import BuiltinOperator
from mobilebert_reference import load_checkpoint
from mobilebert_reference.demo import CHECKPOINT

from mobilebert_export.export import export_tflite
from tests import mutants

EXAMPLES = Path(__file__).parents[2] / "examples"


def gate(**variables: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLES / "gate.py")]
    environment = {**os.environ, **variables}
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=300, env=environment)


@pytest.mark.slow
def test_python_gate_passes_the_demo() -> None:
    done = gate()
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_python_gate_says_which_lines_fail(tmp_path: Path) -> None:
    honest = tmp_path / "honest.tflite"
    export_tflite(load_checkpoint(CHECKPOINT), honest, sequence_length=32)
    wrong = mutants.mutant(honest, tmp_path / "wrong.tflite", mutants.stamped(BuiltinOperator.FULLY_CONNECTED, 1))
    done = gate(MOBILEBERT_MODEL=str(wrong))
    assert done.returncode == 1
    assert "FULLY_CONNECTED stamped version 1" in done.stdout


def workflow_job() -> Any:
    workflow = yaml.safe_load((EXAMPLES / "github-actions.yml").read_text(encoding="utf-8"))
    (job,) = workflow["jobs"].values()
    return job


def test_workflow_asks_for_no_file_that_a_repository_may_lack() -> None:
    """setup-python's cache fails where there is neither requirements.txt nor pyproject.toml."""
    assert not any("cache" in step.get("with", {}) for step in workflow_job()["steps"])


def test_workflow_installs_what_runs_every_file() -> None:
    (line,) = [step["run"] for step in workflow_job()["steps"] if step.get("name") == "Install"]
    assert shlex.split(line) == ["pip", "install", "mobilebert-export[onnx]"]


def test_python_gate_uses_public_names_alone() -> None:
    imports = [node for node in ast.parse((EXAMPLES / "gate.py").read_bytes()).body if isinstance(node, ast.ImportFrom)]
    ours = [node for node in imports if str(node.module).startswith("mobilebert_")]
    assert {node.module for node in ours} >= {"mobilebert_export.check"}
    for node in ours:
        public = importlib.import_module(str(node.module)).__all__
        assert {alias.name for alias in node.names} <= set(public)


def test_workflow_calls_the_command_as_it_is(tmp_path: Path) -> None:
    """The run line of the workflow, in a shell, on the demo."""
    job = workflow_job()
    (line,) = [step["run"] for step in job["steps"] if step.get("name") == "Check"]
    export_tflite(load_checkpoint(CHECKPOINT), tmp_path / "demo.tflite", sequence_length=32)
    data = tmp_path / "rows.jsonl"
    data.write_text('{"text": "how do you say hello in french", "label": "translate"}\n{"text": "what time is it"}\n')
    environment = {
        **os.environ,
        **dict.fromkeys(job["env"], "missing"),
        "CHECKPOINT": str(CHECKPOINT),
        "MODELS": "demo.tflite",
        "DATA": str(data),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, check=False, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    uploaded = {path for step in job["steps"] for path in str(step.get("with", {}).get("path", "")).split()}
    assert uploaded == {"equivalence.html", "equivalence.xml"}
    assert uploaded <= {path.name for path in tmp_path.iterdir()}
