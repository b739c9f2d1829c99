"""Whether a model file computes what the reference does, measured on real text.

`verify` is what an export asks of its own file before it is put in place; `mobilebert_export.check.run.check` measures
anybody's file, says where it parts from the reference, and judges it by a gate.
"""

from mobilebert_export.check.verify import FLOORS, Verification, verify

__all__ = ["FLOORS", "Verification", "verify"]
