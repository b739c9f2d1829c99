"""The gate: floors in a TOML file, and the verdict on what was measured."""

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeAlias

from mobilebert_export.check.measured import Measured
from mobilebert_export.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Sense: TypeAlias = Literal["at least", "at most", "exactly"]

EVERY = "every"
_TABLES = (EVERY, "none", "float16", "dynamic", "int8", "int8-full", "int16")
_SENSES: Mapping[str, Sense] = {
    "sqnr": "at least",
    "row_sqnr": "at least",
    "cosine": "at least",
    "largest_error": "at most",
    "rank": "at least",
    "kappa": "at least",
    "metric_loss": "at most",
    "reference_kappa": "at least",
    "unknown": "at most",
    "cut": "at most",
    "constants": "at least",
    "landmarks": "at least",
    "jump": "at most",
    "length": "exactly",
}
# These say whether the model was measured at all; the others are about the data or the file.
_COMPARISONS = frozenset({"sqnr", "row_sqnr", "cosine", "largest_error", "kappa", "rank", "metric_loss"})
# One answer lost among fewer would be more than any floor allows: the interval's end is three of them.
_ENOUGH_LABELS = 100
# Of a handful of answers, or of values in their order, one near tie that falls the other way is below any floor.
_ENOUGH_ANSWERS = 30


@dataclass(frozen=True)
class Line:
    """One thing that was judged.

    Attributes:
        key: the gate's key; `finding` for what fails whatever the gate says.
        subject: what was measured, such as `logits, padded`; a finding's own words.
        value: what came; None for a finding.
        bound: what was asked; None for a finding.
        passed: whether it came.
    """

    key: str
    subject: str
    value: float | None
    bound: float | None
    passed: bool

    def __str__(self) -> str:
        if self.value is None or self.bound is None:
            return f"{self.key}: {self.subject}"
        return f"{self.key} of {self.subject}: {self.value:.4g}, expected {_SENSES[self.key]} {self.bound:g}"


@dataclass(frozen=True)
class Verdict:
    """What the gate says of one model: failing lines first."""

    lines: tuple[Line, ...]

    @property
    def passed(self) -> bool:
        """Whether every line did."""
        return all(line.passed for line in self.lines)


@dataclass(frozen=True)
class Gate:
    """Floors, by precision.

    Attributes:
        floors: for each table of the file, its keys and numbers.
        source: where they come from.
    """

    floors: Mapping[str, Mapping[str, float]]
    source: str

    @staticmethod
    def default() -> "Gate":
        """The one that is shipped."""
        resource = files("mobilebert_export.check") / "gate.toml"
        return _parsed(resource.read_text(encoding="utf-8"), "the default gate")

    @staticmethod
    def read(path: Path) -> "Gate":
        """A file's, which takes the place of the default one as a whole.

        Raises:
            UsageError: it cannot be read, or has a key that is not known.
        """
        try:
            return _parsed(path.read_text(encoding="utf-8-sig"), str(path))
        except OSError as error:
            raise UsageError(f"expected a gate file, got {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise UsageError(f"expected a gate file in UTF-8, got other bytes in {path}") from error

    def of_length(self, length: int) -> "Gate":
        """The same, for models that take rows of this many tokens."""
        return replace(self, floors={name: {**self.floors.get(name, {}), "length": float(length)} for name in _TABLES})

    def judge(self, measured: Measured) -> Verdict:
        """The verdict on a model. One of which nothing was compared fails."""
        floors = {**self.floors.get(EVERY, {}), **self.floors.get(measured.precision, {})}
        lines = [Line("finding", words, None, None, passed=False) for words in measured.findings]
        for key, bound in floors.items():
            for subject, value in _values(key, measured):
                lines.append(Line(key, subject, value, bound, _holds(_SENSES[key], value, bound)))
        if not any(line.key in _COMPARISONS for line in lines):
            why = f"{self.source} has no floor that applies to {measured.precision}"
            words = f"nothing was compared: {why if measured.rows else 'no row of text was run'}"
            lines.append(Line("finding", words, None, None, passed=False))
        return Verdict(tuple(sorted(lines, key=lambda line: line.passed)))


def _parsed(text: str, source: str) -> Gate:
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"expected a gate file in TOML, got in {source}: {error}") from error
    return Gate({name: _floors(name, table, source) for name, table in tables.items()}, source)


def _floors(name: str, table: Any, source: str) -> dict[str, float]:  # noqa: ANN401 - TOML
    if name not in _TABLES or not isinstance(table, dict):
        raise UsageError(f"expected the tables {', '.join(_TABLES)} in {source}, got {name[:80]}")
    for key, value in table.items():
        if key not in _SENSES:
            raise UsageError(f"expected keys of {', '.join(_SENSES)} in [{name}] of {source}, got {key[:80]}")
        if isinstance(value, int) and abs(value) > sys.float_info.max:
            raise UsageError(f"expected a number for {key} in [{name}] of {source} that float64 holds")
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
            raise UsageError(f"expected a number for {key} in [{name}] of {source}, got {str(value)[:80]}")
    return {key: float(value) for key, value in table.items()}


def _values(key: str, measured: Measured) -> Iterator[tuple[str, float]]:
    """What a key is about, and what came."""
    for error in measured.errors:
        subject = f"{error.output}, {error.padding}"
        found = {
            "sqnr": error.sqnr,
            "row_sqnr": error.worst_row_sqnr,
            "cosine": error.cosine,
            "largest_error": error.largest_error,
            "rank": error.rank if error.ranked >= _ENOUGH_ANSWERS else None,
        }.get(key)
        if found is not None:
            yield subject, found
    for agreement in measured.agreements:
        if key == "kappa" and agreement.kappa is not None and agreement.answers >= _ENOUGH_ANSWERS:
            yield agreement.kind, agreement.kappa
    for metric in measured.metrics:
        if key == "metric_loss" and metric.rows >= _ENOUGH_LABELS:
            yield f"{metric.kind}, {metric.name}", 0.0 - metric.low
        if key == "reference_kappa" and metric.reference_kappa is not None:
            yield metric.kind, metric.reference_kappa
    if key == "unknown" and measured.unknown is not None:
        yield "text", measured.unknown
    if key == "cut" and measured.cut is not None:
        yield f"rows by a length of {measured.length}", measured.cut
    if key == "length" and measured.length is not None:
        yield "a row", measured.length
    yield from _depth_values(key, measured)


def _depth_values(key: str, measured: Measured) -> Iterator[tuple[str, float]]:
    depth = measured.depth
    if depth is None:
        return
    if key == "constants" and depth.constants is not None:
        yield "outputs", depth.constants
    if key == "landmarks" and depth.worst_landmark is not None:
        name, value = depth.worst_landmark
        yield name, value
    if key == "jump" and depth.points:
        yield depth.jump or "landmarks", depth.growth


def _holds(sense: Sense, value: float, bound: float) -> bool:
    if sense == "at least":
        return value >= bound
    return value <= bound if sense == "at most" else value == bound
