"""Downloads as the page asks for them, and what it is told before and after."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from samref.web.exports import TOLERANCES, parse_export
from samref.web.http import FILE_NAME_HEADER, REPORT_HEADER, TOKEN_HEADER, build_routes
from tests.unit.web.conftest import Page, Server, png


@pytest.fixture
def client(server: Server, tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(Starlette(routes=build_routes(server.verbs, tmp_path, version="1"))) as made:
        yield made


@pytest.fixture
def page(server: Server) -> Page:
    """Two images, the first with an object; a draft is open in it."""

    async def draw() -> Page:
        page = Page(server, "tab")
        await page.ask("hello")
        server.add_image(page.token, png(seed=1), "other.png")
        page.image = server.add_image(page.token, png(), "disk.png")
        await page.view_of("open")
        await page.view_of("prompt", prompts=[{"type": "click", "x": 48, "y": 36}])
        await page.view_of("commit", class_id=1)
        await page.view_of("prompt", prompts=[{"type": "click", "x": 20, "y": 20}])
        return page

    return asyncio.run(draw())


def headers(page: Page) -> dict[str, str]:
    return {TOKEN_HEADER: page.token or ""}


def test_a_download_says_what_it_does_not_hold(client: TestClient, page: Page) -> None:
    asked = {"format": "yolo-seg", "with_images": True, "tolerance": 1.0}
    answer = client.post("/samref/export", json=asked, headers=headers(page))
    files = zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
    assert {"labels/train/disk.txt", "labels/train/other.txt", "images/train/disk.png", "report.json"} <= set(files)
    assert int(answer.headers["content-length"]) == len(answer.content)
    said = json.loads(unquote(answer.headers[REPORT_HEADER]))
    assert "1 image has an unfinished draft; it is not exported." in said


def test_the_scope_is_a_list_of_images(client: TestClient, page: Page) -> None:
    asked = {"format": "coco-rle", "images": [page.image]}
    coco = client.post("/samref/export", json=asked, headers=headers(page)).json()
    assert [image["file_name"] for image in coco["images"]] == ["disk.png"]
    answer = client.post("/samref/export", json={**asked, "images": ["f" * 64]}, headers=headers(page))
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "image")


def test_a_preview_tells_counts_and_what_each_tolerance_does(client: TestClient, page: Page) -> None:
    asked = {"format": "coco-polygon", "fill_holes": True}
    told = client.post("/samref/export/preview", json=asked, headers=headers(page)).json()
    assert (told["images"], told["looked_at"], told["objects"], told["measured"]) == (2, 2, 1, 1)
    assert [each["tolerance"] for each in told["curve"]] == list(TOLERANCES)
    assert told["curve"][-1]["points"] < told["curve"][0]["points"]
    assert not any("draft" in sentence for sentence in told["sentences"]), "the page knows more of them"
    exported = client.post("/samref/export", json=asked, headers=headers(page)).json()
    corners = sum(len(ring) // 2 for one in exported["annotations"] for ring in one["segmentation"])
    assert corners == told["curve"][0]["points"]
    plain = client.post("/samref/export/preview", json={"format": "coco-polygon"}, headers=headers(page)).json()
    assert plain["curve"][0] == {"tolerance": 0.0, "points": 0, "as_masks": 1, "mean_iou": 1.0, "worst_iou": 1.0}


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        {},
        {"format": 3},
        {"format": "voc", "tolerance": -1},
        {"format": "voc", "tolerance": 1e9},
        {"format": "voc", "images": []},
        {"format": "voc", "images": ["../x"]},
        {"format": "voc", "border": "yes"},
        {"format": "voc", "path": "/etc"},
    ],
)
def test_a_wrong_request_is_refused(client: TestClient, page: Page, wrong: Any) -> None:
    for path in ("/samref/export", "/samref/export/preview"):
        answer = client.post(path, json=wrong, headers=headers(page))
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "request")


def test_label_studio_is_exact_unless_outlines_are_asked_for() -> None:
    assert parse_export({"format": "label-studio"}).options.shape == "masks"
    assert parse_export({"format": "label-studio", "shape": "polygons"}).options.shape == "polygons"
    assert parse_export({"format": "cvat"}).options.shape == "polygons"


def test_a_text_file_of_yolo_is_about_the_image_of_its_name(client: TestClient, page: Page) -> None:
    named = {**headers(page), FILE_NAME_HEADER: "other.txt"}
    told = client.post("/samref/import", content=b"0 0 0 0.5 0 0.5 0.5\n0 0.5 0.5 0.2 0.2\n", headers=named).json()
    assert (told["annotations"], told["images"], len(told["boxes"])) == (1, 1, 1)
    assert told["boxes"][0]["class_id"] == 1
    again = client.post("/samref/import", content=b"0 0 0 0.5 0 0.5 0.5\n", headers=named).json()
    assert (again["annotations"], again["unchanged"]) == (0, 1)


def test_one_import_is_one_step_back(client: TestClient, page: Page) -> None:
    asyncio.run(page.view_of("clear"))
    before = dict(page.annotations)
    named = {**headers(page), FILE_NAME_HEADER: "disk.txt"}
    text = b"0 0 0 0.5 0 0.5 0.5\n0 0.5 0.5 0.9 0.5 0.9 0.9\n"
    assert client.post("/samref/import", content=text, headers=named).json()["annotations"] == 2
    asyncio.run(page.view_of("sync"))
    assert len(page.annotations) == len(before) + 2
    asyncio.run(page.view_of("undo"))
    assert page.annotations.keys() == before.keys()
