"""FocSAM in a session: the refocused embedding is part of a step's memory and of nothing else."""

from __future__ import annotations

import pytest

from samref.core.masks import Rle
from samref.core.prompts import Box, Click
from samref.inference.device import load_predictor
from samref.inference.engine import LocalEngine
from samref.inference.predictor import Predictor
from samref.inference.session import Session
from samref.labels.events import Event
from tests.unit.inference.desk import session_of, settled
from tests.unit.inference.exact_model import make_image

MODEL = "focsam-random"
IMAGE = make_image(4, 60, 90)
A, B, C = Click(30, 20), Click(70, 50, positive=False), Click(45, 30)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return load_predictor("focsam-random", device="cpu", precision="fp32")


@pytest.fixture
def engine(predictor: Predictor) -> LocalEngine:
    return LocalEngine(lambda _: predictor, MODEL)


def session(engine: LocalEngine, events: list[Event] | None = None) -> Session:
    return session_of(engine, MODEL, IMAGE, [] if events is None else events)


def said(session: Session, *prompts: Click | Box) -> Rle:
    for prompt in prompts:
        session.do(session.prompt(prompt))
        last = settled(session)[-1]
    assert last.draft.mask is not None
    return last.draft.mask


def test_the_first_click_is_final_and_the_second_is_refined(engine: LocalEngine) -> None:
    mine = session(engine)
    mine.do(mine.prompt(A))
    first = settled(mine)[-1]
    assert (first.phase, first.draft.stage) == ("refined", "coarse")
    mine.do(mine.prompt(B))
    second = settled(mine)[-1]
    assert (second.phase, second.draft.stage) == ("refined", "refined")
    assert second.draft.coarse is not None


def test_undoing_the_second_click_forgets_the_refocused_embedding(engine: LocalEngine) -> None:
    mine = session(engine)
    said(mine, A)
    two = said(mine, B)
    mine.do(mine.undo())
    other = said(mine, C)
    fresh = said(session(engine), A, C)
    assert other == fresh
    mine.do(mine.undo())
    assert said(mine, B) == two


def test_redo_goes_on_from_the_refocused_embedding(engine: LocalEngine) -> None:
    mine = session(engine)
    said(mine, A, B)
    mine.do(mine.undo())
    mine.do(mine.redo())
    assert said(mine, C) == said(session(engine), A, B, C)


def test_a_replay_shows_what_the_session_showed(engine: LocalEngine) -> None:
    events: list[Event] = []
    mine = session(engine, events)
    said(mine, A, B)
    mine.do(mine.undo())
    mask = said(mine, Box(10, 10, 60, 40), C)
    assert settled(session(engine, events))[-1].draft.mask == mask


def test_two_sessions_on_one_image_equal_each_alone(engine: LocalEngine) -> None:
    one, two = session(engine), session(engine)
    said(one, A)
    said(two, C)
    mine, theirs = said(one, B), said(two, B)
    assert mine == said(session(engine), A, B)
    assert theirs == said(session(engine), C, B)
    assert mine != theirs


def test_the_refocused_embedding_is_counted_once(engine: LocalEngine) -> None:
    mine = session(engine)
    said(mine, A)
    before = mine.size_bytes
    said(mine, B)
    with_embedding = mine.size_bytes - before
    said(mine, C)
    grown = mine.size_bytes - before - with_embedding
    held = 32 * 16 * 16 * 4
    assert with_embedding >= held
    assert grown < held
