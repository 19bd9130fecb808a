"""A session and all that stands around it, for tests of its verbs."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from samref.core.masks import Rle
from samref.core.prompts import Click, Prompts
from samref.errors import UnknownModelError
from samref.inference.predictor import Predictor
from samref.inference.session import Session, SessionView
from samref.inference.stores import EmbeddingStore
from samref.labels.events import Event
from samref.labels.annotations import Annotation
from tests.unit.inference.exact_model import Watch, make_image, make_predictor

IMAGE = make_image()
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
        session.replay(self.events, IMAGE)
        list(session.catch_up())
        return session

    def open(self) -> Session:
        self.session.open_image(IMAGE, "cat.png")
        list(self.session.catch_up())
        return self.session

    def click(self, *prompts: Any) -> SessionView:
        *_, last = self.session.prompt(*prompts)
        return last


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
