"""The main job: a checkpoint in, a verified file out."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobilebert_export.check import FLOORS, Verification, verify
from mobilebert_export.check.rows import verification_rows
from mobilebert_export.emitters.tflite import emit
from mobilebert_export.errors import EquivalenceError, UsageError
from mobilebert_export.files import placed_whole
from mobilebert_export.lowering import lower
from mobilebert_export.precisions import Precision, apply
from mobilebert_export.runtimes.litert import LiteRtModel

if TYPE_CHECKING:
    from mobilebert_reference import Checkpoint

VERIFICATION_ROWS = 32
SHORTEST_SEQUENCE = 2  # [CLS] [SEP]

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Export:
    """What was put in place.

    Attributes:
        output: the file.
        precision: how its numbers are stored and computed.
        sequence_length: tokens of a row, padding included.
        size: of the file, in bytes.
        nodes: operators of the file.
        partitions: pieces in which LiteRT's CPU delegate takes them.
        verification: how near it comes to the reference.
        floor: the least SQNR, in dB, that was asked of it.
    """

    output: Path
    precision: Precision
    sequence_length: int
    size: int
    nodes: int
    partitions: int
    verification: Verification
    floor: float

    def to_dict(self) -> dict[str, Any]:
        """The same as one JSON object; equal outputs have no SQNR that JSON could hold, which makes it null."""
        verification = asdict(self.verification)
        verification["sqnr"] = {
            name: value if isfinite(value) else None for name, value in self.verification.sqnr.items()
        }
        return {
            **asdict(self),
            "output": str(self.output),
            "precision": self.precision.value,
            "verification": verification,
        }


def export_tflite(
    checkpoint: "Checkpoint",
    output: Path,
    *,
    precision: Precision = Precision.NONE,
    sequence_length: int = 128,
    overwrite: bool = False,
    progress: Progress = lambda _: None,
) -> Export:
    """Lowers, emits, verifies and places a `.tflite` file.

    Args:
        checkpoint: as `mobilebert_reference.load_checkpoint` gives it.
        output: where the file goes; nothing is there before it has been verified.
        precision: how numbers are stored and computed.
        sequence_length: tokens of a row, padding included, from 2 to the model's positions.
        overwrite: replace a file that is there.
        progress: is told each step as it begins.

    Raises:
        UsageError: the length or the output cannot be used.
        EquivalenceError: the file comes out further from the reference than its precision's floor;
            nothing is put in place.
    """
    from mobilebert_reference.demo import EVALUATION

    longest = checkpoint.config.max_position_embeddings
    if not SHORTEST_SEQUENCE <= sequence_length <= longest:
        limits = f"from {SHORTEST_SEQUENCE} to the model's {longest} positions"
        raise UsageError(f"expected a sequence length {limits}, got {sequence_length}; use another --seq-len")
    with placed_whole(output, overwrite=overwrite) as partial:
        progress("lowering the model")
        graph = lower(checkpoint.model, checkpoint.config)
        progress(f"writing {precision.value}")
        content = emit(apply(graph.bind(batch=1, sequence=sequence_length), precision), description="mobilebert-export")
        partial.write(content)
        progress("comparing with the reference")
        model = LiteRtModel(partial.path)
        rows = verification_rows(checkpoint.tokenizer, EVALUATION, length=sequence_length, count=VERIFICATION_ROWS)
        verification = verify(model, graph, checkpoint, rows)
        floor = FLOORS[precision]
        if not verification.worst_sqnr >= floor:
            raise EquivalenceError(
                f"expected {precision.value} to come within {floor:.0f} dB of the reference, "
                f"got {verification.worst_sqnr:.1f} dB; nothing was written; try another --quantize"
            )
        return Export(
            output, precision, sequence_length, len(content), model.nodes, model.partitions, verification, floor
        )
