"""The reference PyTorch MobileBERT: configuration, model and heads, checkpoints, tokenizer.

PyTorch and the tokenizers library load when a name that needs them is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from mobilebert_reference.configuration import MobileBertConfig
from mobilebert_reference.errors import CheckpointError, ConfigurationError, ReferenceModelError, TokenizerError

if TYPE_CHECKING:
    from mobilebert_reference.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
    from mobilebert_reference.encoder import MobileBertArchitecture, MobileBertModel
    from mobilebert_reference.heads import (
        MobileBertForMaskedLM,
        MobileBertForMultipleChoice,
        MobileBertForNextSentencePrediction,
        MobileBertForPreTraining,
        MobileBertForQuestionAnswering,
        MobileBertForSequenceClassification,
        MobileBertForTokenClassification,
    )
    from mobilebert_reference.tokenizer import Encoding, Tokenizer

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "ConfigurationError",
    "Encoding",
    "MobileBertArchitecture",
    "MobileBertConfig",
    "MobileBertForMaskedLM",
    "MobileBertForMultipleChoice",
    "MobileBertForNextSentencePrediction",
    "MobileBertForPreTraining",
    "MobileBertForQuestionAnswering",
    "MobileBertForSequenceClassification",
    "MobileBertForTokenClassification",
    "MobileBertModel",
    "ReferenceModelError",
    "Tokenizer",
    "TokenizerError",
    "load_checkpoint",
    "save_checkpoint",
]

_MODULES = {
    "Checkpoint": "checkpoint",
    "Encoding": "tokenizer",
    "MobileBertArchitecture": "encoder",
    "MobileBertModel": "encoder",
    "Tokenizer": "tokenizer",
    "load_checkpoint": "checkpoint",
    "save_checkpoint": "checkpoint",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'heads')}"), name)
