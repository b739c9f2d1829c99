"""The default gate: every honest file passes, every file that is wrong in a known way fails."""

import dataclasses
import importlib
import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from ai_edge_litert.schema_py_generated import BuiltinOperator
from mobilebert_reference import Checkpoint, load_checkpoint
from mobilebert_reference.demo import CHECKPOINT, EVALUATION
from safetensors.torch import load_file, save_file

from mobilebert_export.check.data import chosen, read_rows
from mobilebert_export.check.gate import Gate, Verdict
from mobilebert_export.check.measure import Measurement
from mobilebert_export.check.measured import Measured
from mobilebert_export.check.run import check
from mobilebert_export.errors import ModelFileError
from mobilebert_export.export import export_tflite
from mobilebert_export.precisions import CALIBRATED, Precision
from mobilebert_export.runtimes.child import ChildModel, Limits
from tests import mutants
from tests.text import queries

LENGTH = 64
ROWS = 12
FULL_SIZE_LENGTH = 48  # the demo's queries fit
LABELLED = 32  # enough to tell whether the reference answers by chance
PROJECT = Path(__file__).parents[2]
# By how much a layer is disturbed: what its files' own rounding must not hide.
DISTURBED = {"none": 0.01, "float16": 0.01, "dynamic": 0.2, "int8": 0.2, "int8-full": 0.2, "int16": 0.2}
PRECISIONS = [precision.value for precision in Precision]
# Float weights and integers; the others are as good as one of them, and slow.
EACH_KIND = [name if name in {"none", "int8"} else pytest.param(name, marks=pytest.mark.slow) for name in PRECISIONS]
GATE = Gate.default()
FEW = queries(48)

Export = Callable[[str], Path]


@pytest.fixture(scope="module")
def measurement(demo: Checkpoint) -> Measurement:
    return Measurement(demo, chosen(read_rows(EVALUATION), ROWS))


