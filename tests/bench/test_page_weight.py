"""The first load of the page: bytes, requests and seconds, next door and half a world away."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.conftest import ARGUMENTS
from tests.browser.first_load import Load, load
from tests.browser.server import Server

Record = Callable[[str, float, str], None]

ROUNDS = 3
FAR_MS = 300.0
"""Round trip between continents: 150 ms each way."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("weight"))
    started.start()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)


def loads(browser: Browser, server: Server, round_trip_ms: float) -> list[Load]:
    made = []
    for _ in range(ROUNDS):
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        made.append(load(context, server.url, round_trip_ms=round_trip_ms))
        context.close()
    return made


@pytest.mark.timeout(600)
def test_first_load(browser: Browser, server: Server, record: Record) -> None:
    loads(browser, server, 0)  # the server packs its files first
    near, far = loads(browser, server, 0), loads(browser, server, FAR_MS)
    one = near[-1]
    before = sum(one.bytes_of[path] for path in one.before)
    record("first load, everything", one.total_bytes / 1000, "kB")
    record("first load, before the start page stands", before / 1000, "kB")
    record("first load, of it Gradio's own page", one.bytes_below("/assets/", "/static/", "/theme.css") / 1000, "kB")
    record("first load, requests", len(one.bytes_of), "")
    for name, made in (("near", near), (f"{FAR_MS:.0f} ms away", far)):
        record(f"start page stands, {name}", statistics.median(each.start_s for each in made), "s")
        record(f"work page is there, {name}", statistics.median(each.work_s for each in made), "s")
    assert before < one.total_bytes
