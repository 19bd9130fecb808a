"""Laws of the fold over prompts, for any order of verbs and any pattern of superseded and unfinished work."""

from __future__ import annotations

import asyncio
import copy
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samref.core.hand import HandWork
from samref.core.masks import Rle
from samref.core.prompts import Box, Click, Polygon, Prompt, Prompts, Scribble
from samref.errors import SamrefError
from samref.inference.engine import LocalEngine, StoredImage
from samref.inference.predictor import Predictor
from samref.inference.session import DraftView, Session, SessionView
from samref.labels import events as log
from samref.labels.events import Event, ImageOpened, MaskGiven
from samref.labels.serialization import event_from_json, event_to_json
from tests.unit.inference.desk import answered
from tests.unit.inference.exact_model import make_image, make_predictor

IMAGE, OTHER_IMAGE = make_image(1), make_image(2, height=17, width=40)
PREDICTORS = {name: make_predictor(name) for name in ("exact", "other")}
ENGINE = LocalEngine(PREDICTORS.__getitem__, "exact", other_models=9)

Action: TypeAlias = tuple[str, Any]

_x, _y = st.integers(0, 31), st.integers(0, 16)
_prompts: st.SearchStrategy[Prompt] = st.one_of(
    st.builds(Click, _x, _y, st.booleans()),
    st.builds(
        lambda x, y, w, h: Box(x, y, x + w, y + h),
        st.integers(0, 9),
        st.integers(0, 7),
        _x.map(lambda v: v // 2 + 1),
        _y.map(lambda v: v // 2 + 1),
    ),
    st.builds(lambda a, b, sign: Scribble((a, b), sign), st.tuples(_x, _y), st.tuples(_x, _y), st.booleans()),
    st.builds(lambda x, y: Polygon(((x, y), (x + 5, y), (x, y + 5))), st.integers(0, 20), st.integers(0, 9)),
)


def _stroke(x: int, y: int, width: int, height: int) -> Rle:
    pixels = np.zeros((IMAGE.size.height, IMAGE.size.width), dtype=np.bool_)
    pixels[y : y + height, x : x + width] = True
    return Rle.from_mask(pixels)


_part = st.builds(_stroke, st.integers(0, 20), st.integers(0, 9), st.integers(1, 12), st.integers(1, 8))
_strokes = st.one_of(
    st.builds(HandWork, _part),
    st.builds(HandWork, st.none(), _part),
    st.builds(lambda added, removed: HandWork(added, removed.minus(added)), _part, _part),
)
_amounts = st.integers(0, 3)
_stages = st.integers(0, 3)
"""How many stages of the model's work run before the next verb comes."""

_actions: st.SearchStrategy[list[Action]] = st.lists(
    st.one_of(
        st.tuples(st.just("prompt"), st.tuples(st.lists(_prompts, min_size=1, max_size=3), _stages)),
        st.tuples(st.sampled_from(["undo", "redo", "catch_up", "undo", "redo"]), _stages),
        st.tuples(st.sampled_from(["clear", "commit"]), st.none()),
        st.tuples(st.sampled_from(["edit", "delete", "hide", "reclass"]), st.integers(0, 3)),
        st.tuples(st.just("use_model"), st.sampled_from(sorted(PREDICTORS))),
        st.tuples(st.just("give_mask"), st.integers(0, 5)),
        st.tuples(st.just("paint"), _strokes),
        st.tuples(
            st.just("tidy"), st.tuples(st.sampled_from(["fill_holes", "drop_islands", "grow"]), st.integers(0, 3))
        ),
        st.tuples(st.sampled_from(["subtract", "merge", "back"]), st.none()),
        st.tuples(st.just("replace_prompt"), st.tuples(st.integers(0, 2), st.none() | _prompts)),
        st.tuples(st.sampled_from(["split", "lock", "travel", "choose"]), st.integers(0, 3)),
    ),
    max_size=14,
)


@pytest.fixture(autouse=True, scope="module")
def warm_embeddings() -> None:
    """Embed every image for every model first: how far a few views get must not depend on who came before."""
    for image in (IMAGE, OTHER_IMAGE):
        for name in PREDICTORS:
            asyncio.run(ENGINE.embed(StoredImage(image.digest, partial(copy.copy, image)), name, owner="warm"))


@dataclass
class Desk:
    """A session with its log."""

    name: str = "s"
    image: Any = IMAGE
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        size = self.image.size
        self.events.append(ImageOpened(self.image.digest, "p.png", size.height, size.width))
        self.session = self.sit_down()

    def sit_down(self, events: list[Event] | None = None) -> Session:
        return Session(
            self.name,
            ENGINE,
            StoredImage(self.image.digest, lambda: self.image),
            self.events if events is None else events,
            lambda *new: self.events.extend(new),
            model="exact",
            clock=lambda: 1e9,
        )

    def replayed(self) -> Session:
        return self.sit_down([event_from_json(event_to_json(event)) for event in self.events])

    def act(self, action: Action) -> None:
        """Do it, or be refused, which must leave everything as it was; so every law here is also that one."""
        before, recorded = seen(self.session.view), len(self.events)
        try:
            self._verb(*action)
        except SamrefError:
            assert seen(self.session.view) == before
            assert len(self.events) == recorded
        assert self.session.view.revision == len(self.events)

    def _verb(self, verb: str, argument: Any) -> None:  # noqa: C901 - one line for each verb
        session = self.session
        some = [annotation.id for annotation in session.view.annotations]
        which = some[argument % len(some)] if some and isinstance(argument, int) else "nobody"
        match verb:
            case "prompt":
                session.do(session.prompt(*argument[0]))
                self.run(argument[1])
            case "undo":
                session.do(session.undo())
                self.run(argument)
            case "redo":
                session.do(session.redo())
                self.run(argument)
            case "catch_up":
                self.run(argument)
            case "clear" | "subtract":
                session.do(getattr(session, verb)())
            case "paint":
                session.do(session.paint(argument, "brush"))
            case "tidy" | "replace_prompt":
                session.do(getattr(session, verb)(*argument))
            case "merge":
                session.do(session.merge(some[:2]))
            case "split":
                session.do(session.split(which))
            case "lock":
                session.do(session.describe(log.Described((which,), locked=argument < 2)))
            case "choose":
                chosen = log.MaskChosen(_stroke(argument, 2, 9, 9), 0.5, "choose a part")
                session.do(session.choose([chosen, replace(chosen, mask=_stroke(argument, 2, 5, 5))]))
            case "travel":
                session.do(session.travel(argument))
            case "back":
                session.do(session.travel(session.history[1] // 2))
            case "commit":
                session.do(session.commit(1))
            case "edit":
                session.do(session.edit(which))
            case "delete":
                session.do(session.delete(which))
            case "hide":
                session.do(session.set_visible(which, False))
            case "reclass":
                session.do(session.reclass(which, argument + 2))
            case "use_model":
                session.do(session.use_model(argument))
            case "give_mask":
                size = self.image.size
                mask = torch.randn(size.height, size.width, generator=torch.Generator().manual_seed(argument)) > 0
                self.events.append(MaskGiven(Rle.from_mask(mask.numpy())))
                asyncio.run(session.absorb(self.events[-1]))

    def run(self, stages: int) -> None:
        """Some stages of the model's work, then leave it, as the engine does when something newer comes."""
        answered(self.session, PREDICTORS[self.session.model], self.image, stages)


def finish(session: Session) -> SessionView:
    answered(session, PREDICTORS[session.model], session.image.load(), 10**6)
    return session.view


def seen(view: SessionView) -> tuple[Any, ...]:
    """All of a view but the names and times that differ between two runs."""
    hidden = {"draft", "encode_seconds", "model_note"}
    shown = tuple(getattr(view, item.name) for item in fields(view) if item.name not in hidden)
    return (*shown, *drawn(view.draft))


def drawn(draft: DraftView) -> tuple[Any, ...]:
    """All of a draft but the model's own notes."""
    coarse = None if draft.coarse is None else draft.coarse.mask
    return draft.prompts, draft.mask, draft.hand, coarse, draft.score, draft.stage, draft.editing


def walk(session: Session) -> list[tuple[Any, ...]]:
    """What one sees from the beginning of the draft to its end."""
    while session.view.undo is not None:
        session.do(session.undo())
    views = [finish(session).draft]
    while session.view.redo is not None:
        session.do(session.redo())
        views.append(finish(session).draft)
    return [(view.prompts, view.mask, view.score, view.coarse and view.coarse.mask, view.stage) for view in views]


@given(_actions)
@settings(max_examples=100)
def test_a_replayed_log_is_the_session(actions: list[Action]) -> None:
    desk = Desk()
    for action in actions:
        desk.act(action)
    rebuilt = desk.replayed()
    assert seen(finish(rebuilt)) == seen(finish(desk.session))
    assert walk(rebuilt) == walk(desk.session)


@given(_actions, _prompts, _stages)
@settings(max_examples=60)
def test_a_rebuilt_session_answers_the_next_prompt_as_the_old_one_would(
    actions: list[Action], prompt: Prompt, stages: int
) -> None:
    desk = Desk()
    for action in actions:
        desk.act(action)
    finish(desk.session)
    rebuilt = desk.replayed()
    finish(rebuilt)
    for session in (rebuilt, desk.session):
        session.do(session.prompt(prompt))
        answered(session, PREDICTORS[session.model], IMAGE, stages)
    assert seen(finish(rebuilt))[1:] == seen(finish(desk.session))[1:]  # one log, two writers: other revisions


@given(_actions, st.lists(_prompts, min_size=1, max_size=3))
@settings(max_examples=60)
def test_undo_takes_back_prompts_and_redo_brings_them_again(actions: list[Action], prompts: list[Prompt]) -> None:
    desk = Desk()
    for action in actions:
        desk.act(action)
    session = desk.session
    before = finish(session)
    session.do(session.prompt(*prompts))
    after = finish(session)
    for _ in prompts:
        session.do(session.undo())
    back = finish(session)
    assert (back.draft.prompts, back.draft.mask, back.draft.score) == (
        before.draft.prompts,
        before.draft.mask,
        before.draft.score,
    )
    assert (back.phase, back.annotations, back.model) == (before.phase, before.annotations, before.model)
    for _ in prompts:
        session.do(session.redo())
    assert drawn(finish(session).draft) == drawn(after.draft)


@given(_actions, _actions)
@settings(max_examples=100)
def test_going_back_undoes_whatever_was_done_and_going_forward_does_it_again(
    actions: list[Action], more: list[Action]
) -> None:
    desk = Desk()
    for action in actions:
        desk.act(action)
    session = desk.session
    before, at = finish(session), session.history[1]
    for verb, argument in more:
        if verb not in ("undo", "redo", "travel", "back"):
            desk.act((verb, argument))
    after, steps = finish(session), session.history[1] - at
    session.do(session.travel(at))
    assert lasting(finish(session)) == lasting(before)
    session.do(session.travel(at + steps))
    assert lasting(finish(session)) == lasting(after)


def lasting(view: SessionView) -> tuple[Any, ...]:
    return view.phase, view.annotations, view.model, *drawn(view.draft)


@given(_actions, _strokes, _actions)
@settings(max_examples=100)
def test_no_answer_of_the_model_changes_what_was_set_by_hand(
    actions: list[Action], stroke: HandWork, later: list[Action]
) -> None:
    desk = Desk()
    for action in actions:
        desk.act(action)
    desk.session.do(desk.session.paint(stroke, "brush"))
    for action in later:
        if action[0] in ("prompt", "catch_up", "use_model", "replace_prompt"):
            desk.act(action)
    mask = finish(desk.session).draft.mask
    if stroke.added is not None:
        assert mask is not None
        assert mask.intersection(stroke.added) == stroke.added
    if stroke.removed is not None and mask is not None:
        assert mask.intersection(stroke.removed).area == 0


@given(_actions, _actions, st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_two_sessions_interleaved_on_one_predictor_equal_each_alone(
    first: list[Action], second: list[Action], random: Any
) -> None:
    together = (Desk("a"), Desk("b", OTHER_IMAGE))
    left = [list(first), list(second)]
    while any(left):
        index = random.choice([number for number in (0, 1) if left[number]])
        together[index].act(left[index].pop(0))
    alone = (Desk("a"), Desk("b", OTHER_IMAGE))
    for desk, actions in zip(alone, (first, second), strict=True):
        for action in actions:
            desk.act(action)
    for mixed, single in zip(together, alone, strict=True):
        assert masks_of(finish(mixed.session)) == masks_of(finish(single.session))


def masks_of(view: SessionView) -> tuple[Any, ...]:
    """A view without the ids of annotations, which are random."""
    objects = [(a.mask, a.prompts, a.class_id, a.visible, a.model, a.score) for a in view.annotations]
    draft = view.draft
    return (
        view.phase,
        draft.prompts,
        draft.mask,
        draft.coarse and draft.coarse.mask,
        draft.score,
        view.undo,
        view.redo,
        objects,
    )


@given(st.lists(_prompts, min_size=1, max_size=10))
@settings(max_examples=40)
def test_quick_prompts_end_where_the_newest_ends_whatever_was_computed_between(prompts: list[Prompt]) -> None:
    quick, joined = Desk(), Desk()
    finish(quick.session)
    for prompt in prompts:
        quick.session.do(quick.session.prompt(prompt))  # and nobody has time for it
    finish(joined.session)
    joined.session.do(joined.session.prompt(*prompts))
    assert drawn(finish(quick.session).draft) == drawn(finish(joined.session).draft)
    assert quick.session.view.draft.prompts == Prompts(tuple(prompts))


@given(st.lists(_prompts, min_size=1, max_size=4), st.booleans())
def test_a_predictor_leaves_its_arguments_unchanged(items: list[Prompt], with_mask: bool) -> None:
    predictor: Predictor = PREDICTORS["exact"]
    rough = Rle.from_mask(IMAGE.rgb[..., 0] > 99) if with_mask else None
    prompts = Prompts(tuple(items), rough)
    image = copy.deepcopy(IMAGE)
    embedding = predictor.embed(image)
    *_, first = predictor.predict(embedding, prompts, None)
    kept = copy.deepcopy((prompts, first.state, embedding))
    list(predictor.predict(embedding, prompts, first.state))
    assert prompts == kept[0]
    assert same_tensors(first.state, kept[1])
    assert same_tensors(embedding.features, kept[2].features)
    assert (image.rgb == IMAGE.rgb).all()


def same_tensors(one: Any, other: Any) -> bool:
    pairs = [(getattr(one, item.name), getattr(other, item.name)) for item in fields(one)]
    return all(torch.equal(a, b) for a, b in pairs if isinstance(a, torch.Tensor))


@given(_actions)
@settings(max_examples=60)
def test_any_log_makes_a_session_also_one_whose_events_make_no_sense(actions: list[Action]) -> None:
    desk = Desk()
    for action in actions:
        desk.act(action)
    first, rest = desk.events[:1], desk.events[1:]
    for events in (rest[::-1], [e for e in rest if not isinstance(e, log.Cleared | log.Committed)], rest * 2):
        session = desk.sit_down([*first, *events])
        view = finish(session)
        assert view.revision == len(events) + 1
        if view.draft.prompts.is_empty() and view.draft.hand is None:
            assert view.draft.mask is None
        assert view.annotations == log.replay(events).annotations
