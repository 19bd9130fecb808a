"""Pixels set by hand, in a real browser: brush, eraser, lasso, corners, prompts taken hold of, the keyboard alone."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import expect

from samref.core.masks import Mask
from tests.browser.conftest import NewPage
from tests.browser.labelling_page import HOOK, LabellingPage


def disks(shape: tuple[int, int], ways: list[tuple[int, int]], width: int) -> Mask:
    """Pixels whose middle is at most half a width from the straight ways between pixels, by distance."""
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(float)
    nearest: NDArray[np.floating] = np.full(shape, np.inf)
    for (ax, ay), (bx, by) in zip(ways, ways[1:] or ways, strict=False):
        length = (bx - ax) ** 2 + (by - ay) ** 2
        along = np.clip(((columns - ax) * (bx - ax) + (rows - ay) * (by - ay)) / max(length, 1), 0, 1)
        nearest = np.minimum(nearest, np.hypot(columns - ax - along * (bx - ax), rows - ay - along * (by - ay)))
    return nearest <= width / 2


def inside(shape: tuple[int, int], corners: list[tuple[float, float]]) -> Mask:
    """Pixels whose middle the corners go around, by counting the sides that a line to the right of it crosses."""
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    crossed = np.zeros(shape, dtype=int)
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        if ay == by:
            continue
        between = (np.minimum(ay, by) <= rows) & (rows < np.maximum(ay, by))
        crossed += between & (ax + (rows - ay) * (bx - ax) / (by - ay) > columns)
    mask: NDArray[np.bool_] = crossed % 2 == 1
    return mask


@pytest.fixture
def page(new_page: NewPage) -> LabellingPage:
    """An example with nothing on it."""
    return new_page().open_example("coffee")


def drag_pixels(page: LabellingPage, *ways: tuple[int, int]) -> None:
    """Drag over the middles of pixels."""
    page.drag(*((x + 0.5, y + 0.5) for x, y in ways))


def test_the_brush_adds_exactly_what_is_under_it_and_the_eraser_takes_exactly_that_away(
    page: LabellingPage,
) -> None:
    """A press is a disk, a straight drag what lies along it; nothing else changes, and a click leaves it alone."""
    shape = page.mask.shape
    page.press("d")
    page.click(100.5, 80.5)
    page.settle()
    dab = disks(shape, [(100, 80)], 11)
    assert np.array_equal(page.mask, dab)
    drag_pixels(page, (200, 150), (320, 150))
    page.settle()
    painted = dab | disks(shape, [(200, 150), (320, 150)], 11)
    assert np.array_equal(page.mask, painted)

    page.press("]").press("Shift+D")
    width = int(page.page.locator(".samref-brush-width span").first.inner_text().split()[0])
    assert width > 11
    drag_pixels(page, (260, 120), (260, 180))
    page.settle()
    erased = disks(shape, [(260, 120), (260, 180)], width)
    assert np.array_equal(page.mask, painted & ~erased)

    page.press("p")
    page.click(420.5, 300.5)
    page.settle()
    after = page.mask
    assert after.sum() > 500, "the click must find something"
    assert after[painted & ~erased].all()
    assert not after[erased].any()

    for wanted in (painted & ~erased, painted, dab):
        page.press("Control+z").settle()
        assert np.array_equal(page.mask, wanted)


def test_a_stroke_is_seen_before_it_is_let_go_and_until_it_is_answered(page: LabellingPage) -> None:
    """The canvas shows the brush's pixels while the button is down, and Esc takes them back."""
    page.press("d")
    before = page.overlay
    page.page.mouse.move(*page.place.window_at(150.5, 120.5))
    page.page.mouse.down()
    page.page.mouse.move(*page.place.window_at(180.5, 120.5), steps=3)
    shown = np.any(page.overlay != before, axis=2)
    wanted = page.place.on_dots(disks((400, 600), [(150, 120), (180, 120)], 11)) & page.place.decided
    assert np.array_equal(shown & page.place.decided, wanted)
    page.press("Escape")
    page.page.mouse.up()
    page.settle()
    assert not page.mask.any()
    assert np.array_equal(page.overlay, before)


