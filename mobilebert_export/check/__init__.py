"""Whether a model file computes what the reference does, measured on real text.

    from mobilebert_export.check import Gate, check
    from mobilebert_reference import load_checkpoint

    report = check(load_checkpoint("my-checkpoint"), ["model.tflite"], gate=Gate.default())
    print(report.passed, [str(line) for model in report.models for line in model.verdict.lines if not line.passed])

`check` measures anybody's file, says where it parts from the reference, and judges it by a gate; `verify` is what an
export asks of its own file before it is put in place. What runs other files loads when a name that needs it is first
used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from mobilebert_export.check.verify import FLOORS, Verification, verify

if TYPE_CHECKING:
    from mobilebert_export.check.gate import Gate
    from mobilebert_export.check.run import CheckReport, check

__all__ = ["FLOORS", "CheckReport", "Gate", "Verification", "check", "verify"]

_MODULES = {"CheckReport": "run", "Gate": "gate", "check": "run"}


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
