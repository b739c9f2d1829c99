"""The page and the XML: read by the programs that people read them with."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import fromstring

import numpy as np
import pytest
from mobilebert_reference import load_checkpoint
from mobilebert_reference.demo import CHECKPOINT

from mobilebert_export.check.junit import to_junit
from mobilebert_export.check.report import to_html
from mobilebert_export.check.run import CheckReport, check
from mobilebert_export.export import export_tflite
from tests import mutants

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
HOSTILE = '<script>document.title="owned"</script><img src=x onerror=alert(1)>\x00\x1b'


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> CheckReport:
    """One honest file and one with a disturbed layer."""
    directory = tmp_path_factory.mktemp("models")
    checkpoint = load_checkpoint(CHECKPOINT)
    honest = directory / "honest.tflite"
    export_tflite(checkpoint, honest, sequence_length=32)
    change = mutants.constants(mutants.of_layer(2), mutants.noise(0.01))
    wrong = mutants.mutant(honest, directory / "wrong.tflite", change)
    return check(checkpoint, [honest, wrong], rows=16)


def test_json_holds_what_was_measured(report: CheckReport) -> None:
    told = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert told["passed"] is False
    assert [model["passed"] for model in told["models"]] == [True, False]
    assert told["models"][1]["depth"]["jump"].startswith("mobilebert.encoder.layer.2.")
    assert told["models"][1]["lines"][0]["passed"] is False


def test_junit_counts_and_names_what_failed(report: CheckReport) -> None:
    root = fromstring(to_junit(report))  # noqa: S314 - our own
    suites = root.findall("testsuite")
    assert [int(suite.get("failures", "")) > 0 for suite in suites] == [False, True]
    for suite in suites:
        assert len(suite.findall("testcase")) == int(suite.get("tests", ""))
        assert len(suite.findall("testcase/failure")) == int(suite.get("failures", ""))
    messages = [failure.get("message", "") for failure in root.iter("failure")]
    assert any(message.startswith("sqnr of logits, padded: ") for message in messages)


def test_table_of_the_depth_has_every_tensor_of_a_deep_model(report: CheckReport) -> None:
    (first, wrong) = report.models
    depth = wrong.measured.depth
    assert depth is not None
    # As many as the full-size model has, and more.
    points = tuple(replace(depth.points[0], tensor=f"tensor {index}.") for index in range(1000))
    deep = replace(wrong, measured=replace(wrong.measured, depth=replace(depth, points=points, jump=points[-1].tensor)))
    page = to_html(replace(report, models=(first, deep)))
    assert [point.tensor for point in points if f"<tr><td>{point.tensor}</td>" not in page] == []


def with_hostile_words(report: CheckReport) -> CheckReport:
    first, *others = report.models
    worst = tuple(replace(row, text=HOSTILE, given=HOSTILE) for row in first.measured.worst)
    measured = replace(first.measured, worst=worst, remarks=(HOSTILE,), model=Path("<b>x</b>\x07"))
    line = replace(first.verdict.lines[0], subject=HOSTILE)
    verdict = replace(first.verdict, lines=(line, *first.verdict.lines[1:]))
    return replace(report, models=(replace(first, measured=measured, verdict=verdict), *others))


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_page_needs_nothing_from_elsewhere_and_runs_nothing(report: CheckReport) -> None:
    page = to_html(with_hostile_words(report))
    tags = Tags()
    tags.feed(page)
    assert {tag for tag, _ in tags.seen}.isdisjoint({"script", "img", "link", "iframe", "object", "embed", "base"})
    for _, attributes in tags.seen:
        assert not [name for name in attributes if name in {"src", "href", "style"} or name.startswith("on")]
    assert not re.search(r"url\(|@import|https?://", page)


def test_junit_of_hostile_words_is_still_xml(report: CheckReport) -> None:
    root = fromstring(to_junit(with_hostile_words(report)))  # noqa: S314 - our own
    assert any("owned" in (case.get("name") or "") for case in root.iter("testcase"))


# Opens the page in a frame and tells what a person would see of it.
HOST = """<!DOCTYPE html><title>host</title>
<iframe id="frame" src="report.html" width="1000" height="3000"></iframe><pre id="seen"></pre>
<script>
document.getElementById("frame").onload = event => {
  const page = event.target.contentDocument, look = name => [...page.querySelectorAll(name)];
  const box = each => { const b = each.getBoundingClientRect(); return [b.width, b.height]; };
  const color = each => event.target.contentWindow.getComputedStyle(each).color;
  document.getElementById("seen").textContent = JSON.stringify({
    title: page.title, heading: look("h1")[0].innerText, headings: look("h2").map(each => each.innerText),
    plots: look("svg").map(box), marks: look("svg polyline.total").map(each => each.points.numberOfItems),
    jumps: look("svg line.jump").length, verdicts: look("h2 span").map(color),
    rows: look("table").map(each => each.rows.length), wide: page.documentElement.scrollWidth,
    worst: look("section").map(each => [...each.querySelectorAll("table")].at(-1).innerText)});
};
</script>"""


def seen_in_browser(page: str, directory: Path) -> dict[str, Any]:
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"needs a browser, one of {', '.join(BROWSERS)}: apt-get install chromium")
    (directory / "report.html").write_text(page, encoding="utf-8")
    (directory / "host.html").write_text(HOST, encoding="utf-8")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom"]
    command += [
        "--allow-file-access-from-files",
        "--virtual-time-budget=10000",
        f"--user-data-dir={directory / 'profile'}",
    ]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", (directory / "host.html").as_uri()]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    seen = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    assert seen is not None, done.stdout[-2000:]
    result: dict[str, Any] = json.loads(seen[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    return result


def test_page_in_a_browser(report: CheckReport, tmp_path: Path) -> None:
    seen = seen_in_browser(to_html(report), tmp_path)
    assert seen["title"] == "Equivalence check: failed"
    assert seen["heading"] == "Equivalence check: failed"
    # What failed is on top, whatever the order of the files.
    assert [heading.rsplit(": ", 1)[1] for heading in seen["headings"]] == ["failed", "passed"]
    bad, good = ([int(part) for part in re.findall(r"\d+", color)] for color in seen["verdicts"])
    assert np.argmax(good) == 1  # green
    assert np.argmax(bad) == 0  # red
    shown = [report.models[1], report.models[0]]
    depths = [checked.measured.depth for checked in shown]
    for (width, height), marks, depth in zip(seen["plots"], seen["marks"], depths, strict=True):
        assert width > 600
        assert height > 150
        assert depth is not None
        assert marks == len(depth.points) > 100
    assert seen["jumps"] == 1
    assert all(rows > 1 for rows in seen["rows"])
    assert seen["wide"] <= 1000
    for checked, words in zip(shown, seen["worst"], strict=True):
        assert checked.measured.worst[0].text in words


def test_hostile_words_are_shown_and_not_obeyed(report: CheckReport, tmp_path: Path) -> None:
    seen = seen_in_browser(to_html(with_hostile_words(report)), tmp_path)
    assert seen["title"] == "Equivalence check: failed"
    assert "owned" in seen["worst"][1]
    assert seen["headings"][1].startswith("<b>x</b>")
