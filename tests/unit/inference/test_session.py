"""A session's verbs: what they do, what they refuse, and that a refusal changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from samref.core.images import DecodedImage
from samref.core.masks import Rle
from samref.core.prompts import Box, Click, Prompts, Scribble
from samref.errors import (
    ImageError,
    LabelError,
    PromptError,
    SessionError,
    SessionExpiredError,
    StorageError,
    SupersededError,
    UnknownModelError,
)
from samref.inference.predictor import Predictor
from samref.inference.scheduler import Scheduler
from samref.inference.session import Session, SessionView
from samref.inference.stores import EmbeddingStore, SessionStore
from samref.labels.log import AnnotationsImported, Event, ImageOpened, Prompted
from samref.labels.project import Annotation
from tests.unit.inference.exact_model import Watch, make_picture, make_predictor

PICTURE = make_picture()
A, B, C = Click(5, 6), Click(20, 10, False), Click(9, 15)


@dataclass
class Desk:
    """A session and all that stands around it."""

    watch: Watch = field(default_factory=Watch)
    events: list[Event] = field(default_factory=list)
    embeddings: EmbeddingStore = field(default_factory=EmbeddingStore)
    now: float = 1_700_000_000.0
    refuse: Exception | None = None

    def __post_init__(self) -> None:
        self.predictors = {
            "exact": make_predictor(watch=self.watch),
            "other": make_predictor("other", watch=self.watch),
            "coarse-only": make_predictor("coarse-only", watch=self.watch, stages=("coarse",)),
            "clicks-only": make_predictor("clicks-only", watch=self.watch, prompts=frozenset(("click",))),
        }
        self.session = self.sit_down()

    def sit_down(self, **options: Any) -> Session:
        options = {"model": "exact", "clock": lambda: self.now, **options}
        return Session("s", self.predictor, self.embeddings, self.record, **options)

    def predictor(self, name: str) -> Predictor:
        if name not in self.predictors:
            raise UnknownModelError(f"There is no model {name!r}.")
        return self.predictors[name]

    def record(self, *events: Event) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.events += events

    def replayed(self) -> Session:
        session = self.sit_down()
        session.replay(self.events, PICTURE)
        list(session.catch_up())
        return session

    def open(self) -> Session:
        self.session.open_image(PICTURE, "cat.png")
        list(self.session.catch_up())
        return self.session

    def click(self, *prompts: Any) -> SessionView:
        *_, last = self.session.prompt(*prompts)
        return last


@pytest.fixture
def desk() -> Desk:
    return Desk()


def annotation(mask: Rle | None = None, **changes: Any) -> Annotation:
    pixels = np.zeros((24, 32), dtype=np.bool_)
    pixels[4:12, 6:20] = True
    values: dict[str, Any] = {
        "id": "imported",
        "class_id": 1,
        "mask": mask or Rle.from_mask(pixels),
        "prompts": Prompts(),
        "model": "",
        "score": 0.9,
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
        "author": "",
        "seconds": 3.0,
        "clicks": 0,
    }
    return Annotation(**{**values, **changes})


def visible(view: SessionView) -> tuple[Any, ...]:
    """What must be equal between a session and its replay: all but times."""
    draft = view.draft
    return view.revision, view.phase, view.image_digest, draft, view.annotations, view.model


# ---- opening


def test_a_new_session_is_empty_and_asks_for_a_picture(desk: Desk) -> None:
    view = desk.session.view
    assert (view.phase, view.revision, view.image_digest, view.image_size) == ("empty", 0, None, None)
    assert not desk.session.needs_work
    for verb in (desk.session.undo, desk.session.clear, lambda: desk.session.prompt(A)):
        with pytest.raises(SessionError, match="Open a picture first"):
            verb()


def test_opening_answers_at_once_and_encodes_afterwards(desk: Desk) -> None:
    view = desk.session.open_image(PICTURE, "cat.png")
    assert (view.phase, view.revision, view.file_name, view.image_size) == ("preparing", 1, "cat.png", PICTURE.size)
    assert view.model_note == "exact is a test"
    assert desk.events == [ImageOpened(PICTURE.digest, "cat.png", 24, 32)]
    assert desk.watch.stages == []
    assert desk.session.needs_encode
    assert [v.phase for v in desk.session.catch_up()] == ["ready"]
    assert not desk.session.needs_work
    assert desk.session.view.encode_seconds > 0


def test_opening_the_same_picture_again_changes_nothing_and_another_is_refused(desk: Desk) -> None:
    session = desk.open()
    assert session.open_image(PICTURE, "cat.png").revision == 1
    with pytest.raises(SessionError, match="new session"):
        session.open_image(make_picture(5), "dog.png")
    assert len(desk.events) == 1


def test_a_picture_that_is_encoded_already_is_ready_at_once(desk: Desk) -> None:
    desk.open()
    assert desk.sit_down().open_image(PICTURE, "cat.png").phase == "ready"


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


def test_a_click_on_a_picture_that_is_still_being_prepared_waits_for_it(desk: Desk) -> None:
    desk.session.open_image(PICTURE, "cat.png")
    assert [view.phase for view in desk.session.prompt(A)] == ["preparing", "coarse", "refined"]


def test_the_second_click_starts_from_the_memory_of_the_first(desk: Desk) -> None:
    desk.open()
    desk.click(A)
    second = desk.click(B)
    predictor = desk.predictors["exact"]
    embedding = predictor.embed(PICTURE)
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
        desk.sit_down().open_image(PICTURE, "cat.png")


# ---- superseded and failed


def test_of_ten_quick_clicks_only_the_last_is_computed_and_all_are_in_the_draft(desk: Desk) -> None:
    desk.open()
    desk.watch.before_encode = None
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


# ---- undo, redo, clear


def test_undo_and_redo_move_through_masks_without_the_model(desk: Desk) -> None:
    desk.open()
    one, two = desk.click(A), desk.click(B)
    computed = list(desk.watch.stages)
    back = desk.session.undo()
    assert back.draft.mask == one.draft.mask
    assert (back.draft.can_undo, back.draft.can_redo) == (True, True)
    assert desk.session.undo().draft.mask is None
    desk.session.redo()
    assert desk.session.redo().draft == two.draft
    assert desk.watch.stages == computed


def test_undo_and_redo_are_refused_at_the_ends(desk: Desk) -> None:
    desk.open()
    with pytest.raises(SessionError, match="nothing to undo"):
        desk.session.undo()
    desk.click(A)
    with pytest.raises(SessionError, match="nothing to redo"):
        desk.session.redo()
    assert desk.session.view.revision == 2


def test_a_new_click_after_undo_drops_what_could_be_redone(desk: Desk) -> None:
    desk.open()
    desk.click(A)
    desk.click(B)
    desk.session.undo()
    view = desk.click(C)
    assert view.draft.prompts == Prompts((A, C))
    assert not view.draft.can_redo


def test_clear_gives_up_the_draft_and_nothing_else(desk: Desk) -> None:
    desk.open()
    desk.click(A)
    desk.session.commit(1)
    assert desk.session.clear().revision == 3  # nothing to clear, nothing recorded
    desk.click(B)
    view = desk.session.clear()
    assert (view.phase, view.draft.prompts, len(view.annotations)) == ("ready", Prompts(), 1)
    assert not view.draft.can_redo


# ---- objects


def test_commit_makes_an_annotation_of_what_is_shown(desk: Desk) -> None:
    desk.open()
    desk.click(A)
    desk.now += 3
    shown = desk.click(B)
    desk.now += 100  # a pause counts as eight seconds
    view = desk.session.commit(7, "Ada")
    (made,) = view.annotations
    assert (made.class_id, made.author, made.model, made.score) == (7, "Ada", "exact", 0.75)
    assert (made.mask, made.prompts, made.clicks) == (shown.draft.mask, Prompts((A, B)), 2)
    assert made.seconds == 11
    assert made.created_at == datetime.fromtimestamp(desk.now, UTC)
    assert view.phase == "ready"
    assert visible(desk.replayed().view) == visible(view)


def test_nothing_and_a_mask_that_is_not_there_yet_cannot_be_accepted(desk: Desk) -> None:
    desk.open()
    with pytest.raises(SessionError, match="nothing to accept"):
        desk.session.commit(1)
    desk.session.prompt(A)
    with pytest.raises(SessionError, match="not there yet"):
        desk.session.commit(1)
    assert len(desk.events) == 2


def test_an_empty_mask_cannot_be_accepted(desk: Desk) -> None:
    desk.open()
    desk.session.give_mask(Rle.empty(24, 32))
    with pytest.raises(LabelError, match="empty"):
        desk.session.commit(1)


def test_a_coarse_mask_is_accepted_as_it_is_shown(desk: Desk) -> None:
    desk.open()
    coarse = next(desk.session.prompt(A))
    (made,) = desk.session.commit(1).annotations
    assert (made.mask, made.score) == (coarse.draft.mask, 0.25)


def test_editing_shows_the_accepted_mask_and_goes_on_from_its_prompts(desk: Desk) -> None:
    desk.open()
    desk.click(A)
    desk.click(B)
    first = desk.session.commit(1).annotations[0]
    desk.now += 500
    view = desk.session.edit(first.id)
    assert (view.phase, view.draft.mask, view.draft.editing) == ("refined", first.mask, first.id)
    assert view.draft.prompts == Prompts((A, B))
    assert desk.session.needs_work  # the memory behind the mask
    assert list(desk.session.catch_up()) == []
    assert desk.session.view.draft.mask == first.mask
    third = desk.click(C)
    desk.now += 5
    (again,) = desk.session.commit(2).annotations
    assert (again.id, again.class_id, again.mask, again.clicks) == (first.id, 2, third.draft.mask, 3)
    assert again.seconds == pytest.approx(first.seconds + 5)
    assert visible(desk.replayed().view) == visible(desk.session.view)


def test_a_click_right_after_edit_does_not_depend_on_how_far_the_model_had_come(desk: Desk) -> None:
    desk.open()
    desk.click(A)
    desk.click(B)
    made = desk.session.commit(1).annotations[0]
    desk.session.edit(made.id)
    quick = desk.click(C).draft.mask
    desk.session.clear()
    desk.session.edit(made.id)
    list(desk.session.catch_up())
    assert desk.click(C).draft.mask == quick


def test_undo_in_an_edit_goes_back_through_the_annotation_s_own_prompts(desk: Desk) -> None:
    desk.open()
    one = desk.click(A)
    desk.click(B)
    made = desk.session.commit(1).annotations[0]
    desk.session.edit(made.id)
    desk.session.undo()
    *_, back = desk.session.catch_up()
    assert back.draft.mask == one.draft.mask
    assert desk.session.redo().draft.mask == made.mask


def test_giving_up_an_edit_leaves_the_annotation_as_it_was(desk: Desk) -> None:
    desk.open()
    desk.click(A)
    made = desk.session.commit(1).annotations[0]
    desk.session.edit(made.id)
    desk.click(B)
    assert desk.session.clear().annotations == (made,)


def test_an_imported_annotation_is_edited_from_its_mask(desk: Desk) -> None:
    desk.open()
    imported = annotation()
    view = desk.session.absorb(AnnotationsImported((imported,)))
    assert (view.annotations, view.revision, len(desk.events)) == ((imported,), 2, 1)
    desk.events.append(AnnotationsImported((imported,)))
    view = desk.session.edit("imported")
    assert (view.draft.mask, view.draft.score, view.phase) == (imported.mask, 0.9, "refined")
    assert not view.draft.can_undo
    clicked = desk.click(A)
    assert clicked.draft.prompts == Prompts((A,), imported.mask)
    assert visible(desk.replayed().view) == visible(clicked)
    assert desk.session.undo().draft.mask == imported.mask


def test_an_edit_is_refused_beside_a_draft_of_what_is_gone_and_of_what_the_model_does_not_take(desk: Desk) -> None:
    desk.open()
    desk.session.absorb(AnnotationsImported((annotation(),)))
    with pytest.raises(LabelError):
        desk.session.edit("nothing")
    desk.click(A)
    with pytest.raises(SessionError, match="Accept it or give it up"):
        desk.session.edit("imported")
    desk.session.clear()
    desk.session.use_model("clicks-only")
    with pytest.raises(PromptError, match="does not take masks"):
        desk.session.edit("imported")


def test_delete_hide_and_reclass(desk: Desk) -> None:
    desk.open()
    desk.click(A)
    made = desk.session.commit(1).annotations[0]
    assert not desk.session.set_visible(made.id, False).annotations[0].visible
    revision = desk.session.set_visible(made.id, False).revision
    assert desk.session.reclass(made.id, 4).annotations[0].class_id == 4
    assert desk.session.reclass(made.id, 4).revision == revision + 1
    desk.session.edit(made.id)
    view = desk.session.delete(made.id)
    assert (view.annotations, view.draft.editing, view.phase) == ((), None, "ready")
    for verb in (
        desk.session.delete,
        lambda i: desk.session.set_visible(i, True),
        lambda i: desk.session.reclass(i, 2),
    ):
        with pytest.raises(LabelError):
            verb(made.id)
    assert visible(desk.replayed().view) == visible(desk.session.view)


def test_a_rough_mask_starts_a_draft(desk: Desk) -> None:
    desk.open()
    rough = annotation().mask
    view = desk.session.give_mask(rough)
    assert (view.draft.mask, view.phase, view.draft.can_undo) == (rough, "refined", False)
    with pytest.raises(SessionError):
        desk.session.give_mask(rough)
    assert desk.click(A).draft.prompts == Prompts((A,), rough)
    desk.session.clear()
    with pytest.raises(PromptError, match="5 x 5"):
        desk.session.give_mask(Rle.empty(5, 5))


# ---- models


def test_another_model_answers_the_same_prompts_again_in_order(desk: Desk) -> None:
    desk.open()
    desk.click(A)
    desk.click(B)
    view = desk.session.use_model("other")
    assert (view.model, view.phase, view.draft.mask, view.model_note) == ("other", "preparing", None, "other is a test")
    *_, done = desk.session.catch_up()
    predictor = desk.predictors["other"]
    embedding = predictor.embed(PICTURE)
    *_, first = predictor.predict(embedding, Prompts((A,)))
    *_, expected = predictor.predict(embedding, Prompts((A, B)), first.state)
    assert done.draft.mask == expected.mask
    assert visible(desk.replayed().view) == visible(done)
    assert desk.session.use_model("other").revision == done.revision


def test_a_model_that_cannot_be_used_is_refused_and_the_old_one_stays(desk: Desk) -> None:
    desk.open()
    before = desk.click(Scribble(((1, 1), (5, 5))))
    with pytest.raises(UnknownModelError):
        desk.session.use_model("gigantic")
    with pytest.raises(PromptError):
        desk.session.use_model("clicks-only")
    assert desk.session.view == before


def test_a_model_chosen_while_the_old_one_encodes_is_the_one_that_answers(desk: Desk) -> None:
    desk.session.open_image(PICTURE, "cat.png")
    desk.watch.before_encode = threading.Event()
    outcome: list[Exception] = []

    def work() -> None:
        try:
            list(desk.session.catch_up())
        except SupersededError as error:
            outcome.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    assert desk.watch.reached.wait(20)
    desk.session.prompt(A)
    desk.session.use_model("other")
    desk.watch.before_encode.set()
    worker.join(20)
    assert len(outcome) == 1
    *_, done = desk.session.catch_up()
    assert visible(desk.replayed().view) == visible(done)


# ---- memory, closing, replay


def test_an_embedding_that_was_dropped_is_made_again(desk: Desk) -> None:
    desk.embeddings = EmbeddingStore(max_bytes=2400)
    desk.session = desk.sit_down()
    desk.open()
    one = desk.click(A)
    stranger = make_picture(9)
    desk.embeddings.get_or_encode(desk.predictors["exact"], stranger.digest, lambda: stranger)
    assert desk.session.needs_encode
    assert desk.session.view.phase == "refined"
    two = desk.click(B)
    assert two.draft.prompts == Prompts((A, B))
    assert desk.session.undo().draft.mask == one.draft.mask


def test_pixels_are_let_go_once_encoded_when_they_can_be_loaded_again(desk: Desk) -> None:
    loads: list[str] = []

    def load(digest: str) -> DecodedImage:
        loads.append(digest)
        return PICTURE

    desk.session = desk.sit_down(load_image=load)
    desk.session.open_image(PICTURE, "cat.png")
    assert desk.session.size_bytes == PICTURE.rgb.nbytes
    list(desk.session.catch_up())
    assert desk.session.size_bytes == 0
    assert loads == []
    desk.embeddings = EmbeddingStore()
    rebuilt = desk.sit_down(load_image=load)
    rebuilt.replay(desk.events)
    list(rebuilt.catch_up())
    assert loads == [PICTURE.digest]


def test_a_stored_picture_that_is_not_the_one_is_refused(desk: Desk) -> None:
    desk.open()
    desk.embeddings = EmbeddingStore()
    session = desk.sit_down(load_image=lambda _: make_picture(8))
    session.replay(desk.events)
    with pytest.raises(ImageError, match="not the one"):
        list(session.catch_up())
    without = desk.sit_down()
    without.replay(desk.events)
    with pytest.raises(SessionError, match="Open it again"):
        list(without.catch_up())


def test_the_size_of_a_session_counts_masks_and_memory(desk: Desk) -> None:
    desk.open()
    empty = desk.session.size_bytes
    view = desk.click(A)
    assert view.draft.mask is not None
    tensors = 2 * 8 * 8 * 4  # low-res and final logits of one step
    assert desk.session.size_bytes > empty + tensors
    assert desk.session.size_bytes < empty + tensors + 2000


def test_a_closed_session_refuses_everything(desk: Desk) -> None:
    session = desk.open()
    running = session.prompt(A)
    next(running)
    assert session.close()
    with pytest.raises(SessionExpiredError):
        next(running)
    for verb in (session.undo, lambda: session.prompt(B), lambda: list(session.catch_up())):
        with pytest.raises(SessionExpiredError, match="Open the picture again"):
            verb()
    assert visible(desk.replayed().view)[3].prompts == Prompts((A,))


def test_a_session_at_work_cannot_be_closed(desk: Desk) -> None:
    desk.open()
    desk.watch.before_refined = threading.Event()
    work = threading.Thread(target=lambda: list(desk.session.prompt(A)))
    desk.watch.reached.clear()
    work.start()
    while "refined" not in desk.watch.stages:
        assert desk.watch.reached.wait(20)
    assert not desk.session.close()
    meanwhile = desk.session.view  # looking does not wait
    desk.watch.before_refined.set()
    work.join(20)
    assert [meanwhile.phase, desk.session.view.phase] == ["coarse", "refined"]
    assert desk.session.close()


def test_a_session_that_had_to_go_comes_back_from_its_log(desk: Desk) -> None:
    store: SessionStore[Session] = SessionStore(max_count=1)
    store.put("s", desk.open())
    before = desk.click(A)
    store.put("t", Desk().session)
    with pytest.raises(SessionExpiredError):
        desk.session.undo()
    back = store.get_or_create("s", desk.replayed)
    assert visible(back.view) == visible(before)


def test_a_log_of_another_picture_and_a_session_that_has_begun_are_refused(desk: Desk) -> None:
    desk.open()
    with pytest.raises(SessionError, match="another picture"):
        desk.sit_down().replay(desk.events, make_picture(4))
    with pytest.raises(SessionError, match="beginning"):
        desk.session.replay(desk.events, PICTURE)
