"""What a log says when it is read again."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from samref.core.geometry import ImageSize
from samref.core.prompts import Box, Click, Prompts
from samref.errors import LabelError
from samref.labels.annotations import Project
from samref.labels.classes import LabelClass
from samref.labels.events import (
    AnnotationsImported,
    ClassAdded,
    ClassChanged,
    ClassRemoved,
    Cleared,
    Committed,
    Deleted,
    DraftState,
    DraftStep,
    EditStarted,
    Event,
    ImageOpened,
    ImageState,
    MaskGiven,
    ModelChanged,
    Prompted,
    Reclassed,
    Redone,
    Undone,
    VisibilityChanged,
    fold,
    replay,
    replay_classes,
)
from samref.labels.serialization import event_from_json, to_plain

A, B, C = Click(1, 1), Click(2, 2, positive=False), Box(0, 0, 3, 3)


def prompted(*prompts: Click | Box) -> list[Event]:
    return [Prompted(prompt, "tiny") for prompt in prompts]


def test_an_empty_log_is_an_empty_state() -> None:
    assert replay([]) == ImageState()


def test_opening_tells_name_and_size() -> None:
    state = replay([ImageOpened("c" * 64, "cat.jpg", 12, 16)])
    assert (state.digest, state.file_name, state.size) == ("c" * 64, "cat.jpg", ImageSize(12, 16))


def test_opening_again_keeps_the_draft() -> None:
    opened = ImageOpened("c" * 64, "cat.jpg", 12, 16)
    assert replay([opened, *prompted(A), opened]).draft.prompts == Prompts((A,))


def test_undo_and_redo_move_the_cursor_and_stop_at_the_ends() -> None:
    events: list[Event] = prompted(A, B, C)
    assert replay([*events, Undone()]).draft.prompts == Prompts((A, B))
    assert replay([*events, *[Undone()] * 9]).draft.prompts == Prompts()
    assert replay([*events, Undone(), Undone(), Redone()]).draft.prompts == Prompts((A, B))
    assert replay([*events, *[Undone()] * 9, *[Redone()] * 9]).draft.prompts == Prompts((A, B, C))


def test_a_new_prompt_drops_what_was_undone() -> None:
    state = replay([*prompted(A, B), Undone(), *prompted(C), Redone()])
    assert state.draft.prompts == Prompts((A, C))
    assert state.draft.steps == (DraftStep(A, 0), DraftStep(C, 1))


def test_a_given_mask_starts_the_draft_over(project: Project) -> None:
    mask = project.images[0].annotations[0].mask
    assert replay([*prompted(A), MaskGiven(mask), *prompted(B)]).draft == DraftState(
        mask, (DraftStep(B, 0),), 1, clicks=1
    )


def test_clearing_and_accepting_end_the_draft(project: Project) -> None:
    first = project.images[0].annotations[0]
    assert replay([*prompted(A), Cleared()]) == ImageState(model="tiny")
    assert replay([*prompted(A), Committed(first)]) == ImageState(model="tiny", annotations=(first,))


def test_another_model_keeps_the_draft() -> None:
    state = replay([*prompted(A), ModelChanged("sam-vit-b")])
    assert (state.model, state.draft.prompts) == ("sam-vit-b", Prompts((A,)))


def test_another_model_answers_each_step_from_the_one_before_it() -> None:
    quick: list[Event] = [Prompted(A, "tiny", 0), Prompted(B, "tiny", 0), Prompted(C, "tiny", 1)]
    assert [step.basis for step in replay(quick).draft.steps] == [0, 0, 1]
    assert [step.basis for step in replay([*quick, ModelChanged("sam-vit-b")]).draft.steps] == [0, 1, 2]
    assert [step.basis for step in replay([*quick, Prompted(A, "sam-vit-b", 1)]).draft.steps] == [0, 1, 2, 1]


def test_an_accepted_mask_is_shown_at_its_step_until_that_step_is_gone(project: Project) -> None:
    first = project.images[0].annotations[0]
    edit: list[Event] = [Committed(first), EditStarted(first.id)]
    assert replay([*edit, *prompted(A)]).draft.accepted_at == 3
    assert replay([*edit, Undone(), *prompted(A)]).draft.accepted_at is None
    assert replay([*edit, ModelChanged("sam-vit-b")]).draft.accepted_at is None


def test_editing_starts_from_the_prompts_of_the_annotation_and_replaces_it(project: Project) -> None:
    first, second, _ = project.images[0].annotations
    events: list[Event] = [Committed(first), Committed(second), EditStarted(first.id)]
    draft = replay(events).draft
    steps = tuple(DraftStep(prompt, number) for number, prompt in enumerate(first.prompts.items))
    assert draft == DraftState(None, steps, 3, first, accepted_at=3, clicks=first.clicks)
    better = replace(first, score=1.0)
    assert replay([*events, *prompted(A), Committed(better)]).annotations == (better, second)


def test_editing_starts_from_the_mask_where_there_are_no_prompts(project: Project) -> None:
    imported = project.images[0].annotations[2]
    draft = replay([AnnotationsImported((imported,)), EditStarted(imported.id)]).draft
    assert draft.prompts == Prompts((), imported.mask)


def test_an_edit_that_is_given_up_leaves_the_annotation_as_it_was(project: Project) -> None:
    first = project.images[0].annotations[0]
    state = replay([Committed(first), EditStarted(first.id), *prompted(A), Cleared()])
    assert state == ImageState(model="tiny", annotations=(first,))


def test_deleting_what_is_being_edited_ends_the_edit(project: Project) -> None:
    first, second, _ = project.images[0].annotations
    events: list[Event] = [Committed(first), Committed(second), EditStarted(first.id)]
    assert replay([*events, Deleted(first.id)]) == ImageState(annotations=(second,))
    assert replay([*events, Deleted(second.id)]).draft.edited == first


def test_hiding_and_another_class_change_one_annotation(project: Project) -> None:
    first, second, _ = project.images[0].annotations
    state = replay([Committed(first), Committed(second), VisibilityChanged(first.id, False), Reclassed(second.id, 1)])
    assert state.annotations == (replace(first, visible=False), replace(second, class_id=1))


def test_an_import_replaces_annotations_of_the_same_id_and_adds_the_others(project: Project) -> None:
    first, second, third = project.images[0].annotations
    better = replace(first, class_id=2)
    state = replay([Committed(first), Committed(second), AnnotationsImported((third, better))])
    assert state.annotations == (better, second, third)


@pytest.mark.parametrize(
    "event", [Undone(), Redone(), Deleted("x"), EditStarted("x"), VisibilityChanged("x", False), Reclassed("x", 1)]
)
def test_an_event_that_makes_no_sense_changes_nothing(project: Project, event: Event) -> None:
    history = fold([Committed(project.images[0].annotations[0])])
    assert fold([event], history) == history


def test_classes_are_added_changed_and_removed() -> None:
    one, two = LabelClass(1, "object", "#e6194b"), LabelClass(2, "cat", "#3cb44b")
    dog = replace(two, name="dog")
    assert replay_classes([ClassAdded(one), ClassAdded(two), ClassChanged(dog)]) == (one, dog)
    assert replay_classes([ClassAdded(one), ClassAdded(two), ClassRemoved(1), Undone()]) == (two,)


def test_a_prompt_is_written_in_plain_words() -> None:
    assert to_plain(Prompted(A, "tiny", basis=0)) == {
        "type": "prompted",
        "prompt": {"type": "click", "x": 1, "y": 1, "positive": True},
        "model": "tiny",
        "basis": 0,
    }


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "undone",
        {},
        {"type": 3},
        {"type": "x" * 1000},
        {"type": "exploded"},
        {"type": "prompted", "model": "tiny"},
        {"type": "prompted", "model": "tiny", "prompt": {"type": "click", "x": 10**400, "y": 0}},
        {"type": "prompted", "model": "tiny", "prompt": {"type": "click", "x": "1", "y": 0}},
        {"type": "prompted", "model": "tiny", "prompt": to_plain(Prompted(A, ""))["prompt"], "basis": -1},
        {"type": "prompted", "model": 3, "prompt": {"type": "click", "x": 1, "y": 0}},
        {"type": "mask_given", "mask": {"size": [1 << 40, 1 << 40], "counts": "0"}},
        {"type": "mask_given", "mask": {"size": [2, 2], "counts": "0"}},
        {"type": "mask_given", "mask": {"size": [2], "counts": "4"}},
        {"type": "mask_given", "mask": {"size": [2, True], "counts": "4"}},
        {"type": "image_opened", "digest": "c" * 64, "file_name": "a", "height": 0, "width": 5},
        {"type": "visibility_changed", "annotation_id": "x", "visible": 1},
        {"type": "reclassed", "annotation_id": "x", "class_id": 1.5},
        {"type": "reclassed", "annotation_id": "x", "class_id": 1 << 64},
        {"type": "class_added", "class": {"id": 1, "name": "x", "colour": "red"}},
        {"type": "committed", "annotation": None},
        {"type": "annotations_imported", "annotations": {}},
    ],
    ids=lambda data: json.dumps(data)[:60],
)
def test_what_is_no_event_is_refused(data: Any) -> None:
    with pytest.raises(LabelError):
        event_from_json(json.dumps(data))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("id", ""),
        ("class_id", "1"),
        ("score", float("nan")),
        ("score", 10**400),
        ("created_at", "yesterday"),
        ("created_at", "2026-11-21T08:00:00"),
        ("created_at", "0001-01-01T00:00:00+23:59"),
        ("author", None),
        ("clicks", -1),
        ("visible", "yes"),
        ("prompts", {"items": [{"type": "click", "x": 99, "y": 0}], "mask": None}),
        ("prompts", {"items": [], "mask": {"size": [1, 1], "counts": "1"}}),
        ("prompts", {"items": [{"type": "click", "x": 1, "y": 1}] * 1001, "mask": None}),
    ],
)
def test_what_is_no_annotation_is_refused(project: Project, key: str, value: Any) -> None:
    data = to_plain(Committed(project.images[0].annotations[0]))
    data["annotation"][key] = value
    with pytest.raises(LabelError):
        event_from_json(json.dumps(data))


def test_times_of_other_zones_are_read_as_utc(project: Project) -> None:
    first = project.images[0].annotations[0]
    data = to_plain(Committed(first))
    data["annotation"]["created_at"] = "2026-11-21T10:00:00+02:00"
    assert event_from_json(json.dumps(data)) == Committed(first)
