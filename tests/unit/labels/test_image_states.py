"""Marks, drafts and removed images: what the list of images says, in step with the logs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samref.core.geometry import ImageSize
from samref.core.masks import Rle
from samref.core.prompts import Click, Prompts
from samref.errors import LabelError
from samref.labels.annotations import MAX_PATH, Annotation, tidy_path
from samref.labels.events import (
    MARKS,
    Cleared,
    Committed,
    Deleted,
    EditStarted,
    Event,
    ImageMarked,
    ImageOpened,
    ImageRemoved,
    ImageRestored,
    Prompted,
    Redone,
    Travelled,
    Undone,
    apply,
    fold,
)
from samref.labels.queries import ImageSummary
from samref.labels.recovery import inspect, recover
from samref.labels.serialization import event_from_json, event_to_json
from samref.labels.store import ProjectStore

SIZE = ImageSize(5, 6)
CLICK = Prompted(Click(1, 2), "tiny")
OBJECT = Annotation(
    id="a",
    class_id=1,
    mask=Rle.from_mask(np.ones((5, 6), dtype=bool)),
    prompts=Prompts((Click(1, 2),)),
    model="tiny",
    score=0.5,
    created_at=datetime(2026, 11, 21, tzinfo=UTC),
    author="",
    seconds=1.0,
    clicks=1,
)
ACTS: list[Event] = [
    CLICK, Undone(), Redone(), Cleared(), Committed(OBJECT), EditStarted("a"), Deleted("a"),
    ImageMarked("done"), ImageMarked(""), ImageRemoved(), ImageRestored(),
]  # fmt: skip


@pytest.fixture
def held(store: ProjectStore) -> tuple[ProjectStore, int, str]:
    workspace_id = store.create_workspace().id
    return store, workspace_id, store.add_image(workspace_id, b"photo", "cat.jpg", SIZE)


def line(store: ProjectStore, workspace_id: int) -> ImageSummary:
    (found,) = store.images(workspace_id, with_removed=True)
    return found


@pytest.mark.parametrize("event", [*(ImageMarked(mark) for mark in MARKS), ImageRemoved(), ImageRestored()])
def test_marks_and_removals_are_written_and_read(event: Event) -> None:
    assert event_from_json(event_to_json(event)) == event


def test_an_unknown_mark_in_a_log_is_refused() -> None:
    with pytest.raises(LabelError, match="mark"):
        event_from_json('{"type": "image_marked", "mark": "perfect"}')


def test_marks_and_removal_leave_draft_and_objects_alone() -> None:
    before = fold([ImageOpened("d", "f.jpg", 5, 6), Committed(OBJECT), CLICK])
    marked = fold([ImageMarked("flagged"), ImageRemoved()], before)
    after = marked.state
    assert (after.mark, after.removed) == ("flagged", True)
    assert (after.draft, after.annotations) == (before.state.draft, before.state.annotations)
    assert not apply(marked, ImageRestored()).state.removed
    assert apply(marked, Travelled(-1)).state.mark == "flagged", "undo is about what lies on the image"


def test_the_list_says_whether_there_is_a_draft(held: tuple[ProjectStore, int, str]) -> None:
    store, workspace_id, digest = held
    said = []
    for event in (CLICK, Undone(), Redone(), Cleared(), CLICK, Committed(OBJECT), EditStarted("a"), Deleted("a")):
        store.append(workspace_id, digest, event)
        said.append(line(store, workspace_id).has_draft)
    assert said == [True, False, True, False, True, False, True, False]


@given(st.lists(st.sampled_from(ACTS), max_size=12))
@settings(max_examples=25)
def test_the_list_is_the_fold_of_the_log(tmp_path_factory: pytest.TempPathFactory, acts: list[Event]) -> None:
    store = ProjectStore(tmp_path_factory.mktemp("labels") / "samref.sqlite")
    try:
        workspace_id = store.create_workspace().id
        digest = store.add_image(workspace_id, b"photo", "cat.jpg", SIZE)
        known, told = 0, ImageSummary(digest, "cat.jpg", SIZE, 0)
        for number, act in enumerate(acts):
            history = fold(store.events(workspace_id, digest))
            # A session says what the image is like with the event; others leave that to the store.
            store.append(workspace_id, digest, act, after=apply(history, act).state if number % 2 else None)
            for changed in store.images(workspace_id, with_removed=True, changed_after=known):
                told = changed
            known = store.workspace_revision(workspace_id)
            after = store.state(workspace_id, digest)
            wanted = (len(after.annotations), after.mark, after.draft.is_open, after.removed)
            for said in (line(store, workspace_id), told):
                assert (said.annotations, said.mark, said.has_draft, said.removed) == wanted
    finally:
        store.close()


def test_a_removed_image_leaves_lists_and_exports_and_comes_back_whole(held: tuple[ProjectStore, int, str]) -> None:
    store, workspace_id, digest = held
    other = store.add_image(workspace_id, b"another", "dog.jpg", SIZE)
    store.append(workspace_id, digest, Committed(OBJECT), CLICK)
    before = store.state(workspace_id, digest)
    store.append_to_all(workspace_id, [digest], ImageRemoved())
    assert [image.digest for image in store.images(workspace_id)] == [other]
    assert [image.digest for image in store.project(workspace_id).images] == [other]
    assert store.image_bytes(workspace_id, digest) == b"photo"
    store.append_to_all(workspace_id, [digest], ImageRestored())
    assert [image.digest for image in store.images(workspace_id)] == [digest, other]
    assert store.state(workspace_id, digest) == before


def test_marking_several_images_is_all_or_nothing(held: tuple[ProjectStore, int, str]) -> None:
    store, workspace_id, digest = held
    with pytest.raises(LabelError):
        store.append_to_all(workspace_id, [digest, "f" * 64], ImageMarked("done"))
    assert line(store, workspace_id).mark == ""


def test_only_changed_images_are_listed_after_a_revision(held: tuple[ProjectStore, int, str]) -> None:
    store, workspace_id, digest = held
    other = store.add_image(workspace_id, b"another", "dog.jpg", SIZE)
    known = store.workspace_revision(workspace_id)
    assert store.images(workspace_id, changed_after=known) == ()
    store.append_to_all(workspace_id, [other], ImageMarked("done"))
    assert [image.digest for image in store.images(workspace_id, changed_after=known)] == [other]
    assert [image.digest for image in store.images(workspace_id, changed_after=0)] == [digest, other]


def test_the_same_bytes_are_known_and_bring_a_removed_image_back(held: tuple[ProjectStore, int, str]) -> None:
    store, workspace_id, digest = held
    assert store.put_image(workspace_id, b"photo", "copy_of_cat.jpg", SIZE).outcome == "known"
    store.append_to_all(workspace_id, [digest], ImageRemoved())
    assert store.put_image(workspace_id, b"photo", "cat.jpg", SIZE).outcome == "restored"
    assert not line(store, workspace_id).removed
    assert line(store, workspace_id).file_name == "cat.jpg"


def test_recovery_and_inspection_know_marks_drafts_and_removed_images(tmp_path: Path) -> None:
    store = ProjectStore(tmp_path / "samref.sqlite")
    workspace_id = store.create_workspace().id
    digest = store.add_image(workspace_id, b"photo", "a/cat.jpg", SIZE)
    store.append(workspace_id, digest, CLICK, ImageMarked("flagged"), ImageRemoved())
    store.close()
    recover(tmp_path)
    store = ProjectStore(tmp_path / "samref.sqlite")
    assert line(store, workspace_id) == ImageSummary(digest, "a/cat.jpg", SIZE, 0, "flagged", True, True)
    with store.database.write() as connection:
        connection.exec_driver_sql("UPDATE images SET mark = 'done'")
    store.close()
    assert any("its mark" in fault for fault in inspect(tmp_path).faults)


# ---- paths


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("cat.jpg", "cat.jpg"),
        ("a/b/cat.jpg", "a/b/cat.jpg"),
        ("a\\b\\cat.jpg", "a/b/cat.jpg"),
        ("../../etc/passwd", "etc/passwd"),
        ("/etc/passwd", "etc/passwd"),
        ("C:\\Users\\me\\cat.jpg", "Users/me/cat.jpg"),
        ("//server/share/cat.jpg", "server/share/cat.jpg"),
        ("a/./b/../cat.jpg", "a/b/cat.jpg"),
        ("a/ .. /cat.jpg", "a/cat.jpg"),
        ("a/.../cat.jpg", "a/cat.jpg"),
        ("a/b/..", "a/b/image"),
        ("a/b/", "a/b/image"),
        ("", "image"),
        ("a\n\x00b/c\u202eat.jpg", "ab/cat.jpg"),
    ],
)
def test_a_path_is_made_relative(name: str, path: str) -> None:
    assert tidy_path(name) == path


@given(st.text(st.sampled_from("a./\\: \n\x00\u202eé…C"), max_size=60) | st.text(max_size=700))
def test_no_name_leads_out_of_a_folder(name: str) -> None:
    path = tidy_path(name)
    assert 0 < len(path) <= MAX_PATH
    parts = path.split("/")
    assert all(part.strip() and part.strip(".") for part in parts)
    assert "\\" not in path
    assert path.isprintable() or not any(c in path for c in "\n\r\t\0")
    assert tidy_path(path) == path
    assert Path("/base", path).is_relative_to("/base")


def test_the_outermost_folders_of_a_long_path_go() -> None:
    path = tidy_path("/".join(["folder" * 10] * 30) + "/cat.jpg")
    assert path.endswith("folder/cat.jpg")
    assert len(path) <= MAX_PATH
