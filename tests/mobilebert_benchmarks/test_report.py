"""Results as tables, as JSON and as a page; texts that weigh them."""

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from mobilebert_benchmarks.emulation.delegation import Delegation
from mobilebert_benchmarks.emulation.instructions import Kind
from mobilebert_benchmarks.emulation.mca import Estimate
from mobilebert_benchmarks.emulation.tools import Versions
from mobilebert_benchmarks.html import page
from mobilebert_benchmarks.model_file import Arithmetic, ModelFile, Signature
from mobilebert_benchmarks.results import CoreResult, Report, Texts, TimedResult
from mobilebert_benchmarks.table import tables
from mobilebert_benchmarks.traffic import too_long, traffic, weighted, weighted_times

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
    delegation=Delegation(1, 10, {"GATHER": 2}, whole=True),
    operators={"Fully Connected (NC, QS8, QC8W) GEMM": 3_000_000, "Fully Connected (NC, F32) GEMM": 500_000, "ADD": 1},
    estimate=Estimate(3.24, 8.84, 7_000_000, 0.99, "llvm-mca 19.1.7, neoverse-n1 at 2.4 GHz"),
    output_hash="0" * 16,
)
OTHER = replace(
    ONE,
    model="other",
    instructions_per_inference=2_000_000,
    delegation=Delegation(2, 9, {"SOFTMAX": 1}, whole=False),
    operators={"SOFTMAX": 2_000_000},
    estimate="llvm-mca is not installed",
)
HOST = TimedResult("other", "host", 128, 2, 50, 4.0, 5.0, 7.5, 0.02, 30.0, 10_000_000, {"Add (ND)": 1.25})
REPORT = Report(Versions("7.2.22", "Debian", "2.3.0"), (ONE, OTHER), timed=(HOST,), warnings=("this machine is busy",))


def test_a_row_for_each_model_with_its_ratio_to_the_first() -> None:
    core, _, host, _ = tables(REPORT)
    rows = [dict(zip(core.columns, row, strict=True)) for row in core.rows]
    assert [(row["instructions"], row["ratio"]) for row in rows] == [("4.00 M", "1.000"), ("2.00 M", "0.500")]
    assert [(row["partitions"], row["outside"]) for row in rows] == [("1", "2"), ("2", "1 !")]
    assert host.rows[0][1] == "4.00 ms"
    assert core.bars == (4.0, 2.0)
    assert [row["modelled"] for row in rows] == ["3.2 to 8.8 ms", "-"]
    slow = replace(ONE, estimate=Estimate(782.4, 2133.9, 1, 0.99, "llvm-mca"))
    assert "782.4 to 2,133.9 ms" in tables(Report(None, (slow,)))[0].rows[0]


def test_a_column_for_each_model_says_where_its_work_goes() -> None:
    _, core, _, host = tables(REPORT)
    assert core.columns == ("operator", "<model> & co", "other")
    assert core.rows == (("Fully Connected", "3.50 M", "-"), ("SOFTMAX", "-", "2.00 M"))  # ADD takes next to nothing
    assert host.rows == (("Add", "1.250 ms"),)


def test_an_estimate_is_called_one_and_its_absence_has_a_reason() -> None:
    notes = " ".join(REPORT.notes())
    assert "modelled, not measured" in notes
    assert "neoverse-n1 at 2.4 GHz) times 1.1 to 3, a judgement and no fit." in notes
    assert "No milliseconds on cortex-a76 for other: llvm-mca is not installed." in notes
    one, other = json.loads(json.dumps(REPORT.to_dict()))["results"]
    assert (one["estimate"]["low_ms"], one["estimate"]["high_ms"]) == (3.24, 8.84)
    assert one["estimate"]["label"] == "modelled, not measured"
    assert other["estimate"] == {"absent": "llvm-mca is not installed"}


def test_json_holds_all_of_it() -> None:
    content = json.loads(json.dumps(REPORT.to_dict()))
    assert [result["instructions_per_inference"] for result in content["results"]] == [4_000_000, 2_000_000]
    assert content["results"][1]["delegation"]["whole"] is False
    assert content["timed"][0]["p90_ms"] == 5.0
    assert content["warnings"] == ["this machine is busy"]


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
    return ModelFile(Path("model.tflite"), signatures, Arithmetic.FLOAT)


def test_texts_take_the_shortest_signature_that_holds_them() -> None:
    assert traffic(model(16, 32, 128), [3, 16, 17, 128]).by_length == {16: 0.5, 32: 0.25, 128: 0.25}
    assert traffic(model(128), [3, 16]).by_length == {128: 1.0}
    assert traffic(model(16, 128), []).by_length == {128: 1.0}


