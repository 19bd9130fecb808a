"""How smooth the page stays with a thousand objects on an image: frames a second in Chromium without a GPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from tests.browser.conftest import ARGUMENTS
from tests.browser.crowd import SCROLL_LIST, frames_while, open_crowd
from tests.browser.labelling_page import LabellingPage
from tests.browser.server import Server

pytestmark = pytest.mark.browser

Record = Callable[[str, float, str], None]

OBJECTS = 1000

_POINTER = """(frame) => {
  const canvas = document.querySelector(".samref-overlay");
  const { left, top } = canvas.getBoundingClientRect();
  const at = { clientX: left + 150 + ((frame * 7) %% 700), clientY: top + 150 + (frame %% 5) * 40 };
  %s
}"""

MOVES = {
    "nothing moves": "() => {}",
    "the list scrolls": SCROLL_LIST,
    "the pointer goes over objects": _POINTER
    % 'canvas.dispatchEvent(new PointerEvent("pointermove", { ...at, pointerType: "mouse", bubbles: true }));',
    "the image moves": """(frame) => {
  const key = frame % 40 < 20 ? "ArrowLeft" : "ArrowRight";
  document.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
}""",
    "the image zooms": _POINTER
    % """canvas.dispatchEvent(new WheelEvent("wheel",
    { ...at, deltaY: frame % 40 < 20 ? -60 : 60, bubbles: true, cancelable: true }));""",
}


@pytest.mark.timeout(900)
def test_frames_with_a_thousand_objects(chromium: str, tmp_path: Path, record: Record) -> None:
    server = Server(tmp_path, precision="auto")
    server.start()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
            context = browser.new_context(viewport={"width": 1440, "height": 900})
            page = open_crowd(LabellingPage(context.new_page(), server).open(), OBJECTS, 13)
            frames = {name: frames_while(page, move) for name, move in MOVES.items()}
            page.page.get_by_label("Find objects").fill("kind 12")
            few = frames_while(page, SCROLL_LIST)
            rows = page.objects.locator("[role=row]").count()
            browser.close()
    finally:
        server.stop()
    for name, value in frames.items():
        record(f"frames with {OBJECTS} objects, {name}", value, "1/s")
    assert rows < 60, "only the rows in sight exist"
    assert frames["the list scrolls"] > 0.5 * few, "a thousand rows scroll as a tenth of them"
