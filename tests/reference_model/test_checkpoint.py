"""Checkpoint directories: to and from transformers, and from people whom no one should trust."""

import json
import os
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import transformers
from mobilebert_reference import (
    CheckpointError,
    MobileBertConfig,
    ReferenceModelError,
    Tokenizer,
    load_checkpoint,
    save_checkpoint,
)
from mobilebert_reference.encoder import MobileBertArchitecture
from mobilebert_reference.heads import ARCHITECTURES
from torch import Tensor, nn

Difference = Callable[[Tensor, Tensor], float]
Tensors = dict[str, Tensor]

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"piece{i}" for i in range(45))]
WORDS = "mobilebert.embeddings.word_embeddings.weight"
LAST_BIAS = "mobilebert.encoder.layer.1.output.bottleneck.LayerNorm.bias"
LABELS = {"id2label": {0: "a", 1: "b", 2: "c"}}


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    path = tmp_path / "pieces.txt"
    path.write_text("".join(f"{piece}\n" for piece in PIECES))
    return Tokenizer.from_vocabulary(path)


@pytest.fixture
def make_model(
    make_config: Callable[..., MobileBertConfig], randomize: Callable[[nn.Module], None]
) -> Callable[..., MobileBertArchitecture]:
    def make(architecture: str = "MobileBertForSequenceClassification", **fields: Any) -> MobileBertArchitecture:
        fields = fields if architecture == "MobileBertForQuestionAnswering" else {**LABELS, **fields}
        model = ARCHITECTURES[architecture](make_config(num_feedforward_networks=2, **fields))
        randomize(model)
        return model.eval()

    return make


@pytest.fixture
def saved(tmp_path: Path, tokenizer: Tokenizer, make_model: Callable[..., MobileBertArchitecture]) -> Path:
    """A sound checkpoint of a sequence classifier."""
    save_checkpoint(make_model(), tokenizer, tmp_path / "saved")
    return tmp_path / "saved"


def change_tensors(directory: Path, change: Callable[[Tensors], object]) -> None:
    path = directory / "model.safetensors"
    tensors = safetensors.torch.load(path.read_bytes())
    change(tensors)
    path.write_bytes(safetensors.torch.save(tensors))


def change_config(directory: Path, **values: Any) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def as_pickle(directory: Path, **options: Any) -> Path:
    """Move the weights of a checkpoint into a pytorch_model.bin."""
    tensors = safetensors.torch.load((directory / "model.safetensors").read_bytes())
    (directory / "model.safetensors").unlink()
    torch.save(tensors, directory / "pytorch_model.bin", **options)
    return directory / "pytorch_model.bin"


def as_shards(directory: Path) -> Path:
    """Split the weights of a checkpoint into two shards with an index."""
    tensors = safetensors.torch.load((directory / "model.safetensors").read_bytes())
    (directory / "model.safetensors").unlink()
    names = sorted(tensors)
    halves = {"one.safetensors": names[::2], "two.safetensors": names[1::2]}
    for file, half in halves.items():
        (directory / file).write_bytes(safetensors.torch.save({name: tensors[name] for name in half}))
    index = directory / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: file for file, half in halves.items() for name in half}}))
    return index


def scores(model: Any, architecture: str) -> Tensor:
    shape = (2, 3, 6) if architecture == "MobileBertForMultipleChoice" else (2, 6)
    ids = torch.arange(torch.Size(shape).numel()).remainder(50).view(shape)
    with torch.no_grad():
        output = model(ids, torch.ones(shape))
    name = next(
        name
        for name in ("logits", "prediction_logits", "start_logits", "last_hidden_state")
        if getattr(output, name, None) is not None
    )
    tensor: Tensor = getattr(output, name)
    return tensor


def refusal(directory: Path, **options: Any) -> str:
    """Load what cannot be loaded, and give the message after a look at its form."""
    with pytest.raises(ReferenceModelError) as caught:
        load_checkpoint(directory, **options)
    message = str(caught.value)
    assert message.startswith(str(directory))
    assert "\n" not in message
    assert len(message) < len(str(directory)) + 1200
    return message.removeprefix(str(directory))


