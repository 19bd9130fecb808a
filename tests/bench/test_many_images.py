"""A workspace of five thousand images: what the page is sent, and how smoothly the list scrolls."""

from __future__ import annotations

import io
import json
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from samref.core.geometry import ImageSize
from samref.labels.store import ProjectStore
from tests.browser.conftest import ARGUMENTS
from tests.browser.labelling_page import HOOK
from tests.browser.server import Server

Record = Callable[[str, float, str], None]

COUNT = 5_000

DELTA_SHARE = 0.01
"""An answer after one change may have so much of the first one's bytes."""

SCROLL = """async ({ scroller, along }) => {
  const box = document.querySelector(scroller);
  const end = along === "scrollTop" ? box.scrollHeight - box.clientHeight : box.scrollWidth - box.clientWidth;
  const times = [];
  box[along] = 0;
  await new Promise((go) => setTimeout(go, 500));
  const began = performance.now();
  for (let now = began; now - began < 4000; ) {
    now = await new Promise(requestAnimationFrame);
    times.push(now);
    box[along] = Math.min(end, (end * (now - began)) / 4000);
  }
  return times;
}"""


def tiny_image(number: int) -> bytes:
    """A PNG unlike all others."""
    pixels = np.zeros((48, 64, 3), dtype=np.uint8)
    pixels[:] = (number % 256, number // 256 * 12, number * 7 % 256)
    pixels[10:30, 10:40] = 255 - pixels[10:30, 10:40]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue() + number.to_bytes(4, "big")  # decoders stop before


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """A server on a workspace with all the images, and its key."""
    server = Server(tmp_path_factory.mktemp("many"))
    store = ProjectStore(server.data / "samref.sqlite")
    made = store.create_workspace()
    for number in range(COUNT):
        name = f"set/{number // 100:03}/frame_{number:05}.png"
        store.add_image(made.id, tiny_image(number), name, ImageSize(48, 64))
    store.close()
    server.start()
    yield server, made.token
    server.stop()


def request(token: str, seq: int, verb: str, known: int = 0, **arguments: Any) -> dict[str, Any]:
    fields = {"v": 1, "seq": seq, "tab": "bench", "token": token, "verb": verb, "image": None, "revision": 0}
    return {**fields, "known": {"annotations": 0, "workspace": known, "images": known}, **arguments}


@pytest.mark.timeout(1200)
def test_the_list_is_sent_once_and_then_in_changes(full: tuple[Server, str], record: Record) -> None:
    server, token = full
    with httpx.Client(base_url=server.url, timeout=60) as client:

        def ask(payload: dict[str, Any]) -> tuple[dict[str, Any], int, float]:
            begun = time.perf_counter()
            answer = client.post("samref/send", json=payload)
            took = time.perf_counter() - begun
            last: dict[str, Any] = json.loads(answer.text.splitlines()[-1])
            return last["workspace"], len(answer.content), took

        workspace, first_bytes, first_s = ask(request(token, 1, "hello"))
        assert len(workspace["images"]) == COUNT
        record(f"first answer, {COUNT} images", first_bytes / 1000, "kB")
        record("  time", first_s * 1000, "ms")
        sizes, times, known = [], [], workspace["revision"]
        for turn in range(20):
            digest = workspace["images"][turn * 200]["digest"]
            mark = request(token, 2 + turn, "mark_image", known, digests=[digest], mark="done")
            changed, size, took = ask(mark)
            assert [image["digest"] for image in changed["images"]] == [digest]
            known = changed["revision"]
            sizes.append(size)
            times.append(took)
        record("answer after one change", max(sizes), "bytes")
        record("  time, median", statistics.median(times) * 1000, "ms")
        assert max(sizes) < DELTA_SHARE * first_bytes


def frames_per_second(page: Page, scroller: str, along: str) -> tuple[float, float]:
    """Frames a second while all of it is scrolled through, and the longest time between two frames in ms."""
    times = page.evaluate(SCROLL, {"scroller": scroller, "along": along})
    gaps = np.diff(times)
    return 1000 / float(gaps.mean()), float(gaps.max())


@pytest.mark.timeout(1200)
def test_gallery_and_strip_scroll_smoothly(full: tuple[Server, str], chromium: str, record: Record) -> None:
    server, token = full
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        begun = time.perf_counter()
        page.goto(f"{server.url}#key={token}")
        page.wait_for_function(f"() => document.querySelectorAll('.samref-grid-window li').length > 10 && {HOOK}")
        record("page with the gallery", time.perf_counter() - begun, "s")
        page.wait_for_timeout(1000)
        still = page.evaluate("() => document.querySelectorAll('.samref-grid-window li').length")
        assert still < 100, "only the tiles in sight exist"
        rate, longest = frames_per_second(page, ".samref-start", "scrollTop")
        record("gallery: frames a second through all", rate, "fps")
        record("  longest gap in it", longest, "ms")
        page.locator(".samref-grid-window .samref-tile").first.click()
        page.wait_for_function(f"() => {HOOK}.state().image && !{HOOK}.state().opening")
        rate, longest = frames_per_second(page, ".samref-strip-scroller", "scrollLeft")
        record("strip: frames a second through all", rate, "fps")
        record("  longest gap of it", longest, "ms")
        assert page.evaluate("() => document.querySelectorAll('.samref-strip li').length") < 60
        browser.close()
