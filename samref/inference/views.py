"""What a session shows: frozen values, complete enough that nobody has to look inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from samref.core.geometry import ImageSize
from samref.core.masks import Rle
from samref.core.prompts import Prompts
from samref.inference.draft import Draft
from samref.labels.annotations import Annotation
from samref.labels.events import ImageState
from samref.models.interface import Stage

__all__ = ["DraftView", "Phase", "SessionView", "phase_of"]

Phase: TypeAlias = Literal["empty", "preparing", "ready", "coarse", "refined"]
"""Where a session stands:

- ``empty``: no image.
- ``preparing``: the model is at the image, or at a prompt that has no mask yet.
- ``ready``: prompts can be answered at once; the draft has no mask.
- ``coarse``: a first mask is here, the final one follows.
- ``refined``: the final mask is here (also of a model that has no refined stage).
"""


@dataclass(frozen=True, slots=True)
class DraftView:
    """The object being drawn.

    Attributes:
        prompts: what was said and not undone.
        mask: what to show now.
        coarse_mask: the coarse stage's mask, where there is one beside the final mask.
        score: the model's own IoU estimate for ``mask``.
        stage: which part of the model drew ``mask``.
        can_undo, can_redo: whether those verbs would be accepted.
        editing: id of the annotation that accepting would replace.
    """

    prompts: Prompts
    mask: Rle | None
    coarse_mask: Rle | None
    score: float | None
    stage: Stage | None
    can_undo: bool
    can_redo: bool
    editing: str | None

    @classmethod
    def from_draft(cls, draft: Draft) -> DraftView:
        step, answer = draft.current, draft.answer
        # An accepted mask that is edited again is shown as it was accepted, in one piece.
        coarse = step.coarse if step is not None and step.given is None and step.final is not None else None
        return cls(
            prompts=draft.prompts,
            mask=None if answer is None else answer.mask,
            coarse_mask=None if coarse is None else coarse.mask,
            score=None if answer is None else answer.score,
            stage=None if answer is None else answer.stage,
            can_undo=draft.cursor > 0,
            can_redo=draft.cursor < len(draft.steps),
            editing=draft.editing,
        )


@dataclass(frozen=True, slots=True)
class SessionView:
    """A session at one moment.

    Attributes:
        revision: events in the log of this image.
        phase: where it stands.
        image_digest, file_name, image_size: the image; None and empty before one is opened.
        draft: the object being drawn.
        annotations: finished objects, lowest first.
        model, model_note: which model answers, and what a person should know about it.
        seconds: model time from the prompt to ``draft.mask``.
        encode_seconds: time the image's embedding took; 0 where this session did not need to make one.
    """

    session_id: str
    revision: int
    phase: Phase
    image_digest: str | None
    file_name: str
    image_size: ImageSize | None
    draft: DraftView
    annotations: tuple[Annotation, ...]
    model: str
    model_note: str
    seconds: float
    encode_seconds: float


def phase_of(state: ImageState, draft: Draft, *, is_encoded: bool) -> Phase:
    """Where a session with this image and draft stands."""
    if state.size is None:
        return "empty"
    if draft.answer is not None:
        return "refined" if draft.current is None or draft.current.is_settled else "coarse"
    return "ready" if is_encoded and not draft.is_open else "preparing"
