"""Results as tables, as JSON and as a page; texts that weigh them."""

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from mobilebert_benchmarks.emulation.delegation import Delegation
from mobilebert_benchmarks.emulation.instructions import Kind
from mobilebert_benchmarks.emulation.tools import Versions
from mobilebert_benchmarks.html import page
from mobilebert_benchmarks.model_file import Arithmetic, ModelFile, Signature
from mobilebert_benchmarks.results import CoreResult, Report, TimedResult
from mobilebert_benchmarks.table import tables
from mobilebert_benchmarks.traffic import shares, weighted

ONE = CoreResult(
    model="<model> & co",
    cpu="cortex-a76",
    length=128,
    instructions_per_inference=4_000_000,
    mix={kind: 4_000_000 if kind is Kind.DOT_PRODUCT else 0 for kind in Kind},
    accesses=1,
    cache_misses=(3_000, 2_000, 1_000),
    peak_memory_bytes=4096,
    set_up_instructions=1,
    delegation=Delegation(1, 10, {"GATHER": 2}),
    output_hash="0" * 16,
)
OTHER = replace(ONE, model="other", instructions_per_inference=2_000_000, delegation=Delegation(2, 9, {"SOFTMAX": 1}))
HOST = TimedResult("other", "host", 128, 2, 50, 4.0, 5.0, 7.5, 0.02, 30.0, 10_000_000)
REPORT = Report(Versions("7.2.22", "Debian", "2.3.0"), (ONE, OTHER), (), (HOST,), "this machine is busy")


def test_a_row_for_each_model_with_its_ratio_to_the_first() -> None:
    core, host = tables(REPORT)
    rows = [dict(zip(core.columns, row, strict=True)) for row in core.rows]
    assert [(row["instructions"], row["ratio"]) for row in rows] == [("4.00 M", "1.000"), ("2.00 M", "0.500")]
    assert [(row["partitions"], row["outside"]) for row in rows] == [("1", "2"), ("2", "1 !")]
    assert host.rows[0][1] == "4.00 ms"
    assert core.bars == (4.0, 2.0)


def test_json_holds_all_of_it() -> None:
    content = json.loads(json.dumps(REPORT.to_dict()))
    assert [result["instructions_per_inference"] for result in content["results"]] == [4_000_000, 2_000_000]
    assert content["results"][1]["delegation"]["whole"] is False
    assert content["timed"][0]["p90_ms"] == 5.0
    assert content["busy"] == "this machine is busy"


class Seen(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.links, self.widths = list[str](), list[str](), list[float]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [name for name, _ in attrs if name in {"src", "href"}]
        self.widths += [float(value or 0) for name, value in attrs if tag == "rect" and name == "width"]


def test_the_page_needs_nothing_else_and_its_bars_are_the_numbers() -> None:
    text = page(REPORT)
    seen = Seen(text)
    assert seen.links == []
    assert not {"script", "link", "img", "model"} & set(seen.tags)
    assert seen.tags.count("svg") == 2
    assert seen.widths[0] == 2 * seen.widths[1]
    assert "&lt;model&gt; &amp; co" in text
    assert "this machine is busy" in text
    assert "not Android" in text


def model(*lengths: int) -> ModelFile:
    signatures = tuple(Signature(index, f"s{length}", length) for index, length in enumerate(lengths))
    return ModelFile(Path("model.tflite"), 1, "", signatures, Arithmetic.FLOAT)


def test_texts_take_the_shortest_signature_that_holds_them() -> None:
    taken = shares(model(16, 32, 128), [3, 16, 17, 500])
    assert {signature.length: share for signature, share in taken.items()} == {16: 0.5, 32: 0.25, 128: 0.25}
    assert {signature.length: share for signature, share in shares(model(128), [3, 16]).items()} == {128: 1.0}


def test_the_mean_is_over_texts() -> None:
    counted = [
        replace(OTHER, length=length, instructions_per_inference=count) for length, count in ((16, 10), (32, 41))
    ]
    mean = weighted(counted, {16: 0.5, 32: 0.5})
    assert (mean.instructions_per_inference, mean.cpu) == (26, "cortex-a76")  # 25.5, to even
    table = tables(Report(None, (), (mean,)))[0]
    assert table.rows[0][-1] == "16: 50%, 32: 50%"


@pytest.mark.parametrize("report", [Report(None, ()), REPORT])
def test_every_report_has_a_page(report: Report) -> None:
    assert page(report).endswith("</html>\n")
