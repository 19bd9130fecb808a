"""Other models, lost embeddings, closed sessions, replayed logs."""

from __future__ import annotations

import threading

import pytest

from samref.core.images import DecodedImage
from samref.core.prompts import Prompts, Scribble
from samref.errors import (
    ImageError,
    PromptError,
    SessionError,
    SessionExpiredError,
    SupersededError,
    UnknownModelError,
)
from samref.inference.session import Session
from samref.inference.stores import EmbeddingStore, SessionStore
from tests.unit.inference.desk import IMAGE, A, B, Desk, visible
from tests.unit.inference.exact_model import make_image


@pytest.fixture
def desk() -> Desk:
    return Desk()


# ---- models


def test_another_model_answers_the_same_prompts_again_in_order(desk: Desk) -> None:
    desk.open()
    desk.click(A)
    desk.click(B)
    view = desk.session.use_model("other")
    assert (view.model, view.phase, view.draft.mask, view.model_note) == ("other", "preparing", None, "other is a test")
    *_, done = desk.session.catch_up()
    predictor = desk.predictors["other"]
    embedding = predictor.embed(IMAGE)
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
    desk.session.open_image(IMAGE, "cat.png")
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
    stranger = make_image(9)
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
        return IMAGE

    desk.session = desk.sit_down(load_image=load)
    desk.session.open_image(IMAGE, "cat.png")
    assert desk.session.size_bytes == IMAGE.rgb.nbytes
    list(desk.session.catch_up())
    assert desk.session.size_bytes == 0
    assert loads == []
    desk.embeddings = EmbeddingStore()
    rebuilt = desk.sit_down(load_image=load)
    rebuilt.replay(desk.events)
    list(rebuilt.catch_up())
    assert loads == [IMAGE.digest]


def test_a_stored_image_that_is_not_the_one_is_refused(desk: Desk) -> None:
    desk.open()
    desk.embeddings = EmbeddingStore()
    session = desk.sit_down(load_image=lambda _: make_image(8))
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
        with pytest.raises(SessionExpiredError, match="Open the image again"):
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


def test_a_log_of_another_image_and_a_session_that_has_begun_are_refused(desk: Desk) -> None:
    desk.open()
    with pytest.raises(SessionError, match="another image"):
        desk.sit_down().replay(desk.events, make_image(4))
    with pytest.raises(SessionError, match="beginning"):
        desk.session.replay(desk.events, IMAGE)
