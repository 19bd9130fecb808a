"""The folder of images on the server's own machine."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from samref.errors import ImageError, SettingsError
from samref.settings import Settings
from samref.web import image_folder
from samref.web.http import build_routes
from samref.web.image_folder import ImageFolder, offered_folder
from tests.unit.web.conftest import Server, png


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "photos"
    for number, name in enumerate(("b.png", "a/10.PNG", "a/9.png", ".hidden.png", "a/.git/x.png")):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(png(number))
    (made / "notes.txt").write_text("no image", encoding="utf-8")
    (made / "broken.jpg").write_bytes(b"rubbish")
    (tmp_path / "secret.png").write_bytes(png(99))
    return made


@pytest.fixture
def client(server: Server, folder: Path, tmp_path: Path) -> TestClient:
    server.verbs._surroundings = replace(server.verbs._surroundings, folder=ImageFolder(folder))
    return TestClient(Starlette(routes=build_routes(server.verbs, tmp_path, version="0")))


def opened(client: TestClient, token: str, path: str) -> dict[str, object]:
    answer = client.post("/samref/folder", params={"path": path}, headers={"X-Samref-Token": token})
    return {"status": answer.status_code, **answer.json()}


def test_the_images_of_a_folder_are_opened_with_their_paths(client: TestClient, server: Server) -> None:
    token = server.newcomer()
    listed = client.get("/samref/folder", headers={"X-Samref-Token": token}).json()
    assert listed == {"paths": ["b.png", "broken.jpg", "a/10.PNG", "a/9.png"], "left_out": ""}
    assert opened(client, token, "a/9.png")["outcome"] == "new"
    assert opened(client, token, "a/9.png")["outcome"] == "known"
    assert [image.file_name for image in server.store.images(server.verbs.find(token))] == ["a/9.png"]
    refused = opened(client, token, "broken.jpg")
    assert refused["status"] == 422
    assert "not an image" in str(refused["error"])


@pytest.mark.parametrize(
    "path",
    ["../secret.png", "a/../../secret.png", "/etc/passwd", "notes.txt", ".hidden.png", "a", "", "a\x00", "b.png/"],
)
def test_a_path_of_a_client_opens_nothing_but_what_was_listed(client: TestClient, server: Server, path: str) -> None:
    token = server.newcomer()
    refused = opened(client, token, path)
    assert refused["status"] == 422
    assert "no image of that name" in str(refused["error"])
    assert server.store.images(server.verbs.find(token)) == ()


def test_a_link_out_of_the_folder_is_not_followed(folder: Path) -> None:
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    (folder / "linked").symlink_to(folder.parent, target_is_directory=True)
    offered = ImageFolder(folder)
    paths, _ = offered.paths()
    assert "linked/secret.png" not in paths
    with pytest.raises(ImageError, match="leads out of the folder"):
        offered.read("link.png", 10**6)


def test_nobody_without_a_workspace_sees_the_folder(client: TestClient) -> None:
    assert client.get("/samref/folder").status_code == 401
    assert client.post("/samref/folder", params={"path": "b.png"}).status_code == 401


def test_a_folder_that_changes_or_vanishes_is_a_sentence(folder: Path) -> None:
    offered = ImageFolder(folder)
    offered.paths()
    (folder / "b.png").unlink()
    with pytest.raises(ImageError, match="cannot be read from the folder"):
        offered.read("b.png", 10**6)
    (folder / "new.png").write_bytes(png(5))
    assert offered.read("new.png", 10**6) == png(5)
    with pytest.raises(ImageError, match="larger than"):
        offered.read("new.png", 10)
    shutil.rmtree(folder)
    with pytest.raises(ImageError, match="not there any more"):
        offered.paths()


def test_only_so_many_images_are_listed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_folder, "MAX_IMAGES", 2)
    paths, left_out = ImageFolder(folder).paths()
    assert len(paths) == 2
    assert "more than 2 images" in left_out


def test_folders_that_may_not_be_read_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def refuse(place: str) -> object:
        if Path(place).name == "a":
            raise PermissionError(13, "Permission denied", place)
        return scan(place)

    monkeypatch.setattr(os, "scandir", refuse)
    assert ImageFolder(folder).paths() == (["b.png", "broken.jpg"], "1 folder in it may not be read, such as a.")


def test_a_folder_is_offered_on_ones_own_machine_only(folder: Path) -> None:
    assert offered_folder(Settings()) is None
    offered = offered_folder(Settings(images=str(folder)))
    assert offered is not None
    assert offered.name == "photos"
    for others in (Settings(images=str(folder), host="0.0.0.0"), Settings(images=str(folder), hosts="example.org")):
        with pytest.raises(SettingsError, match="only on your own machine"):
            offered_folder(others)
    with pytest.raises(SettingsError, match="no such folder"):
        offered_folder(Settings(images=str(folder / "nowhere")))


def test_a_server_without_a_folder_says_so(server: Server, tmp_path: Path) -> None:
    client = TestClient(Starlette(routes=build_routes(server.verbs, tmp_path, version="0")))
    answer = client.get("/samref/folder", headers={"X-Samref-Token": server.newcomer()})
    assert answer.status_code == 422
    assert "--images" in answer.json()["error"]["message"]
