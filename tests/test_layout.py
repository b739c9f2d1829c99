"""The shape of the project: who imports whom, and what a wheel holds."""

import ast
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
PACKAGES = {
    "mobilebert_export": PROJECT / "mobilebert_export",
    "mobilebert_reference": PROJECT / "reference_model" / "mobilebert_reference",
    "mobilebert_quantization": PROJECT / "quantization" / "mobilebert_quantization",
    "mobilebert_benchmarks": PROJECT / "benchmarks" / "mobilebert_benchmarks",
}
LONGEST_MODULE = 400


def imported(package: Path) -> Iterator[tuple[Path, str]]:
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((path, alias.name.split(".")[0]) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield path, node.module.split(".")[0]


@pytest.mark.parametrize("package", sorted(PACKAGES.keys() - {"mobilebert_export"}))
def test_parts_import_neither_the_exporter_nor_each_other(package: str) -> None:
    assert [found for found in imported(PACKAGES[package]) if found[1] in PACKAGES.keys() - {package}] == []


def test_quantization_is_numbers_only() -> None:
    names = {name for _, name in imported(PACKAGES["mobilebert_quantization"])}
    assert names - sys.stdlib_module_names <= {"numpy", "mobilebert_quantization"}


def test_shipped_code_needs_no_test_dependency() -> None:
    names = {name for package in PACKAGES.values() for _, name in imported(package)}
    assert names & {"transformers", "tensorflow", "pytest", "hypothesis", "tests"} == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_is_too_long_to_be_one_idea(package: str) -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGES[package].rglob("*.py")}
    assert {path: length for path, length in lengths.items() if length > LONGEST_MODULE} == {}


@pytest.mark.slow
def test_wheel_holds_what_git_tracks_and_nothing_else(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(PROJECT)]
    subprocess.run(command, check=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    tracked = set()
    for name, folder in PACKAGES.items():
        listed = subprocess.run(["git", "ls-files", "."], cwd=folder, check=True, capture_output=True, text=True)
        tracked |= {f"{name}/{line}" for line in listed.stdout.splitlines()}
    assert held == tracked
