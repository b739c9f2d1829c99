"""The configuration of a MobileBERT, with the fields, names and defaults of transformers' ``MobileBertConfig``."""

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from mobilebert_reference.errors import ConfigurationError
from mobilebert_reference.json_file import read_json_object

__all__ = ["ACTIVATIONS", "NORMALIZATIONS", "PROBLEM_TYPES", "MobileBertConfig"]

ACTIVATIONS = ("gelu", "gelu_new", "relu", "silu")
NORMALIZATIONS = ("layer_norm", "no_norm")
PROBLEM_TYPES = ("multi_label_classification", "regression", "single_label_classification")

# Far above any MobileBERT, and low enough that no product of three sizes leaves 64 bits.
_LARGEST_SIZE = 2**20
_MOST_LABELS = 2**16

_SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
    "embedding_size",
    "intra_bottleneck_size",
    "num_feedforward_networks",
)
_FLAGS = (
    "trigram_input",
    "use_bottleneck",
    "use_bottleneck_attention",
    "key_query_shared_bottleneck",
    "classifier_activation",
    "tie_word_embeddings",
    "output_hidden_states",
    "output_attentions",
)
_FRACTIONS = ("hidden_dropout_prob", "attention_probs_dropout_prob", "layer_norm_eps")
_CHOICES = {"hidden_act": ACTIVATIONS, "normalization_type": NORMALIZATIONS}
# Keys of a config.json that follow from the fields.
_DERIVED = ("model_type", "num_labels", "label2id", "true_hidden_size")


