"""The page is isolated from other pages, so that WebAssembly may use threads, and is shown in frames of any page."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser, Frame

from samref.space.manifest import SPACEFILE_NAME, load_spacefile
from tests.browser.conftest import NewBrowser
from tests.browser.server import ROOT, Server

pytestmark = pytest.mark.browser

HEADERS = load_spacefile(ROOT / SPACEFILE_NAME).build.custom_headers
"""What Hugging Face sends with its page around a Space."""

IS_ISOLATED = "() => self.crossOriginIsolated && typeof SharedArrayBuffer === 'function'"


@contextmanager
def page_around(address: str, headers: dict[Any, str]) -> Iterator[str]:
    """The address, on another site, of a page that shows ``address`` in a frame as Hugging Face does."""
    body = (
        f'<!doctype html><link rel=icon href="data:,"><iframe src="{address}" allow="cross-origin-isolated"></iframe>'
    )

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None: ...

        def do_GET(self) -> None:
            self.send_response(200)
            for name, value in {"Content-Type": "text/html", **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

    around = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=around.serve_forever, daemon=True).start()
    try:
        yield f"http://localhost:{around.server_port}/"
    finally:
        around.shutdown()
        around.server_close()


@pytest.fixture(scope="module")
def framed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose page may be shown on other sites."""
    started = Server(tmp_path_factory.mktemp("framed"), settings={"SAMREF_FRAME_ANCESTORS": "http://localhost:*"})
    try:
        started.start()
        yield started
    finally:
        started.stop()


def test_the_page_by_itself_may_use_threads(new_browser: NewBrowser, server: Server) -> None:
    page = new_browser().new_page()
    page.goto(server.url)
    page.wait_for_selector(".samref-root canvas", state="attached")
    assert page.evaluate(IS_ISOLATED)


@pytest.mark.parametrize("isolated", [True, False], ids=["as Hugging Face frames it", "any page"])
def test_the_page_is_shown_in_a_frame_and_uses_threads_where_the_page_around_it_allows(
    browser: Browser, framed: Server, isolated: bool
) -> None:
    with page_around(framed.url, dict(HEADERS) if isolated else {}) as address, browser.new_context() as context:
        page = context.new_page()
        page.goto(address)
        page.wait_for_selector("iframe")
        inside = next(each for each in page.frames if each.parent_frame is not None)
        assert isinstance(inside, Frame)
        inside.wait_for_selector(".samref-root canvas", state="attached")
        assert inside.evaluate(IS_ISOLATED) is isolated
