"""What the harness found, as values: measured by one module, shown, compared and stored by others."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from mobilebert_benchmarks.emulation.delegation import Delegation
from mobilebert_benchmarks.emulation.instructions import Kind
from mobilebert_benchmarks.emulation.mca import CALIBRATION, LABEL, Estimate
from mobilebert_benchmarks.emulation.tools import Versions

_Result = TypeVar("_Result")
_Key = TypeVar("_Key", bound=Hashable)


def grouped(results: Iterable[_Result], key: Callable[[_Result], _Key]) -> dict[_Key, list[_Result]]:
    """The results that share a key, in their order."""
    groups: dict[_Key, list[_Result]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    return groups


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
        operators: instructions of each kernel, highest first, seen in the same run.
        estimate: of the time, or why there is none.
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
    operators: Mapping[str, int]
    estimate: Estimate | str
    output_hash: str

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            **vars(self),
            "mix": {kind.value: count for kind, count in self.mix.items()},
            "delegation": vars(self.delegation),
            "estimate": {"absent": self.estimate} if isinstance(self.estimate, str) else self.estimate.to_dict(),
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
        operators_ms: of each kernel, highest first, in runs of their own; empty where nothing tells.
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
    operators_ms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Weighted:
    """One model on one core, over texts of a given distribution of lengths.

    Attributes:
        model: the model file's name without its suffix.
        cpu: the core's name.
        instructions_per_inference: mean over the texts, each in the shortest signature that holds it, rounded.
        modelled_ms: both ends of the estimated time, mean over the texts; None where a signature has no estimate.
        shares: which share of the texts takes the signature of which length.
        cut: the share of the texts that are longer than the longest signature, and are counted as if cut to it.
    """

    model: str
    cpu: str
    instructions_per_inference: int
    modelled_ms: tuple[float, float] | None
    shares: Mapping[int, float]
    cut: float


@dataclass(frozen=True)
class WeightedTime:
    """One model on a real machine, over texts of a given distribution of lengths.

    Attributes:
        model: the model file's name without its suffix.
        cpu: `host`, or `adb:` and the phone's serial.
        threads: of the delegate.
        mean_ms: over the texts, of the medians of the shortest signatures that hold them.
        shares: which share of the texts takes the signature of which length.
        cut: the share of the texts that are longer than the longest signature, and are timed as if cut to it.
    """

    model: str
    cpu: str
    threads: int
    mean_ms: float
    shares: Mapping[int, float]
    cut: float


@dataclass(frozen=True)
class Texts:
    """The texts that weigh the results.

    Attributes:
        count: how many.
        longest: tokens of the longest.
        tokenizer: whose tokenizer counted the tokens.
    """

    count: int
    longest: int
    tokenizer: str


@dataclass(frozen=True)
class Report:
    """All of one run of the harness.

    Attributes:
        versions: what the counts depend on beside the models; None where nothing was emulated.
        results: by core, then by model, in the order asked for; with texts, each signature that they take.
        weighted: over the texts that were given, if any.
        timed: on this machine and on a phone, if asked for; with texts, each signature that they take.
        weighted_times: over the texts that were given, if any.
        texts: those that were given, if any.
        host_load: mean number of processes at work on this machine in the minute before it was measured, if it was.
        warnings: what may mislead, or was asked for and is not here.
    """

    versions: Versions | None
    results: tuple[CoreResult, ...]
    weighted: tuple[Weighted, ...] = ()
    timed: tuple[TimedResult, ...] = ()
    weighted_times: tuple[WeightedTime, ...] = ()
    texts: Texts | None = None
    host_load: float | None = None
    warnings: tuple[str, ...] = ()

    def notes(self) -> tuple[str, ...]:
        """What a reader of the numbers must know."""
        notes = []
        if self.versions is not None:
            notes.append(
                f"Instructions of one inference, one thread; LiteRT {self.versions.litert} for Linux on aarch64 (not "
                f"Android) under QEMU {self.versions.qemu}, libc {self.versions.libc}. Cache misses are modelled. "
                "Outside: operators that the delegate leaves to the interpreter, in capitals below; with ! more than "
                "lookups of tables."
            )
            notes += self._estimates()
        if self.timed:
            notes.append("Times: models take turns; memory is what the process grows by, on a phone its total.")
        if self.host_load is not None:
            notes.append(f"This machine had a load of {self.host_load:.1f} before it was measured.")
        if self.texts is not None:
            notes.append(
                f"Texts: {self.texts.count:,}, the longest of {self.texts.longest:,} tokens as the tokenizer of "
                f"{self.texts.tokenizer} counts them."
            )
        return (*notes, *(f"Warning: {warning}." for warning in self.warnings))

    def _estimates(self) -> Iterator[str]:
        """What the estimates are made of, and why some are not there."""
        low, high = CALIBRATION
        made_by = dict.fromkeys(each.estimate.made_by for each in self.results if isinstance(each.estimate, Estimate))
        if made_by:
            yield (
                f"Milliseconds: {LABEL}. Cycles without waits for memory and branches ({'; '.join(made_by)}) times "
                f"{low} to {high:g}, a judgement and no fit."
            )
        absent = [each for each in self.results if isinstance(each.estimate, str)]
        for (cpu, reason), without in grouped(absent, lambda each: (each.cpu, each.estimate)).items():
            yield f"No milliseconds on {cpu} for {', '.join(dict.fromkeys(each.model for each in without))}: {reason}."

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "versions": vars(self.versions) if self.versions else None,
            "results": [result.to_dict() for result in self.results],
            "weighted": [vars(result) for result in self.weighted],
            "timed": [vars(result) for result in self.timed],
            "weighted_times": [vars(result) for result in self.weighted_times],
            "texts": vars(self.texts) if self.texts else None,
            "host_load": self.host_load,
            "warnings": list(self.warnings),
        }
