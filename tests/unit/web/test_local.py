"""The files of the page's own model, and the pixels it takes, as a browser gets them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import brotli
import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from samref.core.images import decode_image
from samref.files import assets_folder
from samref.inference.framed import framed_pixels
from samref.web.http import TOKEN_HEADER, WORKER, build_routes
from samref.web.local import ABOUT_ADDRESS, LocalModel, pack_pixels
from samref.web.page import STATIC_FOLDER
from tests.unit.web.conftest import Server, png

BROWSER = assets_folder() / "browser"
WEIGHTS = assets_folder() / "weights" / "tiny-base.safetensors"
LARGEST_DOWNLOAD = 9_000_000


@pytest.fixture
def client(server: Server) -> Iterator[TestClient]:
    routes = build_routes(server.verbs, STATIC_FOLDER, version="1", local=LocalModel(BROWSER, WEIGHTS))
    with TestClient(Starlette(routes=routes)) as started:
        yield started


def test_vendored_files_are_those_of_the_package() -> None:
    runtime = BROWSER / "onnxruntime"
    listed = json.loads((runtime / "files.json").read_text("utf-8"))["files"]
    assert {f"{name}.br" for name in listed} == {path.name for path in runtime.glob("*.br")}
    for name, said in listed.items():
        packed = (runtime / f"{name}.br").read_bytes()
        data = brotli.decompress(packed)
        assert hashlib.sha256(packed).hexdigest() == said["packed_sha256"]
        assert hashlib.sha256(data).hexdigest() == said["sha256"]
        assert (len(data), len(packed)) == (said["size_bytes"], said["packed_bytes"])
    assert "MIT License" in (runtime / "LICENSE").read_text("utf-8")
    assert (runtime / "ThirdPartyNotices.txt").is_file()


def test_every_listed_file_arrives_whole_and_stays(client: TestClient) -> None:
    told = client.get(f"/{ABOUT_ADDRESS}")
    assert told.headers["cache-control"] == "no-cache"
    arrived = 0
    for file in told.json()["files"].values():
        answer = client.get(f"/{file['address']}", headers={"Accept-Encoding": "br"})
        assert hashlib.sha256(answer.content).hexdigest() == file["sha256"]
        assert len(answer.content) == file["size_bytes"]
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["cross-origin-embedder-policy"] == "require-corp"
        arrived += int(answer.headers["content-length"])
    assert arrived < LARGEST_DOWNLOAD


@pytest.mark.parametrize(("name", "media_type"), [("binary", "application/wasm"), ("runtime", "text/javascript")])
def test_a_browser_without_brotli_gets_plain_files(client: TestClient, name: str, media_type: str) -> None:
    file = client.get(f"/{ABOUT_ADDRESS}").json()["files"][name]
    plain = client.get(f"/{file['address']}", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert plain.headers["content-type"].startswith(media_type)
    assert hashlib.sha256(plain.content).hexdigest() == file["sha256"]


@pytest.mark.parametrize("address", ["0" * 16 + "/encoder.onnx", "x/../../../requirements.txt", "a/model.json"])
def test_nothing_else_is_there(client: TestClient, address: str) -> None:
    assert client.get(f"/samref/local/{address}").status_code == 404


def test_a_copy_without_weights_offers_no_model(server: Server, tmp_path: Path) -> None:
    local = LocalModel(BROWSER, tmp_path / "none.safetensors")
    assert local.to_wire() is None
    with TestClient(Starlette(routes=build_routes(server.verbs, tmp_path, version="1", local=local))) as client:
        assert client.get(f"/{ABOUT_ADDRESS}").status_code == 404
    assert LocalModel(BROWSER, WEIGHTS).to_wire() == {"model": "tiny", "about": ABOUT_ADDRESS}


def test_the_worker_may_run_in_an_isolated_page(client: TestClient) -> None:
    answer = client.get(f"/samref/static/1/{WORKER}")
    assert answer.headers["cross-origin-embedder-policy"] == "require-corp"


@pytest.mark.parametrize("encoding", ["br", "gzip"])
def test_framed_pixels_go_to_who_may_see_the_image(client: TestClient, server: Server, encoding: str) -> None:
    token = server.newcomer()
    data = png()
    digest = client.post("/samref/images", content=data, headers={TOKEN_HEADER: token}).json()["digest"]
    address = f"/samref/images/{digest}?framed=1"
    answer = client.get(address, headers={TOKEN_HEADER: token, "Accept-Encoding": encoding})
    assert answer.content == pack_pixels(framed_pixels(decode_image(data)))
    assert answer.headers["cache-control"] == "no-store"
    assert client.get(address, headers={TOKEN_HEADER: server.newcomer()}).status_code == 422
    assert client.get(address).status_code == 401


def test_packing_loses_nothing() -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    packed = np.frombuffer(pack_pixels(rgb), dtype=np.uint8)
    assert packed[:4].tolist() == [9, 0, 7, 0]
    planes = np.zeros((3, 8, 10), dtype=np.int16)
    for plane, sent in zip(planes, packed[4:].reshape(3, 7, 9), strict=True):
        for y in range(7):
            for x in range(9):
                left, above, corner = plane[y + 1, x], plane[y, x + 1], plane[y, x]
                foretold = sorted((left, above, left + above - corner))[1]
                plane[y + 1, x + 1] = (sent[y, x] + foretold) % 256
    green, red, blue = planes[:, 1:, 1:]
    assert np.array_equal(np.stack([red + green, green, blue + green], axis=-1) % 256, rgb)
