"""The first screen: a finished result before any click, the first click made on it, and lines for scripts that run."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from samref.core.images import decode_image
from samref.core.masks import Mask, Rle
from samref.web.examples import Showcase, ShowcaseFiles, ShowcaseMask, find_showcase
from tests.browser.conftest import NewBrowser, NewPage
from tests.browser.labelling_page import HOOK, LabellingPage
from tests.browser.offline import Offline
from tests.browser.server import Server

pytestmark = pytest.mark.browser

THUMBNAIL_BYTES = 200_000
THUMBNAIL_SIZE = (1200, 630)
THUMBNAIL_RATIO = 1.25  # it is seen small: letters are to be large

NOT_ON_THE_THUMBNAIL = """
.samref-root :is(.samref-uploads-line, .samref-start-body > section) { display: none !important; }
"""
"""The folder of this machine, and what would be cut at the foot."""

SHIFTS = """() => new Promise((done) => {
  const seen = [];
  new PerformanceObserver((list) => seen.push(...list.getEntries().map((one) => one.value)))
    .observe({ type: "layout-shift", buffered: true });
  setTimeout(() => done(seen.reduce((sum, one) => sum + one, 0)), 200);
})"""


@pytest.fixture(scope="module")
def files(root: Path) -> ShowcaseFiles:
    found = find_showcase(root / "assets" / "showcase")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that answers scripts."""
    started = Server(tmp_path_factory.mktemp("scripted"), settings={"SAMREF_API": "1"})
    try:
        started.start()
        yield started
    finally:
        started.stop()


def frame_of(page: Page) -> Locator:
    """The finished result, once it is there."""
    frame = page.locator(".samref-hero-frame")
    expect(frame).to_be_visible()
    return frame


def box_of(element: Locator) -> tuple[float, float, float, float]:
    box = element.bounding_box()
    assert box is not None
    return box["x"], box["y"], box["width"], box["height"]


def on_screen(mask: ShowcaseMask, showcase: Showcase, high: int, wide: int) -> Mask:
    """The mask as it must be seen, by display dot."""
    x, y, width, height = mask.box
    whole: Mask = np.zeros((showcase.height, showcase.width), dtype=np.bool_)
    whole[y : y + height, x : x + width] = Rle.from_counts(height, width, mask.counts).to_mask()
    rows = (np.arange(high) + 0.5) * showcase.height // high
    columns = (np.arange(wide) + 0.5) * showcase.width // wide
    shown: Mask = whole[rows.astype(int)[:, None], columns.astype(int)[None, :]]
    return shown


def slider_at(page: Page) -> int:
    return int(page.get_by_role("slider", name="Coarse or refined mask").get_attribute("aria-valuenow") or -1)


def colours(page: Page, frame: Locator) -> Any:
    """RGB of the finished result as it is on the screen."""
    return np.asarray(Image.open(io.BytesIO(frame.screenshot())).convert("RGB")).astype(int)


def test_a_finished_result_is_there_without_a_click(new_page: NewPage, files: ShowcaseFiles) -> None:
    page = new_page(width=1440, height=900, reduced_motion="reduce")
    frame = frame_of(page.page)
    _, top, _, height = box_of(frame)
    assert top >= 0, "it is on the first screen"
    assert top + height <= 900
    showcase = files.showcase
    slider = page.page.get_by_role("slider", name="Coarse or refined mask")
    slider.focus()
    page.press("Home")
    refined = colours(page.page, frame)
    page.press("End")
    coarse = colours(page.page, frame)
    differs = np.abs(refined - coarse).sum(axis=2) > 30
    high, wide = differs.shape
    either = on_screen(showcase.coarse, showcase, high, wide) | on_screen(showcase.refined, showcase, high, wide)
    inner = np.s_[60 : high - 60, 40 : wide - 40]  # without what else lies over the image
    assert (differs == either)[inner].mean() > 0.98, "one mask at one end of the slider, the other at the other end"
    assert either[inner].mean() > 0.05
    page.page.locator(".samref-hero-dot").wait_for()
    assert page.page.evaluate(SHIFTS) < 0.05, "nothing jumps when it comes"


