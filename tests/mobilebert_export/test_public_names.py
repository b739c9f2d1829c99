"""What can be imported, and that importing it costs no more than it has to."""

import subprocess
import sys

import pytest

import mobilebert_export
import mobilebert_export.check

RUNTIMES = ["ai_edge_litert", "onnx", "onnxruntime"]


@pytest.mark.parametrize("package", [mobilebert_export, mobilebert_export.check], ids=lambda package: package.__name__)
def test_public_names_are_there_and_no_others(package: object) -> None:
    names: list[str] = vars(package)["__all__"]
    assert dir(package) == sorted(set(names))
    assert len(set(names)) == len(names)
    assert all(getattr(package, name) is not None for name in names)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        package.nonsense  # type: ignore[attr-defined] # noqa: B018


def test_gate_has_a_public_face() -> None:
    assert {"CheckReport", "Gate", "check"} <= set(mobilebert_export.check.__all__)


@pytest.mark.parametrize(
    ("package", "heavy"), [("mobilebert_export", ["torch", *RUNTIMES]), ("mobilebert_export.check", RUNTIMES)]
)
def test_import_alone_loads_nothing_heavy(package: str, heavy: list[str]) -> None:
    code = f"import sys, {package}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120)
    assert done.stdout == "[]\n"