@pytest.fixture(scope="module")
def honest(demo: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """The demo in a precision, exported once."""
    directory = tmp_path_factory.mktemp("honest")

    def export(precision: str) -> Path:
        path = directory / f"{precision}.tflite"
        if not path.exists():
            exported(demo, path, precision)
        return path

    return export


def exported(checkpoint: Checkpoint, path: Path, precision: str, *, length: int = LENGTH) -> None:
    fit = FEW if Precision(precision) in CALIBRATED else None
    export_tflite(checkpoint, path, precision=precision, sequence_length=length, calibration=fit)


def judged(measured: Measured) -> Verdict:
    return GATE.judge(measured)


def failing(verdict: Verdict) -> set[str]:
    return {line.key for line in verdict.lines if not line.passed}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_honest_file_passes(precision: str, honest: Export, measurement: Measurement) -> None:
    measured = measurement.of(honest(precision))
    verdict = judged(measured)
    assert failing(verdict) == set()
    assert measured.precision == precision
    assert {line.key for line in verdict.lines} >= {
        "sqnr",
        "row_sqnr",
        "kappa",
        "cut",
        "constants",
        "landmarks",
    }
    assert {error.padding for error in measured.errors} == {"padded", "unpadded"}
    assert measured.depth is not None
    assert measured.depth.jump is None


EVERYWHERE = {
    "swapped input": mutants.swapped_inputs,
    "dropped mask": mutants.DROPPED_MASK,
    "token types ignored": mutants.TOKEN_TYPES_IGNORED,
    "off by one in the trigram": mutants.SHIFTED_TRIGRAM,
    "wrong label order": mutants.TURNED_LABELS,
    "constant answer": mutants.CONSTANT_ANSWER,
    "another length inside": mutants.declared_length(LENGTH // 2),
    "a version of the future": mutants.stamped(BuiltinOperator.FULLY_CONNECTED, 99),
    "a version of the past": mutants.stamped(BuiltinOperator.FULLY_CONNECTED, 4),
}


@pytest.mark.parametrize("name", EVERYWHERE)
@pytest.mark.parametrize("precision", EACH_KIND)
def test_mutant_fails(precision: str, name: str, honest: Export, measurement: Measurement, tmp_path: Path) -> None:
    wrong = mutants.mutant(honest(precision), tmp_path / "mutant.tflite", EVERYWHERE[name])
    assert not judged(measurement.of(wrong)).passed


@pytest.mark.parametrize("layer", [0, 1, 2, 3])
@pytest.mark.parametrize("precision", EACH_KIND)
def test_noise_in_a_layer_fails(
    precision: str, layer: int, honest: Export, measurement: Measurement, tmp_path: Path
) -> None:
    change = mutants.constants(mutants.of_layer(layer), mutants.noise(DISTURBED[precision]))
    measured = measurement.of(mutants.mutant(honest(precision), tmp_path / "mutant.tflite", change))
    assert "constants" in failing(judged(measured))
    assert measured.depth is not None
    assert measured.depth.jump is not None
    assert measured.depth.jump.startswith(f"mobilebert.encoder.layer.{layer}.")


@pytest.mark.parametrize(
    ("part", "behind", "jump"),
    [
        ("layer.3.ffn.0.", "layer.3.attention.self.probabilities", "layer.3.ffn.0.intermediate"),
        ("layer.3.ffn.1.", "layer.3.ffn.0.intermediate", "layer.3.ffn.1.intermediate"),
        ("layer.3.dense.", "layer.3.intermediate", "mobilebert.pooler"),
        ("logits.", "mobilebert.pooler", "logits"),
    ],
)
def test_fault_in_the_last_layer_of_a_fitted_file_is_located(
    part: str, behind: str, jump: str, honest: Export, measurement: Measurement, tmp_path: Path
) -> None:
    change = mutants.constants(lambda name: part in name and ".weight" in name, mutants.noise(0.5))
    measured = measurement.of(mutants.mutant(honest("int8"), tmp_path / "mutant.tflite", change))
    assert failing(judged(measured)) & {"constants", "landmarks"}
    depth = measured.depth
    assert depth is not None
    assert [str(name).removeprefix("mobilebert.encoder.") for name in (depth.behind, depth.jump)] == [behind, jump]


@pytest.mark.slow
@pytest.mark.parametrize("layer", [0, 1, 2, 3])
@pytest.mark.parametrize("how", ["scale", "seed 1", "seed 2"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_layer_disturbed_in_other_ways_fails(
    precision: str, how: str, layer: int, honest: Export, measurement: Measurement, tmp_path: Path
) -> None:
    share = DISTURBED[precision]
    elements = (lambda values: values * (1 + share)) if how == "scale" else mutants.noise(share, seed=int(how[-1]))
    change = mutants.constants(mutants.of_layer(layer), elements)
    measured = measurement.of(mutants.mutant(honest(precision), tmp_path / "mutant.tflite", change))
    assert failing(judged(measured)) & {"constants", "landmarks"}


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["dynamic", "int8", "int8-full", "int16"])
@pytest.mark.parametrize(("kind", "magnitude"), [("scramble", 0.0), ("massive", 1e3)])
def test_stressed_model_passes_where_it_is_honest_alone(
    kind: str, magnitude: float, precision: str, demo: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(PROJECT / "benchmarks")
    stress: Any = importlib.import_module("stress_models")
    made = stress.stress(demo.model, stress.Kind(kind), magnitude=magnitude, seed=0)
    stressed = dataclasses.replace(demo, model=made.stressed)
    path = tmp_path / "honest.tflite"
    exported(stressed, path, precision)
    measurement = Measurement(stressed, chosen(read_rows(EVALUATION), ROWS))
    assert failing(judged(measurement.of(path))) == set()
    change = mutants.constants(mutants.of_layer(1), mutants.noise(DISTURBED[precision], seed=1))
    wrong = mutants.mutant(path, tmp_path / "mutant.tflite", change)
    assert failing(judged(measurement.of(wrong))) & {"constants", "landmarks"}


def test_only_the_file_shows_an_understated_version(honest: Export, measurement: Measurement, tmp_path: Path) -> None:
    change = mutants.stamped(BuiltinOperator.FULLY_CONNECTED, 9)
    measured = measurement.of(mutants.mutant(honest("dynamic"), tmp_path / "mutant.tflite", change))
    assert failing(judged(measured)) == {"finding"}
    assert any("FULLY_CONNECTED stamped version 9" in finding for finding in measured.findings)


def test_infinite_mask_is_a_finding_though_every_answer_is_right(
    honest: Export, measurement: Measurement, tmp_path: Path
) -> None:
    measured = measurement.of(mutants.mutant(honest("none"), tmp_path / "mutant.tflite", mutants.INFINITE_MASK))
    assert failing(judged(measured)) == {"finding"}
    assert any(finding.startswith("constant attention_mask.table holds 1 value") for finding in measured.findings)
    assert any("tensor(s) that are not finite: attention_mask.additive" in finding for finding in measured.findings)


@pytest.mark.parametrize("overflow", [False, True])
def test_nan_hidden_behind_a_relu_is_a_finding_though_every_answer_is_right(
    overflow: bool, honest: Export, measurement: Measurement, tmp_path: Path
) -> None:
    change = partial(mutants.hidden_nan, overflow=overflow)
    measured = measurement.of(mutants.mutant(honest("none"), tmp_path / "mutant.tflite", change))
    assert failing(judged(measured)) == {"finding"}
    (finding,) = measured.findings
    assert finding.startswith("tensor(s) that are not finite: ")
    assert ("overflown" if overflow else "undefined") in finding
    assert measured.agreements[0].share == 1.0


@pytest.mark.parametrize("asked", ["tensors", "exact"])
def test_crash_while_tensors_are_looked_at_is_a_finding_and_hides_none(
    asked: str, honest: Export, measurement: Measurement, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = mutants.mutant(honest("none"), tmp_path / "mutant.tflite", mutants.hidden_nan)

    def crashing(child: ChildModel, inputs: Any, wanted: Any) -> Any:
        child._process.kill()
        return truly(child, inputs, wanted)

    truly = getattr(ChildModel, asked)
    monkeypatch.setattr(ChildModel, asked, crashing)
    measured = measurement.of(wrong)
    assert failing(judged(measured)) == {"finding"}
    assert measured.findings[0].startswith("while its tensors were looked at: litert crashed with SIGKILL")
    found = [finding for finding in measured.findings if "not finite: " in finding]
    assert len(found) == (asked == "exact")
    assert measured.agreements[0].share == 1.0


def test_tensors_of_the_shortest_row_and_of_the_longest_are_looked_at(
    honest: Export, measurement: Measurement, monkeypatch: pytest.MonkeyPatch
) -> None:
    def watched(child: ChildModel, inputs: Any, wanted: Any) -> Any:
        seen.append(int(inputs["attention_mask"].sum()))
        return truly(child, inputs, wanted)

    seen: list[int] = []
    truly = ChildModel.tensors
    monkeypatch.setattr(ChildModel, "tensors", watched)
    measurement.of(honest("none"))
    assert (min(seen), max(seen)) == (1, LENGTH)


def test_tensors_that_the_runtime_cannot_give_are_a_remark(
    honest: Export, measurement: Measurement, monkeypatch: pytest.MonkeyPatch
) -> None:
    truly = ChildModel.tensors
    monkeypatch.setattr(ChildModel, "tensors", lambda child, _, wanted: truly(child, {}, wanted))
    measured = measurement.of(honest("none"))
    assert failing(judged(measured)) == set()
    (remark,) = measured.remarks
    assert remark.startswith(
        "constants and landmarks were not judged: its tensors could not be looked at: litert cannot run it"
    )


def test_names_of_another_exporter_and_no_signature(
    honest: Export, tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    theirs = mutants.mutant(honest("none"), tmp_path / "theirs.tflite", mutants.of_another_exporter)
    code, said, _ = call("check", CHECKPOINT, theirs, "--rows", ROWS)
    assert code == 0
    remarks = [line.strip() for line in said.splitlines() if line.startswith("  remark")]
    assert remarks == [  # the output, where constants are judged, has their name
        "remark       constants were not judged: none of the tensors that show them has a name of our graph"
    ]
    change = mutants.both(mutants.of_another_exporter, mutants.swapped_tensors)
    swapped = mutants.mutant(honest("none"), tmp_path / "swapped.tflite", change)
    assert call("check", CHECKPOINT, swapped, "--rows", ROWS)[0] == 1


@pytest.mark.parametrize("name", ["model.onnx", "model.tflite"])
def test_pipe_is_no_file(name: str, measurement: Measurement, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    pipe = os.open(tmp_path / name, os.O_RDWR)  # who opens it need not wait for a writer
    os.write(pipe, bytes(8))
    with pytest.raises(ModelFileError, match="which is no regular file"):
        measurement.of(tmp_path / name)
    os.close(pipe)


def test_model_that_takes_too_long_in_all_fails(honest: Export, demo: Checkpoint) -> None:
    measured = Measurement(demo, chosen(read_rows(EVALUATION), 1), limits=Limits(total=0.01)).of(honest("none"))
    assert failing(judged(measured)) == {"finding"}
    assert measured.findings[0].startswith("litert took more than 0.01 s in all, and was stopped")


def test_constant_answer_is_no_better_than_chance(honest: Export, measurement: Measurement, tmp_path: Path) -> None:
    measured = measurement.of(mutants.mutant(honest("none"), tmp_path / "mutant.tflite", mutants.CONSTANT_ANSWER))
    (agreement,) = measured.agreements
    assert agreement.kappa == pytest.approx(0.0, abs=1e-12)
    assert "kappa" in failing(judged(measured))


def copy_of_the_demo(directory: Path) -> Path:
    return Path(shutil.copytree(CHECKPOINT, directory / "checkpoint"))


def test_vocabulary_of_another_model_fails(honest: Export, tmp_path: Path) -> None:
    directory = copy_of_the_demo(tmp_path)
    pieces = (directory / "vocab.txt").read_text(encoding="utf-8").splitlines()
    ordinary = [piece for piece in pieces if not piece.startswith("[")]
    turned = iter([*ordinary[100:], *ordinary[:100]])
    shuffled = [piece if piece.startswith("[") else next(turned) for piece in pieces]
    (directory / "vocab.txt").write_text("\n".join(shuffled) + "\n", encoding="utf-8")
    (directory / "tokenizer.json").unlink()
    measured = Measurement(load_checkpoint(directory), chosen(read_rows(EVALUATION), LABELLED)).of(honest("none"))
    # File and reference read the same wrong pieces and agree; only the labels show it.
    assert failing(judged(measured)) == {"reference_kappa"}


def test_labels_in_another_order_in_the_checkpoint_fail(honest: Export, tmp_path: Path) -> None:
    directory = copy_of_the_demo(tmp_path)
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    names = list(config["id2label"].values())
    config["id2label"] = dict(zip(config["id2label"], [*names[1:], names[0]], strict=True))
    config["label2id"] = {name: int(index) for index, name in config["id2label"].items()}
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    measured = Measurement(load_checkpoint(directory), chosen(read_rows(EVALUATION), LABELLED)).of(honest("none"))
    assert failing(judged(measured)) == {"reference_kappa"}


def test_file_longer_than_the_checkpoint_fails(honest: Export, tmp_path: Path) -> None:
    directory = copy_of_the_demo(tmp_path)
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    config["max_position_embeddings"] = LENGTH - 16
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    weights = load_file(directory / "model.safetensors")
    name = "mobilebert.embeddings.position_embeddings.weight"
    weights[name] = weights[name][: LENGTH - 16].clone()
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    measured = Measurement(load_checkpoint(directory), chosen(read_rows(EVALUATION), LABELLED)).of(honest("none"))
    assert any("it takes rows of 64 tokens, the checkpoint has 48 positions" in each for each in measured.findings)
    assert not judged(measured).passed


@pytest.mark.parametrize("precision", EACH_KIND)
def test_file_too_short_for_the_text_fails(precision: str, demo: Checkpoint, tmp_path: Path) -> None:
    short = tmp_path / "short.tflite"
    exported(demo, short, precision, length=8)
    (checked,) = check(demo, [short], rows=ROWS).models
    assert failing(checked.verdict) == {"cut"}
    # Who says that this length is meant is believed, as long as his own text does not say otherwise.
    (meant,) = check(demo, [short], rows=ROWS, sequence_length=8).models
    assert failing(meant.verdict) == set()
    (own,) = check(demo, [short], data=EVALUATION, rows=ROWS, sequence_length=8).models
    assert failing(own.verdict) == {"cut"}


@pytest.mark.parametrize("length", [32, 128])
def test_file_of_another_length_than_the_app_feeds_fails(length: int, honest: Export, demo: Checkpoint) -> None:
    (checked,) = check(demo, [honest("none")], rows=2, sequence_length=length).models
    assert failing(checked.verdict) == {"length"}
    assert str(checked.verdict.lines[0]) == f"length of a row: 64, expected exactly {length}"


def test_verdict_depends_neither_on_row_order_nor_on_threads(honest: Export, demo: Checkpoint) -> None:
    rows = read_rows(EVALUATION)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        first = Measurement(demo, chosen(rows, 3)).of(honest("none"))
        torch.set_num_threads(2)
        second = Measurement(demo, chosen(rows[::-1], 3)).of(honest("none"))
    finally:
        torch.set_num_threads(threads)
    assert [line.passed for line in judged(first).lines] == [line.passed for line in judged(second).lines]
    assert first.agreements == second.agreements
    assert first.metrics == second.metrics
    # The reference itself, in float64, may round its sums another way with other threads.
    assert [each.sqnr for each in first.errors] == pytest.approx([each.sqnr for each in second.errors], abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
def test_full_size_file_passes_where_it_is_honest_alone(
    precision: str, trained_directory: Path, tmp_path: Path
) -> None:
    checkpoint = load_checkpoint(trained_directory)
    path = tmp_path / "model.tflite"
    exported(checkpoint, path, precision, length=FULL_SIZE_LENGTH)
    measurement = Measurement(checkpoint, chosen(read_rows(EVALUATION), 4))
    assert failing(judged(measurement.of(path))) == set()
    for layer in (0, checkpoint.config.num_hidden_layers - 1):
        change = mutants.constants(mutants.of_layer(layer), mutants.noise(DISTURBED[precision]))
        measured = measurement.of(mutants.mutant(path, tmp_path / "mutant.tflite", change))
        assert "landmarks" in failing(judged(measured))
        assert measured.depth is not None
        assert str(measured.depth.jump).startswith(f"mobilebert.encoder.layer.{layer}.")
