"""Fits a model to text: the coordinates of its streams, and the recipe of a precision that computes in integers."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from mobilebert_export.calibration.choose import release
from mobilebert_export.calibration.equalize import equalize
from mobilebert_export.calibration.observe import Inputs, NotFiniteError, batches, few
from mobilebert_export.calibration.ranges import ranges
from mobilebert_export.calibration.sensitivity import alone, sensitivity
from mobilebert_export.calibration.text import Row, refuse_iterator
from mobilebert_export.errors import DataError
from mobilebert_export.graph.expand import expanded
from mobilebert_export.graph.graph import Graph
from mobilebert_export.lowering import Coordinates, lower
from mobilebert_export.precisions import STATIC, Precision
from mobilebert_export.precisions.choices import delegated, everything
from mobilebert_export.precisions.integer import Recipe
from mobilebert_export.precisions.parameters import ActivationBits, parameters

if TYPE_CHECKING:
    from mobilebert_reference import Checkpoint

# The error of a recipe is measured on the first rows of this many batches.
_MEASURED_BATCHES = 2
# Characters of a text that an error shows.
_LONGEST_SHOWN = 60

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Calibration:
    """What a model was fitted to.

    Attributes:
        coordinates: of its streams.
        rotated: whether the wide stream is kept in rotated axes, which a massive token makes worth while.
        recipe: what computes in integers; None for a precision that only stores weights in them.
        released: how many nodes that might compute in integers keep real numbers, because they cost the answer most.
        rows: how many rows of text were used.
    """

    coordinates: Coordinates
    rotated: bool
    recipe: Recipe | None
    released: int
    rows: int


def calibrate(
    checkpoint: "Checkpoint",
    rows: Iterable[Row],
    precision: Precision,
    *,
    length: int,
    progress: Progress = lambda _: None,
) -> Calibration:
    """Measures a model on text and fits it to a precision.

    Args:
        checkpoint: the reference.
        rows: read several times over; memory does not grow with them.
        precision: one that is not static has coordinates alone.
        length: the longest row, in tokens.
        progress: is told each step as it begins, and the rows that it has seen.

    Raises:
        DataError: the rows cannot be used, or an activation is not finite.
    """
    inputs, total = batches_of(checkpoint, rows, length=length, progress=progress)
    with naming_rows(rows):
        equalization = equalize(checkpoint, inputs)
    coordinates, recipe, released = equalization.coordinates, None, 0
    if precision in STATIC:
        graph = expanded(lower(checkpoint.model, checkpoint.config, dtype=np.float64, coordinates=coordinates))
        with naming_rows(rows):
            recipe = full_recipe(graph, inputs("ranges"), precision)
        if precision is Precision.INT8:
            allowed = len(recipe.integer)
            measured = [few(batch) for batch in islice(inputs("errors"), _MEASURED_BATCHES)]
            recipe = release(graph, recipe, measured, partial(_sensitivity, graph, recipe, measured[0], progress))
            released = allowed - len(recipe.integer)
    return Calibration(coordinates, equalization.rotated, recipe, released, total)


def batches_of(
    checkpoint: "Checkpoint", rows: Iterable[Row], *, length: int, progress: Progress
) -> tuple[Callable[[str], Iterator[Inputs]], int]:
    """What gives the text anew for each step, telling how far it is; and how many rows there are."""
    refuse_iterator(rows)
    total = sum(1 for _ in rows)

    def inputs(step: str) -> Iterator[Inputs]:
        done = 0
        progress(f"calibrating, {step}")
        for batch in batches(checkpoint.tokenizer, rows, length=length):
            yield batch
            done += len(batch["attention_mask"])
            progress(f"calibrating, {step}: {done} of {total} rows")

    return inputs, total


@contextmanager
def naming_rows(rows: Iterable[Row]) -> Iterator[None]:
    """Has an error about a row show its text: a number would count neither blank lines nor rows that were held out."""
    try:
        yield
    except NotFiniteError as error:
        text = next(islice(rows, error.row, None)).text
        shown = text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
        raise DataError(
            f'expected finite activations, got NaN or infinity in {error.tensor} on "{shown}"; '
            "leave that row out, or mend the checkpoint"
        ) from error


def full_recipe(graph: Graph, inputs: Iterable[Inputs], precision: Precision) -> Recipe:
    """The recipe of a static precision in which all computes in integers that may."""
    bits: ActivationBits = 16 if precision is Precision.INT16 else 8
    return Recipe(
        parameters(graph, ranges(graph, inputs), bits),
        delegated(graph) if precision is Precision.INT8 else everything(graph, bits),
        bits,
        outputs=precision is Precision.INT8_FULL,
    )


def _sensitivity(graph: Graph, recipe: Recipe, batch: Inputs, progress: Progress) -> dict[str, float]:
    groups = alone(recipe.integer)
    step = f"of {len(groups)} nodes"
    return sensitivity(graph, recipe, groups, batch, lambda done: progress(f"calibrating, int8: {done} {step}"))
