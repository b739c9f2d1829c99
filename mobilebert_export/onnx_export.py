"""The main job for ONNX: a checkpoint in, a verified `.onnx` file out."""

import importlib.util
import os
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from mobilebert_export.calibration import CalibrationText, Progress, Row
from mobilebert_export.check.rows import verification_rows
from mobilebert_export.errors import UsageError
from mobilebert_export.exported import VERIFICATION_ROWS, Exported, refuse_length, told, verified
from mobilebert_export.files import placed_whole
from mobilebert_export.fitted import Fitted, fitted
from mobilebert_export.graph.padding import without_padding
from mobilebert_export.precisions import CALIBRATED, Precision
from mobilebert_export.precisions.answers import with_real_answers
from mobilebert_export.precisions.pairing import paired

if TYPE_CHECKING:
    from mobilebert_reference import Checkpoint, Encoding

PRECISIONS = (Precision.NONE, Precision.FLOAT16, Precision.DYNAMIC, Precision.INT8)
_LIBRARIES = ("onnx", "onnxruntime")
# A file that takes any length is fitted and verified on rows of up to so many tokens, and verified on one of all.
_USUAL_LENGTH = 128


@dataclass(frozen=True, kw_only=True)
class OnnxExport(Exported):
    """What was put in place.

    Attributes:
        opset: of ONNX's own operators.
        integer_kernels: how many of the nodes that ONNX Runtime makes of the file multiply integers.
    """

    opset: int
    integer_kernels: int


def export_onnx(
    checkpoint: "Checkpoint",
    output: str | os.PathLike[str],
    *,
    precision: Precision | str = Precision.NONE,
    calibration: Iterable[Row] | None = None,
    sequence_length: int | None = None,
    opset: int | None = None,
    overwrite: bool = False,
    progress: Progress = lambda _: None,
) -> OnnxExport:
    """Lowers, emits, verifies and places an `.onnx` file.

    Args:
        checkpoint: as `mobilebert_reference.load_checkpoint` gives it.
        output: where the file goes; nothing is there before it has been verified.
        precision: one of `PRECISIONS`, or its name.
        calibration: as `export_tflite` takes it.
        sequence_length: tokens of the one row that the file takes, padding included, from 2 to the model's positions;
            None for a file that takes any batch and any length.
        opset: of ONNX's own operators; None for the emitter's current one.
        overwrite: replace a file that is there.
        progress: is told each step as it begins.

    Raises:
        UsageError: the length, the opset, the output or the calibration cannot be used, or the extra `onnx` is not
            installed.
        EquivalenceError: the file comes out further from the reference than its precision's floor; nothing is put in
            place.
    """
    if missing := [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]:
        raise UsageError(f"expected the package {missing[0]}, found none; install mobilebert-export[onnx]")
    from mobilebert_reference.demo import CALIBRATION, EVALUATION

    from mobilebert_export.emitters.onnx import CURRENT_OPSET, refuse_opset
    from mobilebert_export.runtimes.onnx import OnnxModel

    if precision not in PRECISIONS:
        names = ", ".join(each.value for each in PRECISIONS)
        raise UsageError(f"expected a precision of {names} for ONNX, got {precision}")
    opset = CURRENT_OPSET if opset is None else opset
    refuse_opset(opset)
    usual = min(_USUAL_LENGTH, checkpoint.config.max_position_embeddings)
    length = usual if sequence_length is None else sequence_length
    refuse_length(checkpoint, length)
    output = Path(output)
    if calibration is None and precision in CALIBRATED:
        calibration = CalibrationText(CALIBRATION)
    with placed_whole(output, overwrite=overwrite) as file:
        fit = fitted(checkpoint, Precision(precision), calibration, length=length, progress=progress)
        progress(f"writing {fit.precision.value}")
        content = emitted(fit, sequence_length=sequence_length, opset=opset)
        file.write(content)
        progress("comparing with the reference")
        model = OnnxModel(file.path)
        texts = verification_rows(checkpoint.tokenizer, EVALUATION, length=length, count=VERIFICATION_ROWS)
        if sequence_length is None:
            texts = _of_many_lengths(texts)
            positions = checkpoint.config.max_position_embeddings
            # The full one of them is as long as the model can read.
            _, texts[1] = verification_rows(checkpoint.tokenizer, EVALUATION, length=positions, count=2)
        verification, floor = verified(model, fit, checkpoint, texts)
        return OnnxExport(
            output=output,
            sequence_length=sequence_length,
            size=len(content),
            nodes=model.nodes,
            opset=opset,
            integer_kernels=model.integer_kernels,
            verification=verification,
            floor=floor,
            **told(fit),
        )


def emitted(fit: Fitted, *, sequence_length: int | None = None, opset: int | None = None) -> bytes:
    """A fitted checkpoint as the content of a file.

    Args:
        fit: in one of `PRECISIONS`.
        sequence_length: as `export_onnx` takes it.
        opset: likewise.

    Raises:
        UsageError: the opset is not emitted.
    """
    from mobilebert_export.emitters.onnx import CURRENT_OPSET, emit

    quantized = with_real_answers(paired(fit.quantized(sequence_length), fit.graph), fit.graph)
    graph = without_padding(quantized, mask="attention_mask")
    return emit(graph, opset=CURRENT_OPSET if opset is None else opset, description="mobilebert-export")


def _of_many_lengths(rows: "list[Encoding]") -> "list[Encoding]":
    """The rows, every second one without its padding, the emptiest among them."""
    return [row if index % 2 else _without_padding(row) for index, row in enumerate(rows)]


def _without_padding(row: "Encoding") -> "Encoding":
    length = sum(row.attention_mask)
    return type(row)(**{field.name: getattr(row, field.name)[:length] for field in fields(row)})
