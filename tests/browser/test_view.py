"""How the image is seen: turns, tones, bars beside it, messages, keys of one's own, small screens, a lost server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import NewBrowser, NewPage
from tests.browser.labelling_page import HOOK, LabellingPage
from tests.browser.server import Server

pytestmark = pytest.mark.browser

PHONE: dict[str, Any] = {"has_touch": True, "is_mobile": True, "device_scale_factor": 2}
SCREENS: list[dict[str, Any]] = [
    {"width": 1280, "height": 800},
    {"width": 820, "height": 1180, "has_touch": True, "is_mobile": True},
    {"width": 375, "height": 667, **PHONE},
    {"width": 667, "height": 375, **PHONE},
]

CUP = (300.5, 180.5)

COVERED = """() => {
  const covered = [];
  for (const button of document.querySelectorAll("button, select, input, summary")) {
    if (!button.checkVisibility() || button.closest(".samref-toasts, [inert]")) continue;
    const { left, top, width, height } = button.getBoundingClientRect();
    const [x, y] = [left + width / 2, top + height / 2];
    if (x < 0 || y < 0 || x > innerWidth || y > innerHeight) continue;
    if (document.elementFromPoint(x, y)?.closest(".samref-toasts")) covered.push(button.outerHTML);
  }
  return covered;
}"""

SMALL = """() => [...document.querySelectorAll("button, select, summary, input:not([type=checkbox])")]
  .filter((one) => one.checkVisibility() && !one.closest(".samref-start"))
  .map((one) => [one.outerHTML.slice(0, 90), one.getBoundingClientRect()])
  .filter(([, { width, height }]) => width < 43.5 || height < 43.5)
  .map(([html, { width, height }]) => `${Math.round(width)} x ${Math.round(height)}: ${html}`)"""

CORNERS = f"""() => {{
  const {{ width, height }} = {HOOK}.state().image;
  return [[0.5, 0.5], [width - 0.5, 0.5], [0.5, height - 0.5], [width - 0.5, height - 0.5]].map(([x, y]) => {{
    const client = {HOOK}.imageToClient(x, y);
    return {{ client, on: document.elementFromPoint(...client)?.className ?? null }};
  }});
}}"""

SAY = """async (messages) => {
  const sheet = document.querySelector("link[href*='samref.css']").href;
  const { createToasts } = await import(new URL("toasts.js", sheet).href);
  const toasts = createToasts(document.querySelector(".samref-toasts"));
  for (const [kind, text, { details, action }] of messages) {
    toasts[kind](text, { details, action: action && { ...action, run: () => (window.undone = true) } });
  }
}"""

HEAR = """() => {
  window.heard = [];
  const region = document.querySelector(".samref-announcer");
  new MutationObserver(() => window.heard.push(region.textContent)).observe(region, { childList: true });
}"""


def client_of(page: LabellingPage, x: float, y: float) -> tuple[float, float]:
    """The window position of an image position, by the page's own word (it knows the turn)."""
    left, top = page.page.evaluate(f"(at) => {HOOK}.imageToClient(...at)", [x, y])
    return left, top


def click(page: LabellingPage, x: float, y: float) -> LabellingPage:
    """Click or tap on an image position, whichever way the view is turned."""
    at = client_of(page, x, y)
    if page.page.evaluate("() => matchMedia('(pointer: coarse)').matches"):
        page.page.touchscreen.tap(*at)
    else:
        page.page.mouse.click(*at)
    return page.settle()


@pytest.mark.parametrize("screen", SCREENS, ids=lambda screen: f"{screen['width']} x {screen['height']}")
def test_nothing_lies_over_a_fitted_image_and_no_message_over_a_button(
    new_page: NewPage, screen: dict[str, Any]
) -> None:
    page = new_page(**screen).open_example("coffee")
    click(page, *CUP)
    expect(page.page.locator(".samref-accept").first).to_be_visible()
    page.close_messages()
    for corner in page.page.evaluate(CORNERS):
        assert corner["on"] == "samref-overlay", f"a corner of the image cannot be clicked: {corner}"
    place = page.place
    assert place.width * place.height >= 0.5 * screen["width"] * screen["height"], "the image keeps its room"
    before = page.place
    page.page.evaluate(SAY, [["error", f"Message {number}. " * 9, {}] for number in range(3)])
    page.page.locator(".samref-toast").last.wait_for()
    assert page.page.evaluate(COVERED) == []
    assert page.place == before, "a message does not move the image"
    page.page.locator(".samref-draft .samref-accept").click()
    assert len(page.settle().state["objects"]) == 1


