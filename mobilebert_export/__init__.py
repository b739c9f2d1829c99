"""A fine-tuned MobileBERT checkpoint in, a verified on-device model out.

    from mobilebert_reference import load_checkpoint
    from mobilebert_export import export_tflite

    export = export_tflite(load_checkpoint("my-checkpoint"), "model.tflite", precision="dynamic")

`export_onnx` does the same for an `.onnx` file; `mobilebert_export.check` is the gate, in Python. PyTorch, LiteRT and
ONNX Runtime load when a name that needs them is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from mobilebert_export.errors import EquivalenceError, ExportError, GraphError, UsageError

if TYPE_CHECKING:
    from mobilebert_export.export import Export, export_tflite
    from mobilebert_export.onnx_export import OnnxExport, export_onnx
    from mobilebert_export.precisions import Precision

__all__ = [
    "EquivalenceError",
    "Export",
    "ExportError",
    "GraphError",
    "OnnxExport",
    "Precision",
    "UsageError",
    "export_onnx",
    "export_tflite",
]

_MODULES = {
    "Export": "export",
    "OnnxExport": "onnx_export",
    "Precision": "precisions",
    "export_onnx": "onnx_export",
    "export_tflite": "export",
}


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
