"""Runs a model beside the reference and measures how near it comes."""

import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mobilebert_export.check import foreign
from mobilebert_export.check.agreement import Answered, agreements
from mobilebert_export.check.answers import Answer, Kind, Task
from mobilebert_export.check.cases import Case, Padding, cases, full_rows
from mobilebert_export.check.comparison import RowError, compare, summarize
from mobilebert_export.check.data import LabelledRow
from mobilebert_export.check.depth import Depth, DepthMeter
from mobilebert_export.check.measured import Measured, WorstRow
from mobilebert_export.check.rows import unknown_share
from mobilebert_export.check.scores import metrics
from mobilebert_export.check.structure import Structure, read_structure
from mobilebert_export.check.truth import Truth
from mobilebert_export.errors import ModelFileError, UsageError
from mobilebert_export.graph.executor import execute
from mobilebert_export.graph.graph import bound
from mobilebert_export.graph.operators import BATCH, SEQUENCE
from mobilebert_export.inspection import read
from mobilebert_export.lowering import lower
from mobilebert_export.runtimes.child import ChildModel, Limits, ModelFailedError, RunRefusedError
from mobilebert_export.runtimes.interface import Runtime

if TYPE_CHECKING:
    from mobilebert_reference import Checkpoint

Progress = Callable[[str], None]

_TFLITE = b"TFL3"
# A file that takes any length gets rows of up to so many tokens, and a few of all positions, which cost most.
_USUAL_LENGTH = 128
_WHOLE_ROWS = 2
_WORST_ROWS = 8
_LONGEST_LIST = 5
_LONGEST_TEXT = 200
# What rounds its activations to a fixed scale is far from the reference by its arithmetic, for which the floor of
# landmarks is not made.
_ROUNDED = frozenset({"int8", "int8-full", "int16"})


@dataclass(frozen=True)
class _Ran:
    """One case, run."""

    case: Case
    errors: Mapping[str, RowError]
    answered: Answered

    @property
    def worst(self) -> float:
        return min(error.sqnr for error in self.errors.values())


