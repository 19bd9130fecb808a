"""A session and all that stands around it, for tests of its verbs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from samref.core.images import DecodedImage
from samref.core.masks import Rle
from samref.core.prompts import Click, Prompts
from samref.errors import UnknownModelError
from samref.inference.engine import LocalEngine, StoredImage
from samref.inference.predictor import Predictor
from samref.inference.session import Session, SessionView
from samref.labels.annotations import Annotation
from samref.labels.events import Event, ImageOpened
from tests.unit.inference.exact_model import Watch, make_image, make_predictor

IMAGE = make_image()
VERBS = frozenset(
    [
        "prompt",
        "paint",
        "tidy",
        "subtract",
        "replace_prompt",
        "undo",
        "redo",
        "travel",
        "choose",
        "clear",
        "commit",
        "edit",
        "delete",
        "delete_all",
        "set_visible",
        "reclass",
        "describe",
        "reshape",
        "merge",
        "split",
        "subtract_from",
        "subtract_others",
        "order",
        "paste",
        "use_model",
    ]
)
A, B, C = Click(5, 6), Click(20, 10, False), Click(9, 15)


def opened(image: DecodedImage = IMAGE) -> ImageOpened:
    return ImageOpened(image.digest, "cat.png", image.size.height, image.size.width)


def session_of(engine: LocalEngine, model: str, image: DecodedImage, events: list[Event]) -> Session:
    """A session that writes its log into ``events``, which are its first ones where there are any."""
    events += [] if events else [opened(image)]
    source = StoredImage(image.digest, lambda: image)
    return Session("s", engine, source, list(events), lambda *new: events.extend(new), model=model, clock=lambda: 1e9)


def settled(session: Session) -> list[SessionView]:
    """What somebody sees who watches until nothing is missing any more, and at least one view."""

    async def watched() -> list[SessionView]:
        session.catch_up()
        return [view async for view, _ in session.watch()]

    return asyncio.run(watched())


def answered(session: Session, predictor: Predictor, image: DecodedImage = IMAGE, stages: int = 9) -> None:
    """Some stages of the model's work, then nothing more, as when something newer comes."""
    while stages > 0 and (question := session.question) is not None:
        for prediction in predictor.predict(predictor.embed(image), question.prompts, question.state):
            session.note(question, prediction)
            stages -= 1
            if stages == 0:
                break
        else:
            session.note(question, prediction, is_last=True)


@dataclass
class Desk:
    """A session and all that stands around it."""

    watch: Watch = field(default_factory=Watch)
    events: list[Event] = field(default_factory=lambda: [opened()])
    now: float = 1_700_000_000.0
    refuse: Exception | None = None

    def __post_init__(self) -> None:
        self.predictors = {
            "exact": make_predictor(watch=self.watch),
            "other": make_predictor("other", watch=self.watch),
            "coarse-only": make_predictor("coarse-only", watch=self.watch, stages=("coarse",)),
            "clicks-only": make_predictor("clicks-only", watch=self.watch, prompts=frozenset(("click",))),
        }
        self.engine = LocalEngine(self.predictor, "exact", other_models=9)
        self.session = self.sit_down()

    def sit_down(self, image: DecodedImage = IMAGE) -> Session:
        stored = StoredImage(IMAGE.digest, lambda: image)
        return Session("s", self.engine, stored, self.events, self.record, model="exact", clock=lambda: self.now)

    def sit_down_with(self, *events: Event) -> Session:
        """A session with more in its log."""
        self.events += events
        return self.sit_down()

    def predictor(self, name: str) -> Predictor:
        if name not in self.predictors:
            raise UnknownModelError(f"There is no model {name!r}.")
        return self.predictors[name]

    def record(self, *events: Event) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.events += events

    def replayed(self) -> SessionView:
        """What the log gives again."""
        return settled(self.sit_down())[-1]

    def __getattr__(self, verb: str) -> Callable[..., SessionView]:
        """The session's verbs, done at once."""
        if verb not in VERBS:
            raise AttributeError(verb)
        return lambda *arguments: self.session.do(getattr(self.session, verb)(*arguments))

    def open(self) -> Session:
        settled(self.session)
        return self.session

    def settle(self) -> SessionView:
        return settled(self.session)[-1]

    def click(self, *prompts: Any) -> SessionView:
        self.prompt(*prompts)
        return self.settle()

    def half_way(self, prompt: Any) -> SessionView:
        """A click that is overtaken after its coarse mask."""
        self.prompt(prompt)
        answered(self.session, self.predictors[self.session.model], stages=1)
        return self.session.view


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
    shown = (draft.prompts, draft.mask, draft.coarse and draft.coarse.mask, draft.score, draft.stage, draft.editing)
    return view.revision, view.phase, view.digest, shown, view.annotations, view.model
