"""What texts of one's own ask of a model: which of its signatures they take."""

from collections import Counter
from collections.abc import Mapping, Sequence

from mobilebert_benchmarks.model_file import ModelFile, Signature
from mobilebert_benchmarks.results import CoreResult, Weighted


def shares(model: ModelFile, lengths: Sequence[int]) -> dict[Signature, float]:
    """The share of the texts that takes each signature, shortest first; `lengths` are theirs in tokens."""
    taken = Counter(model.signature_for(length) for length in lengths)
    return {signature: taken[signature] / len(lengths) for signature in model.signatures if taken[signature]}


def weighted(results: Sequence[CoreResult], by_length: Mapping[int, float]) -> Weighted:
    """One model on one core: the mean of its results by these shares of lengths."""
    mean = sum(by_length[result.length] * result.instructions_per_inference for result in results)
    return Weighted(results[0].model, results[0].cpu, round(mean), dict(by_length))
