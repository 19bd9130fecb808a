"""From a click to the mask on the screen, against the model run offline."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from samref.core.masks import Mask
from tests.browser.conftest import NewBrowser
from tests.browser.labelling_page import HOOK, LabellingPage, Place
from tests.browser.offline import Offline
from tests.browser.page_model import IS_OFF, READY, let_model_be_slow, need_model, without_model
from tests.browser.server import Server

pytestmark = pytest.mark.browser

OUTLINE_DOTS = 2.5
"""The draft's outline reaches so many CSS pixels to either side of the mask's border."""

MARK_DOTS = 14
"""A click's dot reaches so many CSS pixels around its middle."""


COVERS = ".samref-zoom, .samref-draft, .samref-readout, .samref-toast, .samref-minimap"
"""What may lie over the canvas."""


def assert_painted(page: LabellingPage, mask: Mask) -> None:
    """The draft's fill is on exactly the dots that the mask says; under its outline and the dots one cannot look."""
    place = page.place
    filled = page.overlay[:, :, 3] > 0
    wanted = place.on_dots(mask)
    seen = place.decided & ~_near_border(wanted, OUTLINE_DOTS * place.ratio)
    rim = math.ceil(OUTLINE_DOTS * place.ratio)  # an outline out of sight reaches in
    seen[:rim], seen[-rim:], seen[:, :rim], seen[:, -rim:] = False, False, False, False
    for prompt in page.prompts:
        seen &= ~_around(place, prompt)
    assert wanted[seen].any()
    assert np.array_equal(filled[seen], wanted[seen])


def _near_border(shown: NDArray[np.bool_], reach: float) -> NDArray[np.bool_]:
    size = 2 * int(np.ceil(reach)) + 1
    kernel = np.ones((size, size), dtype=np.uint8)
    dots = shown.astype(np.uint8)
    near: NDArray[np.bool_] = cv2.dilate(dots, kernel) != cv2.erode(dots, kernel)
    return near


def _around(place: Place, click: dict[str, float]) -> NDArray[np.bool_]:
    column, row = ((click["x"] + 0.5) * place.scale + place.offsetX, (click["y"] + 0.5) * place.scale + place.offsetY)
    far = np.hypot(np.arange(place.dotsWide)[None, :] - column, np.arange(place.dotsHigh)[:, None] - row)
    near: NDArray[np.bool_] = far < MARK_DOTS * place.ratio
    return near


def assert_painted_everywhere(page: LabellingPage, mask: Mask) -> None:
    """An accepted object without its outline: every dot of the canvas counts, and so does what the screen shows."""
    place = page.place
    wanted = place.on_dots(mask)
    overlay = page.overlay
    seen = place.decided
    assert np.array_equal(overlay[:, :, 3][seen] == 255, wanted[seen])
    assert np.array_equal(overlay[:, :, 3][seen] > 0, wanted[seen])
    colour = overlay[wanted][0, :3]
    covers = page.close_messages().boxes(COVERS)  # a tip may leave, and another come, while the screen is looked at
    on_screen = (page.screen() == colour).all(axis=2)
    ignored = ~seen
    for left, top, width, height in {*covers, *page.boxes(COVERS)}:
        if width and height:
            x0, y0 = (left - place.left) * place.ratio, (top - place.top) * place.ratio
            x1, y1 = x0 + width * place.ratio, y0 + height * place.ratio
            ignored[max(0, int(y0) - 8) : max(0, int(y1) + 9), max(0, int(x0) - 8) : max(0, int(x1) + 9)] = True
    assert np.array_equal(on_screen[~ignored], wanted[~ignored])


@pytest.mark.parametrize(
    ("ratio", "percent", "pan", "with_model"),
    [
        (1, None, (0, 0), False),
        (1.5, 300, (-83, 47), False),
        (2, None, (31, -22), False),
        (1, 300, (55, -61), False),
        (1, None, (0, 0), True),
        (1.5, 300, (-83, 47), True),
    ],
)
def test_a_click_paints_the_mask_that_the_model_gives_offline(
    new_browser: NewBrowser,
    server: Server,
    offline: Offline,
    examples_dir: Path,
    ratio: float,
    percent: float | None,
    pan: tuple[int, int],
    with_model: bool,
) -> None:
    """A model in the page is there before the first click, and trusted before the second, which it paints itself."""
    context = new_browser(device_scale_factor=ratio)
    if with_model:
        need_model()
        let_model_be_slow(context)
    else:
        without_model(context)
    page = LabellingPage(context.new_page(), server).open().open_example("coffee")
    page.wait(READY if with_model else IS_OFF)
    page.page.get_by_label("Opacity of masks").fill("100")
    page.page.get_by_label("Outlines", exact=True).uncheck()
    if percent:
        page.zoom_to(percent, 300, 180)
    if pan != (0, 0):
        page.pan(*pan)
    place = page.place
    assert place.ratio == ratio
    assert (place.dotsWide, place.dotsHigh) == (round(place.width * ratio), round(place.height * ratio))

    pixels = [page.click(300.4, 182.7)]
    page.settle()
    assert [(one["x"], one["y"], one["positive"]) for one in page.prompts] == [(*pixels[0], True)]
    photo = (examples_dir / "coffee.jpg").read_bytes()
    answer = offline.answer(photo, page.prompts)
    assert answer.refined.any()
    assert np.array_equal(page.mask, answer.refined)
    assert np.array_equal(page.coarse_mask, answer.coarse)
    assert_painted(page, answer.refined)

    page.page.keyboard.down("c")
    assert_painted(page, answer.coarse)
    page.page.keyboard.up("c")

    if with_model:
        page.wait(f"() => {HOOK}.stats().local.trusted")
    pixels.append(page.click(330.2, 140.9, button="right"))
    page.settle()
    assert [(one["x"], one["y"], one["positive"]) for one in page.prompts] == [(*pixels[0], True), (*pixels[1], False)]
    assert (page.page.evaluate(f"() => {HOOK}.stats().local.promised") == 1) is with_model
    answer = offline.answer(photo, page.prompts)
    assert np.array_equal(page.mask, answer.refined)
    assert_painted(page, answer.refined)

    page.page.get_by_label("Opacity of masks").focus()  # Enter accepts from there, too
    page.press("Enter").settle()
    assert np.array_equal(page.object_masks[0], answer.refined)
    assert_painted_everywhere(page, answer.refined)
