"""The report as one page that needs nothing else: tables, and bar charts as SVG."""

from collections.abc import Iterator
from html import escape

from mobilebert_benchmarks.results import Report
from mobilebert_benchmarks.table import Table, tables

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h2 { font-size: 1.1rem; margin-top: 2.5rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin-top: 1rem }
th, td { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left }
svg text { font-size: 13px; fill: #222 }
"""
_LABEL, _BAR, _ROW = 280, 520, 26  # pixels: width of the names, length of the longest bar, height of a row


def page(report: Report) -> str:
    """The whole page."""
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>mobilebert-export benchmark</title>',
            f"<style>{_STYLE}</style>\n<h1>mobilebert-export benchmark</h1>",
            *(f"<p>{escape(line)}</p>" for line in report.notes()),
            *(line for table in tables(report) for line in _section(table)),
            "</html>\n",
        ]
    )


def _section(table: Table) -> Iterator[str]:
    yield f"<h2>{escape(table.title)}</h2>"
    if table.bars:
        yield _chart(table)
    yield f"<table><tr>{''.join(f'<th>{escape(column)}</th>' for column in table.columns)}</tr>"
    for row in table.rows:
        yield f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
    yield "</table>"


def _chart(table: Table) -> str:
    height, longest = _ROW * len(table.rows), max(table.bars)
    parts = [f'<svg width="{_LABEL + _BAR + 120}" height="{height}" role="img" aria-label="{escape(table.title)}">']
    for place, (row, number) in enumerate(zip(table.rows, table.bars, strict=True)):
        top, length = place * _ROW, _BAR * number / longest
        parts.append(f'<text x="{_LABEL - 8}" y="{top + 17}" text-anchor="end">{escape(row[0])}</text>')
        parts.append(f'<rect x="{_LABEL}" y="{top + 4}" width="{length:.1f}" height="{_ROW - 8}" fill="#3b6ea5"/>')
        parts.append(f'<text x="{_LABEL + length + 6:.1f}" y="{top + 17}">{escape(row[1])}</text>')
    return "".join([*parts, "</svg>"])
