"""What it costs the answer to compute nodes in integers, each on its own or a layer at a time."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from mobilebert_export.calibration.observe import Inputs, few, outputs
from mobilebert_export.check.metrics import sqnr
from mobilebert_export.graph.executor import execute
from mobilebert_export.graph.graph import Graph
from mobilebert_export.precisions.integer import Recipe, integer
from mobilebert_export.precisions.rewrite import Rewriter

# A model has hundreds of nodes, and each is measured on this many tokens: some rows of a batch.
_TOKENS = 256


def sensitivity(
    graph: Graph,
    recipe: Recipe,
    groups: Mapping[str, frozenset[str]],
    batch: Inputs,
    progress: Callable[[int], None] = lambda _: None,
) -> dict[str, float]:
    """SQNR at the outputs, in dB, for each group of nodes when it alone computes in integers.

    What stands before a group is computed once; what follows it, in float32, once for each group.

    Args:
        graph: of real numbers.
        recipe: how integers stand for real numbers.
        groups: names of nodes, by the name of the group.
        batch: rows of text, of which the first ones are taken.
        progress: is told how many groups are done.
    """
    rows = few(batch, _TOKENS)
    truth = outputs(graph, [rows])
    values: dict[str, NDArray[np.floating]] = {}
    execute(graph, rows, dtype=torch.float32, observe=values.__setitem__)
    place = {node.outputs[0]: index for index, node in enumerate(graph.nodes)}
    measured = {}
    for done, (name, nodes) in enumerate(groups.items(), start=1):
        first = min(place[node] for node in nodes)
        before = {each: values[each] for node in graph.nodes[:first] for each in node.outputs}
        quantized = integer(graph, replace(recipe, integer=nodes), rest=Rewriter.keep)
        measured[name] = sqnr(truth, outputs(quantized, [rows], dtype=torch.float32, known=before))
        progress(done)
    return measured


def alone(nodes: frozenset[str]) -> dict[str, frozenset[str]]:
    """Each node as a group of its own."""
    return {name: frozenset([name]) for name in sorted(nodes)}
