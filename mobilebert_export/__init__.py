"""A fine-tuned MobileBERT checkpoint in, a verified on-device model out.

    from mobilebert_reference import load_checkpoint
    from mobilebert_export import export_tflite

    export = export_tflite(load_checkpoint("my-checkpoint"), "model.tflite", precision="dynamic")

PyTorch and LiteRT load when a name that needs them is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from mobilebert_export.errors import EquivalenceError, ExportError, GraphError, UsageError

if TYPE_CHECKING:
    from mobilebert_export.export import Export, export_tflite
    from mobilebert_export.precisions import Precision

__all__ = ["EquivalenceError", "Export", "ExportError", "GraphError", "Precision", "UsageError", "export_tflite"]

_MODULES = {"Export": "export", "Precision": "precisions", "export_tflite": "export"}


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
