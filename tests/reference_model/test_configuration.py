"""The configuration against transformers' MobileBertConfig, and against files that no one should trust."""

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers
from hypothesis import given
from hypothesis import strategies as st
from mobilebert_reference import ConfigurationError, MobileBertConfig
from mobilebert_reference.configuration import ACTIVATIONS, NORMALIZATIONS

FIELDS = [field.name for field in dataclasses.fields(MobileBertConfig)]
BASE = {"model_type": "mobilebert"}

# What no file of a stranger should contain, and JSON can.
HOSTILE = [None, True, -1, 0, 1, 1.5, 2**20, 2**63, 10**400, 1e308, -0.0, "", "x", [], [1], {}, {"0": "a"}]


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_defaults_are_those_of_transformers() -> None:
    ours, theirs = MobileBertConfig(), transformers.MobileBertConfig()
    for name in set(FIELDS) - {"architectures", "extra"}:
        assert getattr(ours, name) == getattr(theirs, name), name
    for name in ("true_hidden_size", "num_labels", "label2id"):
        assert getattr(ours, name) == getattr(theirs, name), name


def test_every_documented_parameter_is_a_field() -> None:
    import inspect

    documented = set(inspect.signature(transformers.MobileBertConfig.__init__).parameters) - {"self", "kwargs"}
    assert documented <= set(FIELDS)


def test_reads_what_transformers_writes_and_writes_what_it_reads(tmp_path: Path) -> None:
    theirs = transformers.MobileBertConfig(
        vocab_size=99,
        hidden_act="gelu",
        use_bottleneck=False,
        classifier_dropout=0.3,
        id2label={0: "no", 1: "yes", 2: "perhaps"},
        label2id={"no": 0, "yes": 1, "perhaps": 2},
        problem_type="multi_label_classification",
        architectures=["MobileBertForSequenceClassification"],
        output_attentions=True,
        tie_word_embeddings=False,
        a_key_of_mine={"deep": [1, None]},
    )
    theirs.save_pretrained(tmp_path)
    ours = MobileBertConfig.from_json_file(tmp_path / "config.json")
    for name in set(FIELDS) - {"architectures", "extra"}:
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.true_hidden_size == theirs.true_hidden_size == 512
    assert ours.architectures == ("MobileBertForSequenceClassification",)
    assert ours.extra["a_key_of_mine"] == {"deep": [1, None]}
    assert ours.extra["transformers_version"] == transformers.__version__
    assert transformers.MobileBertConfig.from_dict(ours.to_dict()).to_dict() == theirs.to_dict()
    assert MobileBertConfig.from_dict(json.loads(json.dumps(ours.to_dict()))) == ours


def test_reads_a_configuration_from_before_some_fields_existed() -> None:
    old = {
        "model_type": "mobilebert",
        "attention_probs_dropout_prob": 0.1,
        "hidden_act": "relu",
        "hidden_dropout_prob": 0,
        "true_hidden_size": 128,
        "architectures": ["MobileBertForPreTraining"],
    }
    config = MobileBertConfig.from_dict(old)
    assert config.classifier_activation is True
    assert config.true_hidden_size == 128
    assert config.extra == {}


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ({}, ["LABEL_0", "LABEL_1"]),
        ({"num_labels": 3}, ["LABEL_0", "LABEL_1", "LABEL_2"]),
        ({"num_labels": 1, "id2label": None, "label2id": None}, ["LABEL_0"]),
        ({"id2label": {"1": "b", "0": "a", "2": "c"}}, ["a", "b", "c"]),
        ({"id2label": {"0": "a", "1": "b"}, "label2id": {"b": 1, "a": 0}, "num_labels": 2}, ["a", "b"]),
        ({"label2id": {"b": 1, "a": 0, "c": 2}}, ["a", "b", "c"]),
        ({"id2label": {str(i): f"l{i}" for i in range(12)}}, [f"l{i}" for i in range(12)]),
        ({"id2label": {"0": "same", "1": "same"}, "label2id": {"same": 1}}, ["same", "same"]),
    ],
)
def test_labels_come_from_whichever_key_has_them(values: dict[str, Any], labels: list[str]) -> None:
    config = MobileBertConfig.from_dict({**BASE, **values})
    assert list(config.id2label.values()) == labels
    assert list(config.id2label) == list(range(len(labels)))
    assert config.num_labels == len(labels)
    assert config.extra == {}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_every_documented_choice_is_valid(activation: str, normalization: str) -> None:
    MobileBertConfig(hidden_act=activation, normalization_type=normalization)