def test_fingers_find_everything_large_enough_and_no_word_about_keys(new_page: NewPage) -> None:
    page = new_page(width=375, height=667, **PHONE)
    expect(page.start).not_to_contain_text("Ctrl", use_inner_text=True)
    page.open_example("coffee")
    click(page, *CUP)
    assert page.page.evaluate(SMALL) == []
    page.page.locator(".samref-panel-button").tap()
    page.page.wait_for_timeout(300)
    for summary in page.page.locator(".samref-tone summary").all():
        summary.tap()
    assert page.page.evaluate(SMALL) == []
    assert page.page.locator(".samref-root kbd:visible").count() == 0


def test_images_before_and_after_can_be_reached_by_finger(new_page: NewPage) -> None:
    page = new_page(width=375, height=667, **PHONE).open_example("coffee")
    page.page.locator(".samref-home").tap()
    page.open_example("rocket")
    page.page.get_by_role("button", name="Image before this one").tap()
    page.wait(f"() => {HOOK}.state().image?.file_name === 'coffee.jpg'").settle()
    page.page.get_by_role("button", name="Image after this one").tap()
    page.wait(f"() => {HOOK}.state().image?.file_name === 'rocket.jpg'").settle()


def test_a_turned_view_shows_and_points_at_the_right_pixels(new_page: NewPage) -> None:
    page = new_page().open_example("coffee")
    pixels = [(40.5, 60.5), (300.5, 180.5), (560.5, 350.5)]

    def colours() -> list[Any]:
        screen = page.screen().astype(int)
        place = page.place
        at = [client_of(page, *pixel) for pixel in pixels]
        return [screen[int(y - place.top), int(x - place.left)] for x, y in at]

    page.page.mouse.move(5, 5)
    upright = colours()
    for turns in (1, 2, 3):
        page.press("r")
        page.close_messages()
        page.page.mouse.move(5, 5)
        assert page.page.evaluate(f"() => {HOOK}.view().turns") == turns
        assert np.abs(np.array(colours()) - np.array(upright)).max() <= 24, "each pixel keeps its colour"
        at = (100.5 + 60 * turns, 90.5 + 50 * turns)
        click(page, *at)
        assert [(one["x"], one["y"]) for one in page.prompts] == [(int(at[0]), int(at[1]))]
        rows, columns = np.nonzero(page.mask)
        middle = len(rows) // 2
        inside = [int(columns[middle]), int(rows[middle])]
        assert page.page.evaluate(f"(at) => {HOOK}.overlayPixel(...at)[3]", inside) > 0
        page.press("Escape").settle()
    page.press("Shift+R").press("Shift+R").press("Shift+R")
    assert page.page.evaluate(f"() => {HOOK}.view().turns") == 0


def test_masks_stay_hidden_until_they_are_wanted(new_page: NewPage) -> None:
    page = new_page().open_example("coffee")
    click(page, *CUP)
    painted = page.overlay[..., 3].any()
    assert painted
    button = page.page.get_by_role("button", name="Hide masks")
    page.press("Shift+H")
    expect(button).to_have_attribute("aria-pressed", "true")
    assert not page.overlay[..., 3].any()
    page.page.keyboard.down("h")
    assert page.overlay[..., 3].any(), "while H is held it is the other way round"
    page.page.keyboard.up("h")
    button.click()
    assert page.overlay[..., 3].any()
    strong = page.page.evaluate(f"() => {HOOK}.state().opacity")
    page.press(";").press(";")
    assert page.page.evaluate(f"() => {HOOK}.state().opacity") == pytest.approx(strong - 0.2)


