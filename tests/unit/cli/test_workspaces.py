"""The commands that look after a data folder, as a person meets them."""

from __future__ import annotations

import hashlib
import io
import json
import sqlite3
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samref.cli.main import main
from samref.core.geometry import ImageSize
from samref.core.masks import Rle
from samref.core.prompts import Prompts
from samref.labels.annotations import Annotation
from samref.labels.events import Committed
from samref.labels.folder import FolderLock
from samref.labels.store import ProjectStore
from tests.unit.labels.conftest import workspace_of
from tests.unit.labels.test_migrations import VERSION_1


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = 0
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    code, out, err = run(capsys, *arguments)
    assert code == 1
    assert out == ""
    assert err.startswith("samref: ")
    assert err.count("\n") == 1, "one sentence, no traceback"
    return err


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two workspaces, the first with two images of one name and an annotation in each."""
    folder = tmp_path / "data"
    store = ProjectStore(folder / "samref.sqlite")
    number = store.create_workspace().id
    store.create_workspace()
    mask = np.zeros((12, 16), dtype=np.bool_)
    mask[2:8, 3:9] = True
    for seed in range(2):
        digest = store.add_image(number, png(seed), "cat.png", ImageSize(12, 16))
        moment = store._clock()
        store.append(
            number,
            digest,
            Committed(Annotation("a", 1, Rle.from_mask(mask), Prompts(), "tiny", 1.0, moment, "", 1.0, 1)),
        )
    store.close()
    return folder


def digests(data: Path) -> list[str]:
    store = ProjectStore(data / "samref.sqlite", reads_only=True)
    found = [image.digest for image in store.images(1)]
    store.close()
    return found


def damage(data: Path) -> None:
    """Lose the last entry of the first image's log, and change the second image's file."""
    first, second = digests(data)
    with sqlite3.connect(data / "samref.sqlite") as connection:
        connection.execute("DELETE FROM events WHERE digest = ? AND number = 2", (first,))
    connection.close()
    (data / "images" / second[:2] / second).write_bytes(b"rubbish")


def test_all_workspaces_are_listed_beside_a_running_server(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = ProjectStore(data / "samref.sqlite", lock=FolderLock(data), demo_days=3)
    server.create_workspace()
    code, out, err = run(capsys, "workspaces", "list", "--data", data)
    server.close()
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()[1:]]
    assert [(line[0], line[5], line[6], line[-1]) for line in lines] == [
        ("1", "2", "2", "kept"),
        ("2", "0", "0", "kept"),
        ("3", "0", "0", "demo"),
    ]


def test_listing_leaves_nothing_beside_the_database(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "workspaces", "list", "--data", data)
    assert sorted(path.name for path in data.iterdir()) == ["images", "samref.sqlite"]


def test_an_export_is_the_pages_zip_and_has_the_images_when_asked(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, whole = tmp_path / "plain.zip", tmp_path / "whole.zip"
    assert run(capsys, "workspaces", "export", "1", "-o", plain, "--data", data)[0] == 0
    assert run(capsys, "workspaces", "export", "1", "-o", whole, "--images", "--data", data)[0] == 0
    with zipfile.ZipFile(plain) as without, zipfile.ZipFile(whole) as archive:
        coco = json.loads(archive.read("annotations/instances.json"))
        images = [f"images/{image['file_name']}" for image in coco["images"]]
        assert sorted(archive.namelist()) == sorted([*without.namelist(), *images])
        for image in coco["images"]:
            content = archive.read(f"images/{image['file_name']}")
            assert hashlib.sha256(content).hexdigest() == image["samref"]["digest"]
    assert len(images) == len(set(images)) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "plain.zip", "whole.zip"]


def test_an_export_names_what_is_damaged_and_has_the_rest(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(data)
    target = tmp_path / "labels.zip"
    code, _, err = run(capsys, "workspaces", "export", "1", "-o", target, "--images", "--data", data)
    assert code == 1
    assert err.count("Left out:") == 2
    assert "Entry 2" in err
    assert "was changed on the disk" in err
    with zipfile.ZipFile(target) as archive:
        coco = json.loads(archive.read("annotations/instances.json"))
        assert len(coco["images"]) == len(coco["annotations"]) == 1
        assert "Entry 2" in coco["info"]["samref"]["left_out"][0]
        assert "Entry 2" in archive.read("LEFT-OUT.txt").decode()


def test_a_sound_folder_has_no_fault_and_a_damaged_one_a_line_for_each(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "workspaces", "check", "--data", data)
    assert (code, err) == (0, "")
    assert "No fault found." in out
    damage(data)
    with sqlite3.connect(data / "samref.sqlite") as connection:
        connection.execute("DELETE FROM annotations WHERE digest = ?", (digests(data)[1],))
    connection.close()
    code, _, err = run(capsys, "workspaces", "check", "--data", data)
    assert code == 1
    assert [line.startswith("Fault: ") for line in err.splitlines()] == [True] * 3
    assert "Entry 2" in err
    assert "the log holds 1 objects, the list 0" in err
    assert "was changed on the disk" in err


def test_a_key_is_made_while_a_server_runs(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = ProjectStore(data / "samref.sqlite", lock=FolderLock(data))
    code, out, _ = run(capsys, "workspaces", "key", "1", "--data", data)
    assert code == 0
    token = out.splitlines()[0].removeprefix("Key of workspace 1: ")
    assert f"http://127.0.0.1:7860/#key={token}" in out
    assert workspace_of(server, token) == 1
    server.close()
    assert "no workspace 9" in refused(capsys, "workspaces", "key", "9", "--data", data)


def test_backup_restore_and_recover_say_what_they_did(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "backup"
    code, said, _ = run(capsys, "backup", out, "--data", data)
    assert code == 0
    assert "2 workspaces, 2 images" in said
    assert "2 annotations. Copied just now: 2 images" in said
    (data / "samref.sqlite").unlink()
    code, said, _ = run(capsys, "workspaces", "restore", out, "--data", data)
    assert code == 0
    assert "2 workspaces, 2 images, 2 annotations; 0 images were brought back" in said
    (data / "samref.sqlite").write_bytes(b"rubbish" * 1000)
    code, said, err = run(capsys, "workspaces", "recover", "--data", data)
    assert code == 0
    assert "2 images that no workspace held are in the new workspace 1." in said
    assert "#key=" in said
    assert "samref.sqlite.before-" in said
    assert "Lost: " in err


@pytest.mark.parametrize("command", [("list",), ("check",), ("key", "1"), ("export", "1", "-o", "x.zip"), ("recover",)])
def test_a_folder_without_labels_is_refused_and_left_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    assert "samref.sqlite" in refused(capsys, "workspaces", *command, "--data", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_version_1_is_listed_and_left_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    connection = sqlite3.connect(tmp_path / "samref.sqlite")
    connection.executescript(VERSION_1)
    connection.close()
    before = (tmp_path / "samref.sqlite").read_bytes()
    assert run(capsys, "workspaces", "list", "--data", tmp_path)[0] == 0
    assert (tmp_path / "samref.sqlite").read_bytes() == before
