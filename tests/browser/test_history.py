"""One history: everything done on an image can be undone, done again, and jumped to."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import NewPage
from tests.browser.labelling_page import HOOK

pytestmark = pytest.mark.browser

DONE = f"() => {HOOK}.phase() === 'done'"


def test_undo_brings_back_what_esc_and_delete_took(new_page: NewPage) -> None:
    page = new_page().open_example("coffee")
    page.click(300.5, 180.5)
    page.settle()
    drawn = page.mask
    page.page.keyboard.press("Escape")
    page.wait(f"() => {HOOK}.state().draft.count === 0").settle()
    page.page.keyboard.press("Control+z")
    page.wait(DONE)
    assert np.array_equal(page.mask, drawn)
    page.page.keyboard.press("Enter")
    page.wait(f"() => {HOOK}.state().annotations.list.length === 1").settle()
    page.page.get_by_role("button", name="Delete object 1").click()
    page.wait(f"() => {HOOK}.state().annotations.list.length === 0").settle()
    page.page.keyboard.press("Control+z")
    page.wait(f"() => {HOOK}.state().annotations.list.length === 1").settle()
    page.page.keyboard.press("Control+z")
    page.wait(f"() => {HOOK}.state().annotations.list.length === 0 && {HOOK}.state().draft.count === 1").settle()
    assert np.array_equal(page.mask, drawn)


def test_the_history_is_a_list_that_outlives_a_reload(new_page: NewPage) -> None:
    page = new_page().open_example("coffee")
    page.click(300.5, 180.5)
    page.settle()
    page.click(320.5, 200.5)
    page.settle()
    page.page.keyboard.press("Enter")
    page.wait(f"() => {HOOK}.state().annotations.list.length === 1").settle()
    page.page.reload()
    page.wait(f"() => {HOOK}?.state().annotations.list.length === 1").settle()
    page.page.get_by_role("button", name="History").click()
    dialog = page.page.get_by_role("dialog", name="History of this image")
    entries = dialog.get_by_role("listitem")
    expect(entries).to_have_text(["Accept an object", "Click", "Click", "Image opened"])
    entries.nth(2).get_by_role("button").click()
    page.wait(f"() => {HOOK}.state().draft.count === 1 && {HOOK}.state().annotations.list.length === 0")
    expect(dialog.locator("[aria-current]")).to_have_text("Click")
    entries.nth(0).get_by_role("button").click()
    page.wait(f"() => {HOOK}.state().annotations.list.length === 1")
    page.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_tab_shows_what_else_a_lone_click_can_mean(new_page: NewPage) -> None:
    page = new_page().open_example("astronaut")
    page.click(256.5, 256.5)
    page.settle()
    first = page.mask
    page.page.keyboard.press("Tab")
    page.wait(f"() => {HOOK}.state().undo?.startsWith('choose')").settle()
    second = page.mask
    assert not np.array_equal(second, first)
    page.page.keyboard.press("Control+z")
    page.wait(f"() => {HOOK}.state().undo === 'click'").settle()
    assert np.array_equal(page.mask, first)
    page.page.keyboard.press("Shift+Tab")
    assert not page.page.evaluate("() => document.activeElement.matches('.samref-stage')"), "Tab still moves the focus"


def test_a_new_object_can_leave_others_their_pixels(new_page: NewPage) -> None:
    page = new_page().open_example("coffee")
    page.click(300.5, 180.5)
    page.settle()
    first = page.mask
    page.page.keyboard.press("t")
    page.page.get_by_label("When accepted").select_option("under")
    page.page.keyboard.press("Escape")
    page.page.keyboard.press("Enter")
    page.wait(f"() => {HOOK}.state().annotations.list.length === 1").settle()
    page.page.keyboard.press("l")
    corners = [page.place.window_at(x, y) for x, y in ((200, 100), (420, 100), (420, 300), (200, 300))]
    page.page.mouse.move(*corners[0])
    page.page.mouse.down()
    for corner in corners[1:]:
        page.page.mouse.move(*corner)
    page.page.mouse.up()
    page.settle()
    drawn = page.mask
    page.page.keyboard.press("Enter")
    page.wait(f"() => {HOOK}.state().annotations.list.length === 2").settle()
    second = page.page.evaluate(f"() => {HOOK}.state().annotations.list[1].area")
    assert second == np.count_nonzero(drawn & ~first) < np.count_nonzero(drawn)
