"""Whether an emitted file computes what the reference does, measured on real text."""

from mobilebert_export.check.verify import FLOORS, Verification, verify

__all__ = ["FLOORS", "Verification", "verify"]
