"""Backups, the way back, and what can be saved without one; broken off at any moment."""

from __future__ import annotations

import io
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samref.core.geometry import ImageSize
from samref.core.prompts import Click
from samref.errors import StorageError
from samref.labels.annotations import Project
from samref.labels.backup import back_up, restore
from samref.labels.events import Committed, Prompted
from samref.labels.folder import FolderLock
from samref.labels.recovery import inspect, recover
from samref.labels.store import ProjectStore
from tests.unit.labels.conftest import workspace_of

SIZE = ImageSize(12, 16)
CLICK = Prompted(Click(1, 2), "tiny")


def png(seed: int) -> bytes:
    """A small image that can be opened."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "backup"


def fill(data: Path, project: Project, images: int = 4) -> tuple[str, list[str]]:
    """A closed data folder with one workspace: its token and the digests of its images."""
    store = ProjectStore(data / "samref.sqlite")
    made = store.create_workspace()
    digests = [store.add_image(made.id, png(seed), f"{seed}.png", SIZE) for seed in range(images)]
    for digest in digests:
        store.append(made.id, digest, CLICK, Committed(project.images[0].annotations[0]), CLICK)
    store.close()
    return made.token, digests


def held(data: Path, token: str) -> Project:
    """What the workspace of a token holds, its image files read as well."""
    store = ProjectStore(data / "samref.sqlite", reads_only=True)
    try:
        number = workspace_of(store, token)
        assert number is not None
        project = store.project(number)
        assert project.left_out == ()
        for image in project.images:
            store.image_bytes(number, image.digest)
    finally:
        store.close()
    return project


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---- backup


def test_a_backup_is_a_data_folder_and_a_second_one_copies_only_what_is_new(
    data: Path, out: Path, project: Project
) -> None:
    token, digests = fill(data, project)
    made = back_up(data, out)
    assert (made.workspaces, made.images, made.annotations, made.new_images) == (1, 4, 4, 4)
    assert names(out) == ["images", "samref.lock", "samref.sqlite"], "one file is the whole database"
    assert held(out, token) == held(data, token)
    assert inspect(out).faults == ()
    store = ProjectStore(data / "samref.sqlite")
    number = workspace_of(store, token)
    assert number is not None
    store.add_image(number, png(99), "new.png", SIZE)
    store.close()
    first = (out / "images" / digests[0][:2] / digests[0]).stat()
    assert back_up(data, out).new_images == 1
    assert (out / "images" / digests[0][:2] / digests[0]).stat().st_mtime_ns == first.st_mtime_ns
    assert len(held(out, token).images) == 5


def test_a_backup_while_others_write_is_one_moment(data: Path, out: Path, project: Project) -> None:
    token, digests = fill(data, project)
    server = ProjectStore(data / "samref.sqlite", lock=FolderLock(data))
    number = workspace_of(server, token)
    assert number is not None
    stop = threading.Event()

    def work() -> None:
        seed = 100
        while not stop.is_set():
            server.append(number, digests[0], CLICK, CLICK)
            server.append(number, server.add_image(number, png(seed), f"{seed}.png", SIZE), CLICK)
            seed += 1

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for _ in range(5):
            made = back_up(data, out)
            assert made.faults == ()
            assert inspect(out).faults == ()
    finally:
        stop.set()
        worker.join()
        server.close()
    assert held(out, token).images[: len(digests)] == held(data, token).images[: len(digests)]


def test_an_image_that_was_changed_does_not_keep_the_others_from_the_backup(
    data: Path, out: Path, project: Project
) -> None:
    _, digests = fill(data, project)
    (data / "images" / digests[1][:2] / digests[1]).write_bytes(b"rubbish")
    made = back_up(data, out)
    assert made.new_images == 3
    assert len(made.faults) == 1
    assert digests[1] in made.faults[0]
    assert "was changed on the disk" in made.faults[0]


@pytest.mark.parametrize("where", ["data", "data/inside", "data/images"])
def test_a_backup_into_the_data_folder_is_refused(tmp_path: Path, data: Path, project: Project, where: str) -> None:
    fill(data, project)
    before = names(data)
    with pytest.raises(StorageError, match="lies in the data folder"):
        back_up(data, tmp_path / where)
    assert names(data) == before


def test_a_backup_over_other_things_is_refused(tmp_path: Path, data: Path, out: Path, project: Project) -> None:
    fill(data, project)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letters.txt").write_text("mine")
    with pytest.raises(StorageError, match=r"holds other things, 'letters.txt'"):
        back_up(data, tmp_path / "home")
    assert names(tmp_path / "home") == ["letters.txt"]
    ProjectStore(tmp_path / "other" / "samref.sqlite").close()
    with pytest.raises(StorageError, match="a backup of other labels"):
        back_up(data, tmp_path / "other")
    back_up(data, out)
    live = ProjectStore(data / "samref.sqlite")
    live.keep_house()
    live.close()
    with pytest.raises(StorageError, match="newer labels"):
        back_up(out, data)
    with pytest.raises(StorageError, match=r"no samref\.sqlite"):
        back_up(tmp_path / "home", out)


def test_a_backup_onto_a_folder_that_a_server_works_on_is_refused(data: Path, out: Path, project: Project) -> None:
    fill(data, project)
    back_up(data, out)
    with FolderLock(out), pytest.raises(StorageError, match="in use by another samref"):
        back_up(data, out)


def test_a_disk_that_is_full_leaves_the_backup_before(
    data: Path, out: Path, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, _ = fill(data, project)
    back_up(data, out)
    before = held(out, token)
    store = ProjectStore(data / "samref.sqlite")
    number = workspace_of(store, token)
    assert number is not None
    store.add_image(number, png(7), "new.png", SIZE)
    store.close()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("samref.files.os.fsync", full)
        with pytest.raises(StorageError, match="the disk is full"):
            back_up(data, out)
    assert held(out, token) == before
    assert names(out) == ["images", "samref.lock", "samref.sqlite"]


# ---- restore


def test_a_lost_database_and_lost_images_come_back(data: Path, out: Path, project: Project) -> None:
    token, digests = fill(data, project)
    back_up(data, out)
    before = held(data, token)
    (data / "samref.sqlite").unlink()
    (data / "images" / digests[0][:2] / digests[0]).unlink()
    (data / "images" / digests[1][:2] / digests[1]).write_bytes(b"rubbish")
    done = restore(out, data)
    assert (done.new_images, done.aside, done.faults) == (2, None, ())
    assert held(data, token) == before
    assert inspect(data).faults == ()
    assert list((data / "images").rglob("*.changed-*")), "the file that was changed is kept"


def test_the_present_database_is_kept_with_its_newest_work(data: Path, out: Path, project: Project) -> None:
    token, _ = fill(data, project)
    back_up(data, out)
    before = held(data, token)
    code = """