def test_the_slider_goes_by_keys_mouse_and_finger(new_page: NewPage) -> None:
    page = new_page(width=820, height=1100, has_touch=True, reduced_motion="reduce")
    frame = frame_of(page.page)
    slider = page.page.get_by_role("slider", name="Coarse or refined mask")
    slider.focus()
    for key, wanted in [
        ("Home", 0),
        ("ArrowRight", 2),
        ("PageUp", 22),
        ("ArrowLeft", 20),
        ("End", 100),
        ("PageDown", 80),
    ]:
        page.press(key)
        assert slider_at(page.page) == wanted, key
    assert slider.get_attribute("aria-valuetext") == (
        "Coarse mask up to 80 percent of the width, refined mask from there on"
    )
    left, top, width, height = box_of(frame)
    page.page.mouse.move(left + 0.8 * width, top + 0.3 * height)
    page.page.mouse.down()
    page.page.mouse.move(left + 0.3 * width, top + 0.3 * height, steps=4)
    page.page.mouse.up()
    assert slider_at(page.page) == pytest.approx(30, abs=1)
    devtools = page.page.context.new_cdp_session(page.page)
    for kind, at in [("touchStart", 0.3), ("touchMove", 0.5), ("touchMove", 0.6), ("touchEnd", None)]:
        points = [] if at is None else [{"x": left + at * width, "y": top + 0.3 * height}]
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    page.wait("() => Math.abs(Number(document.querySelector('.samref-hero-grip').ariaValueNow) - 60) <= 1")
    assert page.state["image"] is None, "who drags the slider has not clicked on the image"


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (375, 812)])
def test_a_click_on_the_result_is_the_first_click_on_its_image(
    new_page: NewPage, offline: Offline, examples_dir: Path, files: ShowcaseFiles, width: int, height: int
) -> None:
    page = new_page(width=width, height=height)
    frame = frame_of(page.page)
    left, top, wide, high = box_of(frame)
    showcase = files.showcase
    across, down = round(left + 0.18 * wide), round(top + 0.59 * high)  # on the sleeve; browsers tell whole pixels
    x, y = int((across - left) / wide * showcase.width), int((down - top) / high * showcase.height)
    page.page.mouse.click(across, down)
    page.wait(f"() => {HOOK}.state().draft?.stage === 'refined'").settle()
    assert page.state["image"]["file_name"] == showcase.example
    assert [(one["type"], one["x"], one["y"], one["positive"]) for one in page.prompts] == [("click", x, y, True)]
    photo = (examples_dir / showcase.example).read_bytes()
    assert np.array_equal(page.mask, offline.answer(photo, page.prompts).refined)


def test_who_has_images_sees_those_and_not_the_result(new_page: NewPage) -> None:
    page = new_page().open_example("coffee")
    page.page.reload()
    page.settle()
    page.page.get_by_title("All images").or_(page.page.locator(".samref-home")).first.click()
    expect(page.start.get_by_role("heading", name="Your images")).to_be_visible()
    expect(page.page.locator(".samref-hero")).to_be_hidden()


def test_hard_examples_say_what_is_hard(new_page: NewPage) -> None:
    page = new_page()
    tile = page.start.get_by_title("dandelion", exact=True)
    expect(tile).to_contain_text("hair")
    expect(tile).to_contain_text("a thousand seed hairs")
    expect(page.start).to_contain_text("Your images stay on this machine, in ")


def opened_script(page: LabellingPage) -> Locator:
    page.start.get_by_role("button", name="Use it from a script").click()
    dialog = page.page.get_by_role("dialog", name="Use it from a script")
    expect(dialog).to_be_visible()
    return dialog


