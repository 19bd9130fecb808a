"""Two tabs, a reload, and a server that is killed while somebody draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import NewBrowser
from tests.browser.labelling_page import HOOK, LabellingPage
from tests.browser.offline import Offline
from tests.browser.server import Server

pytestmark = pytest.mark.browser


def test_two_tabs_on_two_images_keep_their_own_drafts(
    new_browser: NewBrowser, server: Server, offline: Offline, examples_dir: Path
) -> None:
    context = new_browser()
    cat = LabellingPage(context.new_page(), server).open().open_example("chelsea")
    cup = LabellingPage(context.new_page(), server).open()
    assert cup.token == cat.token
    cup.open_example("coffee")

    cat.click(200.5, 150.5)  # not waited for: both are under way at once
    cup.click(300.5, 180.5)
    cat.settle()
    cup.settle()
    cup.click(300.5, 350.5, button="right")
    cat.click(60.5, 60.5, button="right")
    for page, name in ((cat, "chelsea"), (cup, "coffee")):
        page.settle()
        assert [prompt["positive"] for prompt in page.prompts] == [True, False]
        photo = (examples_dir / f"{name}.jpg").read_bytes()
        assert np.array_equal(page.mask, offline.answer(photo, page.prompts).refined)

    cat.press("Enter").settle()
    assert len(cat.state["objects"]) == 1
    assert cup.state["objects"] == []
    assert len(cup.prompts) == 2


def test_two_tabs_on_one_image_lose_nothing_and_say_when_one_is_behind(new_browser: NewBrowser, server: Server) -> None:
    context = new_browser()
    one = LabellingPage(context.new_page(), server).open().open_example("coffee")
    one.click(300.5, 180.5)
    one.settle()
    other = LabellingPage(context.new_page(), server).open()
    other.start.locator(".samref-tile").first.click()
    other.wait(f"() => {HOOK}.state().draft.count === 1").settle()
    assert np.array_equal(other.mask, one.mask)

    other.press("Enter").settle()
    assert len(other.state["objects"]) == 1
    one.click(300.5, 350.5)
    one.settle()
    expect(one.error).to_contain_text("Another tab has changed this image")
    assert one.prompts == []
    assert np.array_equal(one.object_masks[0], other.object_masks[0])

    one.click(150.5, 320.5)
    one.settle()
    one.press("Enter").settle()
    assert len(one.state["objects"]) == 2
    other.page.reload()
    other.settle()
    assert [each["id"] for each in other.state["objects"]] == [each["id"] for each in one.state["objects"]]


def test_a_reload_brings_draft_objects_and_undo_back(new_browser: NewBrowser, server: Server) -> None:
    page = LabellingPage(new_browser().new_page(), server).open().open_example("coffee")
    page.click(300.5, 180.5)
    page.settle()
    page.press("Enter").settle()
    page.click(150.5, 320.5)
    before_last = page.settle().mask
    page.click(300.5, 350.5, button="right")
    before = page.settle().state
    page.page.reload()
    after = page.settle().state
    for kept in ("image", "revision", "objects"):
        assert after[kept] == before[kept]
    assert after["draft"]["prompts"] == before["draft"]["prompts"]
    assert after["draft"]["mask"] == before["draft"]["mask"]
    page.press("Control+z").settle()
    assert np.array_equal(page.mask, before_last)


def test_a_server_killed_while_drawing_comes_back_with_the_draft(
    new_browser: NewBrowser, tmp_path: Path, offline: Offline, examples_dir: Path
) -> None:
    server = Server(tmp_path)
    server.start()
    try:
        page = LabellingPage(new_browser(allowed_errors=True).new_page(), server).open().open_example("coffee")
        page.click(300.5, 180.5)
        before = page.settle().state
        page.press("s")
        start, end = page.place.window_at(250, 200), page.place.window_at(330, 215)
        page.page.mouse.move(*start)
        page.page.mouse.down()
        page.page.mouse.move(*end, steps=4)
        server.kill()
        page.page.mouse.up()
        page.wait(f"() => {HOOK}.phase() === 'offline'")

        server.start()
        page.wait(f"() => {HOOK}?.state().draft.count === 2").settle()
        prompts = page.prompts
        assert prompts[0] == before["draft"]["prompts"][0]
        assert [prompt["type"] for prompt in prompts] == ["click", "scribble"]
        photo = (examples_dir / "coffee.jpg").read_bytes()
        assert np.array_equal(page.mask, offline.answer(photo, prompts, page.bases).refined)
        page.press("Control+z").settle()
        assert page.state["draft"]["mask"] == before["draft"]["mask"]
    finally:
        server.stop()
