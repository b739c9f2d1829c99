"""Checkpoints that no file can be made of: one line that names what is wrong, and exit code 2."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.models import VOCABULARY_SIZE


def no_directory(checkpoint: Path) -> str:
    shutil.rmtree(checkpoint)
    return "small"


def no_config(checkpoint: Path) -> str:
    (checkpoint / "config.json").unlink()
    return "config.json"


def broken_config(checkpoint: Path) -> str:
    (checkpoint / "config.json").write_text('{"model_type": "mobilebert",')
    return "config.json"


def another_model(checkpoint: Path) -> str:
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**config, "model_type": "bert"}))
    return "bert"


def truncated_weights(checkpoint: Path) -> str:
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    return "model.safetensors"


def corrupt_weights(checkpoint: Path) -> str:
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(b"\xff" * 16 + weights.read_bytes()[16:])
    return "model.safetensors"


def pickle_of_code(checkpoint: Path) -> str:
    (checkpoint / "model.safetensors").unlink()
    torch.save({"classifier.weight": Path("anything")}, checkpoint / "pytorch_model.bin")
    return "pytorch_model.bin"


def with_weights(checkpoint: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(checkpoint / "model.safetensors")
    change(weights)
    save_file(weights, checkpoint / "model.safetensors", {"format": "pt"})


def missing_tensor(checkpoint: Path) -> str:
    with_weights(checkpoint, lambda weights: weights.pop("classifier.bias") is None)
    return "classifier.bias"


def misshapen_tensor(checkpoint: Path) -> str:
    with_weights(checkpoint, lambda weights: weights.update({"classifier.bias": torch.zeros(7)}))
    return "classifier.bias"


def weights_not_a_number(checkpoint: Path) -> str:
    with_weights(checkpoint, lambda weights: weights["classifier.bias"].fill_(torch.nan) is None)
    return "classifier.bias"


def short_vocabulary(checkpoint: Path) -> str:
    (checkpoint / "tokenizer.json").unlink()
    vocabulary = checkpoint / "vocab.txt"
    vocabulary.write_text("\n".join(vocabulary.read_text().split()[:-3]))
    return str(VOCABULARY_SIZE - 3)


BAD_CHECKPOINTS = [
    no_directory,
    no_config,
    broken_config,
    another_model,
    truncated_weights,
    corrupt_weights,
    pickle_of_code,
    missing_tensor,
    misshapen_tensor,
    weights_not_a_number,
    short_vocabulary,
]


@pytest.mark.parametrize("spoil", BAD_CHECKPOINTS, ids=lambda spoil: spoil.__name__)
def test_bad_checkpoint_is_one_line_that_names_it(
    spoil: Callable[[Path], str], checkpoint: Path, call: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    named = spoil(checkpoint)
    code, output, error = call("tflite", checkpoint, "--seq-len", 16)
    assert (code, output) == (2, "")
    assert error.count("\n") == 1
    assert "expected" in error
    assert named in error
    assert not list(tmp_path.glob("*.tflite"))


def test_activation_that_is_not_finite_is_named_with_its_text(
    checkpoint: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        tensors["mobilebert.encoder.layer.0.ffn.0.output.dense.weight"].fill_(1e38)

    with_weights(checkpoint, spoil)
    Path("rows.txt").write_text("some text\nand more\n")
    code, output, error = call("tflite", checkpoint, "--quantize", "int8", "--seq-len", 16, "--calibration", "rows.txt")
    assert (code, output) == (2, "")
    assert "got NaN or infinity in mobilebert.encoder.layer.0.ffn.0" in error
    assert 'on "some text"; leave that row out' in error
    assert error.count("\n") == 1
    assert not list(Path().glob("*.tflite"))