def test_the_lines_for_scripts_run_as_they_are_printed(
    new_browser: NewBrowser, scripted: Server, examples_dir: Path, root: Path, tmp_path: Path
) -> None:
    page = LabellingPage(new_browser().new_page(), scripted).open()
    fields = opened_script(page).locator("textarea")
    expect(fields).to_have_count(2)
    Image.open(examples_dir / "coffee.jpg").save(tmp_path / "photo.jpg")
    environment = {**os.environ, "PYTHONPATH": str(root), "NO_PROXY": "127.0.0.1,localhost"}
    for number in range(2):
        lines = fields.nth(number).input_value()
        run = subprocess.run(
            [sys.executable, "-c", lines], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240
        )
        assert run.returncode == 0, f"{lines}\n{run.stderr[-3000:]}"
        said = run.stdout.strip().splitlines()[-1]
        if "gradio_client" in lines:
            assert f'Client("{scripted.url}")' in lines
            mask = decode_image(Path(said.split()[0]).read_bytes())
            assert mask.rgb.shape[:2] == (400, 600)
            assert int((mask.rgb[..., 0] > 127).sum()) == int(said.split()[1]) > 1000
        else:
            assert said.startswith("(400, 600) ")


def test_a_server_that_answers_no_scripts_shows_the_local_lines_only(new_page: NewPage) -> None:
    page = new_page()
    fields = opened_script(page).locator("textarea")
    expect(fields).to_have_count(1)
    assert "import samref" in fields.input_value()


def test_lines_that_may_not_be_copied_are_marked(new_browser: NewBrowser, server: Server) -> None:
    context = new_browser()
    refuse = "{ value: { writeText: () => Promise.reject(new Error('not allowed')) } }"
    context.add_init_script(f"Object.defineProperty(navigator, 'clipboard', {refuse});")
    page = LabellingPage(context.new_page(), server).open()
    dialog = opened_script(page)
    dialog.get_by_role("button", name="Copy").click()
    expect(dialog.get_by_role("status")).to_contain_text("the lines are marked, press Ctrl + C")
    field = dialog.locator("textarea")
    expect(field).to_be_focused()
    begin, end = field.evaluate("(field) => [field.selectionStart, field.selectionEnd]")
    assert (begin, end) == (0, len(field.input_value()))


def test_a_result_that_does_not_come_leaves_the_page_usable(new_browser: NewBrowser, server: Server) -> None:
    context = new_browser()
    context.route("**/samref/showcase/*", lambda route: route.abort())
    page = LabellingPage(context.new_page(), server).open()
    expect(page.page.locator(".samref-hero")).to_have_count(0)
    page.open_example("coffee")
    assert page.state["image"]["file_name"] == "coffee.jpg"


def test_the_thumbnail_is_as_large_as_networks_want_it(files: ShowcaseFiles) -> None:
    thumbnail = files.folder / "thumbnail.jpg"
    assert thumbnail.stat().st_size <= THUMBNAIL_BYTES
    with Image.open(thumbnail) as image:
        assert image.size == THUMBNAIL_SIZE


@pytest.mark.skipif(
    not os.environ.get("SAMREF_SCREENSHOT"), reason="set SAMREF_SCREENSHOT=1 to make the thumbnail anew"
)
def test_the_thumbnail_shows_the_first_screen_as_it_is(new_page: NewPage, root: Path) -> None:
    width, height = (round(side / THUMBNAIL_RATIO) for side in THUMBNAIL_SIZE)
    page = new_page(
        width=width,
        height=height,
        device_scale_factor=THUMBNAIL_RATIO,
        color_scheme="light",
        reduced_motion="reduce",
    )
    frame_of(page.page)
    page.page.add_style_tag(content=NOT_ON_THE_THUMBNAIL)
    page.page.wait_for_timeout(500)
    shot = Image.open(io.BytesIO(page.page.screenshot(scale="device"))).convert("RGB")
    assert shot.size == THUMBNAIL_SIZE
    target = root / "assets" / "showcase" / "thumbnail.jpg"
    shot.save(target, quality=86, optimize=True, progressive=True)
    print(f"thumbnail: {target.stat().st_size} bytes")
    assert target.stat().st_size < THUMBNAIL_BYTES
