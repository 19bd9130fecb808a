"""The store: durable, apart, bounded, and unharmed when the disk is full."""

from __future__ import annotations

import hashlib
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from samref.core.geometry import ImageSize
from samref.core.prompts import Click, Prompts
from samref.errors import LabelError, StorageError
from samref.labels import queries
from samref.labels.annotations import Project
from samref.labels.classes import LabelClass, default_classes
from samref.labels.events import (
    AnnotationsImported,
    ClassAdded,
    ClassRemoved,
    Cleared,
    Committed,
    Deleted,
    Event,
    ImageOpened,
    Prompted,
    Reclassed,
    Undone,
)
from samref.labels.folder import FolderLock
from samref.labels.store import ProjectStore
from tests.unit.labels.conftest import workspace_of

SIZE = ImageSize(12, 16)
PHOTO = b"the bytes of a photo"
CLICK = Prompted(Click(1, 2), "tiny")


def files_under(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


# ---- workspaces


def test_a_workspace_opens_with_its_token_only(file_store: ProjectStore, path: Path) -> None:
    made = file_store.create_workspace()
    assert file_store.find_workspace(made.token) == (made.id, file_store.workspace_revision(made.id))
    for other in ("", "x", made.token[:-1], made.token + "x", "\ud800", "é" * 10_000):
        assert workspace_of(file_store, other) is None
    file_store.close()
    written = b"".join(file.read_bytes() for file in files_under(path.parent))
    assert made.token.encode() not in written
    assert hashlib.sha256(made.token.encode()).hexdigest().encode() in written


def test_tokens_are_long_and_never_the_same(store: ProjectStore) -> None:
    tokens = {store.create_workspace().token for _ in range(20)}
    assert len(tokens) == 20
    assert min(len(token) for token in tokens) >= 43


def test_workspaces_see_nothing_of_each_other(store: ProjectStore, project: Project) -> None:
    mine, other = store.create_workspace().id, store.create_workspace().id
    digest = store.add_image(mine, PHOTO, "cat.jpg", SIZE)
    store.append(mine, digest, CLICK)
    store.add_class(mine, "cat")
    assert store.images(other) == ()
    assert store.events(other, digest) == ()
    assert store.classes(other) == default_classes()
    assert store.project(other) == Project(default_classes())
    with pytest.raises(LabelError, match="does not hold that image"):
        store.image_bytes(other, digest)
    with pytest.raises(LabelError, match="does not hold that image"):
        store.append(other, digest, CLICK)
    store.add_image(other, PHOTO, "same.jpg", SIZE)
    store.append(other, digest, Committed(project.images[0].annotations[0]))
    assert [(i.file_name, i.annotations) for i in store.images(mine)] == [("cat.jpg", 0)]
    assert [(i.file_name, i.annotations) for i in store.images(other)] == [("same.jpg", 1)]
    assert len(files_under(store.blobs.folder)) == 1


def test_a_workspace_that_is_gone_is_told(store: ProjectStore) -> None:
    with pytest.raises(LabelError, match="not there any more"):
        store.append(99, None, ClassAdded(LabelClass(2, "cat", "#000000")))
    with pytest.raises(LabelError, match="not there any more"):
        store.workspace_revision(99)
    with pytest.raises(LabelError):
        store.add_image(99, PHOTO, "cat.jpg", SIZE)


# ---- the log


def test_events_come_back_in_order_after_reopening(store: ProjectStore, place: Path | str, project: Project) -> None:
    workspace = store.create_workspace()
    digest = store.add_image(workspace.id, PHOTO, "cat.jpg", SIZE)
    events: list[Event] = [CLICK, Undone(), Committed(project.images[0].annotations[0]), CLICK]
    assert [store.append(workspace.id, digest, event).events for event in events] == [2, 3, 4, 5]
    store.close()
    again = ProjectStore(place, blobs=store.blobs.folder)
    assert workspace_of(again, workspace.token) == workspace.id
    assert again.events(workspace.id, digest) == (ImageOpened(digest, "cat.jpg", 12, 16), *events)
    assert again.revision(workspace.id, digest) == 5
    state = again.state(workspace.id, digest)
    assert state.annotations == project.images[0].annotations[:1]
    assert state.draft.prompts == Prompts((CLICK.prompt,))


def test_what_was_appended_survives_a_killed_process(path: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from samref.core.geometry import ImageSize
from samref.core.prompts import Click
from samref.labels.events import Prompted
from samref.labels.store import ProjectStore
store = ProjectStore(Path(sys.argv[1]))
workspace = store.create_workspace()
digest = store.add_image(workspace.id, b"photo", "cat.jpg", ImageSize(12, 16))
for x in range(5):
    store.append(workspace.id, digest, Prompted(Click(x, 0), "tiny"))
print(workspace.token, digest, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, cwd=Path.cwd())
    assert done.returncode == -signal.SIGKILL, done.stderr
    token, digest = done.stdout.split()
    store = ProjectStore(path)
    workspace_id = workspace_of(store, token)
    assert workspace_id is not None
    assert [click.x for click in store.state(workspace_id, digest).draft.prompts.clicks] == [0, 1, 2, 3, 4]
    assert store.image_bytes(workspace_id, digest) == b"photo"


def test_every_commit_reaches_the_disk_before_it_is_acknowledged(file_store: ProjectStore) -> None:
    with file_store.database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL


def test_several_events_are_appended_together_or_not_at_all(store: ProjectStore, project: Project) -> None:
    workspace_id = store.create_workspace().id
    digest = store.add_image(workspace_id, PHOTO, "cat.jpg", SIZE)
    unknown_class = replace(project.images[0].annotations[0], class_id=9)
    with pytest.raises(LabelError, match="no class number 9"):
        store.append(workspace_id, digest, CLICK, CLICK, Committed(unknown_class))
    assert store.revision(workspace_id, digest) == 1
    assert store.append(workspace_id, digest, CLICK, CLICK).events == 3


def test_threads_append_without_losing_an_event(store: ProjectStore) -> None:
    workspace_id = store.create_workspace().id
    digests = [store.add_image(workspace_id, bytes([n]), f"{n}.jpg", SIZE) for n in range(2)]
    revisions: list[tuple[str, int]] = []

    def work(digest: str) -> None:
        for _ in range(10):
            revisions.append((digest, store.append(workspace_id, digest, CLICK).events))
            store.images(workspace_id)

    threads = [threading.Thread(target=work, args=(digest,)) for digest in digests for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(revisions) == sorted((digest, n) for digest in digests for n in range(2, 42))


def test_a_click_costs_four_statements(store: ProjectStore) -> None:
    workspace_id = store.create_workspace().id
    digest = store.add_image(workspace_id, PHOTO, "cat.jpg", SIZE)
    seen: list[str] = []

    def note(*arguments: Any) -> None:
        seen.append(arguments[2].split()[0])

    sa.event.listen(store.database._engine, "before_cursor_execute", note)
    store.append(workspace_id, digest, CLICK)
    assert [word for word in seen if word not in ("PRAGMA", "BEGIN")][-4:] == ["SELECT", "INSERT", "UPDATE", "UPDATE"]
    assert len(seen) <= 6, "with what begins the transaction"


def test_two_programs_share_one_file(file_store: ProjectStore, path: Path) -> None:
    workspace = file_store.create_workspace()
    digest = file_store.add_image(workspace.id, PHOTO, "cat.jpg", SIZE)
    other = ProjectStore(path)
    assert other.append(workspace.id, digest, CLICK).events == 2
    assert file_store.append(workspace.id, digest, CLICK).events == 3


def test_a_log_has_an_end(store: ProjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "MAX_EVENTS", 3)
    workspace_id = store.create_workspace().id
    digest = store.add_image(workspace_id, PHOTO, "cat.jpg", SIZE)
    store.append(workspace_id, digest, CLICK, CLICK)
    with pytest.raises(LabelError, match="history of this image is full"):
        store.append(workspace_id, digest, CLICK)


def test_events_in_the_wrong_log_are_refused(store: ProjectStore) -> None:
    workspace_id = store.create_workspace().id
    digest = store.add_image(workspace_id, PHOTO, "cat.jpg", SIZE)
    with pytest.raises(LabelError, match="belong to the workspace"):
        store.append(workspace_id, digest, ClassRemoved(1))
    with pytest.raises(LabelError, match="belong to the workspace"):
        store.append(workspace_id, None, Cleared())
    with pytest.raises(LabelError, match="another image"):
        store.append(workspace_id, digest, ImageOpened("a" * 64, "a.jpg", 1, 1))


def test_a_damaged_entry_is_named(file_store: ProjectStore, path: Path) -> None:
    workspace_id = file_store.create_workspace().id
    digest = file_store.add_image(workspace_id, PHOTO, "cat.jpg", SIZE)
    file_store.append(workspace_id, digest, CLICK)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE events SET body = '{' WHERE number = 2")
    connection.close()
    with pytest.raises(StorageError, match="Entry 2 of the log"):
        file_store.events(workspace_id, digest)


# ---- lists


def test_counts_follow_the_log(store: ProjectStore, project: Project) -> None:
    workspace_id = store.create_workspace().id
    store.add_class(workspace_id, "cat")
    digest = store.add_image(workspace_id, PHOTO, "cat.jpg", SIZE)
    first, second, third = project.images[0].annotations

    def count_after(event: Event) -> int:
        store.append(workspace_id, digest, event)
        (image,) = store.images(workspace_id)
        assert image.annotations == len(store.state(workspace_id, digest).annotations)
        return image.annotations

    assert count_after(Committed(first)) == 1
    assert count_after(Committed(replace(first, score=0.5))) == 1
    assert count_after(AnnotationsImported((first, second, third))) == 3
    assert count_after(Deleted(second.id)) == 2
    assert count_after(Deleted("none")) == 2


def test_the_revision_of_a_workspace_grows_with_its_lists_and_not_with_clicks(
    store: ProjectStore, project: Project
) -> None:
    workspace_id = store.create_workspace().id
    seen = [store.workspace_revision(workspace_id)]
    digest = store.add_image(workspace_id, PHOTO, "cat.jpg", SIZE)
    seen.append(store.workspace_revision(workspace_id))
    seen.append(store.append(workspace_id, digest, CLICK).revision)  # an image with a draft
    assert store.append(workspace_id, digest, CLICK).revision == seen[-1] == store.workspace_revision(workspace_id)
    seen.append(store.append(workspace_id, digest, Committed(project.images[0].annotations[0])).revision)
    assert store.workspace_revision(workspace_id) == seen[-1]
    store.add_class(workspace_id, "cat")
    seen.append(store.workspace_revision(workspace_id))
    assert seen == sorted(set(seen))


def test_classes_are_added_changed_and_removed(store: ProjectStore, project: Project) -> None:
    workspace_id = store.create_workspace().id
    cat = store.add_class(workspace_id, " cat ")
    assert cat == LabelClass(2, "cat", "#3cb44b")
    assert store.change_class(workspace_id, 2, name="dog", colour="#ABCDEF") == LabelClass(2, "dog", "#abcdef")
    assert store.classes(workspace_id) == (*default_classes(), LabelClass(2, "dog", "#abcdef"))
    digest = store.add_image(workspace_id, PHOTO, "cat.jpg", SIZE)
    store.append(workspace_id, digest, Committed(project.images[0].annotations[0]))
    store.append(workspace_id, digest, Reclassed("solid", 2))
    with pytest.raises(LabelError, match="'dog' is used by one object"):
        store.remove_class(workspace_id, 2)
    with pytest.raises(LabelError, match="no class number 7"):
        store.append(workspace_id, digest, Reclassed("solid", 7))
    with pytest.raises(LabelError, match="a class 'object' already"):
        store.add_class(workspace_id, "Object")
    store.remove_class(workspace_id, 1)
    assert [c.name for c in store.classes(workspace_id)] == ["dog"]
    with pytest.raises(LabelError, match="is used by one object"):
        store.remove_class(workspace_id, 2)


def test_a_project_is_all_of_the_workspace_or_some_images(store: ProjectStore, project: Project) -> None:
    workspace_id = store.create_workspace().id
    first = store.add_image(workspace_id, b"1", "../one.jpg", SIZE)
    second = store.add_image(workspace_id, b"2", "C:\\two.jpg", SIZE)
    annotation = project.images[0].annotations[0]
    store.append(workspace_id, second, Committed(annotation))
    whole = store.project(workspace_id)
    assert [(i.digest, i.file_name, i.annotations) for i in whole.images] == [
        (first, "one.jpg", ()),
        (second, "two.jpg", (annotation,)),
    ]
    assert store.project(workspace_id, {second}).images == whole.images[1:]


def test_an_import_is_stored_whole_or_not_at_all(store: ProjectStore, project: Project) -> None:
    workspace_id = store.create_workspace().id
    one = store.add_image(workspace_id, b"1", "one.jpg", SIZE)
    two = store.add_image(workspace_id, b"2", "two.jpg", SIZE)
    first, second, _ = project.images[0].annotations
    before = store.project(workspace_id)
    with pytest.raises(LabelError, match="no class number 2"):
        store.import_annotations(workspace_id, [], {one: [first], two: [second]})
    with pytest.raises(LabelError, match="does not hold that image"):
        store.import_annotations(workspace_id, [], {one: [first], "a" * 64: [first]})
    assert store.project(workspace_id) == before
    added = [LabelClass(number, name, "#3cb44b") for number, name in ((2, "cat"), (3, "dog"), (4, "horse"))]
    store.import_annotations(workspace_id, added, {one: [first], two: [second]})
    assert [i.annotations for i in store.project(workspace_id).images] == [(first,), (second,)]
    assert store.classes(workspace_id)[1:] == tuple(added)


# ---- images


def test_a_image_comes_back_byte_for_byte_and_is_kept_once(store: ProjectStore) -> None:
    workspace_id = store.create_workspace().id
    digest = store.add_image(workspace_id, PHOTO, "cat.jpg", SIZE)
    assert digest == hashlib.sha256(PHOTO).hexdigest()
    assert store.add_image(workspace_id, PHOTO, "other.jpg", SIZE) == digest
    assert store.revision(workspace_id, digest) == 1
    assert store.image_bytes(workspace_id, digest) == PHOTO
    assert [path.name for path in files_under(store.blobs.folder)] == [digest]


def test_one_image_is_found_by_its_digest(store: ProjectStore, project: Project) -> None:
    workspace_id, other = store.create_workspace().id, store.create_workspace().id
    digest = hashlib.sha256(PHOTO).hexdigest()
    assert store.add_image(workspace_id, PHOTO, "cat.jpg", SIZE, digest) == digest
    store.add_image(workspace_id, b"another", "dog.jpg", SIZE)
    store.append(workspace_id, digest, Committed(project.images[0].annotations[0]))
    assert store.image(workspace_id, digest) == store.images(workspace_id)[0]
    assert store.image(other, digest) is None


def test_a_full_store_refuses_new_images(path: Path) -> None:
    store = ProjectStore(path, max_bytes=200_000)
    workspace_id = store.create_workspace().id
    digest = store.add_image(workspace_id, b"1" * 50_000, "one.jpg", SIZE)
    with pytest.raises(StorageError, match=r"holds .* of the 0.2 MB .*image of 0.1 MB is .* too much.*STORE_BYTES"):
        store.add_image(workspace_id, b"2" * 150_000, "two.jpg", SIZE)
    assert [i.digest for i in store.images(workspace_id)] == [digest]
    assert [p.name for p in files_under(store.blobs.folder)] == [digest]


# ---- faults


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the operating system refuse, for real, every write beyond ``size``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_image_for_which_there_is_no_space_leaves_nothing_behind(store: ProjectStore) -> None:
    workspace_id = store.create_workspace().id
    kept = store.add_image(workspace_id, PHOTO, "cat.jpg", SIZE)
    with largest_file(4096), pytest.raises(StorageError, match="the disk is full"):
        store.add_image(workspace_id, b"x" * 100_000, "large.jpg", SIZE)
    assert [i.digest for i in store.images(workspace_id)] == [kept]
    assert [p.name for p in files_under(store.blobs.folder)] == [kept]
    assert store.image_bytes(workspace_id, kept) == PHOTO


def test_a_full_disk_refuses_the_event_and_keeps_what_was_there(file_store: ProjectStore, path: Path) -> None:
    workspace_id = file_store.create_workspace().id
    digest = file_store.add_image(workspace_id, PHOTO, "cat.jpg", SIZE)
    before = file_store.events(workspace_id, digest)
    with largest_file(Path(f"{path}-wal").stat().st_size), pytest.raises(StorageError, match="nothing was saved"):
        file_store.append(workspace_id, digest, *[CLICK] * 100)
    assert file_store.events(workspace_id, digest) == before
    assert file_store.append(workspace_id, digest, CLICK).events == len(before) + 1
    file_store.close()
    assert ProjectStore(path).events(workspace_id, digest) == (*before, CLICK)


def test_a_full_database_says_that_the_disk_is_full(file_store: ProjectStore) -> None:
    workspace_id = file_store.create_workspace().id
    digest = file_store.add_image(workspace_id, PHOTO, "cat.jpg", SIZE)
    with file_store.database.read() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    # The pool hands its one idle connection to the next transaction, and the limit stays with the connection.
    with file_store.database._engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageError, match="The disk is full, so nothing was saved"):
        file_store.append(workspace_id, digest, *[CLICK] * 2000)
    assert file_store.revision(workspace_id, digest) == 1


def test_what_a_killed_server_was_staging_is_tidied_away_by_the_next(path: Path) -> None:
    ProjectStore(path).close()
    part = path.parent / "images" / ".0123456789abcdef.part"
    other = path.parent / "images" / "notes.txt"
    part.write_bytes(b"half")
    other.write_bytes(b"a person's own")
    ProjectStore(path).close()
    assert part.exists(), "without the lock it may be in the making"
    ProjectStore(path, lock=FolderLock(path.parent)).close()
    assert not part.exists()
    assert other.exists()


@pytest.mark.parametrize("content", [b"no database at all, but quite a long text" * 100])
def test_a_file_that_is_no_database_is_refused(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(StorageError, match="is no database"):
        ProjectStore(path)
    assert path.read_bytes() == content


def test_a_database_of_a_newer_samref_is_left_alone(file_store: ProjectStore, path: Path) -> None:
    file_store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StorageError, match="newer samref"):
        ProjectStore(path)


def test_a_folder_that_cannot_be_made_is_named_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="folder for labels could not be made"):
        ProjectStore(tmp_path / "file" / "samref.db")


def test_a_image_whose_file_is_gone_is_told(store: ProjectStore) -> None:
    workspace_id = store.create_workspace().id
    digest = store.add_image(workspace_id, PHOTO, "cat.jpg", SIZE)
    for file in files_under(store.blobs.folder):
        file.unlink()
    with pytest.raises(StorageError, match="The image could not be read: the file or its folder is not there"):
        store.image_bytes(workspace_id, digest)
    store.add_image(workspace_id, PHOTO, "cat.jpg", SIZE)
    assert store.image_bytes(workspace_id, digest) == PHOTO, "uploading it again repairs it"
