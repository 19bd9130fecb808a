"""Boxes become masks in bulk: imported, drawn, started, killed, gone on with, undone and reviewed in the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.conftest import NewBrowser
from tests.browser.labelling_page import HOOK, LabellingPage
from tests.browser.server import Server

pytestmark = pytest.mark.browser

BOXES = {"coffee": [[180, 90, 260, 200], [20, 20, 60, 60]], "chelsea": [[120, 60, 220, 180]]}


def coco(page: LabellingPage) -> bytes:
    """A file with boxes and no mask, for the images that are open."""
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for number, image in enumerate(page.state["images"]):
        images.append(
            {"id": number, "file_name": image["file_name"], "width": image["width"], "height": image["height"]}
        )
        for box in BOXES[image["file_name"].partition(".")[0]]:
            annotations.append({"id": len(annotations), "image_id": number, "category_id": 5, "bbox": box})
    return json.dumps(
        {"images": images, "categories": [{"id": 5, "name": "thing"}], "annotations": annotations}
    ).encode()


def bulk(page: LabellingPage) -> Locator:
    return page.page.get_by_role("region", name="Masks from boxes")


def test_boxes_are_imported_drawn_done_after_a_kill_and_reviewed(new_browser: NewBrowser, tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.start()
    try:
        page = LabellingPage(new_browser(1440, 900, allowed_errors=True).new_page(), server).open()
        page.open_example("coffee")
        page.page.keyboard.press("Escape")
        page.page.locator(".samref-home").click()
        page.open_example("chelsea")
        page.page.get_by_role("button", name="Masks from boxes").click()
        box = bulk(page)
        expect(box).to_contain_text("No boxes yet")
        box.locator("input[type=file]").set_input_files(
            {"name": "boxes.json", "mimeType": "application/json", "buffer": coco(page)}
        )
        expect(box).to_contain_text("3 boxes in 2 images")
        expect(page.page.locator(".samref-boxes polygon")).to_have_count(1)

        box.get_by_role("button", name="Collect boxes").click()
        page.drag((300, 100), (430, 250))
        page.settle()
        expect(page.page.locator(".samref-boxes polygon")).to_have_count(2)
        assert page.state["draft"]["count"] == 0, "a box for later asks the model nothing"
        expect(box).to_contain_text("4 boxes in 2 images")
        page.page.screenshot(path=str(tmp_path / "collected.png"))

        box.get_by_role("button", name="Start").click()
        page.wait(f"() => {HOOK}.state().workspace.images.some((one) => one.annotations > 0)")
        server.kill()
        server.start()
        page.page.reload()
        page.wait(f"() => {HOOK}?.state().image?.file_name?.startsWith('chelsea')").settle()
        resume = box.get_by_role("button", name="Start")
        if resume.is_visible() and resume.is_enabled():  # else all was done before the kill
            expect(box).to_contain_text("To do:")
            resume.click()
        page.wait(f"() => {HOOK}.state().workspace.images.every((one) => one.annotations === 2)").settle()
        assert len(page.state["objects"]) == 2
        expect(page.page.locator(".samref-boxes polygon")).to_have_count(0)

        box.get_by_role("button", name="Review").click()
        expect(box).to_contain_text("1 of 4")
        page.wait(f"() => {HOOK}.state().selected !== null").settle()
        page.page.screenshot(path=str(tmp_path / "review.png"))
        scores = [one["score"] for one in page.state["objects"]]
        assert f"{min(scores):.2f}" in box.inner_text() or "coffee" in page.state["image"]["file_name"]
        page.press("a").settle()
        expect(box).to_contain_text("1 of 3")
        page.press("n").settle()
        expect(box).to_contain_text("2 of 3")
        page.press("Delete").settle()
        expect(box).to_contain_text("of 2,")
        box.get_by_role("button", name="End").click()
        box.get_by_role("button", name="Review").click()
        expect(box).to_contain_text("1 of 2")
    finally:
        server.stop()
