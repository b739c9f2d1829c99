"""What texts of one's own ask of a model: which of its signatures they take, and what they cost in the mean."""

from collections import Counter
from collections.abc import Mapping, Sequence

from mobilebert_benchmarks.model_file import ModelFile, Signature
from mobilebert_benchmarks.results import CoreResult, TimedResult, Weighted, WeightedTime, grouped

Shares = Mapping[Signature, float]


def shares(model: ModelFile, lengths: Sequence[int]) -> Shares:
    """The share of the texts that takes each signature, shortest first; without texts all take the longest.

    Args:
        model: the file.
        lengths: of the texts, in tokens.
    """
    if not lengths:
        return {model.signatures[-1]: 1.0}
    taken = Counter(model.signature_for(length) for length in lengths)
    return {signature: taken[signature] / len(lengths) for signature in model.signatures if taken[signature]}


def weighted(results: Sequence[CoreResult], taken: Mapping[str, Shares]) -> tuple[Weighted, ...]:
    """Each model on each core: the mean of its counts, by the shares of its signatures."""
    means = []
    for (model, cpu), seen in grouped(results, lambda result: (result.model, result.cpu)).items():
        by_length = _by_length(taken[model])
        mean = sum(by_length[result.length] * result.instructions_per_inference for result in seen)
        means.append(Weighted(model, cpu, round(mean), by_length))
    return tuple(means)


def weighted_times(results: Sequence[TimedResult], taken: Mapping[str, Shares]) -> tuple[WeightedTime, ...]:
    """Each model on each machine with each number of threads: the mean of its medians, by the shares."""
    means = []
    for (model, cpu, threads), seen in grouped(results, lambda each: (each.model, each.cpu, each.threads)).items():
        by_length = _by_length(taken[model])
        mean = sum(by_length[result.length] * result.median_ms for result in seen)
        means.append(WeightedTime(model, cpu, threads, mean, by_length))
    return tuple(means)


def _by_length(taken: Shares) -> dict[int, float]:
    return {signature.length: share for signature, share in taken.items()}
