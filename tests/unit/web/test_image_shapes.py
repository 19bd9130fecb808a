"""One rule for what an image may be: what is accepted can be shown, labelled and exported, also later."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from samref.core.geometry import MAX_SIDE, ImageSize
from samref.web.display import DISPLAY_SIDE
from samref.web.http import TOKEN_HEADER, build_routes
from samref.web.server import Limits
from tests.unit.web.conftest import Page, Server, png


@pytest.fixture
def client(server: Server, tmp_path: Path) -> Iterator[TestClient]:
    server.verbs.limits = Limits(upload_bytes=1_000_000, pixels=10_000_000)
    routes = build_routes(server.verbs, tmp_path, version="1")
    with TestClient(Starlette(routes=routes)) as started:
        yield started


def plain(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (width, height), 90).save(buffer, "PNG")
    return buffer.getvalue()


def assert_it_can_be_shown(client: TestClient, headers: dict[str, str], digest: str) -> None:
    for query in ("", "?thumb=1"):
        shown = client.get(f"/samref/images/{digest}{query}", headers=headers)
        assert shown.status_code == 200, shown.text
        with Image.open(io.BytesIO(shown.content)) as copy:
            assert max(copy.size) <= DISPLAY_SIDE


def assert_it_can_be_exported(client: TestClient, headers: dict[str, str], digest: str, objects: int) -> None:
    for kind in ("coco-polygon", "coco-rle", "zip"):
        whole = client.get(f"/samref/export?format={kind}", headers=headers)
        assert whole.status_code == 200, whole.text
    assert "annotations/instances.json" in zipfile.ZipFile(io.BytesIO(whole.content)).namelist()
    for kind in ("png-class", "png-instance"):
        answer = client.get(f"/samref/export?format={kind}&image={digest}", headers=headers)
        assert answer.status_code == 200, answer.text
    exported = client.get("/samref/export?format=coco-rle", headers=headers)
    assert len(exported.json()["annotations"]) == objects
    imported = client.post("/samref/import", content=exported.content, headers=headers)
    assert imported.status_code == 200, imported.text


@pytest.mark.parametrize(("width", "height"), [(MAX_SIDE, 1), (1, MAX_SIDE), (30_000, 70), (1, 1), (2, 20_000)])
def test_the_longest_images_are_taken_shown_clicked_and_exported(
    client: TestClient, server: Server, width: int, height: int
) -> None:
    page = Page(server, "tab")
    asyncio.run(page.ask("hello"))
    headers = {TOKEN_HEADER: page.token or ""}
    stored = client.post("/samref/images", content=plain(width, height), headers=headers).json()
    assert (stored["width"], stored["height"]) == (width, height)
    assert_it_can_be_shown(client, headers, stored["digest"])

    async def label() -> None:
        await page.view_of("open", image=stored["digest"])
        box = {"type": "box", "x0": 0, "y0": 0, "x1": width, "y1": height}
        await page.view_of("prompt", prompts=[{"type": "click", "x": width // 2, "y": height // 2}, box])
        await page.view_of("commit", class_id=1)

    asyncio.run(label())
    assert_it_can_be_exported(client, headers, stored["digest"], 1)


@pytest.mark.parametrize(("width", "height"), [(MAX_SIDE + 1, 1), (1, MAX_SIDE + 1), (100_001, 1)])
def test_a_longer_image_is_refused_before_anything_is_written(
    client: TestClient, server: Server, width: int, height: int
) -> None:
    token = server.newcomer()
    answer = client.post("/samref/images", content=plain(width, height), headers={TOKEN_HEADER: token})
    assert answer.status_code == 422
    assert str(MAX_SIDE) in answer.json()["error"]["message"]
    assert server.store.images(server.verbs.find(token)) == ()


@pytest.mark.parametrize(("width", "height"), [(100_001, 1), (1, 1_000_000), (80_000, 2)])
def test_a_workspace_with_an_image_from_before_the_rule_works(
    client: TestClient, server: Server, width: int, height: int
) -> None:
    page = Page(server, "tab")
    asyncio.run(page.ask("hello"))
    headers = {TOKEN_HEADER: page.token or ""}
    workspace_id = server.verbs.find(page.token)
    long = server.store.add_image(workspace_id, plain(width, height), "long.png", ImageSize(height, width))
    other = client.post("/samref/images", content=png(), headers=headers).json()["digest"]

    async def label(digest: str, x: int, y: int) -> None:
        await page.view_of("open", image=digest)
        await page.view_of("prompt", prompts=[{"type": "click", "x": x, "y": y}])
        await page.view_of("commit", class_id=1)

    asyncio.run(label(other, 40, 30))
    assert_it_can_be_exported(client, headers, other, 1)
    assert_it_can_be_shown(client, headers, long)
    page.revision, page.known_annotations, page.annotations = 0, 0, {}
    asyncio.run(label(long, width // 2, height // 2))
    assert_it_can_be_exported(client, headers, long, 2)
    again = Page(server.restarted(), "other-tab", token=page.token)
    asyncio.run(again.view_of("open", image=long))
    assert len(again.annotations) == 1
    again.server.close()


def test_what_was_uploaded_stays_when_the_limit_is_lowered(client: TestClient, server: Server) -> None:
    token = server.newcomer()
    headers = {TOKEN_HEADER: token}
    digest = client.post("/samref/images", content=png(), headers=headers).json()["digest"]
    server.verbs.limits = Limits(upload_bytes=1_000_000, pixels=100)
    assert client.post("/samref/images", content=png(1), headers=headers).status_code == 422
    assert_it_can_be_shown(client, headers, digest)
    assert server.verbs.decode(server.verbs.find(token), digest).size == ImageSize(72, 96)


def test_an_import_names_the_size_of_the_longest_image(client: TestClient, server: Server) -> None:
    token = server.newcomer()
    server.store.add_image(server.verbs.find(token), plain(100_001, 1), "long.png", ImageSize(1, 100_001))
    coco = {
        "images": [{"id": 1, "file_name": "long.png", "height": 1, "width": 100_001}],
        "categories": [{"id": 1, "name": "line"}],
        "annotations": [
            {"image_id": 1, "category_id": 1, "segmentation": [[5, 0, 99_995, 0, 99_995, 1, 5, 1]]},
        ],
    }
    answer = client.post("/samref/import", content=json.dumps(coco), headers={TOKEN_HEADER: token})
    assert answer.status_code == 200, answer.text
    (image,) = server.store.project(server.verbs.find(token)).images
    assert np.count_nonzero(image.annotations[0].mask.to_mask()) == 99_990
