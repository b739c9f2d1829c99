"""Random reference models in every configuration, and what they compute."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mobilebert_reference as reference
import numpy as np
import torch
from torch import nn

ARCHITECTURES = [name for name in reference.__all__ if name == "MobileBertModel" or name.startswith("MobileBertFor")]

SMALL: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intra_bottleneck_size": 16,
    "embedding_size": 12,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 20,
    "num_feedforward_networks": 3,
}

# Every switch of the configuration away from its default, alone, and combinations that meet.
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "layer_norm": {"normalization_type": "layer_norm"},
    "no_bottleneck": {"use_bottleneck": False},
    "no_bottleneck_layer_norm": {"use_bottleneck": False, "normalization_type": "layer_norm", "hidden_act": "gelu"},
    "bottleneck_attention": {"use_bottleneck_attention": True},
    "own_query_and_key": {"key_query_shared_bottleneck": False, "intra_bottleneck_size": 32},
    "no_trigram": {"trigram_input": False},
    "no_transformation": {"trigram_input": False, "embedding_size": 32},
    "gelu": {"hidden_act": "gelu"},
    "gelu_new": {"hidden_act": "gelu_new"},
    "silu": {"hidden_act": "silu"},
    "no_classifier_activation": {"classifier_activation": False},
    "one_feed_forward": {"num_feedforward_networks": 1},
    "one_layer": {"num_hidden_layers": 1},
}

# What a gain may be: as a checkpoint has it; of any sign, zero or tiny among them; small, so that products drift.
GAINS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "near_one": lambda noise: 1 + 0.2 * noise,
    "of_either_sign": lambda noise: torch.where(noise > 0, 1.0, -1.0) * (0.8 + 0.4 * torch.rand_like(noise)),
    "any": lambda noise: torch.where(noise.abs() < 0.3, torch.tensor([0.0, 1e-7]).repeat(len(noise) // 2), 0.8 * noise),
    "drifting": lambda noise: torch.where(noise > 0, 1.05, 0.5).to(noise.dtype),
}


def random_model(architecture: str, gains: str = "any", seed: int = 0, **config: Any) -> Any:
    """A float64 model whose weights keep every value, attention scores above all, within a few units."""
    labels = 2 if architecture == "MobileBertForQuestionAnswering" else 5
    settings = {**SMALL, "id2label": {index: f"label {index}" for index in range(labels)}, **config}
    torch.manual_seed(seed)
    model = getattr(reference, architecture)(reference.MobileBertConfig(**settings)).double().eval()
    no_norm = model.config.normalization_type == "no_norm"
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn_like(parameter)
            if name.endswith("LayerNorm.weight"):
                chosen = GAINS[gains] if no_norm else GAINS["near_one"]
                parameter.copy_(chosen(noise))
            elif parameter.ndim > 1:
                parameter.copy_(0.8 * noise / parameter.shape[-1] ** 0.5)
            else:
                parameter.copy_(0.5 * noise)
    return model


def random_inputs(config: Any, *, batch: int = 2, sequence: int = 9, seed: int = 0) -> dict[str, np.ndarray]:
    """Ids, masks and types (batch, sequence): the first row padded behind its middle, the last one a single token."""
    generator = np.random.default_rng(seed)
    mask = np.ones((batch, sequence), np.int32)
    mask[0, sequence // 2 + 1 :] = 0
    if batch > 2:
        mask[-1, 1:] = 0
    return {
        "input_ids": generator.integers(0, config.vocab_size, (batch, sequence), dtype=np.int32),
        "attention_mask": mask,
        "token_type_ids": generator.integers(0, config.type_vocab_size, (batch, sequence), dtype=np.int32),
    }


def reference_outputs(model: nn.Module, inputs: dict[str, np.ndarray], **options: Any) -> dict[str, np.ndarray]:
    """The model's outputs by name, hidden states as `hidden_states.0` and so on."""
    tensors = {name: torch.from_numpy(values).long() for name, values in inputs.items()}
    if type(model).__name__ == "MobileBertForMultipleChoice":
        tensors = {name: tensor[:, None] for name, tensor in tensors.items()}
    with torch.no_grad():
        result = vars(model(**tensors, **options))
    outputs = {name: value.numpy() for name, value in result.items() if isinstance(value, torch.Tensor)}
    for index, state in enumerate(result["hidden_states"] or ()):
        outputs[f"hidden_states.{index}"] = state.numpy()
    return outputs


def write_checkpoint(model: Any, directory: Path) -> Path:
    """The model with a tokenizer of single letters and a few words, as a checkpoint directory."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = directory.with_suffix(".txt")
    vocabulary.write_text("\n".join(pieces) + "\n", encoding="utf-8")
    if model.config.vocab_size != len(pieces):
        raise ValueError(f"expected a model of {len(pieces)} pieces, got {model.config.vocab_size}")
    reference.save_checkpoint(model, reference.Tokenizer.from_vocabulary(vocabulary), directory)
    return directory


VOCABULARY_SIZE = 5 + 2 * 26
