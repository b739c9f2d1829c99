import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

os.environ.setdefault("USE_TF", "0")  # transformers would import TensorFlow, for seconds, to do nothing with it

import mobilebert_reference
from mobilebert_reference import MobileBertConfig
from mobilebert_reference.encoder import MobileBertArchitecture

PROJECT = Path(__file__).resolve().parents[2]

# Small, and no two sizes equal, so that no mix-up of axes fits. The epsilon is large enough to be seen in the outputs.
SIZES: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 28,
    "max_position_embeddings": 20,
    "type_vocab_size": 3,
    "layer_norm_eps": 1e-3,
    "embedding_size": 12,
    "intra_bottleneck_size": 16,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.2,
}


VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "layer_norm": {"normalization_type": "layer_norm"},
    "no_bottleneck": {"use_bottleneck": False},
    "no_bottleneck_layer_norm": {"use_bottleneck": False, "normalization_type": "layer_norm"},
    "no_bottleneck_one_network": {"use_bottleneck": False, "num_feedforward_networks": 1},
    "bottleneck_attention": {"use_bottleneck_attention": True},
    "bottleneck_attention_unshared": {"use_bottleneck_attention": True, "key_query_shared_bottleneck": False},
    "unshared": {"key_query_shared_bottleneck": False, "intra_bottleneck_size": 48},
    "no_trigram": {"trigram_input": False},
    "no_trigram_wide_embedding": {"trigram_input": False, "embedding_size": 48},
    "trigram_wide_embedding": {"embedding_size": 48},
    "gelu": {"hidden_act": "gelu"},
    "gelu_new": {"hidden_act": "gelu_new"},
    "silu": {"hidden_act": "silu"},
    "no_classifier_activation": {"classifier_activation": False},
    "one_network": {"num_feedforward_networks": 1},
    "eight_heads": {"num_attention_heads": 8},
    "untied": {"tie_word_embeddings": False},
}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def make_config() -> Callable[..., MobileBertConfig]:
    def make(**fields: Any) -> MobileBertConfig:
        return MobileBertConfig(**{**SIZES, **fields})

    return make


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest, make_config: Callable[..., MobileBertConfig]) -> MobileBertConfig:
    """Every kind of configuration, one after the other."""
    return make_config(**VARIANTS[request.param])


@pytest.fixture
def randomize() -> Callable[[nn.Module], None]:
    """Give a model random weights that keep its values near 1: gains of both signs, biases, a padding embedding too."""

    def fill(model: nn.Module) -> None:
        for name, parameter in model.named_parameters():
            if name.endswith("LayerNorm.weight"):
                nn.init.uniform_(parameter, 0.5, 1.0)
                parameter.data *= torch.randint(2, parameter.shape) * 2 - 1
            else:
                nn.init.normal_(parameter, std=0.2 if parameter.dim() == 1 else parameter.shape[1] ** -0.5)

    return fill


@pytest.fixture
def inputs() -> dict[str, dict[str, Tensor]]:
    """Rows with and without padding, of one token and of as many as fit; a mask of three axes, one that hides all."""
    ids, types = torch.randint(50, (3, 7)), torch.randint(3, (3, 7))
    padded = torch.tensor([[1] * 7, [1] * 4 + [0] * 3, [1] + [0] * 6])
    return {
        "full": {"input_ids": ids},
        "padded": {"input_ids": ids, "attention_mask": padded, "token_type_ids": types},
        "three_axes": {"input_ids": ids, "attention_mask": torch.randint(2, (3, 7, 7)), "token_type_ids": types},
        "all_hidden": {"input_ids": ids, "attention_mask": torch.zeros(3, 7)},
        "single": {"input_ids": ids[:1, :1], "attention_mask": torch.ones(1, 1)},
        "longest": {"input_ids": torch.randint(50, (1, 20))},
    }


@dataclass(frozen=True)
class Pair:
    """The same model twice: ours, and transformers', with the same weights, in float64 and eval mode."""

    ours: MobileBertArchitecture
    theirs: Any

    def to(self, dtype: torch.dtype) -> "Pair":
        return Pair(self.ours.to(dtype), self.theirs.to(dtype))


@pytest.fixture
def make_pair(randomize: Callable[[nn.Module], None]) -> Callable[..., Pair]:
    import transformers

    def make(architecture: str, config: MobileBertConfig) -> Pair:
        ours = getattr(mobilebert_reference, architecture)(config)
        randomize(ours)
        with warnings.catch_warnings():
            # What theirs says of the masked LM's empty matrix at E = H; ours is to say nothing.
            warnings.filterwarnings("ignore", "Initializing zero-element tensors is a no-op")
            theirs = getattr(transformers, architecture)(transformers.MobileBertConfig(**config.to_dict()))
        theirs.load_state_dict(ours.state_dict())  # strict: the names are the same
        return Pair(ours.double().eval(), theirs.double().eval())

    return make


@pytest.fixture
def difference() -> Callable[[Tensor, Tensor], float]:
    """Largest difference of two tensors, relative to the largest value."""

    def measure(ours: Tensor, theirs: Tensor) -> float:
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        return ((ours - theirs).abs().max() / theirs.abs().max()).item()

    return measure


@pytest.fixture(scope="session")
def trained_checkpoint() -> Path:
    """A full-size checkpoint with trained weights."""
    path = PROJECT.parent / "shared" / "checkpoints" / "intent-24l"
    if not path.is_dir():
        pytest.skip(f"no trained checkpoint at {path}: put one there, or go without its tests")
    return path
