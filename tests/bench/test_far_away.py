"""How long a person far from the server waits, with and without a model in the page: clicks, masks under the pointer.

Between browser and server stands a relay that hands every byte on after ``DELAY_S``, each way, as a long line does; a
new connection costs its own round trip, as it does there. ``SAMREF_BENCH_CLICKS`` (40) chooses how many clicks.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from playwright.sync_api import Browser, sync_playwright

from samref.files import assets_folder
from tests.browser.conftest import ARGUMENTS
from tests.browser.labelling_page import HOOK, LabellingPage
from tests.browser.server import Server

pytestmark = pytest.mark.browser

Record = Callable[[str, float, str], None]

DELAY_S = 0.15
CLICKS = int(os.environ.get("SAMREF_BENCH_CLICKS", "40"))
CLICKS_AN_OBJECT = 4
EXAMPLES = ("coffee", "chelsea", "raccoon", "rocket")
MOVES = 40

REST_MS = 150
"""A hand rests that long on a place before it presses."""

SHARE = 0.5
"""Of the server's time from click to coarse mask that the page's own may take, at p50 and at p95."""

READY = f"() => {HOOK}?.stats().local?.status.phase === 'ready'"


class FarServer:
    """A server at the end of a long line."""

    def __init__(self, url: str) -> None:
        self.url = url


@contextmanager
def far_away(url: str, delay_s: float) -> Iterator[FarServer]:
    """The same server, from which everything comes ``delay_s`` later and to which everything goes as much later."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    target = urlsplit(url)

    async def hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def arrive() -> None:
            while True:
                due, data = await under_way.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                if not data:
                    return writer.close()
                writer.write(data)

        arriving = asyncio.create_task(arrive())
        try:
            while data := await reader.read(64 * 1024):
                under_way.put_nowait((loop.time() + delay_s, data))
        except ConnectionError:
            pass
        under_way.put_nowait((loop.time() + delay_s, b""))
        await arriving

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2 * delay_s)  # the handshake, which goes there and back before anything is sent
        try:
            back, forth = await asyncio.open_connection(target.hostname, target.port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(hand_on(reader, forth), hand_on(back, writer), return_exceptions=True)

    async def listen() -> asyncio.Server:
        return await asyncio.start_server(connected, "127.0.0.1", 0)

    async def end() -> None:
        relay.close()
        under_way = asyncio.all_tasks() - {asyncio.current_task()}
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    relay = asyncio.run_coroutine_threadsafe(listen(), loop).result()
    try:
        port = relay.sockets[0].getsockname()[1]
        yield FarServer(f"http://127.0.0.1:{port}/")
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result(timeout=10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)


def _latencies(page: LabellingPage) -> dict[str, list[float]]:
    found: dict[str, list[float]] = page.page.evaluate(f"() => {HOOK}.stats().latencies")
    return found


def _open(browser: Browser, server: Any, *, local: bool) -> LabellingPage:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    if not local:
        keep = "localStorage.setItem('samref.settings', '{\"localModel\":false}')"
        context.add_init_script(f"if (location.protocol === 'http:') {keep}")
    return LabellingPage(context.new_page(), server).open()


def _click_around(page: LabellingPage, *, local: bool, rng: np.random.Generator) -> dict[str, list[float]]:
    """Clicks on several images, in objects of a few; gives the waits of each stage in milliseconds."""
    waits: dict[str, list[float]] = {"dot": [], "local": [], "coarse": [], "refined": []}
    for name in EXAMPLES:
        if not page.start.is_visible():
            page.page.get_by_role("button", name="all images").click()
        page.open_example(name)
        if local:
            page.wait(READY)
        image = page.state["image"]
        page.click(image["width"] / 2, image["height"] / 2)  # the first click on an image warms it up
        page.settle().press("Escape").settle()
        before = {stage: len(all_) for stage, all_ in _latencies(page).items()}
        for number in range(CLICKS // len(EXAMPLES)):
            if number and number % CLICKS_AN_OBJECT == 0:
                page.press("Escape").settle()
            x, y = rng.uniform((0.1, 0.1), (0.9, 0.9)) * (image["width"], image["height"])
            page.page.mouse.move(*page.place.window_at(float(x), float(y)))
            page.page.wait_for_timeout(REST_MS)
            page.click(float(x), float(y), button="right" if number % CLICKS_AN_OBJECT == 2 else "left")
            page.settle()
            page.page.wait_for_timeout(150)
        for stage, all_ in _latencies(page).items():
            made = CLICKS // len(EXAMPLES)
            waits[stage] += all_[-made:] if len(all_) - before[stage] >= made else all_[before[stage] :]
    return waits


@pytest.mark.timeout(1800)
def test_far_from_the_server_clicks_are_painted_at_once(chromium: str, tmp_path: Path, record: Record) -> None:
    if not (assets_folder() / "browser" / "onnxruntime" / "files.json").is_file():
        pytest.skip("the runtime of the page's model is not in assets/browser")
    server = Server(tmp_path, precision="auto")
    server.start()
    try:
        with (
            far_away(server.url, DELAY_S) as far,
            sync_playwright() as playwright,
        ):
            browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
            alone = _click_around(_open(browser, far, local=False), local=False, rng=np.random.default_rng(0))
            page = _open(browser, far, local=True)
            helped = _click_around(page, local=True, rng=np.random.default_rng(0))
            status = page.page.evaluate(f"() => {HOOK}.stats().local")
            page.press("Escape").settle()
            image = page.state["image"]
            for step in np.linspace(0.2, 0.8, MOVES):
                page.page.mouse.move(*page.place.window_at(step * image["width"], 0.5 * image["height"]))
                page.page.wait_for_timeout(120)
            hovers = page.page.evaluate(f"() => {HOOK}.stats().local.hover")
            browser.close()
    finally:
        server.stop()
    who = {"server alone": alone, "with the page's model": helped}
    for name, waits in who.items():
        for stage, all_ in waits.items():
            for share in (50, 95):
                if all_:
                    record(f"far away, {name}, {stage}, p{share}", float(np.percentile(all_, share)), "ms")
    record("far away, masks under the pointer, p50", float(np.percentile(hovers, 50)), "ms")
    record("far away, clicks painted by the page", 100 * len(helped["local"]) / CLICKS, "%")
    record("far away, clicks the server drew no coarse mask of", status["promised"], "")
    assert len(alone["coarse"]) >= 0.9 * CLICKS, "a refined mask that is quick enough comes without one"
    assert not alone["local"]
    assert len(helped["local"]) >= 0.95 * CLICKS
    for share in (50, 95):
        assert np.percentile(helped["local"], share) <= SHARE * np.percentile(alone["coarse"], share)