import os, signal, sys
from pathlib import Path
from samref.labels.store import ProjectStore
store = ProjectStore(Path(sys.argv[1]) / "samref.sqlite")
store.add_class(1, "newest")
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code, str(data)], cwd=Path.cwd(), check=False)
    assert (data / "samref.sqlite-wal").stat().st_size > 0
    done = restore(out, data)
    assert held(data, token) == before
    assert not (data / "samref.sqlite-wal").exists()
    assert done.aside is not None
    kept = ProjectStore(done.aside, blobs=data / "images", reads_only=True)
    assert "newest" in [label_class.name for label_class in kept.classes(1)]
    kept.close()


def test_a_damaged_backup_changes_nothing(data: Path, out: Path, project: Project) -> None:
    token, _ = fill(data, project)
    back_up(data, out)
    content = bytearray((out / "samref.sqlite").read_bytes())
    content[-8192:] = os.urandom(8192)
    (out / "samref.sqlite").write_bytes(content)
    before = names(data)
    with pytest.raises(StorageError, match="damaged"):
        restore(out, data)
    assert names(data) == sorted({*before, "samref.lock"})
    held(data, token)


def test_a_folder_in_use_is_not_restored(data: Path, out: Path, project: Project) -> None:
    fill(data, project)
    back_up(data, out)
    with FolderLock(data):
        with pytest.raises(StorageError, match="in use by another samref"):
            restore(out, data)
        with pytest.raises(StorageError, match="in use by another samref"):
            recover(data)


# ---- recover


def test_nothing_is_lost_from_a_sound_database(data: Path, project: Project) -> None:
    token, _ = fill(data, project)
    before = held(data, token)
    done = recover(data)
    assert (done.workspaces, done.images, done.annotations, done.adopted, done.lost) == (1, 4, 4, 0, [])
    assert held(data, token) == before
    assert inspect(data).faults == ()
    assert done.aside is not None
    assert done.aside.is_file()


@pytest.mark.parametrize("how", ["missing", "empty", "rubbish"])
def test_images_without_a_database_get_a_workspace_of_their_own(data: Path, project: Project, how: str) -> None:
    _, digests = fill(data, project)
    path = data / "samref.sqlite"
    match how:
        case "missing":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case _:
            path.write_bytes(b"rubbish " * 4096)
    (data / "images" / "ab").mkdir(exist_ok=True)
    (data / "images" / "ab" / ("ab" * 32)).write_bytes(b"not what its name says")
    done = recover(data)
    assert done.adopted == 4
    assert done.token is not None
    assert {image.digest for image in held(data, done.token).images} == set(digests)
    assert all(image.size == SIZE for image in held(data, done.token).images)
    assert any("ab" * 32 in sentence for sentence in done.lost)
    assert (data / "images" / "ab" / ("ab" * 32)).exists()
    assert (done.aside is None) == (how == "missing")
    assert inspect(data).faults == ()
    ProjectStore(path, lock=FolderLock(data)).close()


