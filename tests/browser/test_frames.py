"""The page inside a page of another site, in browsers that let no third party keep anything."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, FilePayload, Frame, Page, Playwright, expect, sync_playwright

from tests.browser.conftest import ARGUMENTS
from tests.browser.frames import BLOCKS_ALL, BLOCKS_THIRD_PARTIES, Parent, browser_with
from tests.browser.labelling_page import HOOK, PATIENCE_MS, READ_STATE, SETTLED
from tests.browser.server import Server

pytestmark = pytest.mark.browser

CUP = (300.5, 180.5)

THIRD_PARTY_COOKIE = """() => {
  document.cookie = "probe=1; SameSite=None; Secure";
  return document.cookie.includes("probe=1");
}"""

STORES = "() => { localStorage.setItem('probe', '1'); return localStorage.getItem('probe') === '1'; }"

KEY = "() => localStorage.getItem('samref.token')"

OpenIn = Callable[..., "Framed"]


class Framed:
    """A tab of the other site with samref in its frame."""

    def __init__(self, page: Page, origin: str) -> None:
        self.page = page
        page.set_default_timeout(PATIENCE_MS)
        self.messages: list[str] = []
        self.hosts: set[str] = set()
        page.on("console", lambda said: self.messages.append(f"{said.type}: {said.text}"))
        page.on("pageerror", lambda error: self.messages.append(f"error: {error}"))
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        page.goto(origin, wait_until="commit")
        page.wait_for_selector("iframe")

    @property
    def frame(self) -> Frame:
        """samref."""
        return self.page.frames[1]

    @property
    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.frame.evaluate(READ_STATE)
        return state

    def settle(self) -> Framed:
        """Wait until everything that was asked has been answered."""
        self.frame.wait_for_function(SETTLED, polling=50)
        return self

    def open_example(self, name: str) -> Framed:
        self.frame.locator(".samref-start").get_by_title(name, exact=True).click()
        self.frame.wait_for_function(f"() => {HOOK}?.state().image !== null", polling=50)
        return self.settle()

    def click(self, x: float, y: float) -> Framed:
        """Click on an image position."""
        left, top = self.frame.evaluate(f"(at) => {HOOK}.imageToClient(...at)", [x, y])
        box = self.page.locator("iframe").bounding_box()
        assert box is not None
        self.page.mouse.click(box["x"] + left, box["y"] + top)
        return self

    @property
    def scrolled(self) -> float:
        """How far the page of the other site is scrolled, when it has come to rest."""
        before = -1.0
        while (now := float(self.page.evaluate("() => scrollY"))) != before:
            before = now
            self.page.wait_for_timeout(150)
        return now

    def scrolls_by(self, key: str) -> None:
        """Press a key that scrolls the page of the other site down, which a busy machine begins with in a while."""
        before = self.scrolled
        self.page.keyboard.press(key)
        self.page.wait_for_function("(before) => scrollY > before", arg=before, polling=50)
        while (now := self.scrolled) != before:  # at rest, and still there after another look
            before = now


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as made:
        yield made


@pytest.fixture(scope="module")
def parent() -> Iterator[Parent]:
    made = Parent()
    yield made
    made.close()


@pytest.fixture(scope="module")
def framed_server(tmp_path_factory: pytest.TempPathFactory, parent: Parent) -> Iterator[Server]:
    """A server that lets the other site show it."""
    server = Server(tmp_path_factory.mktemp("framed"), settings={"SAMREF_FRAME_ANCESTORS": parent.origin})
    server.start()
    yield server
    server.stop()


@pytest.fixture
def open_in(
    playwright: Playwright, chromium: str, tmp_path: Path, parent: Parent, framed_server: Server
) -> Iterator[OpenIn]:
    """Open the other site's page in a browser with these preferences."""
    made: list[Framed] = []
    with ExitStack() as stack:

        def open_(preferences: dict[str, Any] | None = None, hash_: str = "", server: Server = framed_server) -> Framed:
            parent.src = server.url + hash_
            options: dict[str, Any] = {"viewport": {"width": 1320, "height": 760}}
            chosen = BLOCKS_THIRD_PARTIES if preferences is None else preferences
            folder = tmp_path / f"profile{len(made)}"
            context = stack.enter_context(browser_with(playwright, chromium, ARGUMENTS, folder, chosen, **options))
            framed = Framed(context.pages[0], parent.origin)
            made.append(framed)
            return framed

        yield open_
        for framed in made:
            allowed = {urlsplit(parent.origin).netloc, urlsplit(parent.src).netloc, ""}
            assert framed.hosts <= allowed, "a request to another host"


def told(framed: Framed, text: str) -> None:
    """Wait for a message."""
    expect(framed.frame.locator(".samref-toast", has_text=text)).to_be_visible(timeout=PATIENCE_MS)


def own_window(framed: Framed, context: BrowserContext) -> Page:
    """What "Open in its own window" opens."""
    with context.expect_page() as opened:
        framed.frame.get_by_role("link", name="Open in its own window").click()
    page = opened.value
    page.wait_for_function(SETTLED, polling=50)
    return page