def test_tones_change_what_is_seen_and_nothing_else(new_page: NewPage) -> None:
    page = new_page().open_example("coffee")
    page.page.mouse.move(5, 5)
    plain = page.screen().astype(int)
    requests = page.state["requests"]
    page.page.get_by_text("Brightness and contrast").click()
    page.page.get_by_label("Brightness of the view").fill("40")
    page.page.mouse.move(5, 5)
    assert (page.screen().astype(int) - plain).mean() > 40
    assert page.state["requests"] == requests, "the server hears nothing of it"
    page.page.get_by_role("button", name="Reset brightness").click()
    page.page.mouse.move(5, 5)
    assert np.abs(page.screen().astype(int) - plain).mean() < 1


def test_a_reload_and_another_image_leave_zoom_turn_tool_and_selection(new_page: NewPage) -> None:
    page = new_page().open_example("coffee")
    click(page, *CUP)
    page.press("Enter").settle()
    page.press("v").press("r")
    page.page.mouse.click(*client_of(page, *CUP))
    page.zoom_to(300, 200, 150)
    page.page.wait_for_timeout(400)
    chosen = page.page.evaluate(f"() => {HOOK}.state().selected")
    assert chosen
    look = f"() => ['scale', 'turns', 'offsetX', 'offsetY'].map((name) => {HOOK}.view()[name])"
    before = page.page.evaluate(look)

    page.page.reload()
    page.settle()
    page.wait(f"(id) => {HOOK}.state().selected === id", chosen)
    assert np.allclose(page.page.evaluate(look), before, atol=1.5)
    assert page.state["tool"] == "hand"

    page.page.locator(".samref-home").click()
    page.open_example("rocket")
    assert page.page.evaluate(f"() => {HOOK}.view().turns") == 0
    page.press("PageUp")
    page.wait(f"(id) => {HOOK}.state().selected === id", chosen).settle()
    assert np.allclose(page.page.evaluate(look), before, atol=1.5)


def test_the_overview_moves_the_view_and_leaves_when_all_is_seen(new_page: NewPage) -> None:
    page = new_page().open_example("coffee")
    overview = page.page.locator(".samref-minimap")
    expect(overview).to_be_hidden()
    page.zoom_to(400, 300, 200)
    box = overview.bounding_box()
    assert box
    page.page.mouse.click(box["x"] + box["width"] * 0.75, box["y"] + box["height"] * 0.25)
    page.wait(
        f"""() => {{
          const {{ left, top, width, height }} = document.querySelector(".samref-stage").getBoundingClientRect();
          const [x, y] = {HOOK}.clientToPixel(left + width / 2, top + height / 2);
          return Math.abs(x - 450) < 12 && Math.abs(y - 100) < 12; }}"""
    )
    assert page.prompts == []
    page.press("f")
    expect(overview).to_be_hidden()


def test_the_wheel_moves_sideways_and_when_asked_to_every_way(new_page: NewPage) -> None:
    page = new_page().open_example("coffee")
    page.zoom_to(300, 300, 200)
    before = page.place
    page.page.mouse.wheel(60, 5)
    page.wait(f"(x) => {HOOK}.view().offsetX === x - 60", before.offsetX)
    assert page.place.scale == before.scale
    page.page.get_by_text("Turn, lines, overview").click()
    page.page.get_by_label("Wheel moves, Ctrl + wheel zooms").check()
    page.page.mouse.move(*client_of(page, 300, 200))
    page.page.mouse.wheel(0, 40)
    page.wait(f"(y) => {HOOK}.view().offsetY === y - 40 - 5", before.offsetY)
    page.page.keyboard.down("Control")
    page.page.mouse.wheel(0, -40)
    page.page.keyboard.up("Control")
    page.wait(f"(scale) => {HOOK}.view().scale > scale", before.scale)


