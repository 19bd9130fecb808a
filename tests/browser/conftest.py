"""One server, one browser and one offline model for all browser tests; a workspace of its own for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, expect, sync_playwright

from tests.browser.labelling_page import PATIENCE_MS, LabellingPage
from tests.browser.offline import Offline
from tests.browser.server import Server

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

expect.set_options(timeout=PATIENCE_MS)  # as for all else that is waited for; five seconds are few on a busy machine

NewBrowser = Callable[..., BrowserContext]
NewPage = Callable[..., LabellingPage]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The app, started once."""
    started = Server(tmp_path_factory.mktemp("app"))
    try:
        started.start()
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="session")
def offline() -> Offline:
    """The model that every mask is compared with."""
    return Offline()


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """A Chromium without a window; not kept for longer, because Playwright's event loop runs as long as it lives."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def new_browser(browser: Browser) -> Iterator[NewBrowser]:
    """Make browsers with nothing remembered; at the end each must have asked this machine only, without errors."""
    made: list[BrowserContext] = []
    elsewhere: list[str] = []
    errors: list[str] = []

    def make(width: int = 1280, height: int = 800, *, allowed_errors: bool = False, **options: Any) -> BrowserContext:
        context = browser.new_context(viewport={"width": width, "height": height}, accept_downloads=True, **options)

        def note(request: Any) -> None:
            address = urlsplit(request.url)
            if address.scheme not in ("data", "blob") and address.hostname != "127.0.0.1":
                elsewhere.append(request.url)

        def note_refusal(said: ConsoleMessage) -> None:
            if "Content Security" in said.text:
                errors.append(said.text)

        context.on("request", note)
        context.on("console", note_refusal)
        if not allowed_errors:
            context.on("weberror", lambda error: errors.append(str(error.error)))
        made.append(context)
        return context

    yield make
    for context in made:
        context.close()
    assert not elsewhere, f"the page asked other hosts: {elsewhere}"
    assert not errors, f"errors in the page: {errors}"


@pytest.fixture
def new_page(new_browser: NewBrowser, server: Server) -> NewPage:
    """Open the page in a browser with nothing remembered."""

    def make(**options: Any) -> LabellingPage:
        return LabellingPage(new_browser(**options).new_page(), server).open()

    return make