def test_the_exact_lasso_equals_another_rasteriser_and_removes_in_remove_mode(page: LabellingPage) -> None:
    """Corners by clicks, closed by a double click; a free loop, cut out of it by the right mode."""
    page.press("l")
    corners = [(60.3, 50.2), (210.7, 64.1), (180.4, 190.6), (120.2, 110.9)]
    seen: list[tuple[float, float]] = []
    for x, y in corners:
        left, top = page.place.window_at(x, y)
        page.page.mouse.click(round(left), round(top))
        place = page.place
        seen.append(
            (
                (round(left) * place.ratio - round(place.left * place.ratio) - place.offsetX) / place.scale,
                (round(top) * place.ratio - round(place.top * place.ratio) - place.offsetY) / place.scale,
            )
        )
        page.page.wait_for_timeout(450)  # two clicks that quick would be a double click
    expect(page.page.locator(".samref-polygon-close")).to_be_visible()
    for _ in range(5):  # on a busy machine its two clicks may lie too far apart: then they are the same corner again
        page.page.mouse.dblclick(*page.place.window_at(*corners[-1]))
        if not page.page.evaluate(f"() => {HOOK}.state().openPolygon"):
            break
        page.page.wait_for_timeout(450)
    page.settle()
    polygon = page.mask
    exact = [(round(x, 2), round(y, 2)) for x, y in seen]
    assert np.array_equal(polygon, inside((400, 600), exact))
    assert page.prompts == []

    page.press("x")
    page.drag((90.25, 60.25), (160.25, 60.25), (160.25, 100.25), (90.25, 100.25))
    page.settle()
    hole = inside((400, 600), [(90.25, 60.25), (160.25, 60.25), (160.25, 100.25), (90.25, 100.25)])
    rim = np.zeros_like(hole)
    rim[59:102, 89:162] = True
    rim[62:99, 92:159] = False  # window positions are whole dots: a hair either way along the line
    assert np.array_equal(page.mask & ~rim, polygon & ~hole & ~rim)


def test_remove_mode_goes_for_boxes_ends_with_accept_and_takes_nothing_from_nothing(
    page: LabellingPage,
) -> None:
    """A first negative click is not sent; a box in remove mode is a negative polygon; Accept goes back to Add."""
    page.press("x")
    page.click(300.5, 200.5)
    expect(page.page.locator(".samref-toast", has_text="nothing to remove")).to_be_visible()
    assert page.settle().prompts == []
    page.press("x")
    page.click(300.5, 200.5)
    page.settle()
    page.press("x").press("b")
    page.drag((200.5, 150.5), (260.5, 210.5))
    page.settle()
    assert [(one["type"], one["positive"]) for one in page.prompts[1:]] == [("polygon", False)]
    assert len(page.prompts[1]["points"]) == 4
    page.press("Enter").settle()
    expect(page.page.locator(".samref-sign-add")).to_have_attribute("aria-pressed", "true")


def test_a_drag_with_the_point_tool_is_a_box_and_a_wobble_is_a_click(page: LabellingPage) -> None:
    """A box beats a click, so no other tool is needed for it."""
    page.drag((150.5, 40.5), (420.5, 260.5))
    page.settle()
    assert page.prompts == [{"type": "box", "x0": 150, "y0": 40, "x1": 421, "y1": 261}]
    place = page.place
    left, top = place.window_at(300.5, 200.5)
    page.page.mouse.move(left, top)
    page.page.mouse.down()
    page.page.mouse.move(left + 2, top + 1)
    page.page.mouse.up()
    page.settle()
    assert [one["type"] for one in page.prompts] == ["box", "click"]


def test_one_prompt_is_moved_and_taken_away_by_itself(page: LabellingPage) -> None:
    """With the Hand: drag a dot; a click on its x, or Delete, takes it away; the rest of the draft stays."""
    page.click(300.5, 120.5)
    page.click(420.5, 250.5)
    page.settle()
    page.press("v")
    page.drag((300.5, 120.5), (330.5, 140.5))
    page.settle()
    assert [(one["x"], one["y"]) for one in page.prompts] == [(330, 140), (420, 250)]
    page.page.mouse.move(*page.place.window_at(420.5, 250.5))
    page.press("Delete").settle()
    assert [(one["x"], one["y"]) for one in page.prompts] == [(330, 140)]
    page.press("Control+z").settle()
    assert [(one["x"], one["y"]) for one in page.prompts] == [(330, 140), (420, 250)]
    left, top = page.place.window_at(330.5, 140.5)
    page.page.mouse.move(left, top)
    page.page.mouse.click(left + 13, top - 13)
    page.settle()
    assert [(one["x"], one["y"]) for one in page.prompts] == [(420, 250)]