# What transformers writes


FORMATS: dict[str, tuple[torch.dtype, dict[str, Any]]] = {
    "float32": (torch.float32, {}),
    "float64": (torch.float64, {}),
    "float16": (torch.float16, {}),
    "bfloat16": (torch.bfloat16, {}),
    "sharded": (torch.float32, {"max_shard_size": "40KB"}),
    "pickle": (torch.float32, {"safe_serialization": False}),
    "sharded_pickle": (torch.bfloat16, {"safe_serialization": False, "max_shard_size": "20KB"}),
}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("dtype", "options"), FORMATS.values(), ids=FORMATS.keys())
def test_loads_what_transformers_saves(
    tmp_path: Path,
    tokenizer: Tokenizer,
    make_model: Callable[..., MobileBertArchitecture],
    architecture: str,
    dtype: torch.dtype,
    options: dict[str, Any],
) -> None:
    model = make_model(architecture)
    theirs = getattr(transformers, architecture)(transformers.MobileBertConfig(**model.config.to_dict()))
    theirs.load_state_dict(model.state_dict())
    theirs.to(dtype).save_pretrained(tmp_path, **options)
    assert len(list(tmp_path.glob("*.safetensors")) + list(tmp_path.glob("*.bin"))) > (
        1 if "max_shard_size" in options else 0
    )
    tokenizer.save(tmp_path)

    checkpoint = load_checkpoint(tmp_path)

    assert type(checkpoint.model) is ARCHITECTURES[architecture]
    assert not checkpoint.model.training
    assert checkpoint.config.id2label == model.config.id2label
    assert checkpoint.tokenizer.vocabulary_size == 50
    assert checkpoint.directory == tmp_path
    expected_dtype = torch.float64 if dtype == torch.float64 else torch.float32
    stored = theirs.state_dict()
    loaded = checkpoint.model.state_dict()
    assert loaded.keys() == stored.keys()
    for name, tensor in loaded.items():
        assert tensor.dtype == expected_dtype
        assert tensor.equal(stored[name].to(expected_dtype)), name  # every value as it was
    for name, source in checkpoint.model.tied_parameters.items():
        assert checkpoint.model.get_parameter(name) is checkpoint.model.get_parameter(source)
    assert all(parameter.requires_grad for parameter in checkpoint.model.parameters())
    assert scores(checkpoint.model, architecture).isfinite().all()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_transformers_loads_what_we_save(
    tmp_path: Path,
    tokenizer: Tokenizer,
    make_model: Callable[..., MobileBertArchitecture],
    architecture: str,
    dtype: torch.dtype,
) -> None:
    model = make_model(architecture).to(dtype)
    save_checkpoint(model, tokenizer, tmp_path / "saved")
    theirs, report = getattr(transformers, architecture).from_pretrained(
        tmp_path / "saved", output_loading_info=True, dtype="auto"
    )
    assert not any(report.values()), report
    assert theirs.dtype == dtype
    assert theirs.config.id2label == model.config.id2label
    assert theirs.config.architectures == [architecture]
    for name, tensor in theirs.state_dict().items():
        assert tensor.equal(model.state_dict()[name]), name
    tokens = transformers.MobileBertTokenizerFast.from_pretrained(tmp_path / "saved")("piece3 piece4")
    assert tokens["input_ids"] == list(tokenizer.encode("piece3 piece4", max_length=8, pad=False).input_ids)


def test_an_untied_decoder_keeps_its_own_weights(
    tmp_path: Path, tokenizer: Tokenizer, make_model: Callable[..., MobileBertArchitecture], difference: Difference
) -> None:
    model = make_model("MobileBertForMaskedLM", tie_word_embeddings=False)
    save_checkpoint(model, tokenizer, tmp_path / "saved")
    ours = load_checkpoint(tmp_path / "saved").model
    theirs, report = transformers.MobileBertForMaskedLM.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not any(report.values()), report
    assert ours.state_dict()["cls.predictions.decoder.weight"].equal(
        model.state_dict()["cls.predictions.decoder.weight"]
    )
    name = "MobileBertForMaskedLM"
    assert difference(scores(ours, name), scores(theirs.eval(), name)) <= 1e-5


