"""What the page loads before anybody does anything: every response, its bytes, and when the start page stood."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, Page

from tests.browser.labelling_page import HOOK, PATIENCE_MS

__all__ = ["Load", "load"]

MARK_WHEN_THERE = """new MutationObserver((_, observer) => {
  if (!document.querySelector(".samref-start .samref-grid button")) return;
  observer.disconnect();
  window.startStood = performance.now();
}).observe(document, { childList: true, subtree: true });"""


@dataclass
class Load:
    """One first load.

    Attributes:
        page: the tab.
        bytes_of: what came over the wire for each request, headers included, in the order of asking.
        before_start: how many of the requests had left when the start page stood.
        start_s: from the beginning of the navigation until the start page could be used.
        work_s: the same for the work page.
        messages: what the browser's console said.
    """

    page: Page
    bytes_of: dict[str, int] = field(default_factory=dict)
    before_start: int = 0
    start_s: float = 0.0
    work_s: float = 0.0
    messages: list[str] = field(default_factory=list)

    @property
    def total_bytes(self) -> int:
        return sum(self.bytes_of.values())

    def bytes_below(self, *folders: str) -> int:
        """Of what came from these folders."""
        return sum(size for path, size in self.bytes_of.items() if path.startswith(folders))

    @property
    def before(self) -> list[str]:
        """Paths of the requests that had left when the start page stood."""
        return list(self.bytes_of)[: self.before_start]


def load(context: BrowserContext, url: str, *, round_trip_ms: float = 0) -> Load:
    """Open the page with an empty cache, and wait until nothing more comes by itself.

    Args:
        context: a browser that has never been there.
        url: of the page.
        round_trip_ms: added to every request by the browser.
    """
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    loaded = Load(page)
    page.on("console", lambda said: loaded.messages.append(f"{said.type}: {said.text}"))
    page.on("pageerror", lambda error: loaded.messages.append(f"error: {error}"))
    page.add_init_script(MARK_WHEN_THERE)
    network = context.new_cdp_session(page)
    network.send("Network.enable")
    if round_trip_ms:
        limits = {"offline": False, "latency": round_trip_ms, "downloadThroughput": -1, "uploadThroughput": -1}
        network.send("Network.emulateNetworkConditions", limits)
    paths: dict[str, str] = {}
    left_at: dict[str, float] = {}  # seconds since 1970, by the browser, which goes on while this process waits
    sizes: dict[str, int] = {}
    done: set[str] = set()

    def on(event: str, act: Callable[[dict[str, Any]], Any]) -> None:
        network.on(event, act)

    def sent(said: dict[str, Any]) -> None:
        paths.setdefault(said["requestId"], said["request"]["url"])
        left_at.setdefault(said["requestId"], said["wallTime"])

    on("Network.requestWillBeSent", sent)

    def received(said: dict[str, Any]) -> None:  # all that is told of an answer that the page stops reading at its end
        sizes[said["requestId"]] = sizes.get(said["requestId"], 0) + said["dataLength"]

    on("Network.dataReceived", received)
    on("Network.loadingFinished", lambda said: (sizes.update({said["requestId"]: said["encodedDataLength"]}),))
    on("Network.loadingFinished", lambda said: done.add(said["requestId"]))
    on("Network.loadingFailed", lambda said: done.add(said["requestId"]))

    page.goto(url, wait_until="commit")
    page.wait_for_function("() => window.startStood", polling=20)
    loaded.start_s = page.evaluate("() => window.startStood") / 1000
    stood_at = page.evaluate("() => performance.timeOrigin") / 1000 + loaded.start_s
    page.wait_for_function(f"() => {HOOK}?.view && performance.now()", polling=20)
    loaded.work_s = page.evaluate("() => performance.now()") / 1000
    quiet = 0
    while quiet < 5:  # half a second without anything new
        known = len(paths)
        page.wait_for_timeout(100)
        quiet = quiet + 1 if len(paths) == known == len(done) else 0
    for request, address in paths.items():
        if address.startswith(("data:", "blob:")):
            continue
        path = urlsplit(address).path
        if left_at[request] < stood_at and path not in loaded.bytes_of:
            loaded.before_start += 1
        loaded.bytes_of[path] = loaded.bytes_of.get(path, 0) + sizes.get(request, 0)
    return loaded
