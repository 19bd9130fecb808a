"""The endpoints for scripts: Gradio's own client against the real server, what is open for it and what stays closed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

import samref
from samref.core.masks import Rle
from samref.serve import build
from samref.settings import Settings
from samref.web import scripting
from samref.web.page import Page
from tests.unit.web.conftest import png
from tests.unit.web.test_serve import free_port


@pytest.fixture(scope="module")
def image_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "disk.png"
    path.write_bytes(png())
    return path


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page with endpoints for scripts, served."""
    settings = Settings(
        model="tiny-random",
        precision="fp32",
        data_folder=tmp_path_factory.mktemp("data"),
        port=free_port(),
        api=True,
        upload_bytes=100_000,
        pixels=100_000,
    )
    launched = Page(build)
    launched.launch(settings=settings, prevent_thread_lock=True)
    yield launched
    launched.close(verbose=False)


@pytest.fixture(scope="module")
def client(page: Page, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("downloads")
    one = Client(str(page.local_url), verbose=False, analytics_enabled=False, download_files=folder)
    yield one
    one.close()


def test_a_script_gets_the_mask_that_python_gives(client: Client, image_file: Path) -> None:
    said: dict[str, Any] = {"clicks": [[48, 36], [5, 5, 0]], "box": [20, 10, 80, 60]}
    file, answer = client.predict(image=handle_file(image_file), **said, api_name="/segment")
    here = samref.load_predictor("tiny-random", precision="fp32").segment(
        image_file, [(48, 36), (5, 5, False)], (20, 10, 80, 60)
    )
    mask = np.asarray(Image.open(file))
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) <= {0, 255}
    assert np.array_equal(mask > 0, here.mask.to_mask())
    height, width = answer["segmentation"]["size"]
    assert Rle.from_counts(height, width, answer["segmentation"]["counts"]) == here.mask
    assert answer["bbox"] == list(here.window.box_xywh)
    assert (answer["area"], answer["model"]) == (here.mask.area, "tiny-random")
    assert answer["score"] == pytest.approx(here.score, abs=1e-3)
    assert answer["seconds"] > 0


def test_the_models_that_are_ready_are_listed_the_default_first(client: Client) -> None:
    models = client.predict(api_name="/models")
    assert models[0]["name"] == "tiny-random"
    assert models[0]["ready"]
    assert any(not model["ready"] and model["note"] for model in models[1:])


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({}, "give at least one click"),
        ({"clicks": [[500, 5]]}, "500"),
        ({"clicks": [[1, 2, 3, 4]]}, r"clicks could not be read: a list of \[x, y\]"),
        ({"clicks": "here"}, "clicks could not be read"),
        ({"box": [1, 2, 3]}, r"box could not be read: \[x0, y0, x1, y1\]"),
        ({"polygons": [[1, 2], [3, 4]]}, "polygons could not be read"),
        ({"scribbles": [[["x", 1]]]}, "scribbles could not be read"),
        ({"clicks": [[5, 5]], "model": "sam-vit-z"}, "no model 'sam-vit-z'"),
        ({"clicks": [[5, 5]], "model": 7}, "said by its name"),
    ],
)
def test_what_cannot_be_used_is_refused_in_words(
    client: Client, image_file: Path, said: dict[str, Any], words: str
) -> None:
    with pytest.raises(AppError, match=words):
        client.predict(image=handle_file(image_file), **said, api_name="/segment")


