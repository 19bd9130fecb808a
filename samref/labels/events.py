"""The log of an image: what a person did, as events in order, and the fold that turns them back into its state.

The log is the master record of a label; masks, drafts and lists can be rebuilt from it. :func:`apply` is the only
place that says what an event means. It is total: an event that makes no sense where it stands (undo with nothing to
undo, a deletion of what is gone) changes nothing, so that no log can be unreadable.

The rules of a draft:

- ``Prompted`` adds a step that a model answers, ``HandPainted`` one that sets pixels for good: no later answer changes
  them. Each step carries all that was set by hand so far.
- ``PromptReplaced`` moves or takes away one prompt; the steps after it are asked anew.
- ``MaskGiven`` starts the draft over from a rough mask, ``EditStarted`` from an annotation: with its prompts as steps,
  all of them done, or from its mask where it has no prompts.
- ``Cleared`` and ``Committed`` end the draft. ``Committed`` puts the annotation in the place of the one with its id, or
  on top. ``Deleted`` ends the draft too when it was an edit of that annotation.
- ``ModelChanged`` keeps the draft: its prompts are run again with the new model.

The rule of the history: every event that changes the image is one entry, whatever it changed, and ``Travelled`` goes
back and forth in them; a new entry takes the place of those that were undone. ``Undone`` and ``Redone`` are of logs
written before there was a history: they move the cursor of the draft by one step.

``ImageMarked``, ``ImageRemoved`` and ``ImageRestored`` speak of the image as a whole, touch nothing on it and make no
entry.
``BoxesProposed`` leaves boxes that shall become annotations; the annotation that takes the box's id takes its place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

from samref.core.geometry import ImageSize
from samref.core.hand import HandWork
from samref.core.masks import Rle
from samref.core.prompts import Box, Click, Polygon, Prompt, Prompts, Scribble
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
class HandPainted:
    """Pixels of the draft were set by hand.

    Attributes:
        added: belong to the object.
        removed: do not belong to it.
        how: one of :data:`samref.core.hand.HOWS`.
    """

    added: Rle | None
    removed: Rle | None
    how: str


@dataclass(frozen=True, slots=True)
class MaskChosen:
    """Of the masks that a lone click can mean, a person chose this one.

    Attributes:
        mask: that is shown from now on.
        score: the model's own IoU estimate for it.
        what: words for it: the object, a part of it, a group.
    """

    mask: Rle
    score: float
    what: str


@dataclass(frozen=True, slots=True)
class PromptReplaced:
    """A prompt of the draft was moved, or taken away (None).

    Attributes:
        index: of the prompt among the draft's, from 0.
        prompt: that is there now.
    """

    index: int
    prompt: Prompt | None


@dataclass(frozen=True, slots=True)
class Travelled:
    """``by`` entries of the history back (negative) or forward."""

    by: int


@dataclass(frozen=True, slots=True)
class Undone:
    """One step of the draft back; in old logs."""


@dataclass(frozen=True, slots=True)
class Redone:
    """One step of the draft forward; in old logs."""


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
class Described:
    """Annotations got what is not None here; all else of them stays."""

    annotation_ids: tuple[str, ...]
    class_id: int | None = None
    visible: bool | None = None
    locked: bool | None = None
    note: str | None = None
    attributes: tuple[tuple[str, str], ...] | None = None


@dataclass(frozen=True, slots=True)
class AnnotationsReplaced:
    """Annotations went and others came in one act: a merge, a split, an overlap taken away, an outline moved, a copy.

    Attributes:
        what: words for the act.
        removed: ids of those that went.
        put: those that came; each in the place of the one with its id, else on top.
    """

    what: str
    removed: tuple[str, ...]
    put: tuple[Annotation, ...]


@dataclass(frozen=True, slots=True)
class Reordered:
    """An annotation was moved over or under others; ``position`` counts from the lowest, from 0."""

    annotation_id: str
    position: int


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
class ImageMarked:
    """The image was marked: one of :data:`MARKS`."""

    mark: str


@dataclass(frozen=True, slots=True)
class ImageRemoved:
    """The image left lists and exports; its file and its log stay."""


@dataclass(frozen=True, slots=True)
class ImageRestored:
    """A removed image came back, with everything it had."""


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
    | HandPainted
    | MaskChosen
    | PromptReplaced
    | MaskGiven
    | Travelled
    | Undone
    | Redone
    | Cleared
    | Committed
    | EditStarted
    | Deleted
    | VisibilityChanged
    | Reclassed
    | Described
    | AnnotationsReplaced
    | Reordered
    | ModelChanged
    | AnnotationsImported
    | ImageMarked
    | ImageRemoved
    | ImageRestored
    | BoxesProposed
    | BoxesDropped
    | ClassEvent
)

MARKS = ("", "done", "flagged")
"""What an image can be marked as; empty: not at all."""


# ---- the fold

MAX_HISTORY = 1_000
"""Entries one can go back; never to be made smaller, since logs count on it."""


@dataclass(frozen=True, slots=True)
class DraftStep:
    """One prompt, one stroke by hand, or one choice among masks, of a draft.

    Attributes:
        prompt: what was said; None for a stroke or a choice.
        basis: number of the step whose memory the model starts from; 0 is the beginning.
        hand: all pixels set by hand up to here, this step's included; None for none.
        chosen: the mask that was chosen.
    """

    prompt: Prompt | None
    basis: int
    hand: HandWork | None = None
    chosen: MaskChosen | None = None


@dataclass(frozen=True, slots=True)
class DraftState:
    """The object being drawn: all its steps.

    Attributes:
        mask: the rough mask it started from.
        steps: the prompts and strokes, one a step.
        cursor: how many of the steps are done; others are left only by old logs.
        edited: the annotation it will replace, as it was when the edit began.
        accepted_at: number of the step at which the edited annotation's own mask is shown, not the model's answer.
        clicks: prompts and strokes given so far.
        hand: pixels that were set by hand before the first step.
    """

    mask: Rle | None = None
    steps: tuple[DraftStep, ...] = ()
    cursor: int = 0
    edited: Annotation | None = None
    accepted_at: int | None = None
    clicks: int = 0
    hand: HandWork | None = None

    @property
    def prompts(self) -> Prompts:
        """What has been said and not undone."""
        return self.prompts_until(self.cursor)

    def prompts_until(self, number: int) -> Prompts:
        """What has been said up to a step, undone or not."""
        return Prompts(tuple(step.prompt for step in self.steps[:number] if step.prompt is not None), self.mask)

    def hand_until(self, number: int) -> HandWork | None:
        """All pixels set by hand up to a step."""
        return self.steps[number - 1].hand if number else self.hand

    def answered_at(self, number: int) -> int:
        """Number of the newest step up to ``number`` that is no stroke; 0 where there is none."""
        while number and self.steps[number - 1].prompt is None and self.steps[number - 1].chosen is None:
            number -= 1
        return number

    def chosen_at(self, number: int) -> MaskChosen | None:
        """The choice that a step shows, where it shows one."""
        answered = self.answered_at(number)
        return self.steps[answered - 1].chosen if answered else None

    @property
    def is_open(self) -> bool:
        """Whether there is anything to accept or give up."""
        return self.cursor > 0 or self.mask is not None


@dataclass(frozen=True, slots=True)
class ImageState:
    """An image at one moment.

    ``size`` is None before ``ImageOpened``; ``model`` is None before one was named; ``proposed`` are boxes that shall
    become annotations.
    """

    digest: str = ""
    file_name: str = ""
    size: ImageSize | None = None
    model: str | None = None
    draft: DraftState = DraftState()
    annotations: tuple[Annotation, ...] = ()
    mark: str = ""
    removed: bool = False
    proposed: tuple[ProposedBox, ...] = ()


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """A moment one can go back to.

    Attributes:
        what: words for what led to it.
        state: of the image then.
    """

    what: str
    state: ImageState


@dataclass(frozen=True, slots=True)
class ImageHistory:
    """An image after its log: what it is now, and what it was before and (where that was undone) after.

    Attributes:
        entries: oldest first; the first is where one cannot go back any further.
        at: place of the present among them.
    """

    entries: tuple[HistoryEntry, ...] = (HistoryEntry("open", ImageState()),)
    at: int = 0

    @property
    def state(self) -> ImageState:
        """The image as it is now."""
        return self.entries[self.at].state

    @property
    def undo(self) -> str | None:
        """What going one back would undo; None at the beginning."""
        return self.entries[self.at].what if self.at else None

    @property
    def redo(self) -> str | None:
        """What going one forward would do again; None at the end."""
        return self.entries[self.at + 1].what if self.at + 1 < len(self.entries) else None


def fold(events: Iterable[Event], history: ImageHistory = ImageHistory()) -> ImageHistory:
    """An image after ``events``."""
    for event in events:
        history = apply(history, event)
    return history


def replay(events: Iterable[Event]) -> ImageState:
    """The state that an image is in after its log."""
    return fold(events).state


def apply(history: ImageHistory, event: Event) -> ImageHistory:
    """The image after one more event; events of classes change nothing here (see :func:`replay_classes`)."""
    match event:
        case Travelled(by):
            return replace(history, at=min(max(0, history.at + by), len(history.entries) - 1))
        case ImageOpened() | ImageMarked() | ImageRemoved() | ImageRestored():  # true of all that was before, too
            entries = tuple(replace(entry, state=_after(entry.state, event)) for entry in history.entries)
            return replace(history, entries=entries)
    before = history.state
    after = _after(before, event)
    if after is before:
        return history
    entry = HistoryEntry(_words(event, before), after)
    entries = (*history.entries[max(0, history.at + 2 - MAX_HISTORY) : history.at + 1], entry)
    return ImageHistory(entries, len(entries) - 1)


def _after(state: ImageState, event: Event) -> ImageState:  # noqa: C901 - one case for each kind of event
    match event:
        case ImageOpened(digest, file_name, height, width):
            return replace(state, digest=digest, file_name=file_name, size=ImageSize(height, width))
        case ModelChanged(model):
            return replace(state, model=model, draft=_asked_anew(state.draft))
        case Prompted(prompt, model, basis):
            another = state.model is not None and state.model != model
            draft = _prompted(_asked_anew(state.draft) if another else state.draft, prompt, basis)
            return replace(state, model=model, draft=draft)
        case HandPainted(added, removed):
            return replace(state, draft=_painted(state.draft, HandWork(added, removed)))
        case MaskChosen():
            draft = state.draft
            return replace(
                state, draft=_stepped(draft, DraftStep(None, draft.cursor, draft.hand_until(draft.cursor), event))
            )
        case PromptReplaced(index, new):
            draft = _prompt_replaced(state.draft, index, new)
            return state if draft is state.draft else replace(state, draft=draft)
        case MaskGiven(mask):
            return replace(state, draft=DraftState(mask=mask))
        case Undone():
            return _with_cursor(state, max(0, state.draft.cursor - 1))
        case Redone():
            return _with_cursor(state, min(len(state.draft.steps), state.draft.cursor + 1))
        case Cleared():
            return state if state.draft == DraftState() else replace(state, draft=DraftState())
        case EditStarted(annotation_id):
            found = next((a for a in state.annotations if a.id == annotation_id), None)
            return state if found is None else replace(state, draft=_draft_from(found))
        case Committed(annotation):
            return replace(state, draft=DraftState(), annotations=upsert(state.annotations, annotation))
        case Deleted(annotation_id):
            return _without(state, (annotation_id,))
        case VisibilityChanged(annotation_id, visible):
            return _with_annotations(state, (annotation_id,), lambda a: replace(a, visible=visible))
        case Reclassed(annotation_id, class_id):
            return _with_annotations(state, (annotation_id,), lambda a: replace(a, class_id=class_id))
        case Described(annotation_ids):
            values = {name: getattr(event, name) for name in _DESCRIBED if getattr(event, name) is not None}
            return _with_annotations(state, annotation_ids, lambda a: replace(a, **values))
        case AnnotationsReplaced(_, removed_ids, put):
            state = _without(state, removed_ids)
            return replace(state, annotations=upsert(state.annotations, *put)) if put else state
        case Reordered(annotation_id, position):
            return _reordered(state, annotation_id, position)
        case AnnotationsImported(imported):
            done = {annotation.id for annotation in imported}
            proposed = _beside(state.proposed, done)
            return replace(state, annotations=upsert(state.annotations, *imported), proposed=proposed)
        case BoxesProposed(boxes):
            unknown = _beside(boxes, {a.id for a in state.annotations} | {each.id for each in state.proposed})
            return replace(state, proposed=(*state.proposed, *unknown)) if unknown else state
        case BoxesDropped(ids):
            proposed = _beside(state.proposed, ids)
            return state if len(proposed) == len(state.proposed) else replace(state, proposed=proposed)
        case ImageMarked(mark):
            return replace(state, mark=mark)
        case ImageRemoved():
            return replace(state, removed=True)
        case ImageRestored():
            return replace(state, removed=False)
        case Travelled() | ClassAdded() | ClassChanged() | ClassRemoved():
            return state


_DESCRIBED = ("class_id", "visible", "locked", "note", "attributes")


def _beside(boxes: Iterable[ProposedBox], ids: Collection[str]) -> tuple[ProposedBox, ...]:
    return tuple(each for each in boxes if each.id not in ids)


def _with_cursor(state: ImageState, cursor: int) -> ImageState:
    return state if cursor == state.draft.cursor else replace(state, draft=replace(state.draft, cursor=cursor))


def _prompted(draft: DraftState, prompt: Prompt, basis: int | None) -> DraftState:
    number = draft.cursor
    return _stepped(draft, DraftStep(prompt, number if basis is None else min(basis, number), draft.hand_until(number)))


def _painted(draft: DraftState, work: HandWork) -> DraftState:
    number = draft.cursor
    return _stepped(draft, DraftStep(None, number, work.after(draft.hand_until(number))))


def _stepped(draft: DraftState, step: DraftStep) -> DraftState:
    done = draft.steps[: draft.cursor]
    accepted_at = draft.accepted_at if draft.accepted_at is not None and draft.accepted_at <= len(done) else None
    return replace(draft, steps=(*done, step), cursor=len(done) + 1, accepted_at=accepted_at, clicks=draft.clicks + 1)


def _prompt_replaced(draft: DraftState, index: int, prompt: Prompt | None) -> DraftState:
    prompted = [number for number, step in enumerate(draft.steps[: draft.cursor]) if step.prompt is not None]
    if not 0 <= index < len(prompted):
        return draft
    place = prompted[index]
    changed = () if prompt is None else (DraftStep(prompt, draft.steps[place].basis, draft.steps[place].hand),)
    later = (step for step in draft.steps[place + 1 : draft.cursor] if step.chosen is None)  # chosen for other prompts
    steps = (*draft.steps[:place], *changed, *(replace(step, basis=min(step.basis, place)) for step in later))
    accepted_at = draft.accepted_at if draft.accepted_at is not None and draft.accepted_at <= place else None
    return replace(draft, steps=steps, cursor=len(steps), accepted_at=accepted_at, clicks=draft.clicks + 1)


def _asked_anew(draft: DraftState) -> DraftState:
    """The draft for another model: every step starts from the one before it, none shows an accepted mask."""
    if not draft.steps:
        return draft
    steps = tuple(replace(step, basis=number) for number, step in enumerate(draft.steps))
    return replace(draft, steps=steps, accepted_at=0 if draft.accepted_at == 0 else None)


def _draft_from(annotation: Annotation) -> DraftState:
    prompts = annotation.prompts
    mask = annotation.mask if prompts.is_empty() else prompts.mask
    steps = tuple(DraftStep(prompt, number, annotation.by_hand) for number, prompt in enumerate(prompts.items))
    return DraftState(mask, steps, len(steps), annotation, len(steps), annotation.clicks, annotation.by_hand)


def _without(state: ImageState, ids: Collection[str]) -> ImageState:
    kept = tuple(a for a in state.annotations if a.id not in ids)
    if len(kept) == len(state.annotations):
        return state
    edited = state.draft.edited
    draft = DraftState() if edited is not None and edited.id in ids else state.draft
    return replace(state, draft=draft, annotations=kept)


def _with_annotations(
    state: ImageState, ids: Collection[str], change: Callable[[Annotation], Annotation]
) -> ImageState:
    wanted = set(ids)
    if not any(a.id in wanted for a in state.annotations):
        return state
    return replace(state, annotations=tuple(change(a) if a.id in wanted else a for a in state.annotations))


def _reordered(state: ImageState, annotation_id: str, position: int) -> ImageState:
    found = next((a for a in state.annotations if a.id == annotation_id), None)
    if found is None:
        return state
    others = [a for a in state.annotations if a is not found]
    others.insert(max(0, position), found)
    return replace(state, annotations=tuple(others))


def _words(event: Event, before: ImageState) -> str:  # noqa: C901 - as many as there are events
    """What an entry of the history is called; a person reads it after "Undo"."""
    match event:
        case Prompted(prompt):
            return _PROMPT_WORDS[type(prompt)]
        case HandPainted(how=how):
            return how.replace("_", " ")
        case MaskChosen(what=what):
            return what
        case PromptReplaced(prompt=prompt):
            return "remove a prompt" if prompt is None else "move a prompt"
        case MaskGiven():
            return "rough mask"
        case Undone():
            return "undo"
        case Redone():
            return "redo"
        case Cleared():
            return "discard the draft"
        case EditStarted():
            return "edit an object"
        case Committed():
            return "accept an object" if before.draft.edited is None else "accept the edit"
        case Deleted():
            return "delete an object"
        case VisibilityChanged(visible=visible):
            return "show an object" if visible else "hide an object"
        case Reclassed():
            return "change the class"
        case Described():
            return _described_words(event)
        case AnnotationsReplaced(what):
            return what
        case Reordered():
            return "change the order"
        case ModelChanged():
            return "change the model"
        case AnnotationsImported(annotations):
            return f"import {counted(len(annotations), 'object')}"
        case BoxesProposed(boxes):
            return f"keep {counted(len(boxes), 'box')} for later"
        case BoxesDropped(ids):
            return f"leave out {counted(len(ids), 'box')}"
        case _:
            raise AssertionError(f"{event} makes no entry")


_PROMPT_WORDS = {Click: "click", Box: "box", Scribble: "scribble", Polygon: "polygon"}


def _described_words(event: Described) -> str:
    objects = counted(len(event.annotation_ids), "object")
    if event.visible is not None:
        return f"{'show' if event.visible else 'hide'} {objects}"
    if event.locked is not None:
        return f"{'lock' if event.locked else 'unlock'} {objects}"
    if event.class_id is not None:
        return f"change the class of {objects}"
    return f"describe {objects}"


def counted(count: int, noun: str) -> str:
    """A number of things in words: an object, 3 objects."""
    if count == 1:
        return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
    return f"{count} {noun}s"


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
