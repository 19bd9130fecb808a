"""The dialog for labels out and in, in a real browser."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser.conftest import NewPage
from tests.browser.labelling_page import LabellingPage

pytestmark = pytest.mark.browser


def with_a_cup(page: LabellingPage) -> LabellingPage:
    """An object of the first class on an example."""
    page.open_example("coffee").click(300.5, 180.5)
    page.settle().press("Enter").settle()
    assert len(page.state["objects"]) == 1
    return page


def files_of(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_slider_says_what_it_costs_and_the_file_has_so_many_corners(new_page: NewPage) -> None:
    page = with_a_cup(new_page())
    dialog = page.open_export()
    cost = dialog.locator("output")
    expect(cost).to_contain_text("Exact: ")
    exact = int(cost.inner_text().split()[1].replace(",", ""))
    slider = dialog.get_by_role("slider", name="Simplify outlines")
    for _ in range(3):
        slider.press("ArrowRight")
    expect(cost).to_contain_text("1 px: ")
    expect(cost).to_contain_text("worst 0.9")
    promised = int(cost.inner_text().split()[2].replace(",", ""))
    assert promised < exact / 4
    (entry,) = json.loads(page.download("COCO"))["annotations"]
    assert sum(len(ring) // 2 for ring in entry["segmentation"]) == promised


def test_images_ride_along_and_yolo_comes_back_without_doubles(new_page: NewPage) -> None:
    page = with_a_cup(new_page())
    dialog = page.open_export()
    dialog.get_by_label("The image files, too").check()
    data = page.download("YOLO segmentation")
    files = files_of(data)
    assert {"data.yaml", "report.json", "labels/train/coffee.txt"} <= files.keys()
    assert any(name.startswith("images/train/coffee.") for name in files)
    lossless = json.loads(files["report.json"])["objects_that_lose_pixels"] == 0
    page.open_export().locator("input[type=file]").set_input_files(
        {"name": "labels.zip", "mimeType": "application/zip", "buffer": data}
    )
    if lossless and not json.loads(files["report.json"])["objects_split"]:
        expect(dialog).to_contain_text("1 object was here already.")
        assert len(page.settle().state["objects"]) == 1
    else:
        expect(dialog).to_contain_text("imported.")


def test_an_unfinished_draft_is_named_before_the_download(new_page: NewPage) -> None:
    page = with_a_cup(new_page())
    page.click(150.5, 320.5)
    page.settle()
    dialog = page.open_export()
    expect(dialog).to_contain_text("in no export: coffee.jpg.")


def test_a_png_of_objects_has_16_bits_and_its_legend_inside(new_page: NewPage) -> None:
    page = with_a_cup(new_page())
    image = Image.open(io.BytesIO(page.download("PNG masks", "png-instance", scope="This image")))
    assert image.mode == "I;16"
    assert [value["class"] for value in json.loads(image.info["samref-legend"])["values"]] == ["object"]
    assert np.array_equal(np.asarray(image) > 0, page.object_masks[0])


def test_the_dialog_fits_a_phone_and_refuses_in_a_sentence(new_page: NewPage) -> None:
    page = with_a_cup(new_page(width=390, height=844, has_touch=True, is_mobile=True))
    if not page.page.get_by_role("button", name="Export labels, or import them").is_visible():
        page.page.locator(".samref-panel-toggle, [aria-controls=samref-panel]").first.click()
    dialog = page.open_export()
    box = dialog.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    download = dialog.get_by_role("button", name="Download")
    download.scroll_into_view_if_needed()
    size = download.bounding_box()
    assert size is not None
    assert size["height"] >= 44
    dialog.locator("input[type=file]").set_input_files(
        {"name": "x.xml", "mimeType": "text/xml", "buffer": b"<!DOCTYPE a><annotations/>"}
    )
    expect(dialog.locator(".samref-export-error")).to_contain_text("Export it as plain XML")


def test_only_what_the_list_shows_is_exported_where_it_is_filtered(new_page: NewPage) -> None:
    page = with_a_cup(new_page())
    page.page.locator(".samref-home").click()
    page.open_example("astronaut")
    page.page.locator(".samref-home").click()
    page.page.get_by_label("Search images by name").fill("coffee")
    page.page.locator(".samref-home").click()
    dialog = page.open_export()
    expect(dialog).to_contain_text("Shown in the list (1)")
    coco = json.loads(page.download("COCO", scope="Shown in the list"))
    assert [image["file_name"] for image in coco["images"]] == ["coffee.jpg"]