def test_labelling_works_with_the_keyboard_alone(page: LabellingPage) -> None:
    """Crosshair, arrows, Enter, Shift + Enter, a box by two presses, accept: no mouse at all."""
    page.page.locator(".samref-stage").focus()
    page.press("k")
    for key in ("Shift+ArrowUp", "Shift+ArrowUp", "ArrowLeft", "ArrowLeft", "ArrowDown"):
        page.press(key)
    page.press("Enter").settle()
    assert [(one["x"], one["y"], one["positive"]) for one in page.prompts] == [(298, 181, True)]
    for _ in range(9):
        page.press("Shift+ArrowDown")
    page.press("Shift+Enter").settle()
    assert [(one["x"], one["y"], one["positive"]) for one in page.prompts[1:]] == [(298, 271, False)]
    page.press("Enter").settle()
    assert len(page.state["objects"]) == 1
    assert page.prompts == []

    page.press("b")
    page.press("Shift+ArrowUp").press("Space")
    for _ in range(8):
        page.press("Shift+ArrowRight").press("Shift+ArrowUp")
    page.press("Space").settle()
    assert page.prompts == [{"type": "box", "x0": 298, "y0": 181, "x1": 379, "y1": 262}]


def test_pulling_a_corner_of_an_accepted_outline_changes_its_two_sides_only(page: LabellingPage) -> None:
    """A square with a corner pulled out: the new pixels lie between the old and the new sides; undo brings all back."""
    page.press("l")
    for x, y in [(100, 100), (200, 100), (200, 200), (100, 200)]:
        page.click(x, y)
        page.page.wait_for_timeout(450)
    page.press("Enter").settle()
    page.press("Enter").settle()
    [before] = page.object_masks
    ys, xs = np.nonzero(before)
    left, top, right, foot = xs.min(), ys.min(), xs.max() + 1, ys.max() + 1

    page.press("y")
    page.click(150.5, 150.5)  # takes the object
    expect(page.page.locator(".samref-corners span")).to_have_text("4 corners")
    page.drag((right, foot), (right + 60, foot + 40))
    page.settle()
    [after] = page.object_masks
    changed = after != before
    assert changed.sum() > 3000
    assert not (before & changed).any()
    assert not changed[:top, :].any()
    assert not changed[:, :left].any()
    new = inside((400, 600), [(right, top), (right + 60, foot + 40), (left, foot), (right, foot)])
    assert (changed != new).sum() < 160, "but for the dots between window positions"

    page.press("Control+z").settle()
    assert np.array_equal(page.object_masks[0], before)

    page.page.keyboard.down("Control")
    page.drag((right, foot), (right + 40, 397.0))  # three pixels from the border: Ctrl draws it there
    page.page.keyboard.up("Control")
    page.settle()
    assert page.object_masks[0][397:].any()


def test_a_clean_up_is_previewed_and_done_by_one_key(page: LabellingPage) -> None:
    """A ring: filled on the image while the menu's line has the focus, in the draft after Shift + O."""
    page.press("d")
    drag_pixels(page, (100, 100), (200, 100), (200, 200), (100, 200), (100, 100))
    page.settle()
    ring = page.mask
    assert ring.any()
    assert not ring[150, 150]
    page.press("t")
    page.wait(f"() => {HOOK}.state().preview !== null")
    page.settle()
    assert np.array_equal(page.mask, ring), "a preview changes nothing"
    page.press("Escape")
    page.wait(f"() => {HOOK}.state().preview === null")
    page.press("Shift+O").settle()
    filled = page.mask
    assert filled[150, 150]
    assert filled[ring].all()


def test_the_toolbar_is_one_stop_of_the_tab_key(page: LabellingPage) -> None:
    """Arrows walk in it, Enter chooses."""
    tools = page.page.locator(".samref-tools button")
    assert [one.get_attribute("tabindex") for one in tools.all()].count("0") == 1
    tools.first.focus()
    page.press("ArrowDown").press("Enter")
    assert page.state["tool"] == "box"
