"""Finishing by hand: strokes, clean-ups, one history, and acts on finished objects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from samref.core.hand import HandWork
from samref.core.masks import Rle
from samref.core.prompts import Click, Prompts
from samref.errors import LabelError, PromptError, SessionError
from samref.labels.events import AnnotationsImported, Described, HandPainted, MaskChosen
from tests.unit.inference.desk import A, B, C, Desk, annotation, settled, visible


@pytest.fixture
def desk() -> Desk:
    return Desk()


def block(x0: int, y0: int, x1: int, y1: int) -> Rle:
    pixels = np.zeros((24, 32), dtype=np.bool_)
    pixels[y0:y1, x0:x1] = True
    return Rle.from_mask(pixels)


def covers(mask: Rle | None, part: Rle) -> bool:
    assert mask is not None
    return mask.intersection(part) == part


def apart(mask: Rle | None, part: Rle) -> bool:
    assert mask is not None
    return mask.intersection(part).area == 0


ADDED, REMOVED = block(26, 18, 31, 23), block(3, 4, 8, 9)


# ---- strokes


def test_a_stroke_changes_the_pixels_under_it_and_no_others_and_asks_no_model(desk: Desk) -> None:
    desk.open()
    mask = desk.click(A).draft.mask
    assert mask is not None
    computed = list(desk.watch.stages)
    view = desk.paint(HandWork(ADDED, REMOVED), "brush")
    assert view.draft.mask == mask.union(ADDED).minus(REMOVED)
    assert (view.phase, view.undo, view.draft.hand) == ("refined", "brush", HandWork(ADDED, REMOVED))
    assert desk.watch.stages == computed


def test_a_draft_says_what_each_answer_starts_from_as_long_as_prompts_alone_decide_it(desk: Desk) -> None:
    desk.open()
    nothing_drawn = desk.session.view
    assert nothing_drawn.draft.bases == ()
    desk.click(A)
    desk.prompt(B, C)
    assert desk.session.view.draft.bases == (0, 1, 1), "two that came together start from the same one"
    settled(desk.session)
    assert desk.click(A).draft.bases == (0, 1, 1, 3)
    assert desk.replayed().draft.bases == (0, 1, 1, 3)
    assert desk.replace_prompt(1, None).draft.bases == (0, 1, 1), "what came after starts before it now"
    assert desk.paint(HandWork(added=ADDED), "brush").draft.bases is None
    assert desk.undo().draft.bases == (0, 1, 1)


def test_no_later_click_changes_the_pixels_of_a_stroke(desk: Desk) -> None:
    desk.open()
    desk.click(A)
    desk.paint(HandWork(added=ADDED), "brush")
    desk.paint(HandWork(removed=REMOVED), "eraser")
    for prompt in (B, Click(28, 20, positive=False), Click(5, 6), C):
        view = desk.click(prompt)
        assert covers(view.draft.mask, ADDED)
        assert apart(view.draft.mask, REMOVED)
    assert visible(desk.replayed()) == visible(view)


def test_the_model_goes_on_from_the_mask_as_it_was_corrected(desk: Desk) -> None:
    desk.open()
    before = desk.click(A)
    desk.paint(HandWork(added=ADDED), "brush")
    painted = desk.session.view.draft.mask
    desk.prompt(B)
    question = desk.session.question
    assert question is not None
    assert question.corrected == painted != before.draft.mask
    assert question.state.low_res_logits is not None


def test_an_object_can_be_drawn_by_hand_alone(desk: Desk) -> None:
    desk.open()
    desk.paint(HandWork(added=ADDED), "lasso")
    made = desk.commit(1).annotations[0]
    assert (made.mask, made.prompts, made.model, made.has_score, made.clicks) == (ADDED, Prompts(), "", False, 1)
    again = desk.edit(made.id)
    assert again.draft.mask == ADDED
    assert covers(desk.click(A).draft.mask, ADDED)
    assert visible(desk.replayed()) == visible(desk.session.view)


def test_strokes_of_an_accepted_object_still_hold_when_it_is_edited(desk: Desk) -> None:
    desk.open()
    desk.click(A)
    desk.paint(HandWork(ADDED, REMOVED), "brush")
    made = desk.commit(1).annotations[0]
    assert made.by_hand == HandWork(ADDED, REMOVED)
    view = desk.edit(made.id)
    assert view.draft.mask == made.mask
    view = desk.click(B)
    assert covers(view.draft.mask, ADDED)
    assert apart(view.draft.mask, REMOVED)
    assert visible(desk.replayed()) == visible(view)


def test_a_stroke_over_a_mask_that_is_still_coming_holds_when_it_comes(desk: Desk) -> None:
    desk.open()
    desk.half_way(A)
    desk.paint(HandWork(added=ADDED), "brush")
    assert desk.session.view.phase == "coarse"
    view = desk.settle()
    assert view.phase == "refined"
    assert covers(view.draft.mask, ADDED)
    assert visible(desk.replayed()) == visible(view)


def test_strokes_that_do_not_fit_are_refused_and_change_nothing(desk: Desk) -> None:
    desk.open()
    revision = desk.session.view.revision
    for work in (HandWork(), HandWork(Rle.empty(9, 9)), HandWork(ADDED, ADDED)):
        with pytest.raises(PromptError):
            desk.paint(work, "brush")
    assert desk.session.view.revision == revision


def test_one_object_takes_two_thousand_strokes_and_says_what_to_do_then(desk: Desk) -> None:
    desk.session = desk.sit_down_with(
        *[HandPainted(block(n % 32, n % 24, n % 32 + 1, n % 24 + 1), None, "brush") for n in range(2000)]
    )
    with pytest.raises(PromptError, match="Accept it and edit it again"):
        desk.paint(HandWork(added=ADDED), "brush")
    made = desk.commit(1).annotations[0]
    desk.edit(made.id)
    assert desk.paint(HandWork(added=ADDED), "brush").draft.mask == made.mask.union(ADDED)


# ---- clean-ups


def test_what_a_clean_up_changed_stays_changed(desk: Desk) -> None:
    desk.open()
    mask = desk.click(A).draft.mask
    assert mask is not None
    preview = desk.session.tidied("grow", 2)
    grown = desk.tidy("grow", 2).draft.mask
    assert grown == preview != mask
    assert covers(desk.click(B).draft.mask, grown.minus(mask))


def test_a_clean_up_without_effect_is_no_step(desk: Desk) -> None:
    desk.open()
    desk.paint(HandWork(added=ADDED), "brush")
    revision = desk.session.view.revision
    assert desk.tidy("fill_holes", 0).revision == revision


def test_nothing_to_clean_up_is_said(desk: Desk) -> None:
    desk.open()
    with pytest.raises(SessionError, match="Click an object first"):
        desk.tidy("smooth", 2)


def test_the_pixels_of_others_are_taken_from_the_draft(desk: Desk) -> None:
    desk.session = desk.sit_down_with(AnnotationsImported((annotation(block(0, 0, 16, 24)),)))
    desk.open()
    desk.paint(HandWork(added=block(10, 10, 20, 20)), "lasso")
    assert desk.subtract().draft.mask == block(16, 10, 20, 20)
    assert apart(desk.click(A).draft.mask, block(0, 0, 16, 24))


# ---- prompts by themselves


def test_a_prompt_is_moved_and_taken_away(desk: Desk) -> None:
    desk.open()
    only_b = desk.click(B).draft.mask
    desk.clear()
    desk.click(A)
    desk.click(C)
    desk.replace_prompt(0, B)
    assert desk.settle().draft.prompts == Prompts((B, C))
    desk.replace_prompt(1, None)
    view = desk.settle()
    assert (view.draft.prompts, view.draft.mask) == (Prompts((B,)), only_b)
    assert visible(desk.replayed()) == visible(view)
    with pytest.raises(SessionError, match="not there"):
        desk.replace_prompt(1, None)
    with pytest.raises(PromptError):
        desk.replace_prompt(0, Click(99, 99))


# ---- what a lone click can mean


def candidates(desk: Desk) -> tuple[MaskChosen, ...]:
    async def asked() -> tuple[MaskChosen, ...]:
        desk.session.catch_up()
        return await desk.session.candidates()

    return asyncio.run(asked())


def test_the_masks_of_a_lone_click_go_round(desk: Desk) -> None:
    desk.open()
    first = desk.click(A).draft
    found = candidates(desk)
    assert [each.what for each in found] == ["choose the object", "choose a part", "choose a group"]
    assert len({each.mask for each in found}) == 3
    assert candidates(desk) is found, "they are asked for once"
    shown = [desk.choose(found).draft for _ in range(3)]
    assert [draft.mask for draft in shown] == [found[1].mask, found[2].mask, first.mask]
    assert shown[0].score == found[1].score
    assert desk.undo().draft.mask == found[2].mask
    assert visible(desk.replayed()) == visible(desk.session.view)


def test_a_choice_that_came_back_from_the_log_can_be_changed(desk: Desk) -> None:
    desk.open()
    desk.click(A)
    found = candidates(desk)
    desk.choose(found)
    desk.session = desk.sit_down()
    assert desk.settle().draft.mask == found[1].mask
    again = candidates(desk)
    assert [each.mask for each in again] == [each.mask for each in found]
    assert desk.choose(again).draft.mask == found[2].mask


def test_the_model_goes_on_from_the_mask_that_was_chosen(desk: Desk) -> None:
    desk.open()
    desk.click(A)
    found = candidates(desk)
    desk.choose(found)
    desk.prompt(B)
    question = desk.session.question
    assert question is not None
    assert question.corrected == found[1].mask
    desk.settle()
    with pytest.raises(SessionError, match="lone click"):
        desk.choose(found)


def test_other_masks_are_refused_where_there_is_no_lone_click(desk: Desk) -> None:
    desk.open()
    with pytest.raises(SessionError, match="lone click"):
        candidates(desk)
    desk.use_model("clicks-only")
    desk.click(A)
    with pytest.raises(SessionError, match="nothing else"):
        candidates(desk)


# ---- one history


def test_undo_brings_back_what_delete_and_esc_and_accept_took(desk: Desk) -> None:
    desk.open()
    drawn = desk.click(A).draft
    desk.clear()
    assert desk.undo().draft.mask == drawn.mask
    accepted = desk.commit(1)
    desk.delete(accepted.annotations[0].id)
    assert desk.undo().annotations == accepted.annotations
    back = desk.undo()
    assert (back.draft.mask, back.annotations) == (drawn.mask, ())
    assert visible(desk.replayed()) == visible(back)


def test_the_history_is_a_list_one_can_jump_in(desk: Desk) -> None:
    desk.open()
    desk.click(A)
    desk.paint(HandWork(added=ADDED), "brush")
    desk.tidy("drop_islands", 0)
    made = desk.commit(1).annotations[0]
    desk.reclass(made.id, 2)
    entries, at = desk.session.history
    assert [entry.what for entry in entries] == [
        "open", "click", "brush", "drop islands", "accept an object", "change the class",
    ]  # fmt: skip
    assert at == 5
    assert desk.travel(1).draft.prompts == Prompts((A,))
    assert desk.travel(5).annotations == (replace(made, class_id=2),)
    revision = desk.session.view.revision
    assert desk.travel(5).revision == revision
    with pytest.raises(SessionError, match="not in the history"):
        desk.travel(6)


def test_a_new_act_takes_the_place_of_what_was_undone(desk: Desk) -> None:
    desk.open()
    desk.click(A)
    desk.commit(1)
    desk.undo()
    desk.clear()
    assert desk.session.view.redo is None
    assert [entry.what for entry in desk.session.history[0]] == ["open", "click", "discard the draft"]


def test_going_back_asks_no_model_for_what_it_answered(desk: Desk) -> None:
    desk.open()
    desk.click(A)
    desk.click(B)
    desk.commit(1)
    computed = list(desk.watch.stages)
    for _ in range(3):
        desk.undo()
    for _ in range(3):
        desk.redo()
    desk.settle()
    assert desk.watch.stages == computed


# ---- finished objects


def two(desk: Desk) -> list[str]:
    one, other = annotation(block(2, 2, 12, 12), id="one"), annotation(block(8, 8, 20, 20), id="two", class_id=3)
    desk.session = desk.sit_down_with(AnnotationsImported((one, other)))
    desk.open()
    return ["one", "two"]


def test_objects_are_merged_and_parted(desk: Desk) -> None:
    two(desk)
    merged = desk.merge(["two", "one"]).annotations
    assert [(a.id, a.class_id, a.mask) for a in merged] == [("two", 3, block(2, 2, 12, 12).union(block(8, 8, 20, 20)))]
    desk.undo()
    with pytest.raises(LabelError, match="one piece"):
        desk.split("one")
    desk.reshape("one", HandWork(removed=block(2, 6, 12, 8)))
    parts = desk.split("one").annotations
    assert sorted(a.mask.area for a in parts) == [40, 40, 144]
    assert len({a.id for a in parts}) == 3
    assert visible(desk.replayed()) == visible(desk.session.view)


def test_an_overlap_is_taken_from_the_others_and_what_has_nothing_left_goes(desk: Desk) -> None:
    two(desk)
    view = desk.subtract_from("two", ["one"])
    assert view.annotations[0].mask == block(2, 2, 12, 12).minus(block(8, 8, 20, 20))
    desk.undo()
    desk.reshape("two", HandWork(added=block(0, 0, 20, 20)))
    assert [a.id for a in desk.subtract_from("two", ["one"]).annotations] == ["two"]


def test_an_overlap_is_taken_from_the_object_itself(desk: Desk) -> None:
    ids = two(desk)
    view = desk.subtract_others("one", ids)
    assert view.annotations[0].mask == block(2, 2, 12, 12).minus(block(8, 8, 20, 20))
    assert view.annotations[1].mask == block(8, 8, 20, 20)
    assert visible(desk.replayed()) == visible(view)
    with pytest.raises(LabelError, match="do not overlap"):
        desk.subtract_others("one", ["two"])
    with pytest.raises(LabelError, match="do not overlap"):
        desk.subtract_from("two", ["one"])
    with pytest.raises(LabelError, match="no other object"):
        desk.subtract_others("one", ["one"])
    desk.reshape("two", HandWork(added=block(0, 0, 20, 20)))
    with pytest.raises(LabelError, match="Delete it instead"):
        desk.subtract_others("one", ["two"])


def test_a_new_object_goes_under_or_over_the_others(desk: Desk) -> None:
    two(desk)
    desk.paint(HandWork(added=block(0, 0, 10, 24)), "lasso")
    under = desk.commit(1, "", "under").annotations
    assert under[-1].mask == block(0, 0, 10, 24).minus(block(2, 2, 12, 12)).minus(block(8, 8, 20, 20))
    desk.undo()
    desk.describe(Described(("two",), locked=True))
    over = desk.commit(1, "", "over").annotations
    assert over[1].mask == block(8, 8, 20, 20), "a locked object keeps its pixels"
    assert over[2].mask == block(0, 0, 10, 24).minus(block(8, 8, 20, 20))
    assert over[0].mask == block(2, 2, 12, 12).minus(over[2].mask)


def test_a_locked_object_is_left_alone(desk: Desk) -> None:
    two(desk)
    desk.describe(Described(("one",), locked=True))
    refused: list[Callable[[], object]] = [
        lambda: desk.edit("one"),
        lambda: desk.delete("one"),
        lambda: desk.delete_all(["two", "one"]),
        lambda: desk.reclass("one", 2),
        lambda: desk.merge(["two", "one"]),
        lambda: desk.split("one"),
        lambda: desk.subtract_from("two", ["one"]),
        lambda: desk.subtract_others("one", ["two"]),
        lambda: desk.reshape("one", HandWork(added=ADDED)),
        lambda: desk.describe(Described(("one",), note="x")),
    ]
    revision = desk.session.view.revision
    for act in refused:
        with pytest.raises(LabelError, match="locked"):
            act()
    assert desk.session.view.revision == revision
    desk.describe(Described(("one",), visible=False))
    assert desk.describe(Described(("one",), locked=False, note="x")).annotations[0].note == "x"


def test_objects_are_described_together_and_deleted_together(desk: Desk) -> None:
    ids = two(desk)
    view = desk.describe(Described(tuple(ids), class_id=2, note="half ripe", attributes=(("side", "left"),)))
    assert {(a.class_id, a.note, a.attributes) for a in view.annotations} == {(2, "half ripe", (("side", "left"),))}
    with pytest.raises(LabelError, match="characters at most"):
        desk.describe(Described(tuple(ids), note="x" * 2001))
    gone = desk.delete_all(ids)
    assert (gone.annotations, gone.undo) == ((), "delete 2 objects")
    assert desk.undo().annotations == view.annotations


def test_objects_are_moved_over_and_under_each_other(desk: Desk) -> None:
    two(desk)
    orders = [[a.id for a in desk.order("one", to).annotations] for to in ("front", "back", "forward", "backward")]
    assert orders == [["two", "one"], ["one", "two"], ["two", "one"], ["one", "two"]]
    assert desk.order("one", "back").revision == desk.session.view.revision


def test_copies_come_on_top_with_ids_of_their_own(desk: Desk) -> None:
    two(desk)
    view = desk.paste(desk.session.view.annotations)
    assert len({a.id for a in view.annotations}) == 4
    assert view.annotations[3].mask == block(8, 8, 20, 20)
    with pytest.raises(LabelError, match="same size"):
        desk.paste([annotation(Rle.empty(9, 9))])