def test_a_trained_checkpoint_scores_texts_as_transformers_does(
    trained_checkpoint: Path, difference: Difference
) -> None:
    checkpoint = load_checkpoint(trained_checkpoint)
    theirs = transformers.MobileBertForSequenceClassification.from_pretrained(trained_checkpoint, dtype=torch.float32)
    rows = checkpoint.tokenizer.encode_batch(
        [
            "wake me up at seven",
            "how much money do i have in my savings account right now, and is it more than last month?",
        ],
        max_length=32,
    )
    inputs = {name: torch.from_numpy(array).long() for name, array in rows.items()}
    with torch.no_grad():
        ours, others = checkpoint.model(**inputs).logits, theirs.eval()(**inputs).logits
    assert difference(ours, others) <= 1e-5  # the bound for float32
    labels = [checkpoint.config.id2label[index] for index in ours.argmax(1).tolist()]
    assert labels == ["alarm", "balance"]


# Saving


def test_saving_twice_gives_the_same_bytes_and_so_does_saving_what_was_loaded(saved: Path, tmp_path: Path) -> None:
    first = load_checkpoint(saved)
    save_checkpoint(first.model, first.tokenizer, tmp_path / "again")
    files = sorted(path.name for path in saved.iterdir())
    assert files == sorted(path.name for path in (tmp_path / "again").iterdir())
    for name in files:
        assert (saved / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_unknown_keys_of_a_configuration_survive_but_its_dtype_is_the_weights(saved: Path, tmp_path: Path) -> None:
    change_config(saved, torch_dtype="float16", dtype="bfloat16", my_note=[1, {"a": None}])
    checkpoint = load_checkpoint(saved)
    save_checkpoint(checkpoint.model, checkpoint.tokenizer, tmp_path / "again")
    written = json.loads((tmp_path / "again" / "config.json").read_text())
    assert written["my_note"] == [1, {"a": None}]
    assert written["dtype"] == "float32"
    assert "torch_dtype" not in written


def test_files_can_be_read_by_whom_the_umask_allows(saved: Path) -> None:
    mask = os.umask(0)
    os.umask(mask)
    assert saved.stat().st_mode & 0o777 == 0o777 & ~mask
    for path in saved.iterdir():
        assert path.stat().st_mode & 0o777 == 0o666 & ~mask, path.name


def test_saving_makes_parents_and_fills_an_empty_directory(
    tmp_path: Path,
    tokenizer: Tokenizer,
    make_model: Callable[..., MobileBertArchitecture],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    for directory in (str(tmp_path / "empty"), str(tmp_path / "a" / "b"), "relative"):
        save_checkpoint(make_model(), tokenizer, directory)
        load_checkpoint(directory)


def test_saving_over_files_is_refused(saved: Path) -> None:
    checkpoint = load_checkpoint(saved)
    before = (saved / "model.safetensors").read_bytes()
    with pytest.raises(CheckpointError, match=r"expected a new or an empty directory, found files in it; remove them$"):
        save_checkpoint(checkpoint.model, checkpoint.tokenizer, saved)
    assert (saved / "model.safetensors").read_bytes() == before


def test_saving_where_a_file_is_says_so(tmp_path: Path, saved: Path) -> None:
    checkpoint = load_checkpoint(saved)
    (tmp_path / "file").touch()
    for directory in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(CheckpointError, match=r"expected a directory that can be written, got Not a directory$"):
            save_checkpoint(checkpoint.model, checkpoint.tokenizer, directory)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "pieces.txt", "saved"]


def test_an_interrupted_save_leaves_nothing(tmp_path: Path, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = load_checkpoint(saved)

    def interrupt(directory: Path) -> None:
        assert (directory / "model.safetensors").is_file()
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint.tokenizer, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(checkpoint.model, checkpoint.tokenizer, tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pieces.txt", "saved"]


# What is forgiven


def test_a_pickle_of_the_old_format_loads(saved: Path) -> None:
    expected = load_checkpoint(saved).model.state_dict()
    as_pickle(saved, _use_new_zipfile_serialization=False)
    for name, tensor in load_checkpoint(saved).model.state_dict().items():
        assert tensor.equal(expected[name])


def test_the_loaded_model_is_independent_of_its_file(saved: Path) -> None:
    model = load_checkpoint(saved).model
    before = model.get_parameter(WORDS).clone()
    with (saved / "model.safetensors").open("r+b") as file:
        file.write(b"\0" * (saved / "model.safetensors").stat().st_size)
    assert model.get_parameter(WORDS).equal(before)


def test_mixed_dtypes_are_kept_exactly(saved: Path) -> None:
    value = 1.0 + 2.0**-40

    def mix(tensors: Tensors) -> None:
        for name, dtype in zip(sorted(tensors), [torch.float16, torch.bfloat16] * len(tensors), strict=False):
            tensors[name] = tensors[name].to(dtype)
        tensors[LAST_BIAS] = torch.full((48,), value, dtype=torch.float64)

    change_tensors(saved, mix)
    model = load_checkpoint(saved).model
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}
    assert (model.get_parameter(LAST_BIAS) == value).all()


def test_names_of_old_checkpoints_are_understood(saved: Path) -> None:
    expected = load_checkpoint(saved).model.state_dict()

    def age(tensors: Tensors) -> None:
        for name in list(tensors):
            old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
            tensors[old] = tensors.pop(name)
        tensors["mobilebert.embeddings.position_ids"] = torch.arange(20)[None]

    change_tensors(saved, age)
    loaded = load_checkpoint(saved).model.state_dict()
    assert all(tensor.equal(expected[name]) for name, tensor in loaded.items())


@pytest.mark.parametrize("architecture", ["MobileBertForMaskedLM", "MobileBertForPreTraining"])
def test_a_tied_decoder_may_be_there_twice(
    tmp_path: Path, tokenizer: Tokenizer, make_model: Callable[..., MobileBertArchitecture], architecture: str
) -> None:
    model = make_model(architecture)
    save_checkpoint(model, tokenizer, tmp_path / "saved")

    def repeat(tensors: Tensors) -> None:
        tensors["cls.predictions.decoder.weight"] = tensors[WORDS].clone()
        tensors["cls.predictions.decoder.bias"] = tensors["cls.predictions.bias"].clone()

    change_tensors(tmp_path / "saved", repeat)
    loaded = load_checkpoint(tmp_path / "saved").model
    assert all(tensor.equal(model.state_dict()[name]) for name, tensor in loaded.state_dict().items())

    change_tensors(tmp_path / "saved", lambda tensors: tensors["cls.predictions.decoder.weight"].add_(1))
    assert refusal(tmp_path / "saved").endswith("got unequal to what they are tied to: cls.predictions.decoder.weight")


@pytest.mark.parametrize(
    ("architecture", "unused"),
    [
        ("MobileBertModel", ["cls.predictions.", "cls.seq_relationship."]),
        ("MobileBertForMaskedLM", ["mobilebert.pooler.", "cls.seq_relationship."]),
        ("MobileBertForNextSentencePrediction", ["cls.predictions."]),
    ],
)
def test_what_pretraining_left_over_is_ignored(
    tmp_path: Path,
    tokenizer: Tokenizer,
    make_model: Callable[..., MobileBertArchitecture],
    architecture: str,
    unused: list[str],
) -> None:
    pretrained = make_model("MobileBertForPreTraining")
    save_checkpoint(pretrained, tokenizer, tmp_path / "saved")
    change_config(tmp_path / "saved", architectures=[architecture])
    loaded = load_checkpoint(tmp_path / "saved").model.state_dict()
    prefix = "mobilebert." if architecture == "MobileBertModel" else ""
    expected = {
        name: tensor
        for name, tensor in pretrained.state_dict().items()
        if not any(name.startswith(start) for start in unused)
    }
    assert {prefix + name for name in loaded} == expected.keys()
    assert all(tensor.equal(expected[prefix + name]) for name, tensor in loaded.items())


def test_a_pooler_that_the_configuration_does_not_activate_is_ignored(
    tmp_path: Path, tokenizer: Tokenizer, make_model: Callable[..., MobileBertArchitecture]
) -> None:
    save_checkpoint(make_model("MobileBertForSequenceClassification"), tokenizer, tmp_path / "saved")
    change_config(tmp_path / "saved", classifier_activation=False)
    assert "mobilebert.pooler.dense.weight" not in load_checkpoint(tmp_path / "saved").model.state_dict()


# A new head


@pytest.mark.parametrize("source", ["MobileBertModel", "MobileBertForPreTraining", "MobileBertForMaskedLM"])
@pytest.mark.parametrize("target", sorted(ARCHITECTURES))
def test_a_new_head_needs_the_flag_and_is_always_the_same(
    tmp_path: Path,
    tokenizer: Tokenizer,
    make_model: Callable[..., MobileBertArchitecture],
    source: str,
    target: str,
) -> None:
    model = make_model(source).double()
    save_checkpoint(model, tokenizer, tmp_path / "saved")
    change_config(tmp_path / "saved", architectures=[target])
    if target == "MobileBertForQuestionAnswering":
        change_config(tmp_path / "saved", id2label=None, label2id=None)
    given = {name.removeprefix("mobilebert."): tensor for name, tensor in model.state_dict().items()}
    wanted = {name.removeprefix("mobilebert.") for name in make_model(target).state_dict()}
    if wanted - given.keys():
        message = refusal(tmp_path / "saved")
        assert "missing: " in message
        assert "would be new with allow_missing_head" in message

    state = torch.get_rng_state()
    loaded = load_checkpoint(tmp_path / "saved", allow_missing_head=True).model
    assert torch.get_rng_state().equal(state)
    torch.manual_seed(1)
    again = load_checkpoint(tmp_path / "saved", allow_missing_head=True).model.state_dict()
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == torch.float64
        assert tensor.equal(again[name])
        old = given.get(name.removeprefix("mobilebert."))
        assert tensor.isfinite().all() if old is None else tensor.equal(old)
    for name, tied in loaded.tied_parameters.items():
        assert loaded.get_parameter(name) is loaded.get_parameter(tied)
    assert scores(loaded, target).isfinite().all()


def test_the_flag_forgives_no_half_of_a_head_and_no_hole_in_the_encoder(saved: Path) -> None:
    change_tensors(saved, lambda tensors: (tensors.pop("classifier.bias"), tensors.pop(LAST_BIAS)))
    assert refusal(saved, allow_missing_head=True).endswith(f"got missing: classifier.bias, {LAST_BIAS}")


# What is wrong with the tensors


TENSOR_CHANGES: dict[str, tuple[Callable[[Tensors], object], str]] = {
    "missing": (lambda t: t.pop(LAST_BIAS), f"missing: {LAST_BIAS}"),
    "unexpected": (lambda t: t.update({"qa_outputs.bias": torch.ones(2)}), "unexpected: qa_outputs.bias"),
    "another_layer": (
        lambda t: t.update({LAST_BIAS.replace("1", "2"): torch.ones(48)}),
        f"unexpected: {LAST_BIAS.replace('1', '2')}",
    ),
    "misshapen": (
        lambda t: t.update({"classifier.weight": torch.ones(5, 48)}),
        "misshapen: classifier.weight of (5, 48) instead of (3, 48)",
    ),
    "transposed": (
        lambda t: t.update({WORDS: t[WORDS].T.contiguous()}),
        f"misshapen: {WORDS} of (12, 50) instead of (50, 12)",
    ),
    "nan": (lambda t: t[LAST_BIAS].__setitem__(3, torch.nan), f"not finite: {LAST_BIAS}"),
    "infinite": (lambda t: t["classifier.bias"].fill_(-torch.inf), "not finite: classifier.bias"),
    "whole_numbers": (
        lambda t: t.update({"classifier.bias": torch.ones(3, dtype=torch.int64)}),
        "not floating point: classifier.bias",
    ),
    "eight_bits": (
        lambda t: t.update({"classifier.bias": torch.ones(3).to(torch.float8_e4m3fn)}),
        "not floating point: classifier.bias",
    ),
    "everything": (
        lambda t: (
            t.pop(LAST_BIAS),
            t.update(
                {
                    "other": torch.ones(1),
                    "classifier.bias": torch.ones(4),
                    "classifier.weight": t["classifier.weight"] / 0,
                }
            ),
        ),
        (
            f"missing: {LAST_BIAS}; unexpected: other; misshapen: classifier.bias of (4,) instead of (3,); "
            "not finite: classifier.weight"
        ),
    ),
    "an_odd_name": (lambda t: t.update({"a\nb\x1b[31m": torch.ones(1)}), r"unexpected: 'a\nb\x1b[31m'"),
    "a_long_name": (lambda t: t.update({"x" * 10**6: torch.ones(1)}), "unexpected: " + "x" * 120),
    "two_names": (
        lambda t: t.update({LAST_BIAS.replace("bias", "beta"): t[LAST_BIAS].clone()}),
        f"expected each tensor once, got {LAST_BIAS} under two names",
    ),
}


@pytest.mark.parametrize(("change", "message"), TENSOR_CHANGES.values(), ids=TENSOR_CHANGES.keys())
@pytest.mark.parametrize("store", [None, as_pickle, as_shards])
def test_tensors_that_do_not_fit_are_listed(
    saved: Path, change: Callable[[Tensors], object], message: str, store: Callable[[Path], Path] | None
) -> None:
    change_tensors(saved, change)
    if store:
        store(saved)
    assert refusal(saved).endswith(message)


def test_a_long_list_is_cut(saved: Path) -> None:
    change_tensors(saved, lambda tensors: tensors.update({f"extra.{i:02}": torch.ones(1) for i in range(20)}))
    assert refusal(saved).endswith("unexpected: " + ", ".join(f"extra.0{i}" for i in range(8)) + " and 12 more")


# What is wrong with the files


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "nothing", tmp_path / "file", tmp_path / "file" / "below", tmp_path / "a\0b"):
        assert refusal(path) == ": expected a checkpoint directory, found none"


def test_a_missing_file_is_named(saved: Path) -> None:
    (saved / "model.safetensors").rename(saved / "weights.safetensors")
    assert refusal(saved) == (
        ": expected weights in model.safetensors or pytorch_model.bin, or shards with an index, found neither"
    )
    (saved / "vocab.txt").unlink()
    (saved / "tokenizer.json").unlink()
    assert refusal(saved).startswith(": expected a tokenizer.json or a vocab.txt")
    (saved / "config.json").unlink()
    assert refusal(saved) == "/config.json: expected a file, found none"


@pytest.mark.parametrize("architectures", [None, [], ["BertModel"], ["MobileBertModel", "MobileBertForMaskedLM"]])
def test_architectures_name_one_of_the_eight_classes(saved: Path, architectures: list[str] | None) -> None:
    change_config(saved, architectures=architectures)
    assert refusal(saved) == (
        "/config.json: expected architectures to name one of MobileBertModel, MobileBertForPreTraining, "
        "MobileBertForMaskedLM, MobileBertForNextSentencePrediction, MobileBertForSequenceClassification, "
        "MobileBertForQuestionAnswering, MobileBertForMultipleChoice, MobileBertForTokenClassification, "
        f"got {architectures or []}"
    )


def test_a_vocabulary_of_another_size_is_named(saved: Path) -> None:
    change_config(saved, vocab_size=60)
    assert "vocab" in refusal(saved)


def test_a_configuration_that_the_head_cannot_have_is_named(saved: Path) -> None:
    change_config(saved, architectures=["MobileBertForQuestionAnswering"])
    assert refusal(saved) == (
        "/config.json: MobileBertForQuestionAnswering needs two labels in id2label, start and end: got 3"
    )


@pytest.mark.parametrize(
    "values",
    [
        {"hidden_size": 2**20, "embedding_size": 2**20, "intermediate_size": 2**20, "max_position_embeddings": 2**20},
        {"intra_bottleneck_size": 2**20, "num_attention_heads": 2**20},
        {"id2label": {str(i): "x" for i in range(2**16)}, "label2id": None},
    ],
)
def test_sizes_that_no_memory_holds_are_compared_and_not_made(saved: Path, values: dict[str, Any]) -> None:
    """The first would take a petabyte; an attempt to get it fails with another error."""
    change_config(saved, **values)
    assert "misshapen: " in refusal(saved)
    assert "misshapen: " in refusal(saved, allow_missing_head=True)


@pytest.mark.parametrize("values", [{"num_hidden_layers": 2**20}, {"num_feedforward_networks": 2**20}])
def test_layers_that_no_file_holds_are_not_made(saved: Path, values: dict[str, int]) -> None:
    """They would take hours, even on the meta device."""
    change_config(saved, **values)
    assert "num_hidden_layers" in refusal(saved)
    change_config(saved, **dict.fromkeys(values, 10**9))
    assert "expected a whole number from 1 to 1048576, got 1000000000" in refusal(saved)


def test_one_layer_too_many_or_too_few_is_listed(saved: Path) -> None:
    change_config(saved, num_hidden_layers=3)
    assert "missing: mobilebert.encoder.layer.2." in refusal(saved)
    change_config(saved, num_hidden_layers=1)
    assert "unexpected: mobilebert.encoder.layer.1." in refusal(saved)


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 8, b"\xff" * 100, b"{}", (2).to_bytes(8, "little") + b"[]", (10**9).to_bytes(8, "little") + b"{}"],
)
def test_a_file_that_is_no_safetensors_is_named(saved: Path, content: bytes) -> None:
    (saved / "model.safetensors").write_bytes(content)
    assert refusal(saved).startswith("/model.safetensors: expected safetensors, got ")


