"""Laws of the fold over prompts, for any order of verbs and any pattern of superseded and unfinished work."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samref.core.masks import Rle
from samref.core.prompts import Box, Click, Polygon, Prompt, Prompts, Scribble
from samref.errors import SamrefError, SupersededError
from samref.inference.predictor import Predictor
from samref.inference.session import Session, SessionView
from samref.inference.stores import EmbeddingStore
from samref.labels import events as log
from samref.labels.events import Event
from samref.labels.serialization import event_from_json, event_to_json
from tests.unit.inference.exact_model import make_image, make_predictor

IMAGE, OTHER_IMAGE = make_image(1), make_image(2, height=17, width=40)
PREDICTORS = {name: make_predictor(name) for name in ("exact", "other")}
EMBEDDINGS = EmbeddingStore()

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
    ),
    max_size=14,
)


def _encode(predictor: Predictor, image: Any) -> None:
    EMBEDDINGS.get_or_encode(predictor, image.digest, lambda: image)


@pytest.fixture(autouse=True, scope="module")
def warm_embeddings() -> None:
    """Encode every image for every model first: how far a few views get must not depend on who came before."""
    for image in (IMAGE, OTHER_IMAGE):
        for name, predictor in PREDICTORS.items():
            _encode(predictor, image)
            assert EMBEDDINGS.contains(image.digest, name)


@dataclass
class Desk:
    """A session with its log."""

    name: str = "s"
    image: Any = IMAGE
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.session = self.sit_down()

    def sit_down(self) -> Session:
        return Session(
            self.name,
            PREDICTORS.__getitem__,
            EMBEDDINGS,
            lambda *new: self.events.extend(new),
            model="exact",
            clock=lambda: 1e9,
        )

    def open(self) -> Desk:
        self.session.open_image(self.image, "p.png")
        return self

    def replayed(self) -> Session:
        session = self.sit_down()
        session.replay([event_from_json(event_to_json(event)) for event in self.events], self.image)
        return session

    def act(self, action: Action) -> None:
        """Do it, or be refused, which must leave everything as it was; so every law here is also that one."""
        before, recorded = seen(self.session.view), len(self.events)
        try:
            self._verb(*action)
        except SupersededError:
            raise
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
                run(session.prompt(*argument[0]), argument[1])
            case "undo":
                session.undo()
                run(session.catch_up(), argument)
            case "redo":
                session.redo()
                run(session.catch_up(), argument)
            case "catch_up":
                run(session.catch_up(), argument)
            case "clear":
                session.clear()
            case "commit":
                session.commit(1)
            case "edit":
                session.edit(which)
            case "delete":
                session.delete(which)
            case "hide":
                session.set_visible(which, False)
            case "reclass":
                session.reclass(which, argument + 2)
            case "use_model":
                session.use_model(argument)
            case "give_mask":
                size = self.image.size
                mask = torch.randn(size.height, size.width, generator=torch.Generator().manual_seed(argument)) > 0
                session.give_mask(Rle.from_mask(mask.numpy()))


def run(work: Iterator[SessionView], stages: int) -> None:
    """Some stages of the model's work, then leave it, as the worker does when something newer comes."""
    for _ in range(stages):
        if next(work, None) is None:
            return


def finish(session: Session) -> SessionView:
    for _ in session.catch_up():
        pass
    return session.view


def seen(view: SessionView) -> tuple[Any, ...]:
    """All of a view but the names and times that differ between two runs."""
    hidden = {"session_id", "seconds", "encode_seconds", "model_note"}
    return tuple(getattr(view, item.name) for item in fields(view) if item.name not in hidden)


def walk(session: Session) -> list[tuple[Any, ...]]:
    """What one sees from the beginning of the draft to its end."""
    while session.view.draft.can_undo:
        session.undo()
    views = [finish(session).draft]
    while session.view.draft.can_redo:
        session.redo()
        views.append(finish(session).draft)
    return [(view.prompts, view.mask, view.score, view.coarse_mask, view.stage) for view in views]


@given(_actions)
@settings(max_examples=100)
def test_a_replayed_log_is_the_session(actions: list[Action]) -> None:
    desk = Desk().open()
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
    desk = Desk().open()
    for action in actions:
        desk.act(action)
    finish(desk.session)
    rebuilt = desk.replayed()
    finish(rebuilt)
    for session in (rebuilt, desk.session):
        run(session.prompt(prompt), stages)
    assert seen(finish(rebuilt))[1:] == seen(finish(desk.session))[1:]  # one log, two writers: other revisions


@given(_actions, st.lists(_prompts, min_size=1, max_size=3))
@settings(max_examples=60)
def test_undo_takes_back_prompts_and_redo_brings_them_again(actions: list[Action], prompts: list[Prompt]) -> None:
    desk = Desk().open()
    for action in actions:
        desk.act(action)
    session = desk.session
    before = finish(session)
    for _ in session.prompt(*prompts):
        pass
    after = session.view
    for _ in prompts:
        session.undo()
    back = finish(session)
    assert (back.draft.prompts, back.draft.mask, back.draft.score) == (
        before.draft.prompts,
        before.draft.mask,
        before.draft.score,
    )
    assert (back.phase, back.annotations, back.model) == (before.phase, before.annotations, before.model)
    for _ in prompts:
        session.redo()
    assert finish(session).draft == after.draft


@given(_actions, _actions, st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_two_sessions_interleaved_on_one_predictor_equal_each_alone(
    first: list[Action], second: list[Action], random: Any
) -> None:
    together = (Desk("a").open(), Desk("b", OTHER_IMAGE).open())
    left = [list(first), list(second)]
    while any(left):
        index = random.choice([number for number in (0, 1) if left[number]])
        together[index].act(left[index].pop(0))
    alone = (Desk("a").open(), Desk("b", OTHER_IMAGE).open())
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
        draft.coarse_mask,
        draft.score,
        draft.can_undo,
        draft.can_redo,
        objects,
    )


@given(st.lists(_prompts, min_size=1, max_size=10))
@settings(max_examples=40)
def test_quick_prompts_end_where_the_newest_ends_whatever_was_computed_between(prompts: list[Prompt]) -> None:
    quick, joined = Desk().open(), Desk().open()
    finish(quick.session)
    for prompt in prompts:
        quick.session.prompt(prompt)  # and nobody has time for it
    finish(joined.session)
    for _ in joined.session.prompt(*prompts):
        pass
    assert finish(quick.session).draft == joined.session.view.draft
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
def test_the_draft_says_what_the_log_says(actions: list[Action]) -> None:
    """Two files know what an event does to prompts: they must agree, also about events that make no sense."""
    desk = Desk().open()
    for action in actions:
        desk.act(action)
    shuffled: Callable[[Event], bool] = lambda event: not isinstance(event, log.Cleared | log.Committed)  # noqa: E731
    for events in (desk.events, desk.events[::-1], [e for e in desk.events if shuffled(e)], desk.events * 2):
        session = desk.sit_down()
        session.replay(events)
        state = log.replay(events)
        draft = session.view.draft
        assert draft.prompts == state.draft.prompts
        assert draft.can_redo == (state.draft.cursor < len(state.draft.steps))
        assert draft.editing == state.draft.editing
        assert session.view.annotations == state.annotations
