"""Pages of another site that show samref in a frame, and browsers that trust no third party."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from playwright.sync_api import BrowserContext, Playwright

__all__ = ["BLOCKS_ALL", "BLOCKS_THIRD_PARTIES", "Parent", "browser_with"]

BLOCKS_THIRD_PARTIES: dict[str, Any] = {
    "profile": {"cookie_controls_mode": 1, "block_third_party_cookies": True},
    "tracking_protection": {"block_all_3pc_toggle_enabled": True},
}
"""Preferences of a Chromium that lets no third party set a cookie."""

BLOCKS_ALL: dict[str, Any] = {"profile": {"default_content_setting_values": {"cookies": 2}}}
"""Preferences of a Chromium that keeps nothing for any site: reading its storage is an error."""

PAGE = """<!doctype html><html lang="en"><head><title>An article</title></head>
<body style="margin: 0"><h1>An article</h1>
<iframe title="samref" src="{src}" width="{width}" height="{height}" style="border: 0"></iframe>
<p style="height: 4000px">The rest of it.</p></body></html>"""


class Parent:
    """A page on ``localhost``, which is another site than ``127.0.0.1``, with a frame in it.

    Attributes:
        origin: where it is.
        src: what the frame shows; set before the page is opened.
    """

    def __init__(self) -> None:
        parent = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = parent.html.encode() if self.path == "/" else b""
                self.send_response(HTTPStatus.OK if body else HTTPStatus.NO_CONTENT)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://localhost:{self._server.server_address[1]}"
        self.src = "about:blank"
        self.width, self.height = 1280, 640
        Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def html(self) -> str:
        return PAGE.format(src=self.src, width=self.width, height=self.height)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


AS_IT_COMES = "--disable-features=Translate"
"""Takes the place of Playwright's own list, which has a third party share its storage with all others."""


@contextmanager
def browser_with(
    playwright: Playwright,
    chromium: str,
    arguments: list[str],
    folder: Path,
    preferences: dict[str, Any],
    **options: Any,
) -> Iterator[BrowserContext]:
    """A Chromium of its own with these preferences, which only a profile on the disk can hold."""
    (folder / "Default").mkdir(parents=True)
    (folder / "Default" / "Preferences").write_text(json.dumps(preferences))
    context = playwright.chromium.launch_persistent_context(
        folder, executable_path=chromium, args=[*arguments, AS_IT_COMES], accept_downloads=True, **options
    )
    yield context
    context.close()