def test_texts_that_a_file_cuts_are_told() -> None:
    short, long = traffic(model(16), [3, 16, 17, 100]), traffic(model(16, 128), [3, 16, 17, 100])
    assert (short.cut, short.share_cut, long.cut) == (2, 0.5, 0)
    assert too_long(model(16, 128), long) is None
    warning = too_long(model(16), short)
    assert warning is not None
    assert warning.startswith("2 of 4 texts are longer than the 16 tokens of model,")
    counted = [replace(OTHER, length=16), replace(ONE, model="long", length=128), replace(ONE, model="long", length=16)]
    means = weighted(counted, {"other": short, "long": long})
    assert [mean.cut for mean in means] == [0.5, 0.0]
    (table,) = tables(Report(None, (), means))
    assert [dict(zip(table.columns, row, strict=True))["texts cut"] for row in table.rows] == ["50.0%", "0.0%"]
    times = weighted_times([replace(HOST, length=16)], {"other": short})
    assert (times[0].cut, tables(Report(None, (), weighted_times=times))[0].rows[0][3]) == (0.5, "50.0%")
    report = Report(None, (), means, weighted_times=times)
    content = json.loads(json.dumps(report.to_dict()))
    assert [each["cut"] for each in (*content["weighted"], *content["weighted_times"])] == [0.5, 0.0, 0.5]


def test_whose_tokens_weigh_is_told() -> None:
    report = Report(None, (), texts=Texts(4500, 31, "the demo"))
    assert report.notes() == ("Texts: 4,500, the longest of 31 tokens as the tokenizer of the demo counts them.",)
    assert report.to_dict()["texts"] == {"count": 4500, "longest": 31, "tokenizer": "the demo"}


def test_the_load_of_the_host_is_told_though_it_is_not_busy() -> None:
    report = Report(None, (), timed=(HOST,), host_load=0.04)
    assert "This machine had a load of 0.0 before it was measured." in report.notes()
    assert report.to_dict()["host_load"] == 0.04


def test_the_mean_is_over_texts() -> None:
    counted = [
        replace(OTHER, length=length, instructions_per_inference=count) for length, count in ((16, 10), (32, 41))
    ]
    asked = {"other": traffic(model(16, 32), [3, 17])}
    (mean,) = weighted(counted, asked)
    assert (mean.instructions_per_inference, mean.cpu) == (26, "cortex-a76")  # 25.5, to even
    table = tables(Report(None, (), (mean,)))[0]
    assert table.rows[0][-1] == "16: 50%, 32: 50%"


def test_the_modelled_time_is_a_mean_over_texts_where_every_signature_has_one() -> None:
    estimates = {16: Estimate(1.0, 3.0, 1, 0.99, ""), 32: Estimate(2.0, 7.0, 1, 0.99, "")}
    counted = [replace(ONE, model="model", length=length, estimate=each) for length, each in estimates.items()]
    asked = {"model": traffic(model(16, 32), [3, 3, 3, 17])}
    (mean,) = weighted(counted, asked)
    assert mean.modelled_ms == (1.25, 4.0)
    assert tables(Report(None, (), (mean,)))[0].rows[0][3] == "1.2 to 4.0 ms"
    (absent,) = weighted([counted[0], replace(counted[1], estimate="no llvm-mca")], asked)
    assert absent.modelled_ms is None
    assert tables(Report(None, (), (absent,)))[0].rows[0][3] == "-"


def test_the_mean_time_is_over_texts_for_each_number_of_threads() -> None:
    several = {"short": traffic(model(16, 128), [3, 3, 3, 17]), "fixed": traffic(model(128), [3, 3, 3, 17])}
    timed = [
        replace(HOST, model=name, threads=threads, length=length, median_ms=milliseconds / threads)
        for threads in (1, 2)
        for name, length, milliseconds in (("short", 16, 2.0), ("short", 128, 10.0), ("fixed", 128, 9.0))
    ]
    means = weighted_times(timed, several)
    assert [(mean.model, mean.threads, mean.mean_ms) for mean in means] == [
        ("short", 1, 4.0),
        ("fixed", 1, 9.0),
        ("short", 2, 2.0),
        ("fixed", 2, 4.5),
    ]
    one, two = tables(Report(None, (), weighted_times=means))
    assert [row[2] for row in one.rows] == ["1.000", "2.250"]
    assert two.title == "host, threads: 2, mean over the texts given"


@pytest.mark.parametrize("report", [Report(None, ()), REPORT])
def test_every_report_has_a_page(report: Report) -> None:
    assert page(report).endswith("</html>\n")
