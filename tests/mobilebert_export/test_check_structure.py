"""What a `.tflite` file shows before it runs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema_of_litert
from mobilebert_reference import Checkpoint, load_checkpoint

from mobilebert_export.calibration import Row
from mobilebert_export.candidate import emitted
from mobilebert_export.check.structure import read_structure
from mobilebert_export.fitted import fitted
from mobilebert_export.inspection import schema
from mobilebert_export.precisions import CALIBRATED, Precision
from tests import mutants
from tests.models import VARIANTS, VOCABULARY_SIZE, random_model, write_checkpoint
from tests.small_files import as_objects, changed, one_operator, packed, small_model
from tests.text import letters, queries

LENGTH = 16
# Gains that need a MUL, and norms and activations that are nodes of their own.
KINDS = ["default", "layer_norm", "gelu", "silu"]


def test_activations_tell_the_precision_where_tables_of_16_bits_outweigh_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(small_model(Precision.INT16))
    structure = read_structure(path)
    assert (structure.precision, structure.findings) == ("int16", ())


def exported(checkpoint: Checkpoint, precision: Precision, text: Sequence[Row]) -> bytes:
    """Not yet verified: random models need not pass."""
    fit = text if precision in CALIBRATED else None
    model = fitted(checkpoint, precision, fit, length=LENGTH, progress=lambda _: None)
    return emitted(model, length=LENGTH).content


def unseen(content: bytes, path: Path) -> set[tuple[str, int]]:
    """The operators, and their versions, that may be stamped one version lower without a finding."""
    path.write_bytes(content)
    assert read_structure(path).findings == ()
    found = set()
    for index, entry in enumerate(as_objects(content).operatorCodes):
        if entry.version > 1:
            model = as_objects(content)
            model.operatorCodes[index].version -= 1
            path.write_bytes(packed(model))
            if not read_structure(path).findings:
                found.add((schema.OPERATORS[entry.builtinCode], entry.version))
    return found


@pytest.mark.parametrize("precision", Precision)
def test_each_version_of_the_demo_is_the_least(precision: Precision, demo: Checkpoint, tmp_path: Path) -> None:
    assert unseen(exported(demo, precision, queries(16)), tmp_path / "model.tflite") == set()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", [Precision.INT8_FULL, Precision.INT16])
def test_each_version_of_other_operators_is_the_least(precision: Precision, kind: str, tmp_path: Path) -> None:
    model = random_model("MobileBertForSequenceClassification", "any", vocab_size=VOCABULARY_SIZE, **VARIANTS[kind])
    checkpoint = load_checkpoint(write_checkpoint(model, tmp_path / "checkpoint"))
    content = exported(checkpoint, precision, letters(16, LENGTH))
    # Whether a product of bytes needs version 2 or 3 lies in its scales, which are not read.
    assert unseen(content, tmp_path / "model.tflite") <= {("MUL", 3)}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_constant_of_the_upper_half_of_a_float_is_looked_at(bad: float, tmp_path: Path) -> None:
    model = as_objects(small_model(Precision.NONE))
    (table,) = [tensor for tensor in model.subgraphs[0].tensors if tensor.name == b"table"]
    table.type = schema_of_litert.TensorType.BFLOAT16
    values = np.array([1.0, bad, -3e38, bad], np.float32)
    model.buffers[table.buffer].data = values.view(np.uint16)[1::2].copy().view(np.uint8)
    path = tmp_path / "model.tflite"
    path.write_bytes(packed(model))
    assert read_structure(path).findings == ("constant table holds 2 value(s) that are not finite",)


def test_subgraph_that_an_operator_runs_is_a_remark(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(packed(one_operator(schema_of_litert.BuiltinOperator.WHILE)))
    assert read_structure(path).remarks == ("what is computed within 1 WHILE cannot be looked at",)
    path.write_bytes(small_model())
    assert read_structure(path).remarks == ()


@pytest.mark.parametrize("precision", [Precision.NONE, Precision.FLOAT16])
def test_constants_that_nothing_reads_tell_no_precision(precision: Precision, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(changed(mutants.unread_bytes, small_model(precision)))
    assert read_structure(path).precision == precision.value
