"""What the harness found, as values: measured by one module, shown, compared and stored by others."""

from collections.abc import Mapping
from dataclasses import dataclass

from mobilebert_benchmarks.emulation.delegation import Delegation
from mobilebert_benchmarks.emulation.instructions import Kind
from mobilebert_benchmarks.emulation.tools import Versions


@dataclass(frozen=True)
class CoreResult:
    """One model on one emulated core, one thread.

    Attributes:
        model: the model file's name without its suffix.
        cpu: the core's name.
        length: tokens of the inputs, padding included.
        instructions_per_inference: exact, of the second inference after loading.
        mix: how many of them are of each kind.
        accesses: loads and stores that reached the modelled caches.
        cache_misses: of each modelled level of data cache, from the first on.
        peak_memory_bytes: most memory in use at once, code and runtime included.
        set_up_instructions: from load to the first answer, which is the first inference's.
        delegation: how much of the model the delegate took, seen in a run of its own.
        output_hash: of the outputs' bytes.
    """

    model: str
    cpu: str
    length: int
    instructions_per_inference: int
    mix: Mapping[Kind, int]
    accesses: int
    cache_misses: tuple[int, ...]
    peak_memory_bytes: int
    set_up_instructions: int
    delegation: Delegation
    output_hash: str

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            **vars(self),
            "mix": {kind.value: count for kind, count in self.mix.items()},
            "delegation": {**vars(self.delegation), "whole": self.delegation.whole},
        }


@dataclass(frozen=True)
class TimedResult:
    """One model on a real machine: this one, or a phone.

    Attributes:
        model: the model file's name without its suffix.
        cpu: `host`, or `adb:` and the phone's serial.
        length: tokens of the inputs, padding included.
        threads: of the delegate.
        runs: inferences measured, over rounds in which the models take turns.
        median_ms: of the wall clock.
        p90_ms: the time that nine of ten inferences stay below.
        cpu_ms: processor time of all threads, mean.
        spread: of the rounds' medians, from the smallest to the largest, as a share of the median.
        cold_start_ms: from opening the file, in memory already, to the first answer.
        peak_memory_bytes: most that the process grew by from before the model was loaded; on a phone most that it had.
    """

    model: str
    cpu: str
    length: int
    threads: int
    runs: int
    median_ms: float
    p90_ms: float
    cpu_ms: float
    spread: float
    cold_start_ms: float
    peak_memory_bytes: int


@dataclass(frozen=True)
class Weighted:
    """One model on one core, over texts of a given distribution of lengths.

    Attributes:
        model: the model file's name without its suffix.
        cpu: the core's name.
        instructions_per_inference: mean over the texts, each in the shortest signature that holds it, rounded.
        shares: which share of the texts takes the signature of which length.
    """

    model: str
    cpu: str
    instructions_per_inference: int
    shares: Mapping[int, float]


@dataclass(frozen=True)
class Report:
    """All of one run of the harness.

    Attributes:
        versions: what the counts depend on beside the models; None where nothing was emulated.
        results: by core, then by model, in the order asked for; with texts, each signature that they take.
        weighted: over the texts that were given, if any.
        timed: on this machine and on a phone, if asked for.
        busy: a warning if others used this machine, or None.
    """

    versions: Versions | None
    results: tuple[CoreResult, ...]
    weighted: tuple[Weighted, ...] = ()
    timed: tuple[TimedResult, ...] = ()
    busy: str | None = None

    def notes(self) -> tuple[str, ...]:
        """What a reader of the numbers must know."""
        notes = []
        if self.versions is not None:
            notes.append(
                f"Instructions of one inference, one thread; LiteRT {self.versions.litert} for Linux on aarch64 (not "
                f"Android) under QEMU {self.versions.qemu}, libc {self.versions.libc}. Cache misses are modelled. "
                "Outside: operators that the delegate leaves to the interpreter; with ! more than lookups of tables."
            )
        if self.timed:
            notes.append(
                "Times: models take turns; memory is what the process grows by. No times by operator: LiteRT's "
                "Python has no profiler."
            )
        if self.busy is not None:
            notes.append(f"Warning: {self.busy}.")
        return tuple(notes)

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "versions": vars(self.versions) if self.versions else None,
            "results": [result.to_dict() for result in self.results],
            "weighted": [vars(result) for result in self.weighted],
            "timed": [vars(result) for result in self.timed],
            "busy": self.busy,
        }