def test_the_other_entries_of_a_damaged_log_are_saved_and_the_lost_ones_named(data: Path, project: Project) -> None:
    token, digests = fill(data, project)
    with sqlite3.connect(data / "samref.sqlite") as connection:
        connection.execute(f"UPDATE events SET body = '{{' WHERE digest = '{digests[0]}' AND number = 2")
        connection.execute(f"DELETE FROM events WHERE digest = '{digests[1]}' AND number = 4")
        connection.execute(f"DELETE FROM events WHERE digest = '{digests[2]}' AND number = 1")
        connection.execute("DELETE FROM events WHERE digest = ''")
    connection.close()
    assert len(inspect(data).faults) >= 4
    done = recover(data)
    assert inspect(data).faults == ()
    assert len(held(data, token).images) == 4
    assert all(len(image.annotations) == 1 for image in held(data, token).images)
    assert "Entry 2 of the log of '0.png' (workspace 1) cannot be read." in done.lost
    assert "Entry 4 of the log of '1.png' (workspace 1) cannot be read." in done.lost
    assert any("the classes of workspace 1" in sentence for sentence in done.lost)


@pytest.mark.parametrize("seed", range(6))
def test_pages_of_rubbish_never_keep_the_rest_from_being_saved(data: Path, project: Project, seed: int) -> None:
    _, digests = fill(data, project, images=12)
    store = ProjectStore(data / "samref.sqlite")
    for digest in digests:
        store.append(1, digest, *[CLICK] * 60)
    store.close()
    content = bytearray((data / "samref.sqlite").read_bytes())
    generator = np.random.default_rng(seed)
    for page in generator.choice(np.arange(1, len(content) // 4096), 3, replace=False):
        content[page * 4096 : (page + 1) * 4096] = generator.bytes(4096)
    (data / "samref.sqlite").write_bytes(content)
    done = recover(data)
    assert done.images + done.adopted >= len(digests), "every image is in some workspace"
    assert done.lost
    assert inspect(data).faults == ()


def test_a_folder_with_nothing_in_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"neither a samref\.sqlite nor an image"):
        recover(tmp_path)


# ---- broken off

KILLED = """
import os, signal, sys
from pathlib import Path
import samref.files as files
from samref.labels import backup, recovery
what, data, out, step = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
count = 0
def counted(function):
    def wrapper(*arguments, **named):
        global count
        count += 1
        if count == step:
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*arguments, **named)
        count += 1
        if count == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return wrapper
os.link = counted(os.link)
os.fsync = counted(os.fsync)
Path.replace = counted(Path.replace)
Path.rename = counted(Path.rename)
if what == "backup":
    backup.back_up(data, out)
elif what == "restore":
    backup.restore(out, data)
else:
    recovery.recover(data)
print("done", count)
"""


@pytest.mark.slow
@pytest.mark.parametrize("what", ["backup", "restore", "recover"])
def test_a_kill_at_any_step_leaves_the_old_or_the_new(
    tmp_path: Path, data: Path, out: Path, project: Project, what: str
) -> None:
    token, digests = fill(data, project)
    back_up(data, out)
    store = ProjectStore(data / "samref.sqlite")
    store.add_image(1, png(50), "new.png", SIZE)
    store.close()
    lost = out / "images" / digests[0][:2] / digests[0]
    target = out if what == "backup" else data
    step = 0
    while True:
        step += 1
        if what == "restore":
            (data / "images" / digests[0][:2] / digests[0]).unlink(missing_ok=True)
        done = subprocess.run(
            [sys.executable, "-c", KILLED, what, str(data), str(out), str(step)],
            capture_output=True,
            text=True,
            cwd=Path.cwd(),
            check=False,
        )
        assert lost.exists()
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        store = ProjectStore(target / "samref.sqlite", reads_only=True)
        assert workspace_of(store, token) == 1
        assert len(store.images(1)) in (4, 5)
        assert store.project(1).left_out == ()
        store.close()
        assert inspect(target).workspaces == 1
    assert step > 4, "there were moments to be killed at"
    assert inspect(target).faults == ()
    assert not [name for name in names(target) if name.endswith(".part")], "what was left is tidied away"


def test_the_names_of_databases_kept_aside_never_collide(data: Path, out: Path, project: Project) -> None:
    fill(data, project)
    back_up(data, out)
    kept = {restore(out, data).aside for _ in range(3)}
    assert len(kept) == 3
    assert all(path is not None and path.is_file() for path in kept)
    assert "samref.sqlite" in names(data)
