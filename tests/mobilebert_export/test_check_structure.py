"""What a `.tflite` file shows before it runs."""

from pathlib import Path

from mobilebert_export.check.structure import read_structure
from mobilebert_export.precisions import Precision
from tests.small_files import small_model


def test_activations_tell_the_precision_where_tables_of_16_bits_outweigh_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(small_model(Precision.INT16))
    structure = read_structure(path)
    assert (structure.precision, structure.findings) == ("int16", ())
