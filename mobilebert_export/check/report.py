"""A check as one HTML page: no script, nothing from elsewhere."""

from collections.abc import Iterable, Sequence
from html import escape

from mobilebert_export.check.agreement import Agreement
from mobilebert_export.check.depth import Depth
from mobilebert_export.check.gate import Line
from mobilebert_export.check.measured import Measured
from mobilebert_export.check.plot import depth_plot, shown
from mobilebert_export.check.run import Checked, CheckReport

_STYLE = """
:root { color-scheme: light dark; --good: #18794e; --bad: #cd2b31; --soft: #8883; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem } h2 { font-size: 1.2rem; margin-top: 2.5rem; overflow-wrap: anywhere }
h3 { font-size: 1rem; margin-bottom: .3rem }
.pass { color: var(--good) } .fail { color: var(--bad) } .scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--soft); vertical-align: top;
  overflow-wrap: break-word }

svg { width: 100%; height: auto } svg text { font-size: 11px; fill: currentColor }
svg .grid { stroke: var(--soft) } svg .jump { stroke: var(--bad); stroke-dasharray: 4 3 }
svg polyline { fill: none; stroke-width: 1.2 }
svg .total { stroke: #3a5bc7; fill: #3a5bc7 } svg .constants { stroke: #b45309; fill: #b45309 }
svg .arithmetic { stroke: #18794e; fill: #18794e } svg polyline.total, svg polyline.constants,
svg polyline.arithmetic { fill: none }
"""


def to_html(report: CheckReport) -> str:
    """The page."""
    verdict = _verdict(report.passed)
    failed = sum(not checked.verdict.passed for checked in report.models)
    summary = (
        f"{len(report.models)} model(s), {failed} failed. Reference: {escape(str(report.checkpoint))}, in float64. "
        f"Text: {escape(report.data)}. Floors: {escape(report.gate)}."
    )
    body = [f"<h1>Equivalence check: {verdict}</h1>", f"<p>{summary}</p>"]
    for checked in report.failed_first:
        body += _model(checked)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>Equivalence check: {'passed' if report.passed else 'failed'}</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(body)}</body></html>\n"
    )


def _model(checked: Checked) -> Iterable[str]:
    measured = checked.measured
    length = "any length" if measured.length is None else f"{measured.length} tokens"
    yield f"<section><h2>{escape(str(measured.model))}: {_verdict(checked.verdict.passed)}</h2>"
    yield f"<p>Precision {escape(measured.precision)}, {length}, {measured.rows} rows, run by {measured.runtime}.</p>"
    if measured.remarks:
        yield f"<ul>{''.join(f'<li>{escape(remark)}</li>' for remark in measured.remarks)}</ul>"
    yield _table("Verdict", ("", "what", "of", "came", "asked"), [_line(line) for line in checked.verdict.lines])
    yield from _numbers(measured)
    if measured.depth is not None and measured.depth.points:
        yield from _depth(measured.depth)
    worst = [(row.text, row.tokens, row.padding, shown(row.sqnr), row.expected, row.given) for row in measured.worst]
    yield _table("Worst rows", ("text", "tokens", "rows are", "SQNR, dB", "reference", "model"), worst)
    yield "</section>"


def _numbers(measured: Measured) -> Iterable[str]:
    """The tables of what was measured over all rows."""
    yield _table(
        "Outputs",
        ("output", "rows are", "rows", "SQNR, dB", "worst row, dB", "cosine", "largest error", "rank agreement"),
        [
            (
                error.output,
                error.padding,
                error.rows,
                shown(error.sqnr),
                shown(error.worst_row_sqnr),
                f"{error.cosine:.7f}",
                f"{error.largest_error:.2g}",
                "" if error.rank is None else f"{error.rank:.5f}",
            )
            for error in measured.errors
        ],
    )
    yield _table(
        "Agreement with the reference",
        ("answer", "answers", "as the reference", "a constant answer would be", "beyond chance (kappa)"),
        [
            (each.kind, each.answers, f"{each.share:.2%}", f"{each.constant:.2%}", _kappa(each))
            for each in measured.agreements
        ],
    )
    yield _table(
        "Against the labels",
        ("answer", "metric", "rows", "reference", "model", "a constant answer", "difference, 95 % interval"),
        [
            (
                each.kind,
                each.name,
                each.rows,
                f"{each.reference:.2%}",
                f"{each.candidate:.2%}",
                f"{each.constant:.2%}",
                f"{100 * each.low:+.2f} to {100 * each.high:+.2f} points",
            )
            for each in measured.metrics
        ],
    )


def _depth(depth: Depth) -> Iterable[str]:
    where = (
        "The error grows evenly."
        if depth.jump is None
        else f"The error grows most from {escape(depth.behind or 'the inputs')} to <b>{escape(depth.jump)}</b>, "
        f"by {depth.growth:.1f} dB."
    )
    yield f"<h3>Where it parts from the reference</h3><p>{where}</p>{depth_plot(depth)}"
    rows = [
        (point.tensor, shown(point.total), shown(point.constants), shown(point.arithmetic)) for point in depth.points
    ]
    table = _table("", ("tensor", "as it runs, dB", "constants alone, dB", "arithmetic alone, dB"), rows)
    yield f"<details><summary>{len(depth.points)} tensors</summary>{table}</details>"


def _line(line: Line) -> tuple[str, ...]:
    value, bound = ("" if number is None else f"{number:.4g}" for number in (line.value, line.bound))
    return ("passed" if line.passed else "FAILED", line.key, line.subject, value, bound)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    heading = f"<h3>{escape(title)}</h3>" if title else ""
    return f'{heading}<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(value: object) -> str:
    style = {"FAILED": ' class="fail"', "passed": ' class="pass"'}.get(str(value), "")
    return f"<td{style}>{escape(str(value))}</td>"


def _verdict(passed: bool) -> str:
    return '<span class="pass">passed</span>' if passed else '<span class="fail">failed</span>'


def _kappa(agreement: Agreement) -> str:
    if agreement.kappa is None:
        return "the reference always answers the same" if agreement.constant == 1 else ""
    return f"{agreement.kappa:.4f}"
