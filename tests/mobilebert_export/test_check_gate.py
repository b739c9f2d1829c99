"""The gate: a TOML file, and its verdict."""

from dataclasses import replace
from pathlib import Path

import pytest

from mobilebert_export.check.agreement import Agreement
from mobilebert_export.check.comparison import OutputError
from mobilebert_export.check.gate import Gate
from mobilebert_export.check.measured import Measured
from mobilebert_export.check.scores import Metric
from mobilebert_export.errors import UsageError

MEASURED = Measured(
    Path("m.tflite"),
    "dynamic",
    "litert",
    length=64,
    rows=9,
    errors=(
        OutputError("logits", "padded", 8, 40.0, 30.0, 0.99, 0.01, 0.9, 30),
        OutputError("logits", "unpadded", 1, 35.0, 35.0, 0.99, 0.02, None, 0),
    ),
)


def gate(text: str, directory: Path) -> Gate:
    path = directory / "gate.toml"
    path.write_text(text, encoding="utf-8")
    return Gate.read(path)


def test_padded_and_unpadded_rows_are_judged_apart(tmp_path: Path) -> None:
    verdict = gate("[dynamic]\nsqnr = 38", tmp_path).judge(MEASURED)
    assert [(line.subject, line.passed) for line in verdict.lines] == [
        ("logits, unpadded", False),  # failing lines first
        ("logits, padded", True),
    ]
    assert str(verdict.lines[0]) == "sqnr of logits, unpadded: 35, expected at least 38"


@pytest.mark.parametrize(
    ("key", "passing", "failing"),
    [
        ("sqnr", 35.0, 35.1),
        ("row_sqnr", 30, 31),
        ("cosine", 0.99, 0.991),
        ("largest_error", 0.02, 0.019),
        ("rank", 0.9, 0.91),
    ],
)
def test_each_key_holds_at_its_bound_and_fails_beyond(key: str, passing: float, failing: float, tmp_path: Path) -> None:
    assert gate(f"[dynamic]\n{key} = {passing}", tmp_path).judge(MEASURED).passed
    assert not gate(f"[dynamic]\n{key} = {failing}", tmp_path).judge(MEASURED).passed


@pytest.mark.parametrize(("values", "judged"), [(29, False), (30, True)])
def test_rank_is_judged_where_there_are_enough_values_to_tell(values: int, judged: bool, tmp_path: Path) -> None:
    errors = (replace(MEASURED.errors[0], rank=0.98, ranked=values),)
    verdict = gate("[every]\nsqnr = 1\nrank = 0.99", tmp_path).judge(replace(MEASURED, errors=errors))
    assert [line.value for line in verdict.lines if line.key == "rank"] == ([0.98] if judged else [])
    assert verdict.passed != judged


def test_length_is_asked_for_exactly(tmp_path: Path) -> None:
    assert gate("[every]\nsqnr = 1\nlength = 64", tmp_path).judge(MEASURED).passed
    assert not gate("[every]\nsqnr = 1\nlength = 128", tmp_path).judge(MEASURED).passed


@pytest.mark.parametrize(("labels", "judged"), [(99, False), (100, True)])
def test_loss_of_answers_is_judged_where_there_are_enough_to_tell(labels: int, judged: bool, tmp_path: Path) -> None:
    metric = Metric("label", "accuracy", labels, 0.9, 0.8, 0.1, None, low=-0.15, high=-0.05)
    verdict = gate("[every]\nsqnr = 1\nmetric_loss = 0.1", tmp_path).judge(replace(MEASURED, metrics=(metric,)))
    assert [line.value for line in verdict.lines if line.key == "metric_loss"] == ([0.15] if judged else [])
    assert verdict.passed != judged


@pytest.mark.parametrize(("answers", "judged"), [(29, False), (30, True)])
def test_agreement_is_judged_where_there_are_enough_answers_to_tell(answers: int, judged: bool, tmp_path: Path) -> None:
    agreement = Agreement("label", answers, share=0.9, constant=0.5, kappa=0.8)
    verdict = gate("[every]\nsqnr = 1\nkappa = 0.9", tmp_path).judge(replace(MEASURED, agreements=(agreement,)))
    assert [line.value for line in verdict.lines if line.key == "kappa"] == ([0.8] if judged else [])
    assert verdict.passed != judged


def test_rows_that_are_cut_are_judged_where_they_are_known(tmp_path: Path) -> None:
    floors = gate("[every]\nsqnr = 1\ncut = 0.05", tmp_path)
    assert [floors.judge(replace(MEASURED, cut=share)).passed for share in (None, 0.05, 0.06)] == [True, True, False]


def test_precision_goes_before_every(tmp_path: Path) -> None:
    assert gate("[every]\nsqnr = 90\n[dynamic]\nsqnr = 20", tmp_path).judge(MEASURED).passed


@pytest.mark.parametrize("text", ["", "[dynamic]", "[int8]\nsqnr = 1", "[every]\nunknown = 1", "[dynamic]\nkappa = 0"])
def test_gate_that_measures_nothing_fails(text: str, tmp_path: Path) -> None:
    verdict = gate(text, tmp_path).judge(MEASURED)
    assert not verdict.passed
    assert "nothing was compared" in str(verdict.lines[0])


def test_default_gate_fails_a_model_of_which_nothing_was_measured_and_does_not_blame_its_floors() -> None:
    (line,) = Gate.default().judge(Measured(Path("m"), "none", "litert")).lines
    assert (line.passed, str(line)) == (False, "finding: nothing was compared: no row of text was run")


def test_finding_fails_whatever_the_floors_are(tmp_path: Path) -> None:
    verdict = gate("[dynamic]\nsqnr = 1", tmp_path).judge(replace(MEASURED, findings=("it holds NaN",)))
    assert [str(line) for line in verdict.lines if not line.passed] == ["finding: it holds NaN"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[dynamic]\nsqrn = 20", "got sqrn"),
        ("[dynamite]\nsqnr = 20", "got dynamite"),
        ("sqnr = 20", "got sqnr"),
        ("[dynamic]\nsqnr = '20'", "expected a number for sqnr"),
        ("[dynamic]\nsqnr = true", "expected a number for sqnr"),
        ("[dynamic]\nsqnr = nan", "expected a number for sqnr"),
        (f"[dynamic]\nsqnr = 1{'0' * 400}", "expected a number for sqnr in .* that float64 holds"),
        (f"[dynamic]\nsqnr = 0x{'f' * 5000}", "expected a number for sqnr"),  # more digits than Python writes
        ("[dynamic", "expected a gate file in TOML"),
    ],
)
def test_unusable_gate_file_is_named(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        gate(text, tmp_path)


def test_gate_file_that_begins_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "gate.toml").write_text("[dynamic]\nsqnr = 35", encoding="utf-8-sig")
    assert Gate.read(tmp_path / "gate.toml").judge(MEASURED).passed


def test_gate_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected a gate file"):
        Gate.read(tmp_path / "none.toml")


def test_gate_file_of_other_bytes_is_named(tmp_path: Path) -> None:
    (tmp_path / "gate.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="UTF-8"):
        Gate.read(tmp_path / "gate.toml")
