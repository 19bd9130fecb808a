"""A phone: from the start page to an accepted object and back, by finger; and what axe-core says at every width."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Frame, Page

from tests.browser.conftest import NewBrowser, NewPage
from tests.browser.frames import Parent
from tests.browser.labelling_page import HOOK, PATIENCE_MS, SETTLED, LabellingPage
from tests.browser.server import Server

pytestmark = pytest.mark.browser

PHONE: dict[str, Any] = {"width": 375, "height": 667, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
WIDTHS = (1440, 768, 375)
CUP = (300.5, 180.5)

SERIOUS = """async () => {
  const { violations } = await axe.run(document);
  return violations.filter(({ impact }) => ["serious", "critical"].includes(impact))
    .map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]);
}"""


def tap(page: LabellingPage, x: float, y: float) -> None:
    page.page.touchscreen.tap(*page.page.evaluate(f"(at) => {HOOK}.imageToClient(...at)", [x, y]))
    page.settle()


def test_a_finger_goes_from_the_start_page_to_an_object_and_back(new_page: NewPage) -> None:
    page = new_page(**PHONE)
    assert page.page.evaluate("() => document.documentElement.scrollWidth") <= PHONE["width"], "nothing sticks out"
    page.start.get_by_title("coffee", exact=True).tap()
    page.wait(f"() => {HOOK}.state().image !== null").settle()
    tap(page, *CUP)
    assert page.mask.any()
    page.page.locator(".samref-draft .samref-accept").tap()
    page.settle()
    assert len(page.state["objects"]) == 1
    page.page.locator(".samref-draft [data-key=undo]").tap()
    page.settle()
    assert page.state["objects"] == []
    assert page.mask.any(), "the draft is there again"


def serious(view: Page | Frame) -> list[Any]:
    """What axe-core finds that keeps people out."""
    view.evaluate(Path(os.environ["SAMREF_AXE"]).read_text("utf-8"))
    found: list[Any] = view.evaluate(SERIOUS)
    return found


@pytest.fixture
def parent() -> Iterator[Parent]:
    made = Parent()
    yield made
    made.close()


@pytest.mark.skipif("SAMREF_AXE" not in os.environ, reason="name axe.min.js of axe-core in SAMREF_AXE")
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_the_start_page(new_browser: NewBrowser, server: Server, theme: str) -> None:
    page = new_browser(1440, 900).new_page()
    page.goto(f"{server.url}?__theme={theme}")
    page.wait_for_function(SETTLED, timeout=PATIENCE_MS)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert serious(page) == [], f"at {width} pixels"


@pytest.mark.skipif("SAMREF_AXE" not in os.environ, reason="name axe.min.js of axe-core in SAMREF_AXE")
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious_inside_a_frame(browser: Browser, parent: Parent, tmp_path: Path, theme: str) -> None:
    server = Server(tmp_path, settings={"SAMREF_FRAME_ANCESTORS": parent.origin})
    server.start()
    context = browser.new_context(viewport={"width": 1500, "height": 1000})
    try:
        parent.src, parent.width, parent.height = f"{server.url}?__theme={theme}", 1440, 900
        page = context.new_page()
        page.goto(parent.origin, wait_until="commit")
        page.wait_for_selector("iframe")
        frame = page.frames[1]
        frame.wait_for_function(SETTLED, timeout=PATIENCE_MS)
        for part in ("start", "work"):
            if part == "work":
                page.locator("iframe").evaluate("(frame) => (frame.width = 1440)")
                frame.locator(".samref-start").get_by_title("coffee", exact=True).click()
                frame.wait_for_function(f"() => {HOOK}.state().image !== null", timeout=PATIENCE_MS)
                frame.wait_for_function(SETTLED, timeout=PATIENCE_MS)
            for width in WIDTHS:
                page.locator("iframe").evaluate("(frame, width) => (frame.width = width)", width)
                assert serious(frame) == [], f"{part} page at {width} pixels"
    finally:
        context.close()
        server.stop()
