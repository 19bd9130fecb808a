"""On a disk that is full or may not be written to, labels are shown and exported; writing goes on when it can."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from samref.core.geometry import ImageSize
from samref.core.prompts import Click
from samref.errors import StorageError, UnwritableError
from samref.labels import sqlite
from samref.labels.annotations import Project
from samref.labels.events import Committed, Prompted
from samref.labels.folder import FolderLock
from samref.labels.sqlite import SqliteDatabase
from samref.labels.store import ProjectStore
from tests.unit.labels.conftest import workspace_of

SIZE = ImageSize(12, 16)
CLICK = Prompted(Click(1, 2), "tiny")


@pytest.fixture(autouse=True)
def retry_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "RETRY_EVERY_S", 0.0)


class Disk:
    """A small disk of its own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.data = place / "data"

    def fill(self) -> None:
        with (self.place / "filler").open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))

    def free(self) -> None:
        (self.place / "filler").unlink()

    def mount(self, option: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{option}", str(self.place)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.name == "nt" or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    done = subprocess.run([mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], check=False)
    if done.returncode != 0:
        pytest.skip("nothing may be mounted here")
    yield Disk(place)
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def labelled(data: Path, project: Project) -> tuple[str, str]:
    """A data folder with one annotation: the token and the image's digest."""
    store = ProjectStore(data / "samref.sqlite", lock=FolderLock(data))
    made = store.create_workspace()
    digest = store.add_image(made.id, b"photo", "cat.jpg", SIZE)
    store.append(made.id, digest, Committed(project.images[0].annotations[0]))
    store.close()
    return made.token, digest


def check_shows_and_refuses(store: ProjectStore, token: str, digest: str) -> None:
    assert store.describe().is_read_only
    assert workspace_of(store, token) == 1
    assert store.image_bytes(1, digest) == b"photo"
    assert len(store.project(1).images[0].annotations) == 1
    for write in (
        lambda: store.append(1, digest, CLICK),
        lambda: store.add_class(1, "dog"),
        lambda: store.add_image(1, b"another", "dog.jpg", SIZE),
        store.create_workspace,
        store.keep_house,
    ):
        with pytest.raises(UnwritableError, match=r"full|may not"):
            write()


def test_a_full_disk_is_shown_and_written_to_again_when_there_is_room(disk: Disk, project: Project) -> None:
    token, digest = labelled(disk.data, project)
    disk.fill()
    store = ProjectStore(disk.data / "samref.sqlite", lock=FolderLock(disk.data))
    check_shows_and_refuses(store, token, digest)
    disk.free()
    assert store.append(1, digest, CLICK).events == 3
    assert not store.describe().is_read_only
    store.close()
    assert ProjectStore(disk.data / "samref.sqlite").revision(1, digest) == 3


def test_a_full_disk_is_shown_with_the_newest_work_of_a_server_that_was_killed(disk: Disk, project: Project) -> None:
    token, digest = labelled(disk.data, project)
    kill_after_adding_a_class(disk.data)
    disk.fill()
    store = ProjectStore(disk.data / "samref.sqlite", lock=FolderLock(disk.data))
    assert workspace_of(store, token) == 1
    assert [label_class.name for label_class in store.classes(1)] == ["object", "newest"]
    with pytest.raises(UnwritableError, match="full"):
        store.append(1, digest, *[CLICK] * 2000)
    disk.free()
    assert store.append(1, digest, CLICK).events == 3
    store.close()


@pytest.mark.parametrize("killed", [False, True])
def test_a_disk_that_may_not_be_written_to_is_shown_and_written_to_again_when_it_may(
    disk: Disk, project: Project, killed: bool
) -> None:
    token, digest = labelled(disk.data, project)
    if killed:
        kill_after_adding_a_class(disk.data)
    disk.mount("ro")
    store = ProjectStore(disk.data / "samref.sqlite", lock=FolderLock(disk.data))
    check_shows_and_refuses(store, token, digest)
    assert len(store.classes(1)) == 1 + killed
    disk.mount("rw")
    assert store.append(1, digest, CLICK).events == 3
    with pytest.raises(StorageError, match="in use by another samref"):
        ProjectStore(disk.data / "samref.sqlite", lock=FolderLock(disk.data))
    store.close()
    assert ProjectStore(disk.data / "samref.sqlite").revision(1, digest) == 3


def test_a_disk_that_fills_meanwhile_refuses_and_goes_on_when_there_is_room(disk: Disk, project: Project) -> None:
    token, digest = labelled(disk.data, project)
    store = ProjectStore(disk.data / "samref.sqlite", lock=FolderLock(disk.data))
    disk.fill()
    with pytest.raises(UnwritableError, match="The disk is full"):
        store.append(1, digest, *[CLICK] * 200)
    assert workspace_of(store, token) == 1
    assert store.image_bytes(1, digest) == b"photo"
    assert store.revision(1, digest) == 2
    disk.free()
    assert store.append(1, digest, CLICK).events == 3
    store.close()


def test_a_reader_reads_from_a_disk_that_may_not_be_written_to(disk: Disk, project: Project) -> None:
    _, digest = labelled(disk.data, project)
    disk.mount("ro")
    store = ProjectStore(disk.data / "samref.sqlite", reads_only=True)
    assert [workspace.annotations for workspace in store.workspaces()] == [1]
    assert store.image_bytes(1, digest) == b"photo"
    store.close()


def test_without_room_for_a_copy_the_sentence_says_how_much_is_needed(
    disk: Disk, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    labelled(disk.data, project)
    disk.fill()
    monkeypatch.setattr(sqlite, "_temporary_folders", lambda: iter([disk.place]))
    with pytest.raises(UnwritableError):
        ProjectStore(disk.data / "samref.sqlite", lock=FolderLock(disk.data))
    assert sorted(path.name for path in disk.place.iterdir()) == ["data", "filler"], "half a copy is removed"


def test_the_normal_opening_is_tried_again_no_oftener_than_told(
    tmp_path: Path, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, digest = labelled(tmp_path, project)
    tries = 0
    as_usual = SqliteDatabase._open_to_write

    def refused(self: SqliteDatabase) -> object:
        nonlocal tries
        tries += 1
        raise UnwritableError("The disk is full, says this test.")

    monkeypatch.setattr(SqliteDatabase, "_open_to_write", refused)
    store = ProjectStore(tmp_path / "samref.sqlite")
    monkeypatch.setattr(sqlite, "RETRY_EVERY_S", 1000.0)
    for _ in range(5):
        with pytest.raises(UnwritableError, match="says this test"):
            store.append(1, digest, CLICK)
    assert tries == 1
    assert workspace_of(store, token) == 1
    monkeypatch.setattr(sqlite, "RETRY_EVERY_S", 0.0)
    monkeypatch.setattr(SqliteDatabase, "_open_to_write", as_usual)
    assert store.append(1, digest, CLICK).events == 3
    store.close()


def test_a_copy_is_removed_when_the_store_is_closed(
    tmp_path: Path, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, _ = labelled(tmp_path / "data", project)
    copies = tmp_path / "copies"
    copies.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(copies))
    as_usual = sqlite._build_engine

    def build(path: Path, **options: bool) -> object:
        if path == tmp_path / "data" / "samref.sqlite":
            raise UnwritableError("The disk is full, says this test.")
        return as_usual(path, **options)

    monkeypatch.setattr(sqlite, "_build_engine", build)
    monkeypatch.setattr(SqliteDatabase, "_open_to_read", SqliteDatabase._open_copy)
    store = ProjectStore(tmp_path / "data" / "samref.sqlite")
    assert len(list(copies.iterdir())) == 1
    assert workspace_of(store, token) == 1
    store.close()
    assert list(copies.iterdir()) == []


def test_copies_of_servers_that_were_killed_are_removed_and_those_in_use_are_not(
    tmp_path: Path, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    labelled(tmp_path / "data", project)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    copies = tmp_path / "copies"
    for name in (f"samref-copy-{ended.pid}-a", f"samref-copy-{os.getppid()}-b", "samref-copy-mine-c", "other"):
        (copies / name).mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(copies))
    folder, _ = sqlite.copy_elsewhere(tmp_path / "data" / "samref.sqlite")
    kept = {path.name for path in copies.iterdir()} - {Path(folder.name).name}
    folder.cleanup()
    assert kept == {f"samref-copy-{os.getppid()}-b", "samref-copy-mine-c", "other"}


def kill_after_adding_a_class(data: Path) -> None:
    """Leave a write-ahead log behind."""
    code = """
import os, signal, sys
from pathlib import Path
from samref.labels.store import ProjectStore
ProjectStore(Path(sys.argv[1]) / "samref.sqlite").add_class(1, "newest")
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code, str(data)], cwd=Path.cwd(), check=False)
    assert (data / "samref.sqlite-wal").stat().st_size > 0
