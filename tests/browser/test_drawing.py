"""Every way to say where an object is, to take it back, and to look after what was accepted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import NewPage
from tests.browser.offline import Offline

pytestmark = pytest.mark.browser


def test_clicks_boxes_scribbles_and_polygons_each_change_the_draft(
    new_page: NewPage, offline: Offline, examples_dir: Path
) -> None:
    page = new_page().open_example("chelsea")
    photo = (examples_dir / "chelsea.jpg").read_bytes()

    def draft() -> list[str]:
        page.settle()
        prompts = page.prompts
        assert np.array_equal(page.mask, offline.answer(photo, prompts).refined)
        return [prompt["type"] + ("" if prompt.get("positive", True) else "-") for prompt in prompts]

    page.press("b")
    page.drag((90.5, 40.5), (200, 200), (330.5, 290.5))
    assert draft() == ["box"]
    place = page.place
    (x0, y0), (x1, y1) = (place.pixel_at(*place.window_at(*corner)) for corner in ((90.5, 40.5), (330.5, 290.5)))
    assert page.prompts[0] == {"type": "box", "x0": x0, "y0": y0, "x1": x1 + 1, "y1": y1 + 1}

    page.press("s")
    page.drag((150, 120), (200, 150), (250, 130))
    assert draft() == ["box", "scribble"]
    assert page.prompts[1]["width"] == 11

    page.press("x")
    page.drag((20, 30), (60, 40), (80, 90))
    assert draft() == ["box", "scribble", "scribble-"]
    page.press("x")

    page.press("g")
    for corner in ((120, 90), (280, 95), (290, 230), (125, 240)):
        page.click(*corner)
    assert len(page.prompts) == 3, "an unfinished polygon is not in the draft"
    page.press("Enter")
    assert draft() == ["box", "scribble", "scribble-", "polygon"]
    assert page.prompts[3]["points"] == [
        pytest.approx(corner, abs=1) for corner in ((120, 90), (280, 95), (290, 230), (125, 240))
    ]

    page.press("p")
    page.click(400.5, 250.5, modifiers="Alt")
    assert draft() == ["box", "scribble", "scribble-", "polygon", "click-"]


def test_undo_redo_and_discard_walk_through_the_draft(new_page: NewPage) -> None:
    page = new_page().open_example("chelsea")
    page.click(200.5, 150.5)
    first = page.settle().mask
    page.click(60.5, 60.5, button="right")
    second = page.settle().mask
    assert first.any()
    assert not np.array_equal(first, second)

    page.press("Control+z").settle()
    assert len(page.prompts) == 1
    assert np.array_equal(page.mask, first)
    page.press("Control+z").settle()
    assert page.prompts == []
    assert page.state["draft"]["mask"] is None
    page.press("Control+y").settle()
    page.press("Control+y").settle()
    assert [prompt["positive"] for prompt in page.prompts] == [True, False]
    assert np.array_equal(page.mask, second)

    page.press("Escape").settle()
    assert page.prompts == []
    assert not page.overlay.any()
    assert page.state["phase"] == "ready"


def test_accepted_objects_are_hidden_edited_again_and_deleted_from_the_list(new_page: NewPage) -> None:
    page = new_page().open_example("coffee")
    name = page.page.get_by_label("Name of a new class")
    name.fill("spoon")
    page.in_one_task(lambda: name.press("Enter"))
    name.press("Escape")
    page.press("2")
    assert page.state["classes"][1]["id"] == page.state["classId"]

    page.click(300.5, 180.5)
    cup = page.settle().mask
    page.press("1")
    page.press("Enter").settle()
    page.click(150.5, 320.5)
    page.settle()
    page.press("2")
    page.press("Enter").settle()
    first, second = page.state["objects"]
    assert [first["class_id"], second["class_id"]] == [one["id"] for one in page.state["classes"]]
    assert np.array_equal(page.object_masks[0], cup)
    assert page.state["draft"]["count"] == 0

    page.page.get_by_label("Outlines", exact=True).uncheck()  # they reach over into the other object
    row = page.objects.locator("[role=row]").first
    page.in_one_task(row.get_by_title("Hide").click)
    assert page.state["objects"][0]["visible"] is False
    decided = page.place.decided
    assert not page.overlay[:, :, 3][decided & page.place.on_dots(cup & ~page.object_masks[1])].any()
    page.in_one_task(row.get_by_title("Show").click)
    assert page.overlay[:, :, 3][decided & page.place.on_dots(cup)].all()

    page.in_one_task(row.get_by_title("Edit again").click)
    assert page.state["draft"]["editing"] == first["id"]
    assert np.array_equal(page.mask, cup)
    page.click(300.5, 330.5)
    better = page.settle().mask
    assert not np.array_equal(better, cup)
    page.press("Enter").settle()
    assert [one["id"] for one in page.state["objects"]] == [first["id"], second["id"]]
    assert np.array_equal(page.object_masks[0], better)

    page.in_one_task(row.get_by_title("Delete").click)
    assert [one["id"] for one in page.state["objects"]] == [second["id"]]
    expect(page.objects.locator("[role=row]")).to_have_count(1)

    page.objects.locator(".samref-object").click()
    page.in_one_task(lambda: page.press("Delete"))
    assert page.state["objects"] == []


def test_ten_clicks_in_one_second_end_in_the_state_of_the_last(
    new_page: NewPage, offline: Offline, examples_dir: Path
) -> None:
    page = new_page().open_example("raccoon")
    places = [(420 + 35 * (i % 4), 300 + 40 * (i // 4)) for i in range(9)]
    for x, y in places:
        page.click(x + 0.5, y + 0.5)
    last = page.click(40.5, 700.5, button="right")
    page.settle()
    prompts = page.prompts
    assert len(prompts) == 10
    assert (prompts[-1]["x"], prompts[-1]["y"], prompts[-1]["positive"]) == (*last, False)

    bases = page.bases
    assert len(bases) == 10
    photo = (examples_dir / "raccoon.jpg").read_bytes()
    assert np.array_equal(page.mask, offline.answer(photo, prompts, bases).refined)

    page.press("Control+z").settle()  # a click that was overtaken is computed when it is asked for
    assert np.array_equal(page.mask, offline.answer(photo, prompts[:9], bases[:9]).refined)
