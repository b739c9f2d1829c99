"""The command `mobilebert-export`."""

from mobilebert_export.cli.main import main

__all__ = ["main"]
