"""The full-size model that the benchmarks run on: the trained one beside the project, or random weights from a seed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

if TYPE_CHECKING:
    from mobilebert_reference import Checkpoint

SHARED = Path(__file__).resolve().parents[2] / "shared"
TRAINED = SHARED / "checkpoints" / "intent-24l"
LABELS = 150
SEQUENCE_LENGTH = 128

CheckpointArgument: TypeAlias = Annotated[
    Path, typer.Argument(help="Directory of a fine-tuned sequence classifier.", show_default=str(TRAINED))
]
SeedOption: TypeAlias = Annotated[
    int | None,
    typer.Option("--random-seed", min=0, help="Instead of CHECKPOINT, a full-size model with random weights."),
]


def load(directory: Path, seed: int | None) -> "Checkpoint":
    """The checkpoint of a directory, or a full-size classifier with random weights when there is a seed.

    Raises:
        ReferenceModelError: the directory, or for random weights the vocabulary, is not there or cannot be used.
    """
    from mobilebert_reference import load_checkpoint

    return load_checkpoint(directory) if seed is None else _random(seed)


def weights_name(directory: Path, seed: int | None) -> str:
    """How a report names what `load` gives."""
    return str(directory) if seed is None else f"random, seed {seed}"


def _random(seed: int) -> "Checkpoint":
    """Fresh weights of the default configuration, but norms and biases that a mistake in folding them would show in."""
    import torch
    from mobilebert_reference import Checkpoint, MobileBertConfig, MobileBertForSequenceClassification, Tokenizer

    vocabulary = SHARED / "data" / "bert-uncased-vocab.txt"
    config = MobileBertConfig(id2label={index: f"LABEL_{index}" for index in range(LABELS)})
    torch.manual_seed(seed)
    model = MobileBertForSequenceClassification(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("LayerNorm.weight"):
                parameter.normal_(mean=1.0, std=0.1)
            elif name.endswith("bias"):
                parameter.normal_(std=config.initializer_range)
    return Checkpoint(model, config, Tokenizer.from_vocabulary(vocabulary), vocabulary.parent)
