"""The log of an image: what a person did, as events in order, and the fold that turns them back into its state.

The log is the master record of a label; masks, drafts and lists can be rebuilt from it. :func:`apply` is the only
place that says what an event means. It is total: an event that makes no sense where it stands (undo with nothing to
undo, a deletion of what is gone) changes nothing, so that no log can be unreadable.

The rules of a draft:

- ``Prompted`` drops what was undone, then adds a step. ``Undone`` and ``Redone`` move the cursor by one step and stop
  at the ends; they never leave the draft.
- ``MaskGiven`` starts the draft over from a rough mask, ``EditStarted`` from an annotation: with its prompts as steps,
  all of them done, or from its mask where it has no prompts.
- ``Cleared`` and ``Committed`` end the draft. ``Committed`` puts the annotation in the place of the one with its id, or
  on top. ``Deleted`` ends the draft too when it was an edit of that annotation.
- ``ModelChanged`` keeps the draft: its prompts are run again with the new model.

``BoxesProposed`` leaves boxes that shall become annotations; the annotation that takes the box's id takes its place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

from samref.core.geometry import ImageSize
from samref.core.masks import Rle
from samref.core.prompts import Box, Prompt, Prompts
from samref.labels.annotations import Annotation, upsert
from samref.labels.classes import LabelClass


@dataclass(frozen=True, slots=True)
class ImageOpened:
    """An image was put into the workspace."""

    digest: str
    file_name: str
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Prompted:
    """One more prompt for the draft, answered by ``model``.

    Attributes:
        basis: from which earlier step's memory the model answered: how many steps the draft had then. Prompts that
            came in quick succession share a basis; only the newest of them was answered. None: the step before.
    """

    prompt: Prompt
    model: str
    basis: int | None = None


@dataclass(frozen=True, slots=True)
class MaskGiven:
    """The draft starts over from a rough mask."""

    mask: Rle


@dataclass(frozen=True, slots=True)
class Undone:
    """One step of the draft back."""


@dataclass(frozen=True, slots=True)
class Redone:
    """One step of the draft forward."""


@dataclass(frozen=True, slots=True)
class Cleared:
    """The draft was given up; an annotation that was being edited stays as it was."""


@dataclass(frozen=True, slots=True)
class Committed:
    """The draft was accepted as ``annotation``."""

    annotation: Annotation


@dataclass(frozen=True, slots=True)
class EditStarted:
    """A draft was started from an annotation."""

    annotation_id: str


@dataclass(frozen=True, slots=True)
class Deleted:
    """An annotation was deleted."""

    annotation_id: str


@dataclass(frozen=True, slots=True)
class VisibilityChanged:
    """An annotation was hidden or shown."""

    annotation_id: str
    visible: bool


@dataclass(frozen=True, slots=True)
class Reclassed:
    """An annotation got another class."""

    annotation_id: str
    class_id: int


@dataclass(frozen=True, slots=True)
class ModelChanged:
    """Another model answers from now on."""

    model: str


@dataclass(frozen=True, slots=True)
class ClassAdded:
    """The workspace has one more class."""

    label_class: LabelClass


@dataclass(frozen=True, slots=True)
class ClassChanged:
    """A class got another name or colour."""

    label_class: LabelClass


@dataclass(frozen=True, slots=True)
class ClassRemoved:
    """A class that no annotation used was removed."""

    class_id: int


@dataclass(frozen=True, slots=True)
class AnnotationsImported:
    """Annotations came in from a file; each takes the place of the one with its id."""

    annotations: tuple[Annotation, ...]


@dataclass(frozen=True, slots=True)
class ProposedBox:
    """A box that shall become an annotation with its id and class."""

    id: str
    class_id: int
    box: Box


@dataclass(frozen=True, slots=True)
class BoxesProposed:
    """Boxes were imported or drawn to become annotations later; those known by their id change nothing."""

    boxes: tuple[ProposedBox, ...]


@dataclass(frozen=True, slots=True)
class BoxesDropped:
    """Boxes shall not become annotations after all."""

    ids: tuple[str, ...]


ClassEvent: TypeAlias = ClassAdded | ClassChanged | ClassRemoved
Event: TypeAlias = (
    ImageOpened
    | Prompted
    | MaskGiven
    | Undone
    | Redone
    | Cleared
    | Committed
    | EditStarted
    | Deleted
    | VisibilityChanged
    | Reclassed
    | ModelChanged
    | AnnotationsImported
    | BoxesProposed
    | BoxesDropped
    | ClassEvent
)


# ---- the fold


@dataclass(frozen=True, slots=True)
class DraftStep:
    """One prompt of a draft.

    Attributes:
        prompt: what was said.
        basis: number of the step whose memory the model starts from; 0 is the beginning.
    """

    prompt: Prompt
    basis: int


@dataclass(frozen=True, slots=True)
class DraftState:
    """The object being drawn: all its steps, undone ones included.

    Attributes:
        mask: the rough mask it started from.
        steps: the prompts, one a step.
        cursor: how many of the steps are done; the rest can be redone.
        edited: the annotation it will replace, as it was when the edit began.
        accepted_at: number of the step at which the edited annotation's own mask is shown, not the model's answer.
        clicks: prompts given so far, undone ones included.
    """

    mask: Rle | None = None
    steps: tuple[DraftStep, ...] = ()
    cursor: int = 0
    edited: Annotation | None = None
    accepted_at: int | None = None
    clicks: int = 0

    @property
    def prompts(self) -> Prompts:
        """What has been said and not undone."""
        return self.prompts_until(self.cursor)

    def prompts_until(self, number: int) -> Prompts:
        """What has been said up to a step, undone or not."""
        return Prompts(tuple(step.prompt for step in self.steps[:number]), self.mask)

    @property
    def is_open(self) -> bool:
        """Whether there is anything to accept or give up."""
        return self.cursor > 0 or self.mask is not None


@dataclass(frozen=True, slots=True)
class ImageState:
    """An image after its log.

    ``size`` is None before ``ImageOpened``; ``model`` is None before one was named; ``proposed`` are boxes that shall
    become annotations.
    """

    digest: str = ""
    file_name: str = ""
    size: ImageSize | None = None
    model: str | None = None
    draft: DraftState = DraftState()
    annotations: tuple[Annotation, ...] = ()
    proposed: tuple[ProposedBox, ...] = ()


def replay(events: Iterable[Event], state: ImageState = ImageState()) -> ImageState:
    """The state of an image after ``events``."""
    for event in events:
        state = apply(state, event)
    return state


def apply(state: ImageState, event: Event) -> ImageState:  # noqa: C901 - one case for each kind of event
    """The state after one more event; events of classes change nothing here (see :func:`replay_classes`)."""
    match event:
        case ImageOpened(digest, file_name, height, width):
            return replace(state, digest=digest, file_name=file_name, size=ImageSize(height, width))
        case ModelChanged(model):
            return replace(state, model=model, draft=_asked_anew(state.draft))
        case Prompted(prompt, model, basis):
            another = state.model is not None and state.model != model
            draft = _prompted(_asked_anew(state.draft) if another else state.draft, prompt, basis)
            return replace(state, model=model, draft=draft)
        case MaskGiven(mask):
            return replace(state, draft=DraftState(mask=mask))
        case Undone():
            return replace(state, draft=replace(state.draft, cursor=max(0, state.draft.cursor - 1)))
        case Redone():
            cursor = min(len(state.draft.steps), state.draft.cursor + 1)
            return replace(state, draft=replace(state.draft, cursor=cursor))
        case Cleared():
            return replace(state, draft=DraftState())
        case EditStarted(annotation_id):
            found = next((a for a in state.annotations if a.id == annotation_id), None)
            return state if found is None else replace(state, draft=_draft_from(found))
        case Committed(annotation):
            return replace(state, draft=DraftState(), annotations=upsert(state.annotations, annotation))
        case Deleted(annotation_id):
            edited = state.draft.edited
            draft = DraftState() if edited is not None and edited.id == annotation_id else state.draft
            kept = tuple(a for a in state.annotations if a.id != annotation_id)
            return replace(state, draft=draft, annotations=kept)
        case VisibilityChanged(annotation_id, visible):
            return _with_annotation(state, annotation_id, lambda a: replace(a, visible=visible))
        case Reclassed(annotation_id, class_id):
            return _with_annotation(state, annotation_id, lambda a: replace(a, class_id=class_id))
        case AnnotationsImported(imported):
            done = {annotation.id for annotation in imported}
            annotations = upsert(state.annotations, *imported)
            return replace(state, annotations=annotations, proposed=_without(state.proposed, done))
        case BoxesProposed(boxes):
            known = {a.id for a in state.annotations} | {each.id for each in state.proposed}
            return replace(state, proposed=(*state.proposed, *_without(boxes, known)))
        case BoxesDropped(ids):
            return replace(state, proposed=_without(state.proposed, ids))
        case ClassAdded() | ClassChanged() | ClassRemoved():
            return state


def _without(boxes: Iterable[ProposedBox], ids: Collection[str]) -> tuple[ProposedBox, ...]:
    return tuple(each for each in boxes if each.id not in ids)


def _prompted(draft: DraftState, prompt: Prompt, basis: int | None) -> DraftState:
    done = draft.steps[: draft.cursor]
    step = DraftStep(prompt, len(done) if basis is None else min(basis, len(done)))
    accepted_at = draft.accepted_at if draft.accepted_at is not None and draft.accepted_at <= len(done) else None
    return replace(draft, steps=(*done, step), cursor=len(done) + 1, accepted_at=accepted_at, clicks=draft.clicks + 1)


def _asked_anew(draft: DraftState) -> DraftState:
    """The draft for another model: every step starts from the one before it, none shows an accepted mask."""
    if not draft.steps:
        return draft
    steps = tuple(DraftStep(step.prompt, number) for number, step in enumerate(draft.steps))
    return replace(draft, steps=steps, accepted_at=0 if draft.accepted_at == 0 else None)


def _draft_from(annotation: Annotation) -> DraftState:
    prompts = annotation.prompts
    mask = annotation.mask if prompts.is_empty() else prompts.mask
    steps = tuple(DraftStep(prompt, number) for number, prompt in enumerate(prompts.items))
    return DraftState(mask, steps, len(steps), annotation, len(steps), annotation.clicks)


def _with_annotation(state: ImageState, annotation_id: str, change: Callable[[Annotation], Annotation]) -> ImageState:
    changed = tuple(change(a) if a.id == annotation_id else a for a in state.annotations)
    return replace(state, annotations=changed)


def replay_classes(events: Iterable[Event], classes: tuple[LabelClass, ...] = ()) -> tuple[LabelClass, ...]:
    """The classes of a workspace after ``events``; other events change nothing."""
    for event in events:
        match event:
            case ClassAdded(added):
                classes = (*(c for c in classes if c.id != added.id), added)
            case ClassChanged(changed):
                classes = tuple(changed if c.id == changed.id else c for c in classes)
            case ClassRemoved(class_id):
                classes = tuple(c for c in classes if c.id != class_id)
    return classes
