"""Draws a sensitivity report: where int8 hurts, in one look."""

import io

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mobilebert_export.calibration.report import SensitivityReport
from mobilebert_export.precisions.parameters import Range

_KINDS = {"Linear": "C0", "Add": "C1", "MatMul": "C2", "Softmax": "C3"}
_REST = "0.5"


def drawn(report: SensitivityReport, form: str) -> bytes:
    """The report as a picture, `png` or `svg`: each node's SQNR above, its range before and after below."""
    # Identifiers in an SVG are made from this, and not from chance: the same report gives the same bytes.
    with mpl.rc_context({"svg.hashsalt": "mobilebert-export"}):
        figure = Figure(figsize=(12, 8), layout="constrained")
        costs, widths = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        _costs(costs, report)
        _widths(widths, report)
        _name_parts(widths, report)
        picture = io.BytesIO()
        figure.savefig(picture, format=form, dpi=110, metadata={"Date": None} if form == "svg" else {"Software": None})
    return picture.getvalue()


def _costs(axes: Axes, report: SensitivityReport) -> None:
    """A point for each node, and a line for each part as a whole: lower is worse."""
    for kind, colour in (*_KINDS.items(), ("other", _REST)):
        places = [
            index
            for index, node in enumerate(report.nodes)
            if (node.operator if node.operator in _KINDS else "other") == kind
        ]
        axes.plot(places, [report.nodes[place].sqnr for place in places], ".", color=colour, label=kind)
    for part, decibels in report.parts.items():
        places = [index for index, node in enumerate(report.nodes) if node.part == part]
        axes.hlines(decibels, min(places), max(places) + 1, color="black", label="_" if places[0] else "whole part")
    axes.axhline(report.whole, color="C3", linestyle="--", label="the whole model")
    axes.set_ylabel("SQNR at the output, dB\n(alone in int8; lower hurts more)")
    axes.legend(loc="upper left", ncols=3, fontsize="small")


def _widths(axes: Axes, report: SensitivityReport) -> None:
    """The largest magnitude of each tensor before and after equalization."""
    places = np.arange(len(report.nodes))
    for label, colour, spans in (
        ("before", "0.7", [node.before for node in report.nodes]),
        ("after", "C0", [node.after for node in report.nodes]),
    ):
        axes.plot(places, [_largest(span) for span in spans], drawstyle="steps-mid", color=colour, label=label)
    axes.set_yscale("log")
    axes.set_ylabel("largest magnitude")
    axes.legend(title="equalization", loc="upper left", ncols=2, fontsize="small")


def _largest(span: Range | None) -> float:
    """NaN, which leaves a gap, where there is nothing that a logarithm shows."""
    largest = 0.0 if span is None else max(abs(span[0]), abs(span[1]))
    return largest if largest > 0 else float("nan")


def _name_parts(axes: Axes, report: SensitivityReport) -> None:
    starts = {part: next(i for i, node in enumerate(report.nodes) if node.part == part) for part in report.parts}
    axes.set_xticks(list(starts.values()), list(starts), rotation=60, ha="right", fontsize="small")
    axes.set_xlim(-1, len(report.nodes))
