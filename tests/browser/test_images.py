"""Images as a whole: brought in file by file or by folder, marked, searched, removed and brought back."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import FilePayload, Locator, Route, expect

from tests.browser.conftest import NewPage
from tests.browser.labelling_page import HOOK, LabellingPage

pytestmark = pytest.mark.browser


def image_file(number: int) -> bytes:
    """A PNG unlike those of other numbers."""
    pixels = np.full((60, 80, 3), (number * 40 % 256, 90, 200 - number), dtype=np.uint8)
    pixels[20:40, 20:60] = (240, 240, 40)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def files(*contents: tuple[str, bytes]) -> list[FilePayload]:
    return [{"name": name, "mimeType": "image/png", "buffer": data} for name, data in contents]


def give(page: LabellingPage, *contents: tuple[str, bytes]) -> LabellingPage:
    """Choose several files and wait until the last one is done."""
    page.start.locator("input[type=file]").first.set_input_files(files(*contents))
    return page.wait(f"() => {HOOK}.state().uploading === 0").settle()


def with_images(new_page: NewPage, count: int, **options: Any) -> LabellingPage:
    page = new_page(**options)
    return give(page, *((f"IMG_{number}.png", image_file(number)) for number in range(count)))


def names(page: LabellingPage) -> list[str]:
    """What the gallery shows, in the order of its places."""
    tiles = page.page.locator(".samref-grid-window li")
    places = tiles.evaluate_all("(all) => all.map((li) => [Number(li.ariaPosInSet), li.innerText.split('\\n')[0]])")
    return [name for _, name in sorted(places)]


def uploads(page: LabellingPage) -> Locator:
    return page.page.locator(".samref-uploads")


def open_name(page: LabellingPage) -> str:
    name: str = page.state["image"]["file_name"]
    return name


def test_every_file_of_a_batch_is_accounted_for(new_page: NewPage) -> None:
    page = new_page()
    same = image_file(1)
    give(
        page,
        ("IMG_1.png", same),
        *((f"bad_{number}.png", b"no image" * (number + 1)) for number in range(5)),
        ("copy_of_1.png", same),
        ("IMG_2.png", image_file(2)),
        ("IMG_2.png", image_file(3)),
    )
    said = uploads(page)
    expect(said).to_contain_text("3 of 9 images opened, 1 was here already, 5 refused.")
    for number in range(5):
        expect(said).to_contain_text(f"bad_{number}.png: This file is not an image")
    same_names = ["IMG_1.png", "copy_of_1.png"]  # two files come at once: whichever was stored first
    (kept,) = [one["file_name"] for one in page.state["images"] if one["file_name"] in same_names]
    same_names.remove(kept)
    expect(said).to_contain_text(f"{same_names[0]} is the same image as {kept}; it was not added again.")
    expect(said).to_contain_text("There are two images called IMG_2.png now")
    assert sorted(one["file_name"] for one in page.state["images"]) == sorted([kept, "IMG_2.png", "IMG_2.png"])
    said.get_by_role("button", name="Close").click()
    expect(said).to_be_hidden()


def test_uploads_count_wait_for_the_server_and_can_be_cancelled(new_page: NewPage) -> None:
    page = with_images(new_page, 1, allowed_errors=True)
    page.click(30.5, 30.5)
    page.settle()
    before = page.state
    held: list[Route] = []
    cut = [True]

    def hold(route: Route) -> None:
        if cut[0]:
            cut[0] = False
            route.abort("connectionreset")
        else:
            held.append(route)
            if len(held) <= 3:  # the others are never answered
                route.continue_()

    page.page.route("**/samref/images", hold)
    contents = [(f"more_{number}.png", image_file(10 + number)) for number in range(8)]
    page.start.locator("input[type=file]").first.set_input_files(files(*contents))
    expect(uploads(page)).to_contain_text("3 of 8")
    assert open_name(page) == before["image"]["file_name"], "nobody is taken away from the image they work on"
    assert page.state["draft"]["count"] == before["draft"]["count"] == 1
    uploads(page).get_by_role("button", name="Cancel").click()
    expect(uploads(page)).to_contain_text("3 of 8 images opened, 5 not uploaded, as you asked.")
    assert len(page.state["images"]) == 4


def test_a_reload_says_what_had_not_been_uploaded(new_page: NewPage) -> None:
    page = with_images(new_page, 1, allowed_errors=True)
    page.page.route("**/samref/images", lambda _: None)
    page.start.locator("input[type=file]").first.set_input_files(
        files(*((f"lost_{number}.png", image_file(20 + number)) for number in range(3)))
    )
    expect(uploads(page)).to_contain_text("0 of 3")
    page.page.on("dialog", lambda dialog: dialog.accept())
    page.page.reload()
    page.settle()
    expect(uploads(page)).to_contain_text("reloaded before 3 images had been uploaded")
    expect(uploads(page)).to_contain_text("lost_0.png, lost_1.png, lost_2.png")


def test_a_removed_image_comes_back_with_its_labels(new_page: NewPage) -> None:
    page = with_images(new_page, 3)
    name = open_name(page)  # of three that come at once, whichever was stored first
    page.click(40.5, 30.5)
    page.settle().press("Enter").settle()
    assert len(page.state["objects"]) == 1
    page.page.get_by_role("button", name="Remove this image").click()
    page.wait(f"(name) => {HOOK}.state().image?.file_name !== name", name)  # no longer: the message goes after seconds
    page.page.locator(".samref-toast-action").last.click()
    page.wait(f"(name) => {HOOK}.state().image?.file_name === name", name).settle()
    assert len(page.state["objects"]) == 1

    page.page.locator(".samref-home").click()
    page.page.locator(".samref-grid-window li", has_text=name).hover()
    page.page.get_by_role("button", name=f"Remove {name}").click()
    page.settle()
    assert name not in names(page)
    page.page.reload()
    page.settle()
    assert open_name(page) != name
    page.page.locator(".samref-home").click()
    page.page.get_by_label("Show", exact=True).select_option("removed")
    assert names(page) == [name]
    page.page.locator(".samref-grid-window .samref-tile").click()
    page.settle()
    page.page.get_by_label("Show", exact=True).select_option("all")
    assert sorted(names(page)) == ["IMG_0.png", "IMG_1.png", "IMG_2.png"]
    expect(page.page.locator(".samref-grid-window li", has_text=name)).to_contain_text("1 object")


def test_states_are_shown_filtered_and_walked_by_keys(new_page: NewPage) -> None:
    page = with_images(new_page, 4)
    order = [one["file_name"] for one in page.state["images"]]
    page.press("a").wait(f"(name) => {HOOK}.state().image?.file_name === name", order[1]).settle()
    page.press("q").settle()
    page.press("PageDown").wait(f"(name) => {HOOK}.state().image?.file_name === name", order[2]).settle()
    page.click(40.5, 30.5)
    page.settle().press("a")
    expect(page.page.locator(".samref-toast", has_text="An object is unfinished here")).to_be_visible()
    assert open_name(page) == order[2], "an unfinished object is not left behind as done"
    number = page.page.get_by_label("Number of the image")
    assert number.input_value() == "3"
    number.fill("4")
    number.press("Enter")
    page.wait(f"(name) => {HOOK}.state().image?.file_name === name", order[3]).settle()
    page.press("a").wait(f"(name) => {HOOK}.state().image?.file_name === name", order[2]).settle()

    page.page.locator(".samref-home").click()
    show = page.page.get_by_label("Show", exact=True)
    for value, wanted in (
        ("todo", [order[2]]),
        ("draft", [order[2]]),
        ("done", [order[0], order[3]]),
        ("flagged", [order[1]]),
        ("all", order),
    ):
        show.select_option(value)
        assert names(page) == wanted, value
    page.page.get_by_label("Sort by").select_option("name")
    assert names(page) == sorted(order)
    page.page.get_by_label("Search images by name").fill("g_2")
    assert names(page) == ["IMG_2.png"]
    page.page.reload()
    page.settle()
    marks = {one["file_name"]: one.get("mark", "") for one in page.state["images"]}
    assert [marks[name] for name in order] == ["done", "flagged", "", "done"]
    assert {one["file_name"] for one in page.state["images"] if one.get("draft")} == {order[2]}


def test_a_folder_keeps_its_names_into_the_export(new_page: NewPage, tmp_path: Path) -> None:
    folder = tmp_path / "trip"
    for number, name in enumerate(("day 1/cat.png", "day 2/cat.png", "notes.txt")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(image_file(30 + number) if name.endswith("png") else b"no image")
    page = new_page()
    page.start.locator("input[webkitdirectory]").set_input_files(folder)
    page.wait(f"() => {HOOK}.state().uploading === 0 && {HOOK}.state().workspace.images.length === 2").settle()
    expect(uploads(page)).to_contain_text("2 of 2 images opened.")
    expect(uploads(page)).to_contain_text("trip/notes.txt was left out")
    assert sorted(one["file_name"] for one in page.state["images"]) == ["trip/day 1/cat.png", "trip/day 2/cat.png"]
    exported = json.loads(
        page.page.evaluate(
            """async () => (await fetch("samref/export?format=coco-rle", {
              headers: { "X-Samref-Token": localStorage["samref.token"] } })).text()"""
        )
    )
    kept = {image["samref"]["file_name"] for image in exported["images"]}
    assert kept == {"trip/day 1/cat.png", "trip/day 2/cat.png"}
