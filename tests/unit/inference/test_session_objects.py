"""Undo and redo, accepted objects and editing them again."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from samref.core.masks import Rle
from samref.core.prompts import Prompts
from samref.errors import (
    LabelError,
    PromptError,
    SessionError,
)
from samref.labels.events import AnnotationsImported, MaskGiven
from tests.unit.inference.desk import A, B, C, Desk, annotation, visible


@pytest.fixture
def desk() -> Desk:
    return Desk()


# ---- undo, redo, clear


def test_undo_and_redo_move_through_masks_without_the_model(desk: Desk) -> None:
    desk.open()
    one, two = desk.click(A), desk.click(B)
    computed = list(desk.watch.stages)
    back = desk.undo()
    assert back.draft.mask == one.draft.mask
    assert (back.undo is not None, back.redo is not None) == (True, True)
    assert desk.undo().draft.mask is None
    desk.redo()
    assert desk.redo().draft == two.draft
    assert desk.watch.stages == computed


def test_undo_and_redo_are_refused_at_the_ends(desk: Desk) -> None:
    desk.open()
    with pytest.raises(SessionError, match="nothing to undo"):
        desk.undo()
    desk.click(A)
    with pytest.raises(SessionError, match="nothing to redo"):
        desk.redo()
    assert desk.session.view.revision == 2


def test_a_new_click_after_undo_drops_what_could_be_redone(desk: Desk) -> None:
    desk.open()
    desk.click(A)
    desk.click(B)
    desk.undo()
    view = desk.click(C)
    assert view.draft.prompts == Prompts((A, C))
    assert view.redo is None


def test_clear_gives_up_the_draft_and_nothing_else(desk: Desk) -> None:
    desk.open()
    desk.click(A)
    desk.commit(1)
    assert desk.clear().revision == 3  # nothing to clear, nothing recorded
    desk.click(B)
    view = desk.clear()
    assert (view.phase, view.draft.prompts, len(view.annotations)) == ("ready", Prompts(), 1)
    assert view.redo is None


# ---- objects


def test_commit_makes_an_annotation_of_what_is_shown(desk: Desk) -> None:
    desk.open()
    desk.click(A)
    desk.now += 3
    shown = desk.click(B)
    desk.now += 100  # a pause counts as eight seconds
    view = desk.commit(7, "Ada")
    (made,) = view.annotations
    assert (made.class_id, made.author, made.model, made.score) == (7, "Ada", "exact", 0.75)
    assert (made.mask, made.prompts, made.clicks) == (shown.draft.mask, Prompts((A, B)), 2)
    assert made.seconds == 11
    assert made.created_at == datetime.fromtimestamp(desk.now, UTC)
    assert view.phase == "ready"
    assert visible(desk.replayed()) == visible(view)


def test_nothing_and_a_mask_that_is_not_there_yet_cannot_be_accepted(desk: Desk) -> None:
    desk.open()
    with pytest.raises(SessionError, match="nothing to accept"):
        desk.commit(1)
    desk.prompt(A)
    with pytest.raises(SessionError, match="not there yet"):
        desk.commit(1)
    assert len(desk.events) == 2


def test_an_empty_mask_cannot_be_accepted(desk: Desk) -> None:
    desk.open()
    desk.session = desk.sit_down_with(MaskGiven(Rle.empty(24, 32)))
    with pytest.raises(LabelError, match="empty"):
        desk.commit(1)


def test_a_coarse_mask_is_accepted_as_it_is_shown(desk: Desk) -> None:
    desk.open()
    coarse = desk.half_way(A)
    (made,) = desk.commit(1).annotations
    assert (made.mask, made.score) == (coarse.draft.mask, 0.25)


def test_editing_shows_the_accepted_mask_and_goes_on_from_its_prompts(desk: Desk) -> None:
    desk.open()
    desk.click(A)
    desk.click(B)
    first = desk.commit(1).annotations[0]
    desk.now += 500
    view = desk.edit(first.id)
    assert (view.phase, view.draft.mask, view.draft.editing) == ("refined", first.mask, first.id)
    assert view.draft.prompts == Prompts((A, B))
    computed = len(desk.watch.stages)
    desk.settle()  # the memory behind the mask
    assert len(desk.watch.stages) > computed
    assert desk.session.question is None
    assert desk.session.view.draft.mask == first.mask
    third = desk.click(C)
    desk.now += 5
    (again,) = desk.commit(2).annotations
    assert (again.id, again.class_id, again.mask, again.clicks) == (first.id, 2, third.draft.mask, 3)
    assert again.seconds == pytest.approx(first.seconds + 5)
    assert visible(desk.replayed()) == visible(desk.session.view)


def test_a_click_right_after_edit_does_not_depend_on_how_far_the_model_had_come(desk: Desk) -> None:
    desk.open()
    desk.click(A)
    desk.click(B)
    made = desk.commit(1).annotations[0]
    desk.edit(made.id)
    quick = desk.click(C).draft.mask
    desk.clear()
    desk.edit(made.id)
    desk.settle()
    assert desk.click(C).draft.mask == quick


def test_undo_closes_an_edit_and_redo_opens_it_again(desk: Desk) -> None:
    desk.open()
    desk.click(A)
    desk.click(B)
    made = desk.commit(1).annotations[0]
    desk.edit(made.id)
    back = desk.undo()
    assert (back.draft.editing, back.annotations) == (None, (made,))
    again = desk.redo().draft
    assert (again.editing, again.mask) == (made.id, made.mask)


def test_a_prompt_taken_from_an_edit_leaves_what_the_others_say(desk: Desk) -> None:
    desk.open()
    one = desk.click(A)
    desk.click(B)
    made = desk.commit(1).annotations[0]
    desk.edit(made.id)
    desk.replace_prompt(1, None)
    assert desk.settle().draft.mask == one.draft.mask
    assert desk.undo().draft.mask == made.mask


def test_giving_up_an_edit_leaves_the_annotation_as_it_was(desk: Desk) -> None:
    desk.open()
    desk.click(A)
    made = desk.commit(1).annotations[0]
    desk.edit(made.id)
    desk.click(B)
    assert desk.clear().annotations == (made,)


def test_an_imported_annotation_is_edited_from_its_mask(desk: Desk) -> None:
    desk.open()
    imported = annotation()
    asyncio.run(desk.session.absorb(AnnotationsImported((imported,))))
    view = desk.session.view
    assert (view.annotations, view.revision, len(desk.events)) == ((imported,), 2, 1)
    desk.events.append(AnnotationsImported((imported,)))
    view = desk.edit("imported")
    assert (view.draft.mask, view.draft.score, view.phase) == (imported.mask, 0.9, "refined")
    assert view.undo == "edit an object"
    clicked = desk.click(A)
    assert clicked.draft.prompts == Prompts((A,), imported.mask)
    assert visible(desk.replayed()) == visible(clicked)
    assert desk.undo().draft.mask == imported.mask


def test_an_edit_is_refused_beside_a_draft_of_what_is_gone_and_of_what_the_model_does_not_take(desk: Desk) -> None:
    desk.open()
    asyncio.run(desk.session.absorb(AnnotationsImported((annotation(),))))
    with pytest.raises(LabelError):
        desk.edit("nothing")
    desk.click(A)
    with pytest.raises(SessionError, match="Accept it or give it up"):
        desk.edit("imported")
    desk.clear()
    desk.use_model("clicks-only")
    with pytest.raises(PromptError, match="does not take masks"):
        desk.edit("imported")


def test_delete_hide_and_reclass(desk: Desk) -> None:
    desk.open()
    desk.click(A)
    made = desk.commit(1).annotations[0]
    assert not desk.set_visible(made.id, False).annotations[0].visible
    revision = desk.set_visible(made.id, False).revision
    assert desk.reclass(made.id, 4).annotations[0].class_id == 4
    assert desk.reclass(made.id, 4).revision == revision + 1
    desk.edit(made.id)
    view = desk.delete(made.id)
    assert (view.annotations, view.draft.editing, view.phase) == ((), None, "ready")
    verb: Any
    for verb in (
        desk.delete,
        lambda i: desk.set_visible(i, True),
        lambda i: desk.reclass(i, 2),
    ):
        with pytest.raises(LabelError):
            verb(made.id)
    assert visible(desk.replayed()) == visible(desk.session.view)


def test_a_rough_mask_starts_a_draft(desk: Desk) -> None:
    rough = annotation().mask
    desk.session = desk.sit_down_with(MaskGiven(rough))
    view = desk.settle()
    assert (view.draft.mask, view.phase, view.undo) == (rough, "refined", "rough mask")
    assert desk.click(A).draft.prompts == Prompts((A,), rough)
    assert visible(desk.replayed()) == visible(desk.session.view)


def test_an_annotation_says_when_it_changed(desk: Desk) -> None:
    desk.open()
    for prompt in (A, C):
        desk.click(prompt)
        desk.commit(1)
    first, second = desk.session.view.annotations
    desk.set_visible(first.id, False)
    view = desk.session.view
    assert view.annotations_revision == view.revision
    assert view.changed_at == {first.id: view.revision, second.id: 5}
    assert desk.click(B).annotations_revision == view.revision
    assert desk.replayed().changed_at == view.changed_at
