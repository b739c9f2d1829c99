"""The verification against models that are wrong in known ways."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from mobilebert_reference import Checkpoint, load_checkpoint

from mobilebert_export.check.verify import Reference, Verification, verify
from mobilebert_export.lowering import lower
from tests.models import ARCHITECTURES, VOCABULARY_SIZE, random_model, write_checkpoint

LENGTH = 12
Change = Callable[[str, np.ndarray, int], np.ndarray]


def load(architecture: str, directory: Path) -> Checkpoint:
    model = random_model(architecture, "near_one", vocab_size=VOCABULARY_SIZE)
    return load_checkpoint(write_checkpoint(model, directory / "checkpoint"))


class Changed:
    """The reference itself, with its outputs changed."""

    def __init__(self, checkpoint: Checkpoint, change: Change) -> None:
        self._reference, self._change = Reference(checkpoint), change

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        length = int(inputs["attention_mask"].sum())
        return {name: self._change(name, value, length) for name, value in self._reference.run(inputs).items()}


def verified(checkpoint: Checkpoint, change: Change) -> Verification:
    rows = [
        checkpoint.tokenizer.encode(text, max_length=LENGTH)
        for text in ("", "a bc", "some more letters", "dd", "e f g")
    ]
    graph = lower(checkpoint.model, checkpoint.config)
    return verify(Changed(checkpoint, change), graph, checkpoint, rows)


def unchanged(_name: str, value: np.ndarray, _length: int) -> np.ndarray:
    return value


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_reference_agrees_with_itself_for_every_head(architecture: str, tmp_path: Path) -> None:
    result = verified(load(architecture, tmp_path), unchanged)
    assert result.rows == 5
    # Run with more padding than the truth, which moves nothing but the rounding of float64 sums.
    assert result.worst_sqnr > 250
    holds_answers = architecture not in {"MobileBertModel", "MobileBertForMultipleChoice"}
    assert result.agreement == (1.0 if holds_answers else None)


def test_error_at_padded_positions_does_not_count(tmp_path: Path) -> None:
    def spoil(_name: str, value: np.ndarray, length: int) -> np.ndarray:
        return np.where(np.arange(value.shape[1])[:, None] < length, value, 1e6)

    assert verified(load("MobileBertForTokenClassification", tmp_path), spoil).worst_sqnr > 250


def test_error_at_the_last_real_position_counts(tmp_path: Path) -> None:
    def spoil(_name: str, value: np.ndarray, length: int) -> np.ndarray:
        return np.where(np.arange(value.shape[1])[:, None] == length - 1, -value, value)

    result = verified(load("MobileBertForTokenClassification", tmp_path), spoil)
    assert result.worst_sqnr < 20
    assert result.agreement is not None
    assert result.agreement < 1


def test_worst_output_decides(tmp_path: Path) -> None:
    def spoil(name: str, value: np.ndarray, _length: int) -> np.ndarray:
        return value * 1.1 if name == "seq_relationship_logits" else value

    result = verified(load("MobileBertForPreTraining", tmp_path), spoil)
    assert result.worst_sqnr == pytest.approx(20.0, abs=1e-6)
    assert result.sqnr["prediction_logits"] > 250


def test_answer_that_is_not_a_number_is_the_worst_of_all(tmp_path: Path) -> None:
    def spoil(name: str, value: np.ndarray, _length: int) -> np.ndarray:
        return value * np.nan if name == "end_logits" else value

    assert verified(load("MobileBertForQuestionAnswering", tmp_path), spoil).worst_sqnr == -np.inf


def test_agreement_is_the_share_of_rows_with_the_same_label(tmp_path: Path) -> None:
    seen = []

    def spoil(_name: str, value: np.ndarray, length: int) -> np.ndarray:
        seen.append(length)
        return -value if len(seen) in {2, 4} else value  # the largest becomes the smallest

    assert verified(load("MobileBertForSequenceClassification", tmp_path), spoil).agreement == pytest.approx(3 / 5)


def test_span_is_two_answers(tmp_path: Path) -> None:
    def spoil(name: str, value: np.ndarray, _length: int) -> np.ndarray:
        return -value if name == "start_logits" else value

    assert verified(load("MobileBertForQuestionAnswering", tmp_path), spoil).agreement == pytest.approx(1 / 2)


def test_reference_is_run_in_float64(tmp_path: Path) -> None:
    checkpoint = load("MobileBertForSequenceClassification", tmp_path)
    row = checkpoint.tokenizer.encode_batch(["abc"], max_length=LENGTH)
    assert Reference(checkpoint).run(row)["logits"].dtype == np.float64
