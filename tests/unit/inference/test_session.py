"""What a click does, what is refused, and what becomes of clicks that are overtaken or fail."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from samref.core.prompts import Box, Click, Prompts, Scribble
from samref.errors import (
    ImageError,
    PromptError,
    SamrefError,
    SessionError,
    StaleError,
    StorageError,
    UnknownModelError,
)
from samref.inference.session import Verb
from samref.labels.events import AnnotationsImported, Prompted
from tests.unit.inference.desk import IMAGE, A, B, C, Desk, annotation, opened, settled, visible
from tests.unit.inference.exact_model import make_image


@pytest.fixture
def desk() -> Desk:
    return Desk()


# ---- opening


def test_a_new_session_answers_at_once_and_embeds_afterwards(desk: Desk) -> None:
    view = desk.session.view
    assert (view.phase, view.revision, view.file_name, view.size) == ("preparing", 1, "cat.png", IMAGE.size)
    assert view.model_note == "exact is a test"
    assert desk.watch.stages == []
    assert [view.phase for view in settled(desk.session)] == ["preparing", "ready"]
    assert desk.session.view.encode_seconds > 0


def test_an_image_that_is_embedded_already_is_ready_at_once(desk: Desk) -> None:
    desk.open()
    assert desk.sit_down().view.phase == "ready"


def test_a_log_of_another_image_and_one_of_none_are_refused(desk: Desk) -> None:
    for events in ([opened(make_image(4))], []):
        desk.events = list(events)
        with pytest.raises(SessionError, match="another image"):
            desk.sit_down()


# ---- prompts


def test_a_click_gives_the_coarse_mask_and_then_the_refined_one(desk: Desk) -> None:
    desk.open()
    coarse = desk.half_way(A)
    assert (coarse.phase, coarse.draft.stage, coarse.draft.score) == ("coarse", "coarse", 0.25)
    assert coarse.draft.coarse is None
    refined = desk.settle()
    assert (refined.phase, refined.draft.stage, refined.draft.score) == ("refined", "refined", 0.75)
    assert refined.draft.coarse is not None
    assert refined.draft.coarse.mask == coarse.draft.mask != refined.draft.mask
    assert refined.draft.prompts == Prompts((A,))
    assert refined.undo is not None
    assert refined.draft.seconds > 0


def test_a_click_is_recorded_before_the_model_runs(desk: Desk) -> None:
    desk.open()
    view = desk.prompt(A)
    assert desk.events[-1] == Prompted(A, "exact", 0)
    assert desk.watch.stages == ["encode"]
    assert (view.draft.prompts, view.phase) == (Prompts((A,)), "preparing")
    assert desk.session.question is not None


def test_a_click_on_an_image_that_is_still_being_prepared_waits_for_it(desk: Desk) -> None:
    desk.prompt(A)
    assert settled(desk.session)[0].phase == "preparing"
    assert desk.session.view.phase == "refined"


def test_the_second_click_starts_from_the_memory_of_the_first(desk: Desk) -> None:
    desk.open()
    desk.click(A)
    second = desk.click(B)
    predictor = desk.predictors["exact"]
    embedding = predictor.embed(IMAGE)
    *_, first = predictor.predict(embedding, Prompts((A,)))
    *_, expected = predictor.predict(embedding, Prompts((A, B)), first.state)
    assert second.draft.mask == expected.mask


def test_a_model_without_a_refined_stage_ends_refined_all_the_same(desk: Desk) -> None:
    desk.open()
    desk.use_model("coarse-only")
    view = desk.click(A)
    assert (view.phase, view.draft.stage) == ("refined", "coarse")


def test_several_prompts_at_once_are_several_steps_and_one_answer(desk: Desk) -> None:
    desk.open()
    view = desk.click(A, B, C)
    assert view.revision == 4
    assert desk.watch.stages == ["encode", "coarse", "refined"]
    assert desk.undo().draft.prompts == Prompts((A, B))


@pytest.mark.parametrize(
    "prompts", [(), (Click(32, 0),), (A, Click(float("inf"), 1)), (Box(4, 4, 4, 9),), (A,) * 10_000]
)
def test_a_prompt_that_does_not_fit_is_refused_and_changes_nothing(desk: Desk, prompts: tuple[Any, ...]) -> None:
    desk.open()
    desk.click(B)
    before, events = desk.session.view, list(desk.events)
    with pytest.raises(PromptError):
        desk.prompt(*prompts)
    assert desk.session.view == before
    assert desk.events == events


def test_a_kind_of_prompt_that_the_model_does_not_take_is_refused(desk: Desk) -> None:
    desk.open()
    desk.use_model("clicks-only")
    with pytest.raises(PromptError, match="does not take scribbles"):
        desk.prompt(Scribble(((1, 1), (5, 5))))
    assert desk.session.view.draft.prompts.is_empty()


def test_what_cannot_be_recorded_did_not_happen(desk: Desk) -> None:
    desk.open()
    desk.click(A)
    before = desk.session.view
    desk.refuse = StorageError("The disk is full.")
    verbs: list[Callable[[], Any]] = [
        lambda: desk.prompt(B),
        desk.undo,
        desk.clear,
        lambda: desk.commit(1),
        lambda: desk.use_model("other"),
    ]
    for verb in verbs:
        with pytest.raises(StorageError):
            verb()
    assert desk.session.view == before


# ---- overtaken and failed


def test_of_ten_quick_clicks_only_the_last_is_computed_and_all_are_in_the_draft(desk: Desk) -> None:
    desk.open()
    clicks = [Click(x, x) for x in range(10)]
    for click in clicks:
        desk.prompt(click)
    last = desk.settle()
    assert last.draft.prompts.items == tuple(clicks)
    assert desk.watch.stages == ["encode", "coarse", "refined"]
    assert visible(desk.replayed()) == visible(last)


def test_a_click_while_the_one_before_waits_or_runs_takes_its_place(desk: Desk) -> None:
    desk.open()
    desk.watch.stages.clear()

    async def scenario() -> None:
        session = desk.session
        desk.watch.before_refined = threading.Event()
        await session.perform(lambda s: s.prompt(A), "tab", 9)
        await asyncio.to_thread(wait_for, lambda: "refined" in desk.watch.stages)
        for click in (B, C):  # while the refined stage of the first runs
            await session.perform(lambda s, click=click: s.prompt(click), "tab", 9)  # type: ignore[misc]
        desk.watch.before_refined.set()
        async for _ in session.watch():
            pass

    asyncio.run(scenario())
    assert desk.watch.stages == ["coarse", "refined", "coarse", "refined"]
    view = desk.session.view
    assert (view.phase, view.draft.prompts) == ("refined", Prompts((A, B, C)))
    assert visible(desk.replayed()) == visible(view)


def wait_for(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(2000):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it did not happen in 20 seconds")


def test_a_click_between_two_stages_of_the_one_before_starts_from_the_last_finished_answer(desk: Desk) -> None:
    desk.open()
    desk.click(A)
    assert desk.half_way(B).phase == "coarse"
    last = desk.click(C)
    assert [event.basis for event in desk.events if isinstance(event, Prompted)] == [0, 1, 1]
    assert visible(desk.replayed()) == visible(last)


def test_going_back_to_an_overtaken_click_computes_its_mask(desk: Desk) -> None:
    desk.open()
    desk.click(A)
    desk.prompt(B)
    desk.click(C)
    back = desk.undo()
    assert (back.phase, back.draft.mask, back.draft.prompts) == ("preparing", None, Prompts((A, B)))
    there = desk.settle()
    assert there.phase == "refined"
    assert visible(desk.replayed()) == visible(there)


@pytest.mark.parametrize("after", [(), (B,), (A,)])
def test_an_answer_that_comes_after_the_draft_was_given_up_is_dropped(desk: Desk, after: tuple[Click, ...]) -> None:
    desk.open()
    desk.prompt(A)
    late = desk.session.question
    assert late is not None
    desk.clear()
    for prompt in after:  # also where the next object begins with the same click
        desk.prompt(prompt)
    embedding = desk.predictors["exact"].embed(IMAGE)
    for prediction in desk.predictors["exact"].predict(embedding, late.prompts):
        desk.session.note(late, prediction)
    assert desk.session.view.draft.mask is None
    assert visible(desk.settle()) == visible(desk.replayed())


def test_many_hands_at_once_leave_a_session_that_its_log_gives_again(desk: Desk) -> None:
    async def hand(seed: int) -> None:
        random = Random(seed)
        for _ in range(25):
            click = Click(random.randrange(32), random.randrange(24), random.random() < 0.7)
            verbs: list[Verb] = [
                lambda s: s.undo(),
                lambda s: s.redo(),
                lambda s: s.commit(1),
                lambda s, click=click: s.prompt(click),  # type: ignore[misc]
            ]
            with contextlib.suppress(SessionError):
                await desk.session.perform(random.choice([*verbs, verbs[3], verbs[3]]), "tab", 10**6)
            await asyncio.sleep(random.choice([0, 0.001, 0.01]))

    async def scenario() -> None:
        await asyncio.gather(*(hand(seed) for seed in range(4)))
        async for _ in desk.session.watch():
            pass

    asyncio.run(scenario())
    assert visible(desk.replayed()) == visible(desk.session.view)


def test_a_click_on_which_the_model_fails_stays_and_can_be_tried_again_or_undone(desk: Desk) -> None:
    desk.open()
    desk.click(A)
    desk.watch.fail_at = "refined"
    with pytest.raises(RuntimeError, match="no refined today"):
        desk.click(B)
    assert desk.session.question is not None
    desk.watch.fail_at = ""
    again = desk.settle()
    assert again.phase == "refined"
    assert visible(desk.replayed()) == visible(again)
    assert desk.undo().draft.prompts == Prompts((A,))


def test_a_failure_is_forgotten_with_the_click_it_belongs_to(desk: Desk) -> None:
    desk.open()
    desk.watch.fail_at = "coarse"
    with pytest.raises(RuntimeError):
        desk.click(A)
    desk.clear()
    assert desk.settle().phase == "ready"


# ---- tabs


def test_a_tab_that_has_not_seen_what_another_did_is_told_so(desk: Desk) -> None:
    async def scenario() -> None:
        session = desk.session
        await session.perform(lambda s: s.prompt(A), "one", 1)
        with pytest.raises(StaleError):
            await session.perform(lambda s: s.prompt(B), "two", 1)
        await session.perform(lambda s: s.prompt(B), "one", 1)  # its own requests make nobody stale
        await session.perform(lambda s: s.undo(), "two", session.view.revision)
        with pytest.raises(StaleError):
            await session.perform(lambda s: s.redo(), "one", 3)
        await session.absorb(AnnotationsImported((annotation(),)))
        with pytest.raises(StaleError):
            await session.perform(lambda s: s.redo(), "two", 4)
        async for _ in session.watch():
            pass
        assert session.is_idle

    asyncio.run(scenario())


def test_accepting_waits_for_the_mask_under_way(desk: Desk) -> None:
    async def scenario() -> None:
        session = desk.session
        await session.perform(lambda s: s.prompt(A), "tab", 9)
        assert not session.is_idle
        await session.perform(lambda s: s.commit(1), "tab", 9, on_mask=True)
        assert session.view.annotations[0].score == 0.75

    asyncio.run(scenario())


# ---- models


def test_another_model_answers_the_same_prompts_again_in_order(desk: Desk) -> None:
    desk.open()
    desk.click(A)
    desk.click(B)
    view = desk.use_model("other")
    assert (view.model, view.phase, view.draft.mask, view.model_note) == ("other", "preparing", None, "other is a test")
    done = desk.settle()
    predictor = desk.predictors["other"]
    embedding = predictor.embed(IMAGE)
    *_, first = predictor.predict(embedding, Prompts((A,)))
    *_, expected = predictor.predict(embedding, Prompts((A, B)), first.state)
    assert done.draft.mask == expected.mask
    assert visible(desk.replayed()) == visible(done)
    assert desk.use_model("other").revision == done.revision


def test_a_model_that_cannot_be_used_is_refused_and_the_old_one_stays(desk: Desk) -> None:
    desk.open()
    before = desk.click(Scribble(((1, 1), (5, 5))))
    for name, error in (("gigantic", UnknownModelError), ("clicks-only", PromptError)):
        with pytest.raises(error):
            desk.use_model(name)
    assert desk.session.view == before


def test_labels_can_be_looked_at_without_the_model_they_were_made_with(desk: Desk) -> None:
    desk.open()
    desk.use_model("other")
    desk.click(A)
    desk.commit(1)
    del desk.predictors["other"]
    desk.engine = type(desk.engine)(desk.predictor, "exact")
    again = desk.sit_down()
    assert len(again.view.annotations) == 1
    with pytest.raises(SamrefError, match="no model"):
        settled(again)


def test_a_model_chosen_while_the_old_one_embeds_is_the_one_that_answers(desk: Desk) -> None:
    async def scenario() -> None:
        session = desk.session
        desk.watch.before_encode = threading.Event()
        session.catch_up()
        await asyncio.to_thread(wait_for, lambda: desk.watch.encodes == 1)
        await session.perform(lambda s: s.prompt(A), "tab", 9)
        await session.perform(lambda s: s.use_model("other"), "tab", 9)
        desk.watch.before_encode.set()
        async for _ in session.watch():
            pass

    asyncio.run(scenario())
    done = desk.session.view
    assert (done.model, done.phase) == ("other", "refined")
    assert visible(desk.replayed()) == visible(done)


# ---- memory


def test_an_embedding_that_was_dropped_is_made_again(desk: Desk) -> None:
    desk.open()
    one = desk.click(A)
    desk.engine._embeddings.remove((IMAGE.digest, "exact"))
    two = desk.click(B)
    assert two.draft.prompts == Prompts((A, B))
    assert desk.watch.encodes == 2
    assert desk.undo().draft.mask == one.draft.mask


def test_a_stored_image_that_is_not_the_one_is_refused(desk: Desk) -> None:
    with pytest.raises(ImageError, match="not the one"):
        settled(desk.sit_down(make_image(8)))


def test_the_size_of_a_session_counts_masks_and_memory(desk: Desk) -> None:
    desk.open()
    empty = desk.session.size_bytes
    assert desk.click(A).draft.mask is not None
    tensors = 2 * 8 * 8 * 4  # low-res and final logits of one step
    assert empty + tensors < desk.session.size_bytes < empty + tensors + 2000


def test_old_memories_are_dropped_and_made_again_where_they_are_needed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("samref.inference.session.KEPT_STATES", 1)
    desk.open()
    for prompt in (A, B, C):
        desk.click(prompt)
    computed = len(desk.watch.stages)
    desk.undo()
    desk.undo()
    other = desk.click(C)  # starts from the memory of A, which was dropped
    assert len(desk.watch.stages) == computed + 4
    assert visible(desk.replayed()) == visible(other)


def test_a_failure_on_an_overtaken_click_is_nobodys(desk: Desk) -> None:
    desk.open()

    async def scenario() -> None:
        session = desk.session
        desk.watch.before_refined = threading.Event()
        await session.perform(lambda s: s.prompt(A), "tab", 9)
        await asyncio.to_thread(wait_for, lambda: "refined" in desk.watch.stages)
        desk.watch.fail_at, desk.watch.fails = "refined", 1
        await session.perform(lambda s: s.prompt(B), "tab", 9)
        desk.watch.before_refined.set()
        async for _ in session.watch():
            pass

    asyncio.run(scenario())
    assert desk.watch.fails == 0
    assert desk.session.view.phase == "refined"
    assert visible(desk.replayed()) == visible(desk.session.view)


def test_a_verb_is_folded_also_when_whoever_asked_has_gone(desk: Desk) -> None:
    async def scenario() -> None:
        session = desk.session
        asked = asyncio.create_task(session.perform(lambda s: s.prompt(A), "tab", 9))
        await asyncio.sleep(0)
        asked.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asked
        await asyncio.to_thread(wait_for, lambda: session.is_idle)

    asyncio.run(scenario())
    assert desk.session.view.revision == len(desk.events) == 2
    assert visible(desk.replayed()) == visible(desk.session.view)
