"""What texts of one's own ask of a model: which of its signatures they take, and what they cost in the mean."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mobilebert_benchmarks.model_file import ModelFile, Signature
from mobilebert_benchmarks.results import CoreResult, TimedResult, Weighted, WeightedTime, grouped


@dataclass(frozen=True)
class Traffic:
    """What texts ask of one model.

    Attributes:
        shares: which share of them takes each signature, shortest first.
        cut: how many are longer than the longest signature, and take it.
        texts: how many there are.
    """

    shares: Mapping[Signature, float]
    cut: int
    texts: int

    @property
    def by_length(self) -> dict[int, float]:
        """The shares, by tokens of the signature."""
        return {signature.length: share for signature, share in self.shares.items()}

    @property
    def share_cut(self) -> float:
        """The share of the texts that are cut."""
        return self.cut / self.texts if self.texts else 0.0


def traffic(model: ModelFile, lengths: Sequence[int]) -> Traffic:
    """What texts of these lengths, in tokens, ask of the file. Without texts, it is its longest signature."""
    longest = model.signatures[-1]
    if not lengths:
        return Traffic({longest: 1.0}, 0, 0)
    taken = Counter(model.signature_for(length) for length in lengths)
    shares = {signature: taken[signature] / len(lengths) for signature in model.signatures if taken[signature]}
    return Traffic(shares, sum(length > longest.length for length in lengths), len(lengths))


def too_long(model: ModelFile, asked: Traffic) -> str | None:
    """What to warn of if texts are longer than the file, else None."""
    if not asked.cut:
        return None
    longest = model.signatures[-1].length
    return (
        f"{asked.cut:,} of {asked.texts:,} texts are longer than the {longest} tokens of {model.name}, which is "
        "measured as if they were cut; a file that holds them has more to do"
    )


def weighted(results: Sequence[CoreResult], asked: Mapping[str, Traffic]) -> tuple[Weighted, ...]:
    """Each model on each core: the mean of its counts, by the shares of its signatures."""
    means = []
    for (model, cpu), seen in grouped(results, lambda result: (result.model, result.cpu)).items():
        shares = asked[model].by_length
        mean = sum(shares[result.length] * result.instructions_per_inference for result in seen)
        means.append(Weighted(model, cpu, round(mean), _modelled_ms(seen, shares), shares, asked[model].share_cut))
    return tuple(means)


def _modelled_ms(results: Sequence[CoreResult], shares: Mapping[int, float]) -> tuple[float, float] | None:
    """Both ends of the mean time of one model on one core; None if a signature that the texts take has none."""
    low = high = 0.0
    for result in results:
        if isinstance(result.estimate, str):
            return None
        low += shares[result.length] * result.estimate.low_ms
        high += shares[result.length] * result.estimate.high_ms
    return low, high


def weighted_times(results: Sequence[TimedResult], asked: Mapping[str, Traffic]) -> tuple[WeightedTime, ...]:
    """Each model on each machine with each number of threads: the mean of its medians, by the shares."""
    means = []
    for (model, cpu, threads), seen in grouped(results, lambda each: (each.model, each.cpu, each.threads)).items():
        shares = asked[model].by_length
        mean = sum(shares[result.length] * result.median_ms for result in seen)
        means.append(WeightedTime(model, cpu, threads, mean, shares, asked[model].share_cut))
    return tuple(means)