def test_an_image_that_is_none_is_refused_in_words(client: Client, tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("no image")
    with pytest.raises(AppError, match="image"):
        client.predict(image=handle_file(tmp_path / "notes.png"), clicks=[[5, 5]], api_name="/segment")
    Image.new("RGB", (400, 300)).save(tmp_path / "large.png")
    with pytest.raises(AppError, match="pixels"):
        client.predict(image=handle_file(tmp_path / "large.png"), clicks=[[5, 5]], api_name="/segment")


def called(page: Page, image: Any) -> str:
    """What the server says to a request that no client of Gradio would make."""
    body = {"data": [image, [[5, 5]], None, None, None, None]}
    with httpx.Client(base_url=str(page.local_url), timeout=30) as http:
        event = http.post("gradio_api/call/segment", json=body).json()["event_id"]
        return http.get(f"gradio_api/call/segment/{event}").text


def test_only_what_was_uploaded_is_read(page: Page, image_file: Path) -> None:
    meta = {"_type": "gradio.FileData"}
    assert page.app.uploaded_file_dir != os.environ.get("HOME")
    for path in (str(image_file), "/etc/passwd", f"{page.app.uploaded_file_dir}/../../etc/passwd", "\0"):
        said = called(page, {"path": path})
        assert "event: error" in said
        assert "Upload it again" in said
        assert "event: error" in called(page, {"path": path, "meta": meta})
    assert "has to be uploaded first" in called(page, "photo.jpg")
    assert "has to be uploaded first" in called(page, {"path": ["x"]})


def test_no_address_is_fetched_for_a_script(page: Page) -> None:
    for address in (f"{page.local_url}favicon.ico", "http://127.0.0.1:1/x.png"):
        said = called(page, {"path": address, "meta": {"_type": "gradio.FileData"}})
        assert "fetches no addresses" in said


def test_a_request_over_http_alone_works_as_the_page_for_scripts_says(page: Page, image_file: Path) -> None:
    with httpx.Client(base_url=str(page.local_url), timeout=30) as http:
        (path,) = http.post("gradio_api/upload", files={"files": image_file.open("rb")}).json()
        said = called(page, {"path": path, "meta": {"_type": "gradio.FileData"}})
    assert "event: complete" in said
    assert '"segmentation"' in said


def test_the_description_names_what_there_is_and_nothing_else(page: Page) -> None:
    with httpx.Client(base_url=str(page.local_url)) as http:
        info = http.get("gradio_api/info").json()
        schema = http.get("gradio_api/openapi.json").json()
    assert set(info["named_endpoints"]) == {"/models", "/segment"}
    assert not info["unnamed_endpoints"]
    segment = info["named_endpoints"]["/segment"]
    assert segment["description"].startswith("The mask of one object in an image")
    assert [one["parameter_name"] for one in segment["parameters"]] == [
        "image", "clicks", "box", "scribbles", "polygons", "model"
    ]  # fmt: skip
    assert [one["parameter_has_default"] for one in segment["parameters"]] == [False, *[True] * 5]
    assert any("segment" in path for path in schema["paths"])


def test_an_upload_has_a_size(page: Page) -> None:
    with httpx.Client(base_url=str(page.local_url), timeout=30) as http:
        too_long = {"files": ("x.png", b"0" * 300_000)}
        assert http.post("gradio_api/upload", files=too_long).status_code == 413
        many = [("files", (f"{n}.png", os.urandom(30_000))) for n in range(10)]
        assert http.post("gradio_api/upload", files=many).status_code == 413, "all together, too"
        long_request = {"data": ["x" * 3_000_000]}
        assert http.post("gradio_api/call/segment", json=long_request).status_code == 413


def test_files_are_read_by_nobody_else_and_go_after_minutes(
    page: Page, client: Client, image_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = client.predict(image=handle_file(image_file), clicks=[[48, 36]], api_name="/segment")[0]
    folder = Path(page.app.uploaded_file_dir)
    assert Path(file).is_file()
    assert folder.stat().st_mode & 0o077 == 0
    masks = list((folder / "masks").rglob("*.png"))
    uploads = [path for path in folder.rglob("*.png") if path not in masks]
    assert masks
    assert uploads
    with httpx.Client(base_url=str(page.local_url)) as http:
        assert http.get(f"gradio_api/file={masks[0]}").status_code == 200, "by whoever was told its name"
        closed = [uploads[0], "/etc/passwd", f"{folder}/masks/../{uploads[0].relative_to(folder)}", "http://x.org/y"]
        assert {http.get(f"gradio_api/file={path}").status_code for path in closed} == {404}
    scripts = page._behind.scripting  # type: ignore[union-attr]
    scripts.sweep()
    assert masks[0].exists()
    old = time.time() - scripting.KEPT_S - 1
    for path in [path for path in folder.rglob("*") if path.is_file()]:  # also what others broke off
        os.utime(path, (old, old))
    scripts.sweep()
    assert [path for path in folder.rglob("*") if path.is_file()] == []
    monkeypatch.setattr(scripting, "KEPT_FILES", 1)
    client.predict(image=handle_file(image_file), clicks=[[48, 36]], api_name="/segment")
    with httpx.Client(base_url=str(page.local_url)) as http:
        refused = http.post("gradio_api/upload", files={"files": image_file.open("rb")})
    assert refused.status_code == 503
    assert "Try again in five minutes" in refused.json()["error"]["message"]


def test_nothing_is_open_unless_it_was_asked_for(tmp_path: Path) -> None:
    settings = Settings(model="tiny-random", precision="fp32", data_folder=tmp_path / "data", port=free_port())
    launched = Page(build)
    launched.launch(settings=settings, prevent_thread_lock=True)
    try:
        assert launched.config["dependencies"] == []
        with httpx.Client(base_url=str(launched.local_url)) as http:
            for method, path in (
                ("GET", "config"),
                ("GET", "gradio_api/info"),
                ("GET", "gradio_api/openapi.json"),
                ("POST", "gradio_api/upload"),
                ("POST", "gradio_api/queue/join"),
                ("GET", "gradio_api/queue/data?session_hash=x"),
                ("POST", "gradio_api/call/segment"),
                ("GET", "gradio_api/call/segment/x"),
            ):
                assert http.request(method, path).status_code == 404, path
    finally:
        launched.close(verbose=False)


def test_the_folder_of_scripts_goes_with_the_server_and_another_life_begins_anew(tmp_path: Path) -> None:
    settings = Settings(model="tiny-random", precision="fp32", data_folder=tmp_path, port=free_port(), api=True)
    launched = Page(build)
    folders = []
    for _ in range(2):
        launched.launch(settings=settings, prevent_thread_lock=True)
        folders.append(Path(launched.app.uploaded_file_dir))
        assert len(launched.config["dependencies"]) == 2
        launched.close(verbose=False)
    assert folders[0] != folders[1]
    assert not any(folder.exists() for folder in folders)