def test_a_truncated_safetensors_is_named_wherever_it_ends(saved: Path) -> None:
    content = (saved / "model.safetensors").read_bytes()
    for length in [*range(0, 200, 7), *range(200, len(content), 997), len(content) - 1]:
        (saved / "model.safetensors").write_bytes(content[:length])
        assert refusal(saved).startswith("/model.safetensors: expected safetensors, got "), length


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "pytorch_model.bin"])
def test_a_damaged_file_loads_or_is_refused(saved: Path, file: str) -> None:
    if file == "pytorch_model.bin":
        as_pickle(saved)
    content = bytearray((saved / file).read_bytes())
    generator = torch.Generator().manual_seed(5)
    refused = 0
    for _ in range(60):
        damaged = bytearray(content)
        for _ in range(3):  # in the header, where it hurts
            position, value = (
                int(torch.randint(high, (), generator=generator)) for high in (min(2000, len(content)), 256)
            )
            damaged[position] = value
        (saved / file).write_bytes(damaged)
        try:
            load_checkpoint(saved)
        except ReferenceModelError:
            refused += 1
    assert refused > 20


class Harmful:
    """Runs a command when someone unpickles it freely."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


def test_a_pickle_that_does_more_than_weights_is_refused_and_not_run(saved: Path, tmp_path: Path) -> None:
    path = as_pickle(saved)
    tensors = torch.load(path, weights_only=True)
    harm = tmp_path / "harm"
    for content in ({**tensors, "x": Harmful(harm)}, Harmful(harm), nn.Linear(2, 2)):
        torch.save(content, path)
        assert refusal(saved).startswith(
            "/pytorch_model.bin: expected plain tensors by name, as torch.save writes them, "
        )
        path.write_bytes(pickle.dumps(content))
        assert refusal(saved).startswith(
            "/pytorch_model.bin: expected plain tensors by name, as torch.save writes them, "
        )
    assert not harm.exists()


PICKLES: dict[str, tuple[Any, str]] = {
    "list": ([torch.ones(1)], "got a list"),
    "tensor": (torch.ones(1), "got a Tensor"),
    "nested": ({"state_dict": {"a": torch.ones(1)}}, "got something else for state_dict"),
    "number": ({"a": torch.ones(1), "b": 1.0}, "got something else for b"),
    "numbered": ({0: torch.ones(1)}, "got names that are no text"),
    "sparse": ({"a": torch.eye(3).to_sparse()}, "got something else for a"),
    "meta": ({"a": torch.ones(3, device="meta")}, "got something else for a"),
    "stretched": ({"a": torch.ones(1).expand(10**12)}, "got a file of "),
}


@pytest.mark.parametrize(("content", "message"), PICKLES.values(), ids=PICKLES.keys())
def test_a_pickle_of_something_else_is_named(saved: Path, content: Any, message: str) -> None:
    torch.save(content, as_pickle(saved))
    assert message in refusal(saved)


def test_a_pickle_does_not_unpack_to_more_than_it_is(saved: Path) -> None:
    path = as_pickle(saved)
    packed = path.with_suffix(".zip")
    with zipfile.ZipFile(path) as plain, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry in plain.infolist():
            archive.writestr(entry.filename, plain.read(entry))
    packed.rename(path)
    assert "got an archive of " in refusal(saved)


def test_tensors_of_a_pickle_do_not_share_memory_beyond_tied_weights(saved: Path) -> None:
    torch.save(dict.fromkeys(map(str, range(100)), torch.ones(10_000)), as_pickle(saved))
    assert "bytes for tensors of 4000000" in refusal(saved)


def test_a_truncated_pickle_is_named_wherever_it_ends(saved: Path) -> None:
    content = as_pickle(saved).read_bytes()
    for length in [*range(0, 200, 37), *range(200, len(content), 9973), len(content) - 1]:
        (saved / "pytorch_model.bin").write_bytes(content[:length])
        assert refusal(saved).startswith("/pytorch_model.bin: expected plain tensors by name, "), length


def test_shards_load(saved: Path) -> None:
    expected = load_checkpoint(saved).model.state_dict()
    as_shards(saved)
    for name, tensor in load_checkpoint(saved).model.state_dict().items():
        assert tensor.equal(expected[name])


@pytest.mark.parametrize(
    "file",
    [
        "../saved/one.safetensors",
        "sub/one.safetensors",
        "/etc/passwd",
        "..",
        "",
        ".hidden.safetensors",
        "one.bin",
        "a\0b",
        7,
    ],
)
def test_a_shard_outside_of_the_directory_is_refused(saved: Path, file: Any) -> None:
    index = as_shards(saved)
    weight_map = json.loads(index.read_text())["weight_map"]
    index.write_text(json.dumps({"weight_map": {**weight_map, WORDS: file}}))
    assert refusal(saved) == (
        f"/model.safetensors.index.json: expected names of .safetensors files beside it, got something else for {WORDS}"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "expected a weight_map of tensor names to files, found none"),
        ('{"weight_map": {}}', "expected a weight_map of tensor names to files, found none"),
        ('{"weight_map": [1]}', "expected a weight_map of tensor names to files, found none"),
        ("[]", "expected a JSON object, got []"),
        ("{", "expected JSON, got Expecting property name"),
        ('{"weight_map": {"a": "three.safetensors"}}', "expected all its shards, found no three.safetensors"),
    ],
)
def test_an_index_that_is_none_is_named(saved: Path, content: str, message: str) -> None:
    as_shards(saved).write_text(content)
    assert refusal(saved).startswith(f"/model.safetensors.index.json: {message}")


def test_shards_hold_exactly_what_the_index_says(saved: Path) -> None:
    index = as_shards(saved)
    weight_map = json.loads(index.read_text())["weight_map"]
    wrong = [
        {**weight_map, "a": "one.safetensors"},  # not there
        {name: file for name, file in weight_map.items() if name != WORDS},  # not listed
        {**weight_map, WORDS: {"one": "two", "two": "one"}[Path(weight_map[WORDS]).stem] + ".safetensors"},  # elsewhere
    ]
    for each, name in zip(wrong, ["a", WORDS, WORDS], strict=True):
        index.write_text(json.dumps({"weight_map": each}))
        assert re.search(
            rf"safetensors: expected the tensors that model\.safetensors\.index\.json lists, .*: {re.escape(name)}$",
            refusal(saved),
        )


def test_a_pipe_or_a_directory_is_no_weights(saved: Path) -> None:
    (saved / "model.safetensors").unlink()
    os.mkfifo(saved / "model.safetensors")
    (saved / "pytorch_model.bin").mkdir()
    assert "found neither" in refusal(saved)
