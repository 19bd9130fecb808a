"""The key of a workspace: shown, taken to another browser, lost and found again."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.conftest import NewBrowser, NewPage
from tests.browser.labelling_page import HOOK, LabellingPage
from tests.browser.server import Server

pytestmark = pytest.mark.browser

NO_STORAGE = """
  const refuse = () => { throw new DOMException("The operation is insecure.", "SecurityError"); };
  for (const name of ["localStorage", "sessionStorage"]) Object.defineProperty(window, name, { get: refuse });
"""


def keeping(page: LabellingPage) -> Locator:
    """The dialog that says where the work is, open."""
    page.page.get_by_role("button", name="Your work …").click()
    dialog = page.page.get_by_role("dialog", name="Your work")
    expect(dialog).to_be_visible()
    return dialog


def images(page: LabellingPage) -> list[str]:
    """Names of the images in the page's workspace."""
    return [one["file_name"] for one in page.state["images"]]


def test_the_page_says_where_and_how_long_work_is_kept(new_page: NewPage, server: Server) -> None:
    page = new_page()
    expect(page.start).to_contain_text(str(server.data))
    dialog = keeping(page)
    expect(dialog).to_contain_text("Nothing is ever removed by itself.")
    expect(dialog).to_contain_text("python -m samref backup")


def test_a_key_opens_the_workspace_in_another_browser_and_leaves_the_own_one_at_hand(
    new_browser: NewBrowser, server: Server
) -> None:
    first = LabellingPage(new_browser().new_page(), server).open().open_example("coffee")
    first.click(300.5, 180.5)
    first.settle()
    other = LabellingPage(new_browser().new_page(), server).open().open_example("rocket")
    own = other.token
    other.page.get_by_role("button", name="All images").click()
    dialog = keeping(other)
    dialog.get_by_label("Key of another workspace").fill(f"  {first.token} ")
    dialog.get_by_role("button", name="Open", exact=True).click()
    other.wait(f"() => {HOOK}.state().workspace?.images[0]?.file_name === 'coffee.jpg'").settle()
    assert other.token == first.token
    other.start.locator(".samref-tile").first.click()
    other.wait(f"() => {HOOK}.state().draft.count === 1").settle()

    other.page.get_by_role("button", name="All images").click()
    keeping(other).get_by_role("button", name=f"{own[:6]}…").click()
    other.wait(f"() => {HOOK}.state().workspace?.images[0]?.file_name === 'rocket.jpg'").settle()
    assert other.token == own


def test_a_link_with_a_key_opens_its_workspace_and_leaves_the_address(new_browser: NewBrowser, server: Server) -> None:
    first = LabellingPage(new_browser().new_page(), server).open().open_example("coffee")
    fresh = LabellingPage(new_browser().new_page(), server)
    fresh.page.goto(f"{server.url}#key={first.token}", wait_until="domcontentloaded")
    fresh.settle()
    assert images(fresh) == ["coffee.jpg"]
    assert fresh.page.url == server.url
    fresh.page.reload()
    assert images(fresh.settle()) == ["coffee.jpg"]


def test_a_key_that_opens_nothing_changes_nothing(new_browser: NewBrowser, server: Server) -> None:
    page = LabellingPage(new_browser().new_page(), server).open().open_example("coffee")
    own = page.token
    page.page.get_by_role("button", name="All images").click()
    for wrong, sentence in (("no key!", "That is no key"), ("x" * 43, "No workspace of this server has that key")):
        dialog = page.page.get_by_role("dialog", name="Your work")
        if not dialog.is_visible():
            dialog = keeping(page)
        dialog.get_by_label("Key of another workspace").fill(wrong)
        dialog.get_by_role("button", name="Open", exact=True).click()
        expect(page.page.locator(".samref-toast", has_text=sentence)).to_be_attached()
    page.wait(f"() => {HOOK}.state().workspace?.images.length === 1").settle()
    assert page.token == own
    assert images(page) == ["coffee.jpg"]


def test_a_browser_that_keeps_nothing_says_so_and_works_until_it_is_closed(
    new_browser: NewBrowser, server: Server
) -> None:
    context = new_browser()
    context.add_init_script(NO_STORAGE)
    page = LabellingPage(context.new_page(), server).open()
    expect(keeping(page)).to_contain_text("This browser keeps nothing for this page")
    page.page.keyboard.press("Escape")
    page.open_example("coffee").click(300.5, 180.5)
    assert page.settle().state["draft"]["count"] == 1
