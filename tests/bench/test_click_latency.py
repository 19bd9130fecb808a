"""How long a person waits in Chromium: from the pointer being lifted to each stage's mask on the screen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import sync_playwright

from tests.browser.conftest import ARGUMENTS
from tests.browser.labelling_page import HOOK, LabellingPage
from tests.browser.server import Server

pytestmark = pytest.mark.browser

Record = Callable[[str, float, str], None]

CLICKS = 30
CLICKS_AN_OBJECT = 6


@pytest.mark.timeout(900)
def test_from_click_to_painted_mask(chromium: str, tmp_path: Path, record: Record) -> None:
    server = Server(tmp_path, precision="auto")
    server.start()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
            context = browser.new_context(viewport={"width": 1280, "height": 800})
            page = LabellingPage(context.new_page(), server).open().open_example("raccoon")
            page.click(512.5, 384.5)  # the first click of a page warms it up and is not counted
            page.settle()
            page.press("Escape").settle()
            before = page.page.evaluate(f"() => {HOOK}.stats().latencies.refined.length")
            places = np.random.default_rng(0).uniform((60, 60), (964, 708), size=(CLICKS, 2))
            for number, (x, y) in enumerate(places):
                if number % CLICKS_AN_OBJECT == 0 and number:
                    page.press("Escape").settle()
                page.click(float(x), float(y), button="right" if number % CLICKS_AN_OBJECT == 2 else "left")
                page.settle()
                page.wait(f"(n) => {HOOK}.stats().latencies.refined.length >= n", before + number + 1)
            latencies = page.page.evaluate(f"() => {HOOK}.stats().latencies")
            browser.close()
    finally:
        server.stop()
    for stage in ("dot", "coarse", "refined"):
        waits = latencies[stage][-CLICKS:]
        assert len(waits) == CLICKS
        record(f"click to painted {stage}, p50 of {CLICKS}", float(np.percentile(waits, 50)), "ms")
        record(f"click to painted {stage}, p95 of {CLICKS}", float(np.percentile(waits, 95)), "ms")