def test_own_keys_act_are_printed_and_outlive_a_reload(new_page: NewPage) -> None:
    page = new_page().open_example("coffee")
    page.press("?")
    page.page.get_by_role("button", name="Change keys").click()
    said = page.page.locator(".samref-key-said")
    page.page.get_by_role("button", name="B: Box").click()
    page.press("f")
    expect(said).to_contain_text("F means “Fit the image”")
    page.press("w")
    expect(said).to_contain_text("W")
    page.press("Escape")
    expect(page.page.get_by_label("Keyboard and gestures", exact=True)).to_be_hidden()
    page.press("b")
    assert page.state["tool"] == "click"
    page.press("w")
    assert page.state["tool"] == "box"
    expect(page.page.get_by_role("button", name="Box (W)")).to_be_visible()
    page.page.reload()
    page.settle().press("p").press("w")
    assert page.state["tool"] == "box"
    page.press("?")
    expect(page.page.locator(".samref-help-line", has_text="drag around the object").locator("kbd")).to_have_text("W")
    page.page.get_by_role("button", name="Change keys").click()
    page.page.get_by_role("button", name="Reset all keys").click()
    page.press("Escape").press("p").press("b")
    assert page.state["tool"] == "box"


def test_shortcuts_act_while_a_list_has_the_focus_and_its_choice_stays(new_page: NewPage) -> None:
    page = new_page().open_example("coffee")
    models = page.page.get_by_label("Model", exact=True)
    before = models.input_value()
    models.focus()
    page.press("b").press("s")
    assert page.state["tool"] == "scribble"
    assert models.input_value() == before
    page.page.get_by_label("No fill").click()
    assert page.page.evaluate("() => document.activeElement.className").startswith("samref-stage")
    missing = page.page.locator(".samref-model optgroup option").first
    if missing.count():
        models.select_option(missing.get_attribute("value"))
        expect(page.page.locator(".samref-toast").last).to_contain_text("cannot be used on this machine")
        assert models.input_value() == before


def test_what_happens_is_told_to_a_screen_reader(new_page: NewPage) -> None:
    page = new_page().open_example("coffee")
    page.page.evaluate(HEAR)
    click(page, *CUP)
    page.wait("() => window.heard.some((text) => /Mask: \\d+ % of the image, score 0\\.\\d\\d\\./.test(text))")
    page.press("Enter").settle()
    page.wait("() => window.heard.some((text) => text.includes('Accepted object 1.'))")


def test_what_is_deleted_or_dropped_is_offered_back(new_page: NewPage) -> None:
    page = new_page().open_example("coffee")
    click(page, *CUP)
    page.press("Escape").settle()
    assert page.state["draft"]["count"] == 0
    page.page.get_by_role("button", name="Undo", exact=True).click()
    page.wait(f"() => {HOOK}.state().draft.count === 1").settle()
    page.press("Enter").settle()
    page.page.get_by_role("button", name="Delete object 1").click()
    toast = page.page.locator(".samref-toast", has_text="Deleted object 1.")
    expect(toast).to_be_visible()
    assert page.settle().state["objects"] == []
    toast.get_by_role("button", name="Undo", exact=True).click()
    page.wait(f"() => {HOOK}.state().annotations.list.length === 1").settle()
    page.page.locator(".samref-draft").get_by_role("button", name="Undo: accept").click()
    page.wait(f"() => {HOOK}.state().draft.count === 1 && {HOOK}.state().annotations.list.length === 0").settle()


def test_a_message_lists_all_it_is_about_and_stays_while_it_is_read(new_page: NewPage) -> None:
    page = new_page().open_example("coffee")
    page.page.evaluate(
        SAY,
        [
            ["error", "3 files were refused.", {"details": ["a.svg: <b>no</b>", "b.svg: no", "c.svg: no"]}],
            ["info", "Deleted cup 3.", {"action": {"label": "Undo"}}],
        ],
    )
    listed = page.page.locator(".samref-toast", has_text="3 files were refused.")
    listed.get_by_text("Show all 3").click()
    expect(listed.locator("li")).to_have_text(["a.svg: <b>no</b>", "b.svg: no", "c.svg: no"])
    page.page.locator(".samref-toast").get_by_role("button", name="Undo", exact=True).click()
    assert page.page.evaluate("() => window.undone") is True
    expect(page.page.locator(".samref-toast", has_text="Deleted cup 3.")).to_have_count(0)
    page.page.wait_for_timeout(10_000)
    expect(listed).to_be_visible()
    listed.get_by_role("button", name="Close this message").click()
    expect(listed).to_have_count(0)