def test_labelling_works_where_third_parties_may_set_no_cookie(
    open_in: OpenIn, examples_dir: Path, framed_server: Server
) -> None:
    framed = open_in(BLOCKS_THIRD_PARTIES)
    framed.settle()
    alone = framed.page.context.new_page()
    alone.goto(f"{framed_server.url}robots.txt")
    cookies = [one.evaluate(THIRD_PARTY_COOKIE) for one in (framed.frame, alone)]
    assert cookies == [False, True], "blocked for who is a third party only"
    assert framed.frame.evaluate(KEY) is not None
    assert alone.evaluate(KEY) is None, "in the frame and alone this browser keeps different things"
    alone.close()
    data = (examples_dir / "coffee.jpg").read_bytes()
    photo = FilePayload(name="mine.jpg", mimeType="image/jpeg", buffer=data)
    framed.frame.locator(".samref-start input[type=file]").first.set_input_files(photo)
    framed.frame.wait_for_function(f"() => {HOOK}?.state().image?.file_name === 'mine.jpg'", polling=50)
    framed.settle().click(*CUP).settle()
    assert framed.state["draft"]["mask"] is not None
    framed.click(60.5, 60.5).settle()
    assert framed.state["draft"]["count"] == 2
    framed.page.keyboard.press("Control+z")
    framed.settle()
    assert framed.state["draft"]["count"] == 1, "undone by key"
    framed.page.keyboard.press("Enter")
    framed.settle()
    assert len(framed.state["objects"]) == 1

    framed.frame.get_by_role("button", name="Export labels, or import them").click()
    with framed.page.expect_download() as started:
        framed.frame.get_by_role("button", name="Download").click()
    assert started.value.path().stat().st_size > 100
    framed.page.keyboard.press("Escape")

    page = own_window(framed, framed.page.context)
    assert "key" not in page.url, "the key is taken out of the address at once"
    assert page.evaluate("() => opener") is None
    page.locator(".samref-start").get_by_title("mine.jpg: 1 object", exact=False).click()
    page.wait_for_function(f"() => {HOOK}.state().image?.file_name === 'mine.jpg'", polling=50)
    page.wait_for_function(SETTLED, polling=50)
    assert page.evaluate(READ_STATE)["objects"] == framed.state["objects"], "the same labels are there"
    assert framed.messages == []


def test_keys_stay_with_the_page_around_until_somebody_clicks_on_the_image(open_in: OpenIn) -> None:
    framed = open_in().settle()
    framed.page.locator("h1").click()
    for key in ("ArrowDown", "Space"):
        framed.scrolls_by(key)
    framed.page.evaluate("() => scrollTo(0, 0)")
    framed.open_example("coffee").click(*CUP).settle()
    before, at = framed.frame.evaluate(f"() => {HOOK}.view().offsetY"), framed.scrolled
    framed.page.keyboard.press("+")
    framed.page.keyboard.press("ArrowDown")
    framed.settle()
    assert framed.frame.evaluate(f"() => {HOOK}.view().offsetY") != before, "the keys are the image's now"
    assert framed.scrolled == at

    framed.page.reload(wait_until="commit")
    framed.page.wait_for_selector("iframe")
    framed.page.locator("h1").click()
    framed.frame.wait_for_function(f"() => {HOOK}?.state().image", polling=50)
    framed.settle().page.wait_for_timeout(300)
    framed.scrolls_by("ArrowDown")  # an image that comes back takes no keys either


def test_blocked_storage_is_said_and_labelling_works(open_in: OpenIn) -> None:
    framed = open_in(BLOCKS_ALL).settle()
    with pytest.raises(Exception, match="denied"):
        framed.frame.evaluate(STORES)
    expect(framed.frame.locator(".samref-start")).to_contain_text("This browser keeps nothing for this page")
    framed.open_example("coffee").click(*CUP).settle()
    framed.page.keyboard.press("Enter")
    framed.settle()
    assert len(framed.state["objects"]) == 1
    page = own_window(framed, framed.page.context)
    page.locator(".samref-start").get_by_title("coffee", exact=False).first.click()
    page.wait_for_function(f"() => {HOOK}.state().annotations.list.length === 1", polling=50)
    assert framed.messages == []


def test_a_foreign_key_in_the_address_leads_back_to_ones_own(open_in: OpenIn, parent: Parent) -> None:
    framed = open_in(hash_="#key=" + "z" * 43)
    told(framed, "No workspace of this server has that key. A new one was begun for you.")
    framed.settle().open_example("coffee").click(*CUP).settle()
    framed.page.goto("about:blank")
    framed.page.goto(parent.origin, wait_until="commit")
    framed.page.wait_for_selector("iframe")
    told(framed, "No workspace of this server has that key. You are back in your own.")
    framed.settle()
    assert [one["file_name"] for one in framed.state["images"]] == ["coffee.jpg"]
    assert framed.messages == []


def test_a_server_that_sleeps_is_said_and_a_click_made_meanwhile_arrives(
    open_in: OpenIn, tmp_path: Path, parent: Parent
) -> None:
    server = Server(tmp_path / "asleep", settings={"SAMREF_FRAME_ANCESTORS": parent.origin})
    (tmp_path / "asleep").mkdir()
    server.start()
    try:
        framed = open_in(server=server).settle().open_example("coffee")
        server.kill()
        began = time.monotonic()
        framed.click(*CUP)
        framed.frame.wait_for_function(f"() => {HOOK}.phase() === 'offline'", polling=50)
        assert time.monotonic() - began < 8
        expect(framed.frame.locator(".samref-phase")).to_contain_text("The server does not answer; trying again")
        server.start()
        framed.frame.wait_for_function(f"() => {HOOK}.state().draft.count === 1", polling=50)
        framed.settle()
        assert framed.state["draft"]["mask"] is not None, "the click made meanwhile has its mask"
    finally:
        server.stop()


def test_who_may_not_show_the_page_in_a_frame_cannot(open_in: OpenIn, server: Server) -> None:
    framed = open_in(server=server)
    framed.page.wait_for_timeout(1_500)
    assert framed.frame.locator(".samref-root").count() == 0
