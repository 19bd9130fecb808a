from __future__ import annotations

import base64
import html
import io
import math
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from samref.datasets import find_images
from samref.errors import SamrefError, StorageError
from samref.evaluation.noc import ClickCurve, ClickProtocol
from samref.evaluation.report import Report
from samref.evaluation.report.page import PANEL_PIXELS, choose_worst, draw_worst, line_plot, report_to_page, step_plot
from samref.evaluation.run import evaluate
from tests.unit.evaluation.painter import Painter, write_zoo

NASTY = '<script>alert("$x$ & y")</script>'


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page") / "data"
    write_zoo(folder, ("air", "zoo"))
    return folder


@pytest.fixture(scope="module")
def report(zoo: Path) -> Report:
    return evaluate(
        zoo,
        Painter(),
        ClickProtocol(max_clicks=6, stages=("coarse", "refined"), limit_per_dataset=2, seed=3),
        model=NASTY,
        weights={"w.safetensors": "ab" * 32},
    )


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "xlink:href")]


def parsed(page: str) -> Elements:
    elements = Elements()
    elements.feed(page)
    return elements


def test_the_page_needs_no_network_no_script_and_no_other_file(zoo: Path, report: Report) -> None:
    worst = draw_worst(report, Painter(), find_images(zoo)[0], 3)
    page = report_to_page(report, worst)
    elements = parsed(page)
    assert "script" not in elements.tags
    assert elements.tags.count("svg") == 4
    assert elements.tags.count("img") == 6
    assert all(link.startswith(("data:image/jpeg;base64,", "#")) for link in elements.links)
    assert re.findall(r"url\((?!#)", page) == []
    assert "@import" not in page


def test_what_comes_from_a_user_is_escaped(report: Report) -> None:
    page = report_to_page(report)
    assert NASTY not in page
    assert f"<h1>{NASTY} on data</h1>" in html.unescape(page)


def test_the_page_says_what_was_measured_how_and_on_what(report: Report) -> None:
    page = report_to_page(report)
    for expected in ("ab" * 32, report.data_sha256, "seed 3", "NoC@90", "torch", "air", "zoo", "mean of data sets"):
        assert expected in page
    assert f"{report.macro['refined'].noc[0.90]:.2f}" in page
    assert f"{report.macro['coarse'].miou[5]:.3f}" in page
    assert "Refined minus coarse" in page


def test_an_object_without_a_number_leaves_a_gap_and_no_nan_on_the_page(report: Report) -> None:
    lost = ClickCurve("air/9#1", "air", (math.nan,) * 6, (math.nan,) * 6, 0.1, (0.1,) * 6)
    page = report_to_page(replace(report, curves={stage: (*own, lost) for stage, own in report.curves.items()}))
    body = re.sub(r"data:[^\"]+", "", page)
    assert re.search(r"\bnan\b", body, re.IGNORECASE) is None
    assert "–" in body


def test_plots_are_whole_svg_in_the_colour_of_the_page() -> None:
    lines = line_plot({"a < b": [0.1, math.nan, 0.9]}, title="T", x_label="clicks", y_label="IoU")
    bars = step_plot({"a": [1, 2, None]}, 5, title="U", x_label="clicks", y_label="objects")
    for svg in (lines, bars):
        root = ET.fromstring(svg)
        assert root.tag.endswith("svg")
        assert "width" not in root.attrib
        assert "viewBox" in root.attrib
        assert "currentColor" in svg
        assert "#010203" not in svg
    assert "a &lt; b" in lines
    names = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (lines, bars)]
    assert names[0]
    assert names[0] & names[1] == set()
    for svg, own in zip((lines, bars), names, strict=True):
        assert set(re.findall(r"url\(#([^)]+)\)", svg)) | set(re.findall(r'href="#([^"]+)"', svg)) <= own


def test_the_worst_come_first_and_at_most_two_of_a_data_set(report: Report) -> None:
    worst = choose_worst(report, count=3)
    ious = [curve.iou_after(5) for curve in worst]
    assert ious == sorted(ious)
    assert min(one.iou_after(5) for one in report.curves["refined"]) == ious[0]
    assert len(choose_worst(report)) == 4
    assert [one.dataset for one in choose_worst(report, per_dataset=1)].count("zoo") == 1


def test_a_worst_case_shows_the_mask_and_the_clicks_that_were_measured(zoo: Path, report: Report) -> None:
    (case, *_) = draw_worst(report, Painter(), find_images(zoo)[0], 1)
    (curve, *_) = choose_worst(report)
    assert case.sample_id == curve.sample_id
    assert case.clicks == 5
    assert case.iou == curve.iou_after(5)
    for jpeg in (case.whole, case.close):
        record = Image.open(io.BytesIO(jpeg))
        assert max(record.size) == PANEL_PIXELS
        pixels = np.asarray(record.convert("RGB")).astype(int)
        assert ((pixels[..., 0] > 200) & (pixels[..., 1] > 160) & (pixels[..., 2] < 90)).any(), "the outline is yellow"
    assert len(base64.b64encode(case.whole)) < 80_000


def test_a_page_is_written_and_refused_before_the_run_where_it_cannot_be(zoo: Path, tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    evaluate(zoo, Painter(), ClickProtocol(max_clicks=2, limit_per_dataset=1), html_path=target)
    assert target.read_text("utf-8").startswith("<!doctype html>")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    painter = Painter()
    for wrong in (tmp_path, tmp_path / "nowhere" / "report.html"):
        with pytest.raises(StorageError, match="cannot be written"):
            evaluate(zoo, painter, ClickProtocol(), html_path=wrong)
    assert painter.embedded == 0


def test_without_matplotlib_a_page_is_refused_before_the_run(
    zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    painter = Painter()
    with pytest.raises(SamrefError, match=r"samref\[evaluate\]"):
        evaluate(zoo, painter, ClickProtocol(), html_path=tmp_path / "report.html")
    assert painter.embedded == 0


@pytest.mark.browser
def test_the_page_fits_a_telephone_and_asks_for_nothing(
    zoo: Path, report: Report, tmp_path: Path, chromium: str
) -> None:
    from playwright.sync_api import sync_playwright

    target = tmp_path / "report.html"
    target.write_text(report_to_page(report, draw_worst(report, Painter(), find_images(zoo)[0], 2)), "utf-8")
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    asked: list[str] = []
    inks = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for scheme in schemes:
            page = browser.new_page(viewport={"width": 360, "height": 740}, color_scheme=scheme)
            page.on("request", lambda request: asked.append(request.url))
            page.goto(target.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= 360
            assert page.evaluate("[...document.images].every(one => one.naturalWidth > 0)")
            inks.append(page.evaluate("getComputedStyle(document.querySelector('.plots svg text')).fill"))
            page.close()
        browser.close()
    assert target.as_uri() in asked
    assert all(url.startswith(("file:", "data:")) for url in asked)
    assert inks[0] != inks[1]
