"""FocSAM in a session: the refocused embedding is part of a step's memory and of nothing else."""

from __future__ import annotations

import pytest

from samref.core.masks import Rle
from samref.core.prompts import Box, Click
from samref.inference.device import load_predictor
from samref.inference.predictor import Predictor
from samref.inference.session import Session
from samref.inference.stores import EmbeddingStore
from samref.labels.events import Event
from tests.unit.inference.exact_model import make_image

IMAGE = make_image(4, 60, 90)
A, B, C = Click(30, 20), Click(70, 50, positive=False), Click(45, 30)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return load_predictor("focsam-random", device="cpu", precision="fp32")


def sit_down(predictor: Predictor, events: list[Event], embeddings: EmbeddingStore | None = None) -> Session:
    def record(*new: Event) -> None:
        events.extend(new)

    return Session("s", lambda _: predictor, embeddings or EmbeddingStore(), record, model="focsam-random")


def opened(predictor: Predictor, events: list[Event], embeddings: EmbeddingStore | None = None) -> Session:
    session = sit_down(predictor, events, embeddings)
    session.open_image(IMAGE, "cat.png")
    list(session.catch_up())
    return session


def said(session: Session, *prompts: Click | Box) -> Rle:
    for prompt in prompts:
        *_, last = session.prompt(prompt)
    assert last.draft.mask is not None
    return last.draft.mask


def test_the_first_click_is_final_and_the_second_is_refined(predictor: Predictor) -> None:
    session = opened(predictor, [])
    *_, first = session.prompt(A)
    assert (first.phase, first.draft.stage) == ("refined", "coarse")
    views = list(session.prompt(B))
    assert [view.phase for view in views] == ["coarse", "refined"]
    assert views[-1].draft.stage == "refined"
    assert views[-1].draft.coarse_mask is not None


def test_undoing_the_second_click_forgets_the_refocused_embedding(predictor: Predictor) -> None:
    session = opened(predictor, [])
    said(session, A)
    two = said(session, B)
    session.undo()
    other = said(session, C)
    fresh = said(opened(predictor, []), A, C)
    assert other == fresh
    session.undo()
    assert said(session, B) == two


def test_redo_goes_on_from_the_refocused_embedding(predictor: Predictor) -> None:
    session = opened(predictor, [])
    said(session, A, B)
    session.undo()
    session.redo()
    assert said(session, C) == said(opened(predictor, []), A, B, C)


def test_a_replay_shows_what_the_session_showed(predictor: Predictor) -> None:
    events: list[Event] = []
    session = opened(predictor, events)
    said(session, A, B)
    session.undo()
    mask = said(session, Box(10, 10, 60, 40), C)
    again = sit_down(predictor, [])
    again.replay(events, IMAGE)
    *_, last = again.catch_up()
    assert last.draft.mask == mask


def test_two_sessions_on_one_image_equal_each_alone(predictor: Predictor) -> None:
    embeddings = EmbeddingStore()
    one, two = opened(predictor, [], embeddings), opened(predictor, [], embeddings)
    said(one, A)
    said(two, C)
    mine, theirs = said(one, B), said(two, B)
    assert mine == said(opened(predictor, []), A, B)
    assert theirs == said(opened(predictor, []), C, B)
    assert mine != theirs


def test_the_refocused_embedding_is_counted_once(predictor: Predictor) -> None:
    session = opened(predictor, [])
    said(session, A)
    before = session.size_bytes
    said(session, B)
    with_embedding = session.size_bytes - before
    said(session, C)
    grown = session.size_bytes - before - with_embedding
    held = 32 * 16 * 16 * 4
    assert with_embedding >= held
    assert grown < held