@dataclass
class Measurement:
    """Measures models of one checkpoint.

    Attributes:
        checkpoint: the reference.
        rows: of the data.
        progress: is told each step as it begins.
        limits: of the child process that runs a model.
        text_must_fit: whether the rows are such as the model will meet: its length has to hold them.
        longest: tokens of the longest row for a model that takes any length; None for 128, and a few rows of all the
            positions that the checkpoint has.
    """

    checkpoint: "Checkpoint"
    rows: Sequence[LabelledRow]
    progress: Progress = lambda _: None
    limits: Limits = field(default_factory=Limits)
    text_must_fit: bool = True
    longest: int | None = None

    def __post_init__(self) -> None:
        self.progress("lowering the model")
        self._graph = lower(self.checkpoint.model, self.checkpoint.config)
        self._truth = Truth(self.checkpoint, self._graph)
        self._task = Task(type(self.checkpoint.model).__name__, self.checkpoint.config)

    def of(self, model: Path, runtime: Runtime | None = None) -> Measured:
        """Measures one model.

        Raises:
            ModelFileError: the file is no model, or one of another task, or takes what no text gives.
            UsageError: the runtime is not installed, or does not run such files.
            DataError: a label is none of the model's.
        """
        self.progress(f"reading {model.name}")
        runtime, structure = file_kind(model, runtime)
        measured = Measured(
            model, structure.precision, runtime.value, findings=structure.findings, remarks=structure.remarks
        )
        try:
            with ChildModel(model, runtime, limits=self.limits) as child:
                if child.precision is not None:
                    measured = replace(measured, precision=child.precision, findings=child.findings)
                measured = replace(measured, remarks=(*measured.remarks, *child.remarks))
                with np.errstate(over="ignore", invalid="ignore"):  # a stranger's numbers
                    return self._run(child, measured)
        except ModelFailedError as error:
            return replace(measured, findings=(*measured.findings, str(error)))

    def _run(self, child: ChildModel, measured: Measured) -> Measured:
        feeding = foreign.feeding(child.inputs)
        measured = replace(measured, length=feeding.length)
        longest = self.checkpoint.config.max_position_embeddings
        if feeding.length is not None and not 1 < feeding.length <= longest:
            words = f"it takes rows of {feeding.length} tokens, the checkpoint has {longest} positions"
            return replace(measured, findings=(*measured.findings, words))
        remarks = list(measured.remarks)
        if feeding.by_position:
            taken = ", ".join(f"{port.name} as {name}" for port, name in feeding.ports.items())
            remarks.append(f"its inputs have no names that tell; taken in order: {taken}")
        made = cases(
            self.checkpoint.tokenizer,
            self.rows,
            length=feeding.length or min(longest, self.longest or _USUAL_LENGTH),
            flexible=feeding.length is None,
            mask_tokens=self._task.masks_tokens,
        )
        whole = []
        if feeding.length is None and self.longest is None and longest > _USUAL_LENGTH:
            whole = full_rows(self.checkpoint.tokenizer, self.rows, length=longest, count=_WHOLE_ROWS)
        # Before minutes of work: a label may be none of the model's.
        labelled = [(case, {} if case.again else self._task.truth(case)) for case in (*made, *whole)]
        ran = list(self._ran(child, feeding, labelled, measured.model.name))
        depth, found, more = self._depth(child, feeding, made, measured.precision)
        by_padding: dict[tuple[str, Padding], list[RowError]] = {}
        for each in ran:
            for name, error in each.errors.items():
                by_padding.setdefault((name, each.case.padding), []).append(error)
        once = [each for each in ran if not each.case.again]
        answered = list(_questions(once)) if self._task.chooses else [each.answered for each in once]
        return replace(
            measured,
            rows=len(ran),
            errors=tuple(summarize(*key, errors) for key, errors in sorted(by_padding.items())),
            agreements=tuple(agreements(answered)),
            metrics=tuple(metrics(answered)),
            unknown=self._unknown(),
            cut=self._cut(feeding.length),
            depth=depth,
            worst=tuple(self._worst(ran)),
            findings=(*measured.findings, *found, *_answers_not_finite(ran)),
            remarks=(*remarks, *more),
        )

    def _ran(
        self,
        child: ChildModel,
        feeding: foreign.Feeding,
        labelled: Sequence[tuple[Case, Mapping[Kind, Answer]]],
        name: str,
    ) -> Iterator[_Ran]:
        for index, (case, labels) in enumerate(labelled):
            self.progress(f"{name}: row {index + 1} of {len(labelled)}")
            truth = self._truth.of(case)
            given = foreign.outputs(
                child.run(feeding.arrays(case.inputs(self.checkpoint.tokenizer.pad_id))), self._truth.shapes(case.width)
            )
            candidate = self._truth.real(given, case)
            yield _Ran(
                case,
                {output: compare(truth[output], candidate[output]) for output in truth},
                Answered(self._task.answers(truth, case), self._task.answers(candidate, case), labels),
            )

    def _depth(
        self, child: ChildModel, feeding: foreign.Feeding, made: Sequence[Case], precision: str
    ) -> tuple[Depth | None, list[str], list[str]]:
        """Where the model parts from the reference; tensors that are not finite; what could not be told."""
        self.progress("comparing tensor by tensor")
        meter = DepthMeter(self._graph)
        bad: dict[str, None] = {}
        depth: Depth | None = None
        findings: list[str] = []
        refused: str | None = None
        unseen = "its tensors could not be looked at"
        try:
            for case in _spread(made):
                inputs = case.inputs(self.checkpoint.tokenizer.pad_id)
                fed, wanted = feeding.arrays(inputs), self._computed(case.width)
                computed, named = child.tensors(fed, wanted)
                bad.update(dict.fromkeys(named))
                exact: dict[str, NDArray[np.generic]] = {}
                try:
                    exact = child.exact(fed, wanted)
                except RunRefusedError as error:  # an operator that is not known
                    refused = str(error)
                truth: dict[str, NDArray[np.floating]] = {}
                width = min(len(case.encoding) + 1, case.width)
                execute(
                    self._graph, {name: values[:, :width] for name, values in inputs.items()}, observe=truth.__setitem__
                )
                meter.add(truth, computed, exact, len(case.encoding))
            depth = meter.finish()
            if refused is not None and precision in _ROUNDED:
                depth = replace(depth, worst_landmark=None)
        except (RunRefusedError, UsageError) as error:
            unseen = f"its tensors could not be looked at: {error}"
        except ModelFailedError as error:
            findings.append(f"while its tensors were looked at: {error}")
        if bad:
            findings.append(f"tensor(s) that are not finite: {_listed(list(bad))}")
        return depth, findings, _told(depth, refused, unseen)

    def _computed(self, width: int) -> dict[str, int]:
        """The tensors that the graph computes, and how many elements each has in one row of this many tokens."""
        sizes = {BATCH: 1, SEQUENCE: width}
        return {
            name: prod(bound(tensor.shape, sizes))
            for name, tensor in self._graph.tensors.items()
            if not tensor.is_constant
        }

    def _unknown(self) -> float:
        """The share of the data's pieces that the vocabulary does not know."""
        inputs = [each for row in self.rows for each in row.inputs]
        texts = [text for each in inputs for text in (each.text, each.text_pair) if text is not None]
        return unknown_share(self.checkpoint.tokenizer, texts)

    def _cut(self, length: int | None) -> float | None:
        """The share of the data's rows that a model of this length cuts, and the checkpoint would not."""
        if length is None or not self.text_must_fit:
            return None
        longest, encode = self.checkpoint.config.max_position_embeddings, self.checkpoint.tokenizer.encode
        lengths = [
            len(encode(each.text, each.text_pair, max_length=longest, pad=False))
            for row in self.rows
            for each in row.inputs
        ]
        return sum(each > length for each in lengths) / len(lengths)

    def _worst(self, ran: Sequence[_Ran]) -> Iterator[WorstRow]:
        for each in sorted(ran, key=lambda each: (each.worst, each.case.row.key))[:_WORST_ROWS]:
            row = each.case.row
            text = row.text if row.text_pair is None else f"{row.text} | {row.text_pair}"
            yield WorstRow(
                text=text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}...",
                tokens=len(each.case.encoding),
                padding=each.case.padding,
                sqnr=each.worst,
                expected=self._in_words(each.answered.reference),
                given=self._in_words(each.answered.candidate),
            )

    def _in_words(self, answers: Mapping[Kind, Answer]) -> str:
        return "; ".join(self._task.in_words(kind, answer) for kind, answer in answers.items())


