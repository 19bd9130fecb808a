"""What the page does with a model of its own: masks before a click, clicks painted at once, and why it goes without."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import BrowserContext, Route

from samref.labels.events import Prompted
from tests.browser.conftest import NewBrowser
from tests.browser.fake_model import RADIUS, offer_model
from tests.browser.labelling_page import HOOK, LabellingPage
from tests.browser.offline import Offline
from tests.browser.page_model import READY, let_model_be_slow, need_model
from tests.browser.server import Server

pytestmark = pytest.mark.browser

HOVERED = ".samref-hovered"


@pytest.fixture
def open_with(new_browser: NewBrowser, server: Server) -> Callable[..., LabellingPage]:
    """Open an example in a page that is offered a model; it is waited for, however slow, unless told otherwise."""

    def make(
        prepare: Callable[[BrowserContext], object] | None = None, *, ready: bool = True, **orders: Any
    ) -> LabellingPage:
        context = new_browser()
        offer_model(context, **orders)
        if ready:
            let_model_be_slow(context)
        if prepare is not None:
            prepare(context)
        page = LabellingPage(context.new_page(), server).open().open_example("coffee")
        return page.wait(READY) if ready else page

    return make


@contextmanager
def held(page: LabellingPage) -> Iterator[list[Route]]:
    """Keep what the page sends on this side until the block ends."""
    waiting: list[Route] = []
    page.page.route("**/samref/send", lambda route: waiting.append(route))  # noqa: PLW0108 - Playwright marks it
    yield waiting
    page.page.unroute("**/samref/send")
    for route in waiting:
        route.fallback()


def hover(page: LabellingPage, x: float, y: float) -> None:
    left, top = page.place.window_at(x, y)
    page.page.mouse.move(left - 1, top)
    page.page.mouse.move(left, top)


def helps(page: LabellingPage) -> str:
    """What the help says of the model in this browser."""
    is_open = page.page.locator(".samref-local").is_visible()
    if not is_open:
        page.page.get_by_role("button", name="Keyboard and gestures").click()
    said: str = page.page.locator(".samref-local").evaluate("(element) => element.textContent")
    if not is_open:
        page.press("Escape")
    return said


def sent(page: LabellingPage) -> list[dict[str, Any]]:
    """The requests from here on, as they leave."""
    requests: list[dict[str, Any]] = []

    def note(request: Any) -> None:
        if request.url.endswith("samref/send"):
            requests.append(json.loads(request.post_data))

    page.page.on("request", note)
    return requests


# ---- before a click


def test_the_mask_under_the_pointer_is_shown_and_nothing_is_sent_or_recorded(
    open_with: Callable[..., LabellingPage],
) -> None:
    page = open_with()
    requests = sent(page)
    hover(page, 300.5, 180.5)
    shown = page.page.locator(HOVERED)
    shown.wait_for(state="visible")
    page.wait(f"() => {HOOK}.stats().local.hover.length > 0")
    inside, outside = page.place.window_at(300, 180 - RADIUS + 8), page.place.window_at(300, 180 - RADIUS - 8)
    read = """(canvas, [x, y]) => {
      const { left, top } = canvas.getBoundingClientRect();
      const [column, row] = [(x - left) * devicePixelRatio, (y - top) * devicePixelRatio];
      return canvas.getContext("2d").getImageData(column, row, 1, 1).data[3];
    }"""
    assert 0 < shown.evaluate(read, inside) < 100, "fainter than a draft"
    assert shown.evaluate(read, outside) == 0
    assert shown.get_attribute("aria-hidden") == "true"
    assert page.state["draft"]["count"] == 0
    assert [one["verb"] for one in requests] == []
    log = page.server.events(page.token, page.state["image"]["digest"])
    assert not any(isinstance(event, Prompted) for event in log)


def test_the_mask_under_the_pointer_goes_when_it_would_be_in_the_way(open_with: Callable[..., LabellingPage]) -> None:
    page = open_with()
    shown = page.page.locator(HOVERED)

    def is_gone_after(act: Callable[[], object], back: Callable[[], object]) -> None:
        hover(page, 300.5, 180.5)
        shown.wait_for(state="visible")
        act()
        shown.wait_for(state="hidden")
        back()

    mouse = page.page.mouse
    is_gone_after(lambda: mouse.move(5, 5), lambda: None)
    is_gone_after(lambda: mouse.wheel(0, -100), lambda: page.press("f"))
    is_gone_after(lambda: page.press("b"), lambda: page.press("p"))
    is_gone_after(lambda: page.press("x"), lambda: page.press("x"))
    is_gone_after(lambda: page.press("Shift+P"), lambda: page.press("Shift+P"))
    is_gone_after(lambda: page.press("Shift+H"), lambda: page.press("Shift+H"))
    hover(page, 300.5, 180.5)
    shown.wait_for(state="visible")
    page.click(300.5, 180.5)
    page.settle()
    hover(page, 200.5, 180.5)
    assert shown.is_hidden(), "a draft is open"


# ---- clicks


def test_a_click_is_painted_without_the_network_and_the_refined_mask_takes_its_place(
    open_with: Callable[..., LabellingPage], offline: Offline, examples_dir: Path
) -> None:
    page = open_with(trusted=True)
    requests = sent(page)
    with held(page):
        page.click(300.5, 180.5)
        page.wait(f"() => {HOOK}.stats().latencies.local.length === 1")
        assert page.page.evaluate(f"() => {HOOK}.phase()") == "refining"
        assert page.page.evaluate(f"() => {HOOK}.overlayPixel(300, {180 - RADIUS + 6})[3]") > 0
        assert page.page.evaluate(f"() => {HOOK}.overlayPixel(300, {180 - RADIUS - 6})[3]") == 0
        assert page.state["draft"]["count"] == 0, "only shown"
    page.settle()
    assert [(one["verb"], one["coarse"]) for one in requests if one["verb"] == "prompt"] == [("prompt", "mine")]
    answer = offline.answer((examples_dir / "coffee.jpg").read_bytes(), page.prompts)
    assert np.array_equal(page.mask, answer.refined)
    assert page.page.evaluate(f"() => {HOOK}.stats().latencies.coarse.length") == 0, "the server made none"
    disc = page.coarse_mask
    assert disc[180, 300]
    assert disc.sum() == pytest.approx(np.pi * RADIUS**2, rel=0.05), "what the key for it shows was painted here"
    page.press("Enter").settle()
    assert np.array_equal(page.object_masks[0], answer.refined)


def test_of_two_quick_clicks_the_mask_of_both_is_shown_until_the_server_has_one(
    open_with: Callable[..., LabellingPage], offline: Offline, examples_dir: Path
) -> None:
    page = open_with(trusted=True)
    with held(page):
        page.click(300.5, 180.5)
        page.click(250.5, 150.5)
        page.wait(f"() => {HOOK}.state().ahead?.prompts.length === 2")
    page.settle()
    assert page.state["draft"]["count"] == 2
    assert page.page.evaluate(f"() => {HOOK}.state().ahead") is None
    answer = offline.answer((examples_dir / "coffee.jpg").read_bytes(), page.prompts, page.bases)
    assert np.array_equal(page.mask, answer.refined)
    assert page.page.evaluate(f"() => {HOOK}.state().draft.bases") == page.bases


def test_undo_while_a_mask_is_under_way_leaves_none_of_it(open_with: Callable[..., LabellingPage]) -> None:
    page = open_with(trusted=True, coarseMs=120)
    page.click(300.5, 180.5)
    page.press("Control+z")
    page.settle()
    page.page.wait_for_timeout(400)
    assert page.state["draft"]["count"] == 0
    assert page.page.evaluate(f"() => {HOOK}.state().ahead") is None
    assert page.page.evaluate(f"() => {HOOK}.overlayPixel(300, 170)[3]") == 0
    page.press("Control+y").settle()
    assert page.state["draft"]["count"] == 1
    assert page.mask.any()


def test_a_reload_in_the_middle_loses_no_click(open_with: Callable[..., LabellingPage]) -> None:
    page = open_with(trusted=True)
    with held(page) as waiting:
        page.click(300.5, 180.5)
        page.wait(f"() => {HOOK}.state().ahead !== null")
        for route in waiting:
            route.abort()
        waiting.clear()
    page.page.reload(wait_until="domcontentloaded")
    page.settle().wait(READY)
    page.wait(f"() => {HOOK}.state().draft.count === 1").settle()
    assert page.mask.any()
    page.click(250.5, 150.5)
    page.settle()
    assert page.state["draft"]["count"] == 2
    calls = page.page.evaluate("() => localModelCalls")
    assert ["coarse", 2, 1] in calls, "it goes on from the memory of the click before the reload"


def test_drafts_with_work_by_hand_are_left_to_the_server(open_with: Callable[..., LabellingPage]) -> None:
    page = open_with(trusted=True)
    page.click(300.5, 180.5)
    page.settle()
    page.press("d")
    page.drag((100, 100), (130, 100))
    page.settle()
    requests = sent(page)
    page.press("p").click(250.5, 150.5)
    page.settle()
    (prompt,) = [one for one in requests if one["verb"] == "prompt"]
    assert "coarse" not in prompt
    assert page.page.evaluate(f"() => {HOOK}.stats().latencies.local.length") == 1
    assert page.mask[100, 110], "what was painted stays"


# ---- why it goes without


def of_connection(**facts: Any) -> Callable[[BrowserContext], object]:
    """A browser whose connection says so."""
    made = f"Object.defineProperty(navigator, 'connection', {{ value: {json.dumps(facts)} }})"
    return lambda context: context.add_init_script(made)


def without_simd(context: BrowserContext) -> None:
    context.add_init_script("globalThis.localModelSimd = false")


@pytest.mark.parametrize(
    ("prepare", "orders", "sentence"),
    [
        (of_connection(saveData=True), {}, "set to save data"),
        (of_connection(effectiveType="2g"), {}, "connection is slow"),
        (without_simd, {}, "lacks WebAssembly SIMD"),
        (None, {"loadError": "The model arrived cut off."}, "from the server. The model arrived cut off."),
        (None, {"coarseError": "out of memory"}, "stopped working in this browser"),
    ],
)
def test_each_reason_to_go_without_is_said_in_the_help_and_a_click_works_as_ever(
    open_with: Callable[..., LabellingPage],
    prepare: Callable[[BrowserContext], object] | None,
    orders: dict[str, Any],
    sentence: str,
) -> None:
    page = open_with(prepare, ready=False, **orders)
    page.wait(f"() => {HOOK}.stats().local?.status.reason")
    assert sentence in helps(page)
    requests = sent(page)
    page.click(300.5, 180.5)
    page.settle()
    (prompt,) = [one for one in requests if one["verb"] == "prompt"]
    assert "coarse" not in prompt
    assert page.mask.any()
    assert page.coarse_mask.any()
    if prepare is not None:
        assert page.page.evaluate("() => globalThis.localModelCalls ?? null") is None, "nothing was loaded"


def test_a_slow_browser_is_given_a_second_chance_and_then_left_alone(open_with: Callable[..., LabellingPage]) -> None:
    page = open_with(ready=False, coarseMs=200)
    page.wait(f"() => {HOOK}.stats().local?.status.reason === 'time'")
    assert "too long to be of use" in helps(page)
    calls = page.page.evaluate("() => localModelCalls.filter(([name]) => name === 'coarse').length")
    assert calls == 8


def test_masks_unlike_the_servers_are_noticed_by_themselves(open_with: Callable[..., LabellingPage]) -> None:
    page = open_with()
    requests = sent(page)
    for x in (300.5, 250.5):
        page.click(x, 180.5)
        page.settle()
    page.wait(f"() => {HOOK}.stats().local.status.reason === 'differs'")
    assert "were not the server's own" in helps(page)
    assert all("coarse" not in one for one in requests), "a page that has shown nothing yet is not relied on"
    page.press("Escape").settle()
    hover(page, 300.5, 180.5)
    assert page.page.locator(HOVERED).is_hidden()


def test_it_can_be_switched_off_and_stays_so(open_with: Callable[..., LabellingPage]) -> None:
    page = open_with(trusted=True)
    page.press("?")
    page.page.get_by_label("Run the model in this browser, too").uncheck()
    assert "switched off" in helps(page)
    page.press("Escape")
    page.page.reload(wait_until="domcontentloaded")
    page.settle().wait(f"() => {HOOK}.stats().local?.status.reason === 'off'")
    assert page.page.evaluate("() => globalThis.localModelCalls ?? null") is None
    page.press("?")
    page.page.get_by_label("Run the model in this browser, too").check()
    page.press("Escape").wait(READY)


# ---- the real one


def test_the_models_own_masks_are_trusted_after_one_click(new_browser: NewBrowser, server: Server) -> None:
    need_model()
    context = new_browser()
    let_model_be_slow(context)
    page = LabellingPage(context.new_page(), server).open().open_example("coffee").wait(READY)
    hover(page, 300.5, 180.5)
    page.page.locator(HOVERED).wait_for(state="visible")
    requests = sent(page)
    page.click(300.5, 180.5)
    page.settle().wait(f"() => {HOOK}.stats().local.trusted")
    page.press("Escape").settle()
    with held(page):
        page.click(420.5, 300.5)
        page.wait(f"() => {HOOK}.stats().local.painted > 0 && {HOOK}.state().ahead !== null")
    page.settle()
    assert [one.get("coarse") for one in requests if one["verb"] == "prompt"] == [None, "mine"]
    assert page.mask.any()
    assert page.coarse_mask.any()