def test_the_focus_goes_to_the_image_that_was_opened_by_key(new_page: NewPage) -> None:
    page = new_page()
    page.start.get_by_title("coffee", exact=True).focus()
    page.press("Enter")
    page.wait(f"() => {HOOK}.state().image !== null").settle()
    assert page.page.evaluate("() => document.activeElement.className").startswith("samref-stage")


def test_a_lost_server_is_said_at_once_and_what_is_done_meanwhile_arrives_once(
    new_browser: NewBrowser, tmp_path: Path
) -> None:
    server = Server(tmp_path)
    server.start()
    try:
        context = new_browser(allowed_errors=True)
        context.clock.install()
        page = LabellingPage(context.new_page(), server).open().open_example("coffee")
        page.page.clock.pause_at(page.page.evaluate("() => Date.now() / 1000") + 60)  # of the page: not of the machine
        click(page, *CUP)
        page.press("s")
        server.kill()
        page.page.mouse.move(*client_of(page, 100, 100))
        assert page.page.evaluate(f"() => {HOOK}.phase()") == "done"
        page.page.clock.run_for(2_000)
        page.wait(f"() => {HOOK}.phase() === 'offline'")  # its time stands still: said within two seconds
        page.page.clock.resume()
        page.press("Enter").press("Enter")
        expect(page.page.locator(".samref-toast", has_text="Kept until the server is back: accept.")).to_be_visible()
        server.start()
        page.wait(f"() => {HOOK}.state().annotations.list.length === 1 && {HOOK}.phase() === 'ready'").settle()
        assert page.state["revision"] == 3
        assert page.state["tool"] == "scribble"
        assert page.error.count() == 0
    finally:
        server.stop()


def test_what_was_kept_without_the_server_outlives_a_reload(new_page: NewPage) -> None:
    page = new_page().open_example("coffee")
    click(page, *CUP)
    page.page.route("**/samref/send", lambda route: route.abort())
    page.press("Enter")
    page.page.unroute("**/samref/send")
    page.page.route("**/main.js?alive=*", lambda route: route.abort())
    page.page.reload()
    page.settle()
    page.wait(f"() => {HOOK}.state().annotations.list.length === 1").settle()
    assert page.state["draft"]["count"] == 0


@pytest.mark.skipif("SAMREF_AXE" not in os.environ, reason="name axe.min.js of axe-core in SAMREF_AXE")
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_on_the_work_page(new_page: NewPage, server: Server, theme: str) -> None:
    axe = Path(os.environ["SAMREF_AXE"]).read_text("utf-8")
    page = new_page(width=1440, height=900)
    page.page.goto(f"{server.url}?__theme={theme}")
    page.settle().open_example("coffee")
    click(page, *CUP)
    page.press("Enter").settle()
    click(page, 100.5, 380.5)
    for width in (1440, 768, 375):
        page.page.set_viewport_size({"width": width, "height": 900})
        page.page.evaluate(axe)
        found = page.page.evaluate(
            "() => axe.run(document, { rules: { 'label-content-name-mismatch': { enabled: true } } })"
        )
        assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found["violations"]] == []


def test_a_click_on_a_message_reaches_the_image_below(new_page: NewPage) -> None:
    page = new_page(width=1280, height=800).open_example("raccoon")
    page.click(512.5, 384.5)
    page.settle().press("Escape").settle()
    toast = page.page.locator(".samref-toast-text").first
    expect(toast).to_be_visible()
    box = toast.bounding_box()
    assert box is not None
    page.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait(f"() => {HOOK}.state().draft.count === 1").settle()
