"""Checkpoint directories: a configuration, weights and a tokenizer, as transformers keeps them."""

import json
import os
import re
import reprlib
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from mobilebert_reference.configuration import MobileBertConfig
from mobilebert_reference.encoder import MobileBertArchitecture, MobileBertModel, initialize_weights
from mobilebert_reference.errors import CheckpointError, ConfigurationError
from mobilebert_reference.heads import ARCHITECTURES
from mobilebert_reference.tokenizer import Tokenizer
from mobilebert_reference.weights import StoredTensor, list_names, open_weights, write_weights

__all__ = ["Checkpoint", "load_checkpoint", "save_checkpoint"]

# Everything of a model that is no embedding and no layer.
_HEAD_MODULES = ("classifier", "cls.predictions", "cls.seq_relationship", "mobilebert.pooler", "pooler", "qa_outputs")

# Left over from pretraining or from an old transformers, and read by no model that does not declare it.
_HARMLESS = re.compile(
    r"(mobilebert\.)?embeddings\.position_ids"
    r"|(mobilebert\.)?pooler\.dense\.(weight|bias)"
    r"|cls\.seq_relationship\.(weight|bias)"
    r"|cls\.predictions\.(bias|dense\.weight|(decoder|transform\.dense|transform\.LayerNorm)\.(weight|bias))"
)
_NEW_HEAD_SEED = 0


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint directory holds.

    Attributes:
        model: One of the eight classes, in eval mode, on the CPU.
        config: The model's configuration.
        tokenizer: The tokenizer whose ids the model takes.
        directory: Where it was read.
    """

    model: MobileBertArchitecture
    config: MobileBertConfig
    tokenizer: Tokenizer
    directory: Path


def load_checkpoint(directory: str | os.PathLike[str], *, allow_missing_head: bool = False) -> Checkpoint:
    """Read a checkpoint directory.

    ``architectures`` in ``config.json`` names the model's class. Every tensor of that class must be in the weights
    (`weights` tells their files), with its shape and finite, and no other tensor may be. Values are kept exactly: the
    model is float64 if one of its tensors is, else float32.

    Forgiven, because nothing changes by it:

    - position ids, which old versions of transformers stored;
    - ``gamma`` and ``beta`` for a norm's ``weight`` and ``bias``;
    - a decoder that is absent because it is tied, or present and equal;
    - ``pooler`` and ``cls`` of pretraining where the class has none;
    - ``mobilebert.`` before the names of a bare encoder.

    Args:
        directory: The directory.
        allow_missing_head: Take weights without a head or a pooler, such as a bare encoder's, and start that part with
            fresh values, always the same. A part of which something is there must be whole.

    Raises:
        ConfigurationError: ``config.json`` cannot be read or makes no MobileBERT.
        CheckpointError: No directory, damaged weights, or tensors that are missing, unexpected, misshapen, not floating
            point or not finite.
        TokenizerError: No usable tokenizer, or one of another vocabulary.
    """
    try:
        return _load(Path(directory), allow_missing_head=allow_missing_head)
    except OSError as error:
        raise CheckpointError(f"{directory}: expected a readable checkpoint, got {error.strerror}") from error


def save_checkpoint(model: MobileBertArchitecture, tokenizer: Tokenizer, directory: str | os.PathLike[str]) -> None:
    """Write a checkpoint directory that `load_checkpoint` and transformers read, the same bytes each time.

    The directory appears whole or not at all. Tensors keep the model's dtype; tied ones are written once.

    Args:
        model: One of the eight classes.
        tokenizer: The tokenizer whose ids the model takes.
        directory: A directory that does not exist or is empty.

    Raises:
        CheckpointError: The directory holds something, or it cannot be written.
    """
    directory = Path(directory)
    state = model.state_dict()
    dtype = str(next(iter(state.values())).dtype).removeprefix("torch.")
    config = replace(model.config, architectures=(type(model).__name__,)).to_dict()
    config.pop("torch_dtype", None)  # how older versions of transformers spell the next key
    config["dtype"] = dtype
    try:
        if directory.is_dir() and any(directory.iterdir()):
            raise CheckpointError(f"{directory}: expected a new or an empty directory, found files in it; remove them")
        place = directory.absolute()
        partial = place.with_name(f".{place.name}.{secrets.token_hex(4)}.partial")
        partial.mkdir(parents=True)
        try:
            text = json.dumps(config, indent=2, sort_keys=True, allow_nan=False)
            (partial / "config.json").write_text(text + "\n", encoding="utf-8")
            tensors = {name: tensor.contiguous() for name, tensor in state.items() if name not in model.tied_parameters}
            write_weights(partial / "model.safetensors", tensors)
            tokenizer.save(partial)
            partial.rename(place)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    except OSError as error:
        raise CheckpointError(f"{directory}: expected a directory that can be written, got {error.strerror}") from error


def _load(directory: Path, *, allow_missing_head: bool) -> Checkpoint:
    if not directory.is_dir():
        raise CheckpointError(f"{directory}: expected a checkpoint directory, found none")
    config = MobileBertConfig.from_json_file(directory / "config.json")
    if len(config.architectures) != 1 or config.architectures[0] not in ARCHITECTURES:
        raise CheckpointError(
            f"{directory / 'config.json'}: expected architectures to name one of {', '.join(ARCHITECTURES)}, "
            f"got {reprlib.repr(list(config.architectures))}"
        )
    tokenizer = Tokenizer.from_directory(directory, vocabulary_size=config.vocab_size)
    stored = open_weights(directory)
    # Each network of each layer has tensors of its own, so this bounds the modules to build by the size of the files.
    if len(stored) < config.num_hidden_layers * config.num_feedforward_networks:
        raise CheckpointError(
            f"{directory}: expected {config.num_hidden_layers} layers (num_hidden_layers) of "
            f"{config.num_feedforward_networks} feed-forward networks (num_feedforward_networks), "
            f"got weights of only {len(stored)} tensors"
        )
    try:
        with torch.device("meta"):  # no memory before the shapes are known to be those of the files
            model = ARCHITECTURES[config.architectures[0]](config)
    except ConfigurationError as error:
        raise ConfigurationError(f"{directory / 'config.json'}: {error}") from error
    try:
        _fill(model, _renamed(stored, model), allow_missing_head=allow_missing_head)
    except CheckpointError as error:
        raise CheckpointError(f"{directory}: {error}") from error
    return Checkpoint(model=model.eval(), config=config, tokenizer=tokenizer, directory=directory)


def _renamed(stored: Mapping[str, StoredTensor], model: MobileBertArchitecture) -> dict[str, StoredTensor]:
    """Give tensors the names that they have in `model`."""
    renamed: dict[str, StoredTensor] = {}
    for old, tensor in stored.items():
        name = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", old))
        if isinstance(model, MobileBertModel):
            name = name.removeprefix("mobilebert.")
        elif name.startswith(("embeddings.", "encoder.", "pooler.")):  # of a bare encoder
            name = f"mobilebert.{name}"
        if name in renamed:
            raise CheckpointError(f"expected each tensor once, got {list_names([name])} under two names")
        renamed[name] = tensor
    return renamed


def _fill(model: MobileBertArchitecture, stored: Mapping[str, StoredTensor], *, allow_missing_head: bool) -> None:
    """Give a model on the meta device its values, once it is sure that they are there and right."""
    absent = _absent_head_modules(model, stored)
    new = absent if allow_missing_head else []
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    usable = {
        name: tensor for name, tensor in stored.items() if tensor.shape == shapes.get(name) and tensor.dtype is not None
    }
    dtype = torch.float64 if torch.float64 in {tensor.dtype for tensor in usable.values()} else torch.float32
    values = {name: _copied(tensor.read(), dtype) for name, tensor in usable.items()}

    problems = {
        "missing": {name for name in shapes if name not in model.tied_parameters and not _is_in(name, new)}
        - stored.keys(),
        "unexpected": {name for name in stored.keys() - shapes if not _HARMLESS.fullmatch(name)},
        "misshapen": {
            f"{name} of {stored[name].shape} instead of {shape}"
            for name, shape in shapes.items()
            if name in stored and stored[name].shape != shape
        },
        "not floating point": {name for name in shapes if name in stored and stored[name].dtype is None},
        "not finite": {name for name, value in values.items() if not value.isfinite().all()},
        "unequal to what they are tied to": {
            name
            for name, source in model.tied_parameters.items()
            if name in values and source in values and not values[name].equal(values[source])
        },
    }
    if any(problems.values()):
        listed = "; ".join(f"{what}: {list_names(sorted(names))}" for what, names in problems.items() if names)
        hint = f"; {', '.join(absent)} would be new with allow_missing_head" if absent and not new else ""
        raise CheckpointError(f"expected the tensors that config.json describes, got {listed}{hint}")

    model.to(dtype)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_NEW_HEAD_SEED)
        for module in new:
            initialize_weights(model.get_submodule(module).to_empty(device="cpu"), model.config.initializer_range)
    model.load_state_dict(values, strict=False, assign=True)
    model.tie_parameters()


def _absent_head_modules(model: MobileBertArchitecture, stored: Mapping[str, StoredTensor]) -> list[str]:
    """Name the parts of the head of which there is no tensor at all."""
    names = model.state_dict().keys() - model.tied_parameters
    return [
        module
        for module in _HEAD_MODULES
        if (own := {name for name in names if _is_in(name, [module])}) and own.isdisjoint(stored)
    ]


def _is_in(name: str, modules: list[str]) -> bool:
    return any(name.startswith(f"{module}.") for module in modules)


def _copied(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Take values out of the memory of their file."""
    return tensor.detach().to(dtype, copy=True, memory_format=torch.contiguous_format)