def file_kind(model: Path, runtime: Runtime | None) -> tuple[Runtime, Structure]:
    """What runs a file, and what it shows before it runs.

    Raises:
        ModelFileError: it cannot be read, or is none of a format that is checked.
        UsageError: the runtime is for files of the other format.
    """
    try:
        if not stat.S_ISREG(model.stat().st_mode):  # opening a pipe would wait for somebody who writes into it
            raise ModelFileError(f"expected a .tflite or .onnx file, got {model}, which is no regular file")
        with model.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise ModelFileError(f"expected a .tflite or .onnx file, got {model}: {error.strerror}") from error
    is_tflite = start[4:8] == _TFLITE or model.suffix == ".tflite"
    if not is_tflite and model.suffix != ".onnx":
        raise ModelFileError(f"expected a .tflite or .onnx file, got {model}, which is neither")
    chosen = runtime or (Runtime.LITERT if is_tflite else Runtime.ONNXRUNTIME)
    if is_tflite == (chosen is Runtime.ONNXRUNTIME):
        raise UsageError(f"expected a runtime for {model.suffix} files, got {chosen.value} for {model}")
    if is_tflite:
        read(model)  # refuses what is not sound
        return chosen, read_structure(model)
    return chosen, Structure("none", (), ())


def _told(depth: Depth | None, refused: str | None, unseen: str) -> list[str]:
    """What the reader should know of the depth: what was not judged, and why."""
    if depth is None:
        return [f"constants and landmarks were not judged: {unseen}"]
    lacking = {"constants": depth.constants, "landmarks": depth.worst_landmark}
    missing = " and ".join(name for name, value in lacking.items() if value is None)
    if not missing:
        return [depth.remark] if depth.remark else []
    if not depth.points:
        return [f"{missing} were not judged: {depth.remark}"]
    why = refused or "none of the tensors that show them has a name of our graph"
    return [f"{missing} were not judged: {why}", *([depth.remark] if depth.remark else [])]


def _spread(made: Sequence[Case]) -> list[Case]:
    """A few cases: the shortest, the longest, and some between, pairs among them."""
    ordered = sorted(made, key=lambda case: (len(case.encoding), case.encoding.input_ids, case.width))
    pairs = [case for case in ordered if 1 in case.encoding.token_type_ids] or ordered
    picked = [ordered[-1], ordered[0], pairs[0], pairs[len(pairs) // 2], ordered[len(ordered) // 2]]
    return list({id(case): case for case in picked}.values())


def _questions(ran: Sequence[_Ran]) -> Iterator[Answered]:
    """Of rows with choices, which choice each model scores best."""
    choices = [each for each in ran if each.case.row.choices]
    for _, group in groupby(choices, lambda each: (each.case.row.text, each.case.row.choices, each.case.row.label)):
        answers = [each.answered for each in group]
        reference, candidate = (
            int(np.argmax([scores["score"] for scores in given]))
            for given in ([each.reference for each in answers], [each.candidate for each in answers])
        )
        yield Answered({"choice": (reference,)}, {"choice": (candidate,)}, answers[0].truth)


def _answers_not_finite(ran: Sequence[_Ran]) -> list[str]:
    rows = sum(any(np.isinf(error.noise) for error in each.errors.values()) for each in ran)
    return [f"outputs that are not finite on {rows} of {len(ran)} rows"] if rows else []


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LONGEST_LIST} more" if len(names) > _LONGEST_LIST else ""
    return ", ".join(name[:80] for name in names[:_LONGEST_LIST]) + more