def test_true_hidden_size_is_the_width_inside_a_layer() -> None:
    assert MobileBertConfig(intra_bottleneck_size=64).true_hidden_size == 64
    assert MobileBertConfig(intra_bottleneck_size=64, use_bottleneck=False).true_hidden_size == 512


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"num_attention_heads": 3},
            "num_attention_heads must divide intra_bottleneck_size: got 3 heads for a width of 128",
        ),
        (
            {"use_bottleneck": False, "num_attention_heads": 3, "intra_bottleneck_size": 129},
            "num_attention_heads must divide hidden_size: got 3 heads for a width of 512",
        ),
        (
            {"key_query_shared_bottleneck": False},
            "use_bottleneck with neither use_bottleneck_attention nor key_query_shared_bottleneck needs an intra_",
        ),
        ({"pad_token_id": 30522}, "pad_token_id: expected a whole number from 0 to 30521, got 30522"),
        ({"hidden_act": "swish"}, "hidden_act: expected one of gelu, gelu_new, relu, silu, got 'swish'"),
        ({"normalization_type": "rms_norm"}, "normalization_type: expected one of layer_norm, no_norm, got 'rms_norm'"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers: expected a whole number from 1 to 1048576, got 1000000000"),
        ({"vocab_size": 0}, "vocab_size: expected a whole number from 1 to 1048576, got 0"),
        ({"hidden_size": 512.0}, "hidden_size: expected a whole number from 1 to 1048576, got 512.0"),
        ({"hidden_size": True}, "hidden_size: expected a whole number from 1 to 1048576, got True"),
        ({"use_bottleneck": 1}, "use_bottleneck: expected true or false, got 1"),
        ({"hidden_dropout_prob": 1.01}, "hidden_dropout_prob: expected a number from 0 to 1, got 1.01"),
        ({"hidden_dropout_prob": float("nan")}, "hidden_dropout_prob: expected a number from 0 to 1, got nan"),
        (
            {"attention_probs_dropout_prob": None},
            "attention_probs_dropout_prob: expected a number from 0 to 1, got None",
        ),
        ({"classifier_dropout": "0.1"}, "classifier_dropout: expected null or a number from 0 to 1, got '0.1'"),
        ({"initializer_range": -0.1}, "initializer_range: expected a number from 0 to 1000, got -0.1"),
        ({"layer_norm_eps": float("inf")}, "layer_norm_eps: expected a number from 0 to 1, got inf"),
        ({"problem_type": "clustering"}, "problem_type: expected null or one of "),
        (
            {"architectures": ["MobileBertModel"]},
            "architectures: expected a list of class names, got ['MobileBertModel']",
        ),
        ({"id2label": {}}, "id2label: expected 1 to 65536 labels, their ids from 0 without a gap, got {}"),
        (
            {"id2label": {0: "a", 2: "b"}},
            "id2label: expected 1 to 65536 labels, their ids from 0 without a gap, got {0: 'a'",
        ),
        ({"id2label": {0: 7}}, "id2label: expected 1 to 65536 labels, their ids from 0 without a gap, got {0: 7}"),
        ({"extra": {"hidden_size": 4}}, "extra: expected only keys that are no fields, got {'hidden_size': 4}"),
        ({"extra": {"num_labels": 4}}, "extra: expected only keys that are no fields, got {'num_labels': 4}"),
    ],
)
def test_an_impossible_field_or_combination_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{re.escape(message)}"):
        MobileBertConfig(**fields)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model_type": "bert"}, "not a MobileBERT: expected model_type 'mobilebert', got 'bert'"),
        ({"model_type": None}, "not a MobileBERT: expected model_type 'mobilebert', got None"),
        ({"num_labels": 3, "id2label": {"0": "a", "1": "b"}}, "num_labels contradicts id2label: expected 2, got 3"),
        ({"num_labels": 10**12}, "num_labels: expected a whole number from 1 to 65536, got 1000000000000"),
        ({"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 1, "b": 0}}, "label2id contradicts id2label: expected "),
        ({"id2label": {"0": "a", "00": "b"}}, "id2label: expected 1 to 65536 labels, their ids from 0 without a gap"),
        ({"id2label": {"0": "a", "one": "b"}}, "id2label: expected 1 to 65536 labels, their ids from 0 without a gap"),
        ({"id2label": {"9" * 5000: "a"}}, "id2label: expected 1 to 65536 labels, their ids from 0 without a gap"),
        (
            {"id2label": ["a", "b"]},
            "id2label: expected 1 to 65536 labels, their ids from 0 without a gap, got ['a', 'b']",
        ),
        (
            {"true_hidden_size": 512},
            "true_hidden_size contradicts use_bottleneck, intra_bottleneck_size and hidden_size: expected 128, got 512",
        ),
        ({"architectures": "MobileBertModel"}, "architectures: expected a list of class names, got 'MobileBertModel'"),
        ({"architectures": [7]}, "architectures: expected a list of class names, got (7,)"),
        (
            {"hidden_act": "x" * 10**6},
            "hidden_act: expected one of gelu, gelu_new, relu, silu, got 'xxxxxxxxxxxx...xxxxxxx",
        ),
        ({"hidden_act": "a\nb"}, r"hidden_act: expected one of gelu, gelu_new, relu, silu, got 'a\nb'"),
    ],
)
def test_keys_that_make_no_mobilebert_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{re.escape(message)}") as caught:
        MobileBertConfig.from_dict({**BASE, **values})
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected JSON, got Expecting value: line 1 column 1 (char 0)"),
        ('{"model_type": "mobilebert"', "expected JSON, got Expecting ',' delimiter"),
        ("[1, 2]", "expected a JSON object, got [1, 2]"),
        ('"mobilebert"', "expected a JSON object, got 'mobilebert'"),
        ("null", "expected a JSON object, got None"),
        (b'{"model_type": "\xff"}', "expected JSON, got 'utf-8' codec can't decode byte 0xff in position 16"),
        ('{"hidden_size": 1, "hidden_size": 2}', "expected JSON, got the key 'hidden_size' twice"),
        ('{"a": {"b\\n": 1, "b\\n": 2}}', r"expected JSON, got the key 'b\n' twice"),
        ('{"layer_norm_eps": NaN}', "expected JSON, got NaN, which is no JSON number"),
        ('{"layer_norm_eps": -Infinity}', "expected JSON, got -Infinity, which is no JSON number"),
        ('{"vocab_size": ' + "9" * 5000 + "}", "expected JSON, got Exceeds the limit (4300 digits)"),
        ("[" * 10**6, "expected JSON, got maximum recursion depth exceeded"),
        ('{"model_type": "bert"}', "not a MobileBERT: expected model_type 'mobilebert', got 'bert'"),
        ("{}", "not a MobileBERT: expected model_type 'mobilebert', got None"),
        (
            '{"model_type": "mobilebert", "layer_norm_eps": 1e999}',
            "layer_norm_eps: expected a number from 0 to 1, got inf",
        ),
    ],
)
def test_a_file_that_is_no_configuration_is_named(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = write(tmp_path / "config.json", content)
    with pytest.raises(ConfigurationError, match=f"^{re.escape(f'{path}: {message}')}") as caught:
        MobileBertConfig.from_json_file(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "config.json", tmp_path):
        with pytest.raises(ConfigurationError, match=f"^{re.escape(str(path))}: expected a file, found none$"):
            MobileBertConfig.from_json_file(path)


def test_an_enormous_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with path.open("wb") as file:
        file.truncate(10**12)  # sparse: takes no room, but would take a terabyte of memory
    with pytest.raises(ConfigurationError, match=r"expected at most 67108864 bytes, got 1000000000000$"):
        MobileBertConfig.from_json_file(path)


def accepted(values: dict[str, Any]) -> MobileBertConfig | None:
    try:
        return MobileBertConfig.from_dict({**BASE, **values})
    except ConfigurationError:
        return None


@pytest.mark.parametrize("name", [*FIELDS, "model_type", "num_labels", "label2id", "true_hidden_size"])
def test_no_value_of_any_key_gets_past_the_checks(name: str) -> None:
    for value in HOSTILE:
        if config := accepted({name: value}):
            assert MobileBertConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*FIELDS, "num_labels", "label2id", "true_hidden_size", "x"]), JSON))
def test_any_values_make_a_configuration_or_a_configuration_error(values: dict[str, Any]) -> None:
    if config := accepted(values):
        assert config.true_hidden_size % config.num_attention_heads == 0


def test_a_configuration_cannot_be_changed() -> None:
    config: Any = MobileBertConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.hidden_size = 4


def test_a_change_by_copy_is_checked_too(make_config: Callable[..., MobileBertConfig]) -> None:
    with pytest.raises(ConfigurationError, match="num_attention_heads must divide"):
        dataclasses.replace(make_config(), num_attention_heads=5)