@dataclass(frozen=True)
class MobileBertConfig:
    """What a MobileBERT is made of. An instance is always one that can be built.

    Attributes:
        vocab_size: Number of token ids.
        hidden_size: Width H of the stream between layers.
        num_hidden_layers: Number of layers.
        num_attention_heads: Heads of each self-attention.
        intermediate_size: Width of the feed-forward networks' hidden layer.
        hidden_act: Activation of the feed-forward networks and of the masked-LM head, one of `ACTIVATIONS`.
        hidden_dropout_prob: Dropout of the embeddings and of what joins the H-wide stream.
        attention_probs_dropout_prob: Dropout of the attention weights.
        max_position_embeddings: The longest sequence.
        type_vocab_size: Number of token types.
        initializer_range: Standard deviation of new weights.
        layer_norm_eps: Epsilon of the LayerNorms that take one (see `encoder`).
        pad_token_id: The token id for padding.
        embedding_size: Width E of a word embedding.
        trigram_input: Whether a position sees the embeddings of its neighbours too.
        use_bottleneck: Whether a layer works at `intra_bottleneck_size` instead of `hidden_size`.
        intra_bottleneck_size: Width D inside a layer with a bottleneck.
        use_bottleneck_attention: Whether queries, keys and values all read the layer's bottleneck.
        key_query_shared_bottleneck: Whether queries and keys read a bottleneck of their own.
        num_feedforward_networks: Feed-forward networks of each layer.
        normalization_type: One of `NORMALIZATIONS`.
        classifier_activation: Whether the pooler has a Linear and a tanh.
        classifier_dropout: Dropout before a classifier; None means `hidden_dropout_prob`.
        tie_word_embeddings: Whether the masked-LM decoder is the table of word embeddings.
        output_hidden_states: Whether a forward returns the hidden states when it is not told.
        output_attentions: Whether a forward returns the attention weights when it is not told.
        id2label: The label of each class, ids from 0 without a gap.
        problem_type: Loss of sequence classification, one of `PROBLEM_TYPES`; None means that the labels decide.
        architectures: Names of the classes that the weights are for.
        extra: Every other key of a ``config.json``, kept and written back.

    Raises:
        ConfigurationError: A field is of another type or out of range, or fields contradict each other.
    """

    vocab_size: int = 30522
    hidden_size: int = 512
    num_hidden_layers: int = 24
    num_attention_heads: int = 4
    intermediate_size: int = 512
    hidden_act: str = "relu"
    hidden_dropout_prob: float = 0.0
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int = 0
    embedding_size: int = 128
    trigram_input: bool = True
    use_bottleneck: bool = True
    intra_bottleneck_size: int = 128
    use_bottleneck_attention: bool = False
    key_query_shared_bottleneck: bool = True
    num_feedforward_networks: int = 4
    normalization_type: str = "no_norm"
    classifier_activation: bool = True
    classifier_dropout: float | None = None
    tie_word_embeddings: bool = True
    output_hidden_states: bool = False
    output_attentions: bool = False
    id2label: Mapping[int, str] = field(default_factory=lambda: _numbered_labels(2))
    problem_type: str | None = None
    architectures: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in _SIZES:
            self._check_integer(name, 1, _LARGEST_SIZE)
        self._check_integer("pad_token_id", 0, self.vocab_size - 1)
        for name in _FLAGS:
            self._check(name, type(getattr(self, name)) is bool, "true or false")
        for name in _FRACTIONS:
            self._check(name, _is_number(getattr(self, name), 0, 1), "a number from 0 to 1")
        self._check("initializer_range", _is_number(self.initializer_range, 0, 1000), "a number from 0 to 1000")
        for name, choices in _CHOICES.items():
            self._check(name, getattr(self, name) in choices, f"one of {', '.join(choices)}")
        dropout, problem = self.classifier_dropout, self.problem_type
        self._check("classifier_dropout", dropout is None or _is_number(dropout, 0, 1), "null or a number from 0 to 1")
        self._check(
            "problem_type", problem is None or problem in PROBLEM_TYPES, f"null or one of {', '.join(PROBLEM_TYPES)}"
        )
        self._check_labels()
        names = self.architectures
        is_list = isinstance(names, tuple) and all(isinstance(name, str) for name in names)
        self._check("architectures", is_list, "a list of class names")
        known = {each.name for each in fields(self)} | set(_DERIVED)
        self._check("extra", known.isdisjoint(self.extra), "only keys that are no fields")
        self._check_combinations()

    @property
    def true_hidden_size(self) -> int:
        """Width at which a layer works: `intra_bottleneck_size` with a bottleneck, else `hidden_size`."""
        return self.intra_bottleneck_size if self.use_bottleneck else self.hidden_size

    @property
    def num_labels(self) -> int:
        """Number of classes."""
        return len(self.id2label)

    @property
    def label2id(self) -> dict[str, int]:
        """The class id of each label."""
        return {label: index for index, label in self.id2label.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "MobileBertConfig":
        """Make a configuration of the keys of a ``config.json``.

        Absent fields take their defaults, unknown keys go to `extra`. ``num_labels``, ``label2id`` and
        ``true_hidden_size`` follow from other fields and may be there as long as they agree; without ``id2label`` the
        labels come from ``label2id``, or are numbered.

        Raises:
            ConfigurationError: ``model_type`` is not ``mobilebert``, or the values make no MobileBERT.
        """
        model_type = values.get("model_type")
        if model_type != "mobilebert":
            raise ConfigurationError(
                f"not a MobileBERT: expected model_type 'mobilebert', got {reprlib.repr(model_type)}"
            )
        names = {each.name for each in fields(cls)} - {"extra"}
        known = {name: value for name, value in values.items() if name in names}
        if isinstance(known.get("architectures"), list):
            known["architectures"] = tuple(known["architectures"])
        elif known.get("architectures") is None:  # what transformers writes for a configuration on its own
            known.pop("architectures", None)
        known["id2label"] = _labels(values)
        extra = {name: value for name, value in values.items() if name not in names and name not in _DERIVED}
        config = cls(**known, extra=extra)
        for name in ("num_labels", "label2id", "true_hidden_size"):
            stated, expected = values.get(name), getattr(config, name)
            if stated is not None and stated != expected:
                origin = "use_bottleneck, intra_bottleneck_size and hidden_size" if "size" in name else "id2label"
                raise ConfigurationError(
                    f"{name} contradicts {origin}: expected {reprlib.repr(expected)}, got {reprlib.repr(stated)}"
                )
        return config

    @classmethod
    def from_json_file(cls, path: Path) -> "MobileBertConfig":
        """Read a ``config.json``.

        Raises:
            ConfigurationError: The file cannot be read, or makes no MobileBERT.
        """
        values = read_json_object(path, ConfigurationError)
        try:
            return cls.from_dict(values)
        except ConfigurationError as error:
            raise ConfigurationError(f"{path}: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Give the keys of a ``config.json`` that `from_dict` and transformers read."""
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "extra"}
        return {
            **self.extra,
            **values,
            "architectures": list(self.architectures),
            "id2label": {str(index): label for index, label in self.id2label.items()},
            "label2id": self.label2id,
            "model_type": "mobilebert",
        }

    def _check(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise _unexpected(name, expected, getattr(self, name))

    def _check_integer(self, name: str, low: int, high: int) -> None:
        value = getattr(self, name)
        self._check(name, type(value) is int and low <= value <= high, f"a whole number from {low} to {high}")

    def _check_labels(self) -> None:
        labels = self.id2label
        holds = (
            isinstance(labels, Mapping)
            and 0 < len(labels) <= _MOST_LABELS
            and list(labels) == list(range(len(labels)))
            and all(isinstance(label, str) for label in labels.values())
        )
        self._check("id2label", holds, f"1 to {_MOST_LABELS} labels, their ids from 0 without a gap")

    def _check_combinations(self) -> None:
        """Refuse fields that are sound one by one and impossible together."""
        width = self.true_hidden_size
        if width % self.num_attention_heads:
            raise ConfigurationError(
                f"num_attention_heads must divide {'intra_bottleneck_size' if self.use_bottleneck else 'hidden_size'}: "
                f"got {self.num_attention_heads} heads for a width of {width}"
            )
        shares = self.use_bottleneck_attention or self.key_query_shared_bottleneck
        if self.use_bottleneck and not shares and width != self.hidden_size:
            raise ConfigurationError(
                "use_bottleneck with neither use_bottleneck_attention nor key_query_shared_bottleneck needs an "
                f"intra_bottleneck_size equal to hidden_size: got {width} and {self.hidden_size}"
            )


def _labels(values: Mapping[str, Any]) -> object:
    """Give the ``id2label`` of a ``config.json`` with whole numbers for keys; what makes no sense stays as it is."""
    labels, ids, number = values.get("id2label"), values.get("label2id"), values.get("num_labels")
    if isinstance(labels, Mapping) and all(_is_id(key) for key in labels):
        return {int(key): labels[key] for key in sorted(labels, key=int)}
    if labels is not None:
        return labels
    if isinstance(ids, Mapping) and all(type(index) is int for index in ids.values()):
        return {ids[label]: label for label in sorted(ids, key=lambda label: ids[label])}
    if number is None:
        return _numbered_labels(2)
    if type(number) is not int or not 0 < number <= _MOST_LABELS:
        raise _unexpected("num_labels", f"a whole number from 1 to {_MOST_LABELS}", number)
    return _numbered_labels(number)


def _numbered_labels(number: int) -> dict[int, str]:
    """Name labels as transformers does: ``LABEL_0``, ``LABEL_1`` and so on."""
    return {index: f"LABEL_{index}" for index in range(number)}


def _is_id(key: object) -> bool:
    """Tell whether a key of ``id2label`` is a class id, which JSON spells as a string."""
    if isinstance(key, str) and key.isdecimal() and len(key) <= len(str(_MOST_LABELS)):
        return key == str(int(key))
    return type(key) is int


def _is_number(value: object, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _unexpected(name: str, expected: str, value: object) -> ConfigurationError:
    return ConfigurationError(f"{name}: expected {expected}, got {reprlib.repr(value)}")
