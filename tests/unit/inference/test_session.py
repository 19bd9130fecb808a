"""What a click does, what is refused, and what becomes of clicks that are overtaken or fail."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import pytest

from samref.core.prompts import Box, Click, Prompts, Scribble
from samref.errors import (
    PromptError,
    SessionError,
    StorageError,
    SupersededError,
)
from samref.inference.scheduler import Scheduler
from samref.labels.events import ImageOpened, Prompted
from tests.unit.inference.desk import IMAGE, A, B, C, Desk, visible
from tests.unit.inference.exact_model import make_image


@pytest.fixture
def desk() -> Desk:
    return Desk()


# ---- opening


def test_a_new_session_is_empty_and_asks_for_a_image(desk: Desk) -> None:
    view = desk.session.view
    assert (view.phase, view.revision, view.image_digest, view.image_size) == ("empty", 0, None, None)
    assert not desk.session.needs_work
    for verb in (desk.session.undo, desk.session.clear, lambda: desk.session.prompt(A)):
        with pytest.raises(SessionError, match="Open an image first"):
            verb()


def test_opening_answers_at_once_and_encodes_afterwards(desk: Desk) -> None:
    view = desk.session.open_image(IMAGE, "cat.png")
    assert (view.phase, view.revision, view.file_name, view.image_size) == ("preparing", 1, "cat.png", IMAGE.size)
    assert view.model_note == "exact is a test"
    assert desk.events == [ImageOpened(IMAGE.digest, "cat.png", 24, 32)]
    assert desk.watch.stages == []
    assert desk.session.needs_encode
    assert [v.phase for v in desk.session.catch_up()] == ["ready"]
    assert not desk.session.needs_work
    assert desk.session.view.encode_seconds > 0


def test_opening_the_same_image_again_changes_nothing_and_another_is_refused(desk: Desk) -> None:
    session = desk.open()
    assert session.open_image(IMAGE, "cat.png").revision == 1
    with pytest.raises(SessionError, match="new session"):
        session.open_image(make_image(5), "dog.png")
    assert len(desk.events) == 1


def test_a_image_that_is_encoded_already_is_ready_at_once(desk: Desk) -> None:
    desk.open()
    assert desk.sit_down().open_image(IMAGE, "cat.png").phase == "ready"


# ---- prompts


def test_a_click_gives_the_coarse_mask_and_then_the_refined_one(desk: Desk) -> None:
    desk.open()
    coarse, refined = desk.session.prompt(A)
    assert (coarse.phase, coarse.draft.stage, coarse.draft.score) == ("coarse", "coarse", 0.25)
    assert coarse.draft.coarse_mask is None
    assert (refined.phase, refined.draft.stage, refined.draft.score) == ("refined", "refined", 0.75)
    assert refined.draft.coarse_mask == coarse.draft.mask != refined.draft.mask
    assert refined.draft.prompts == Prompts((A,))
    assert refined.draft.can_undo
    assert refined.seconds > coarse.seconds > 0


def test_a_click_is_recorded_before_the_model_runs(desk: Desk) -> None:
    desk.open()
    desk.session.prompt(A)
    assert desk.events[-1] == Prompted(A, "exact", 0)
    assert desk.watch.stages == ["encode"]
    assert desk.session.view.draft.prompts == Prompts((A,))
    assert desk.session.view.phase == "preparing"
    assert desk.session.needs_work


def test_a_click_on_a_image_that_is_still_being_prepared_waits_for_it(desk: Desk) -> None:
    desk.session.open_image(IMAGE, "cat.png")
    assert [view.phase for view in desk.session.prompt(A)] == ["preparing", "coarse", "refined"]


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
    desk.session.use_model("coarse-only")
    views = [*desk.session.prompt(A)]
    assert [(view.phase, view.draft.stage) for view in views[-1:]] == [("refined", "coarse")]


def test_several_prompts_at_once_are_several_steps_and_one_answer(desk: Desk) -> None:
    desk.open()
    view = desk.click(A, B, C)
    assert view.revision == 4
    assert desk.watch.stages == ["encode", "coarse", "refined"]
    assert desk.session.undo().draft.prompts == Prompts((A, B))


@pytest.mark.parametrize(
    "prompts", [(), (Click(32, 0),), (A, Click(float("inf"), 1)), (Box(4, 4, 4, 9),), (A,) * 10_000]
)
def test_a_prompt_that_does_not_fit_is_refused_and_changes_nothing(desk: Desk, prompts: tuple[Any, ...]) -> None:
    desk.open()
    desk.click(B)
    before, events = desk.session.view, list(desk.events)
    with pytest.raises(PromptError):
        desk.session.prompt(*prompts)
    assert desk.session.view == before
    assert desk.events == events


def test_a_kind_of_prompt_that_the_model_does_not_take_is_refused(desk: Desk) -> None:
    desk.open()
    desk.session.use_model("clicks-only")
    with pytest.raises(PromptError, match="does not take scribbles"):
        desk.session.prompt(Scribble(((1, 1), (5, 5))))
    assert desk.session.view.draft.prompts.is_empty()


def test_what_cannot_be_recorded_did_not_happen(desk: Desk) -> None:
    desk.open()
    desk.click(A)
    before = desk.session.view
    desk.refuse = StorageError("The disk is full.")
    verbs: list[Callable[[], Any]] = [
        lambda: desk.session.prompt(B),
        desk.session.undo,
        desk.session.clear,
        lambda: desk.session.commit(1),
        lambda: desk.session.use_model("other"),
    ]
    for verb in verbs:
        with pytest.raises(StorageError):
            verb()
    assert desk.session.view == before
    with pytest.raises(StorageError):
        desk.sit_down().open_image(IMAGE, "cat.png")


# ---- superseded and failed


def test_of_ten_quick_clicks_only_the_last_is_computed_and_all_are_in_the_draft(desk: Desk) -> None:
    desk.open()
    clicks = [Click(x, x) for x in range(10)]
    with Scheduler() as scheduler:
        go, reached = threading.Event(), threading.Event()

        def hold() -> Any:
            reached.set()
            assert go.wait(20)
            yield

        scheduler.submit("somebody else", hold)
        assert reached.wait(20)
        jobs = [scheduler.submit("s", desk.session.prompt(click)) for click in clicks]
        go.set()
        last = jobs[-1].result(20)
        for job in jobs[:-1]:
            with pytest.raises(SupersededError):
                job.result(20)
    assert last.draft.prompts.items == tuple(clicks)
    assert desk.watch.stages == ["encode", "coarse", "refined"]
    assert visible(desk.replayed().view) == visible(last)


def test_a_click_between_two_stages_of_the_one_before_starts_from_the_last_finished_answer(desk: Desk) -> None:
    desk.open()
    desk.click(A)
    overtaken = desk.session.prompt(B)
    assert next(overtaken).phase == "coarse"
    last = desk.click(C)
    with pytest.raises(SupersededError):
        next(overtaken)
    assert [event.basis for event in desk.events if isinstance(event, Prompted)] == [0, 1, 1]
    assert visible(desk.replayed().view) == visible(last)


def test_going_back_to_an_overtaken_click_computes_its_mask(desk: Desk) -> None:
    desk.open()
    desk.click(A)
    desk.session.prompt(B)
    desk.click(C)
    back = desk.session.undo()
    assert (back.phase, back.draft.mask, back.draft.prompts) == ("preparing", None, Prompts((A, B)))
    *_, there = desk.session.catch_up()
    assert there.phase == "refined"
    assert visible(desk.replayed().view) == visible(there)


def test_an_answer_that_comes_after_the_draft_was_given_up_is_dropped(desk: Desk) -> None:
    desk.open()
    late = desk.session.prompt(A)
    next(late)
    desk.session.clear()
    with pytest.raises(SupersededError):
        next(late)
    assert desk.session.view.phase == "ready"


def test_a_late_answer_does_not_get_into_the_object_drawn_next(desk: Desk) -> None:
    desk.open()
    late = desk.session.prompt(A)
    next(late)
    desk.session.clear()
    desk.session.prompt(B)
    with pytest.raises(SupersededError):
        next(late)
    assert desk.session.view.draft.mask is None
    *_, answered = desk.session.catch_up()
    assert visible(desk.replayed().view) == visible(answered)


def test_many_hands_at_once_leave_a_session_that_its_log_gives_again(desk: Desk) -> None:
    desk.open()
    with Scheduler() as scheduler, ThreadPoolExecutor(4) as pool:

        def work(seed: int) -> None:
            random = Random(seed)
            for _ in range(25):
                with contextlib.suppress(SessionError):
                    match random.randrange(6):
                        case 0:
                            desk.session.undo()
                        case 1:
                            desk.session.redo()
                        case 2:
                            desk.session.commit(1)
                        case 3:
                            list(desk.session.catch_up())  # beside the worker
                        case _:
                            click = Click(random.randrange(32), random.randrange(24), random.random() < 0.7)
                            scheduler.submit("s", desk.session.prompt(click))

        list(pool.map(work, range(4)))
    list(desk.session.catch_up())
    assert visible(desk.replayed().view) == visible(desk.session.view)


def test_a_click_on_which_the_model_fails_stays_and_can_be_tried_again_or_undone(desk: Desk) -> None:
    desk.open()
    desk.click(A)
    desk.watch.fail_at = "refined"
    with pytest.raises(RuntimeError, match="no refined today"):
        list(desk.session.prompt(B))
    assert desk.session.needs_work
    desk.watch.fail_at = ""
    *_, again = desk.session.catch_up()
    assert again.phase == "refined"
    assert visible(desk.replayed().view) == visible(again)
    assert desk.session.undo().draft.prompts == Prompts((A,))
