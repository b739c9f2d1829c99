"""The depth plot: the error of each tensor, from the embeddings to the outputs, as SVG."""

import math
from collections.abc import Callable, Sequence
from html import escape

from mobilebert_export.check.depth import Depth, DepthPoint

_WIDTH, _HEIGHT = 860, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 12, 12, 40
_HIGHEST = 160.0  # more dB than float32 has
_STEP = 20
_KINDS: Sequence[tuple[str, str, Callable[[DepthPoint], float | None]]] = (
    ("total", "as it runs, against the reference", lambda point: point.total),
    ("constants", "its constants alone, against the reference", lambda point: point.constants),
    ("arithmetic", "its arithmetic alone", lambda point: point.arithmetic),
)


def depth_plot(depth: Depth) -> str:
    """An `<svg>` element: dB upwards, depth to the right; a mark for each tensor, a line where the error jumps."""
    count = max(len(depth.points) - 1, 1)

    def x(index: int) -> float:
        return _LEFT + index * (_WIDTH - _LEFT - _RIGHT) / count

    def y(decibels: float) -> float:
        share = min(max(decibels, 0.0), _HIGHEST) / _HIGHEST
        return _TOP + (1 - share) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="error along the depth">']
    for decibels in range(0, int(_HIGHEST) + 1, _STEP):
        height = y(decibels)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{height:.1f}" y2="{height:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{height + 4:.1f}" text-anchor="end">{decibels} dB</text>')
    for index, point in enumerate(depth.points):
        if point.tensor == depth.jump:
            parts.append(f'<line class="jump" x1="{x(index):.1f}" x2="{x(index):.1f}" y1="{_TOP}" y2="{y(0):.1f}"/>')
    for kind, _, value in _KINDS:
        marks = [
            (index, point, found) for index, point in enumerate(depth.points) if (found := value(point)) is not None
        ]
        line = " ".join(f"{x(index):.1f},{y(found):.1f}" for index, _, found in marks)
        parts.append(f'<polyline class="{kind}" points="{line}"/>')
        parts += [
            f'<circle class="{kind}" cx="{x(index):.1f}" cy="{y(found):.1f}" r="2.5">'
            f"<title>{escape(point.tensor)}: {shown(found)} dB, {kind}</title></circle>"
            for index, point, found in marks
        ]
    for index, (kind, words, _) in enumerate(_KINDS):
        left, bottom = _LEFT + index * 280, _HEIGHT - 10
        parts.append(f'<circle class="{kind}" cx="{left}" cy="{bottom - 4}" r="4"/>')
        parts.append(f'<text x="{left + 10}" y="{bottom}">{words}</text>')
    return "".join([*parts, "</svg>"])


def shown(value: float | None) -> str:
    """A number of dB for people."""
    if value is None:
        return ""
    return f"{value:.1f}" if math.isfinite(value) else ("exact" if value > 0 else "lost")
