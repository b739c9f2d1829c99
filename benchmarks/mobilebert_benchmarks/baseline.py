"""The gate: instruction counts against those of a committed file, made with the same versions."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mobilebert_benchmarks.emulation.tools import Versions
from mobilebert_benchmarks.errors import BaselineError, RegressionError
from mobilebert_benchmarks.results import CoreResult

# Counts repeat exactly; this leaves room for a change that is not worth a commit.
TOLERANCE = 0.001
_MOST_BYTES = 10 << 20


@dataclass(frozen=True)
class Baseline:
    """Instructions per inference, by model and core, as these versions count them."""

    versions: Versions
    instructions: Mapping[str, Mapping[str, int]]

    def to_json(self) -> str:
        """The file's content, sorted, so that a change of one number is a change of one line."""
        content = {"versions": asdict(self.versions), "instructions_per_inference": self.instructions}
        return json.dumps(content, indent=2, sort_keys=True) + "\n"


def read_baseline(path: Path) -> Baseline:
    """Reads a file that `Baseline.to_json` made.

    Raises:
        BaselineError: it cannot be read, or is another kind of file.
    """
    try:
        with path.open("rb") as file:
            baseline = _parsed(file.read(_MOST_BYTES))
    except FileNotFoundError as error:
        raise BaselineError(
            f"expected a baseline of this command, got {path}, which does not exist; make it with --update-baseline"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise BaselineError(
            f"expected a baseline of this command, got {path}: {reason}; remove it and use --update-baseline"
        ) from error
    return baseline


def _parsed(content: bytes) -> Baseline:
    fields = json.loads(content)
    instructions = fields["instructions_per_inference"]
    if not all(type(count) is int and count > 0 for cores in instructions.values() for count in cores.values()):
        raise ValueError("a count is no positive integer")
    versions = Versions(**fields["versions"])
    if not all(isinstance(version, str) for version in asdict(versions).values()):
        raise ValueError("a version is no text")
    return Baseline(versions, instructions)


def refuse_other_versions(baseline: Baseline, versions: Versions) -> None:
    """Passes if the baseline's counts can be compared with this machine's.

    Raises:
        BaselineError: they were made with other versions; with those that differ.
    """
    differing = _differing(baseline.versions, versions)
    if differing:
        raise BaselineError(
            f"expected a baseline made with this machine's versions, got {differing}; use --update-baseline"
        )


def _differing(versions: Versions, here: Versions) -> str:
    """Those that do, by name; empty if none does."""
    before, now = asdict(versions), asdict(here)
    return ", ".join(f"{name} {before[name]} (here {now[name]})" for name in now if before[name] != now[name])


def compare(baseline: Baseline, results: Sequence[CoreResult]) -> None:
    """Passes if no model needs more instructions than its baseline and the tolerance.

    Raises:
        RegressionError: a model needs more; with every such model, its core and by how much.
        BaselineError: none does, but the baseline lacks a model or a core.
    """
    regressions, missing = [], []
    for result in results:
        before = baseline.instructions.get(result.model, {}).get(result.cpu)
        if before is None:
            missing.append(f"{result.model} on {result.cpu}")
            continue
        change = result.instructions_per_inference / before - 1
        if change > TOLERANCE:
            regressions.append(
                f"{result.model} on {result.cpu} {change:+.2%} ({before:,} to {result.instructions_per_inference:,})"
            )
    if regressions:
        raise RegressionError(
            f"expected at most {TOLERANCE:.1%} more instructions than the baseline, got {'; '.join(regressions)}"
        )
    if missing:
        raise BaselineError(f"expected a baseline for {', '.join(missing)}, got none; use --update-baseline")


def updated(baseline: Baseline | None, versions: Versions, results: Sequence[CoreResult]) -> Baseline:
    """The baseline with these results in it. Counts of other versions are dropped: they compare with nothing."""
    kept = baseline.instructions if baseline is not None and baseline.versions == versions else {}
    instructions = {model: dict(cores) for model, cores in kept.items()}
    for result in results:
        instructions.setdefault(result.model, {})[result.cpu] = result.instructions_per_inference
    return Baseline(versions, instructions)


def dropped(before: Baseline, after: Baseline) -> str | None:
    """What to warn of if an update has lost counts, which is where they are of other versions, else None."""
    lost = [
        model
        for model, counts in before.instructions.items()
        if counts.keys() - after.instructions.get(model, {}).keys()
    ]
    if not lost:
        return None
    return (
        f"counts made with {_differing(before.versions, after.versions)} are dropped from the baseline: of "
        f"{', '.join(lost)}"
    )
