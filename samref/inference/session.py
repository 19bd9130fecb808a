"""One image being worked on: its log folded into a state, and the model's answers to the draft beside it.

:func:`samref.labels.events.apply` alone says what an event means. A session adds what the model answered to each step
of the draft, and the rule by which a log gives the same masks again, whatever was overtaken on the way:

    the answer to step k = the model, given all prompts up to k and the memory of step ``basis(k)``

``basis`` is fixed when the prompt is accepted: the newest step that has its final answer at that moment, 0 if none
has. It is recorded with the prompt. A step that was overtaken before its final answer keeps its prompt and has no
answer; going back to it computes the one that the rule says. A stroke by hand needs no answer: what is shown is the
newest answer before it with the pixels as they were set, and that mask is what the model goes on from.

A verb decides: it checks and gives the events, without touching the model. They are recorded, then folded; a verb that
is refused left everything as it was. What the model still owes the state is :attr:`Session.question`; a task of the
event loop asks the engine for it, step by step, until nothing is missing. So ten quick clicks are ten steps in the
draft and in the log, while only the newest is computed to the end. Where the model fails, the prompt stays as a step
without a mask: it can be undone, and the next request tries it again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

from samref.core.geometry import ImageSize
from samref.core.hand import CleanUp, HandTool, HandWork, check_hand_work, clean_up
from samref.core.masks import MaskWindow, Rle, rle_iou, union_of
from samref.core.prompts import Box, Click, Prompt, Prompts, check_drawing_cost, check_prompts
from samref.errors import LabelError, ModelError, PromptError, SessionError, StaleError, SupersededError
from samref.inference.engine import Engine, StoredImage
from samref.inference.predictor import Prediction, check_prompt_kinds
from samref.labels import events as log
from samref.labels.annotations import Annotation, find_annotation, new_annotation_id
from samref.labels.events import (
    DraftState,
    DraftStep,
    Event,
    HistoryEntry,
    ImageHistory,
    ImageState,
    ProposedBox,
    counted,
)
from samref.models.interface import DecoderState, ModelSpec, Stage

KEPT_STATES = 64
"""Decoder states a session keeps; older steps keep their masks, their states are computed again when needed."""

KEPT_ANSWERS = 2_000
"""Steps whose masks a session keeps; those of older ones are computed again when somebody goes back to them."""

MAX_STEPS = 2_000
"""Prompts and strokes of one draft."""

SAME_CANDIDATE = 0.9
"""Masks of a higher IoU are not two things that a click can mean."""

MAX_PARTS = 200
"""Objects that one can be split into."""

IDLE_GAP_S = 8.0
"""A longer pause is not counted as time spent on an object."""

MAX_WRITERS = 64
"""Tabs told apart on one image."""

NOBODY = ""
"""Stands for a tab where a change came from elsewhere (an import, an earlier life of the server)."""

Phase: TypeAlias = Literal["preparing", "ready", "coarse", "refined"]
"""Where a session stands:

- ``preparing``: the model is at the image, or at a prompt that has no mask yet.
- ``ready``: prompts can be answered at once; the draft has no mask.
- ``coarse``: a first mask is here, the final one follows.
- ``refined``: the final mask is here (also of a model that has no refined stage).
"""

T = TypeVar("T")

Overlap: TypeAlias = Literal["keep", "under", "over"]
Order: TypeAlias = Literal["front", "back", "forward", "backward"]

Events: TypeAlias = tuple[Event, ...]

Verb: TypeAlias = Callable[["Session"], Events]
"""A verb of a session, ready to decide."""


class Recorder(Protocol):
    """Makes events durable, all or none, before it returns; what it raises refuses the verb."""

    def __call__(self, *events: Event) -> object: ...


@dataclass(frozen=True, slots=True)
class DraftView:
    """The object being drawn.

    Attributes:
        prompts: what was said and not undone.
        hand: pixels that were set by hand.
        mask: what to show now.
        window: ``mask`` cut to its box, where the model gave it so.
        coarse: the coarse stage's answer, where there is one beside the final one.
        score: the model's own IoU estimate for ``mask``.
        stage: which part of the model drew ``mask``.
        seconds: model time from the prompt to ``mask``.
        editing: id of the annotation that accepting would replace.
        bases: for each prompt the number of the one whose memory its answer starts from, 0 for none; None where the
            answers depend on more than prompts (strokes, a rough mask, a choice).
    """

    prompts: Prompts
    hand: HandWork | None = None
    mask: Rle | None = None
    window: MaskWindow | None = None
    coarse: Prediction | None = None
    score: float | None = None
    stage: Stage | None = None
    seconds: float = 0.0
    editing: str | None = None
    bases: tuple[int, ...] | None = ()


@dataclass(frozen=True, slots=True)
class SessionView:
    """A session at one moment, complete enough that nobody has to look inside.

    Attributes:
        revision: events in the log of this image.
        phase: where it stands.
        digest, file_name, size: of the image.
        draft: the object being drawn.
        annotations: finished objects, lowest first.
        annotations_revision: the revision at which one of them changed last.
        changed_at: that revision for each of them, by its id.
        model, model_note: which model answers, and what a person should know about it.
        undo, redo: words for what those verbs would undo or do again; None where they would be refused.
        encode_seconds: time the image's embedding took; 0 where this session did not need to make one.
        proposed: boxes that shall become annotations.
    """

    revision: int
    phase: Phase
    digest: str
    file_name: str
    size: ImageSize
    draft: DraftView
    annotations: tuple[Annotation, ...]
    annotations_revision: int
    changed_at: Mapping[str, int]
    model: str
    model_note: str
    undo: str | None
    redo: str | None
    encode_seconds: float
    proposed: tuple[ProposedBox, ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """What the model is to be asked for a step of the draft.

    Attributes:
        step: of the draft; the very object, since an equal one later is another question.
        number: of that step, from 1.
        corrected: the mask that the model goes on from, where a person set pixels of it.
    """

    model: str
    step: DraftStep
    number: int
    prompts: Prompts
    state: DecoderState
    corrected: Rle | None = None


@dataclass(slots=True)
class _Answers:
    """What the model answered to one step: the memo beside the fold. It is kept as long as somebody may go back."""

    step: DraftStep
    coarse: Prediction | None = None
    final: Prediction | None = None
    state: DecoderState | None = None
    candidates: tuple[log.MaskChosen, ...] | None = None


class Session:
    """An image, its finished objects and the one being drawn. Belongs to one thread, that of its event loop if any."""

    def __init__(
        self,
        session_id: str,
        engine: Engine,
        image: StoredImage,
        events: Iterable[Event],
        record: Recorder,
        *,
        model: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Become the session that recorded ``events``; its masks come when something asks for them.

        Args:
            session_id: names it at the engine.
            engine: answers.
            image: the pixels.
            events: the log so far; they are not recorded again.
            record: keeps the events.
            model: answers until another is chosen.
            clock: seconds since 1970.

        Raises:
            SessionError: the log is about another image, or about none.
        """
        self.session_id = session_id
        self.image = image
        self._engine = engine
        self._record = record
        self._first_model = model
        self._clock = clock
        self._history = ImageHistory()
        self._memo: dict[int, _Answers] = {}  # by the step itself: an equal one later is another question
        self._revision = 0
        self._annotations_revision = 0
        self._changed_at: Mapping[str, int] = MappingProxyType({})
        self._specs: dict[str, ModelSpec] = {}  # of the models used so far
        self._encode_s = 0.0
        self._active_s = 0.0
        self._last_verb_at = clock()
        self._turn = asyncio.Lock()  # one verb at a time
        self._at_work = 0  # verbs that wait or run
        self._work: asyncio.Task[None] | None = None
        self._asked: Question | None = None
        self._seen_coarse: DraftStep | None = None  # whose coarse mask whoever said it has already
        self._failure: Exception | None = None
        self._changed = asyncio.Event()
        self._fold(events)
        if self._state.digest != image.digest or self._state.size is None:
            raise SessionError("This log belongs to another image. Open the image it was made on.")
        self._writers = {NOBODY: self._revision}
        with suppress(ModelError):  # said when a mask is asked for; the labels can be looked at without it
            self._spec(self.model)
        self._view = self._build_view()

    # ---- looking

    @property
    def model(self) -> str:
        """Name of the model that answers."""
        return self._state.model or self._first_model

    @property
    def _state(self) -> ImageState:
        return self._history.state

    @property
    def history(self) -> tuple[tuple[HistoryEntry, ...], int]:
        """The moments one can go to, oldest first, and the place of the present one."""
        return self._history.entries, self._history.at

    @property
    def view(self) -> SessionView:
        """The session as it is now."""
        return self._view

    def after(self, events: Events) -> ImageState:
        """The image as events would leave it."""
        return log.fold(events, self._history).state

    @property
    def is_idle(self) -> bool:
        """Whether nobody is at work here, so that it can be dropped from memory."""
        return self._at_work == 0 and not self._turn.locked() and not self._is_busy

    @property
    def size_bytes(self) -> int:
        """Memory of annotations, masks and decoder states; a tensor that states share counts once."""
        memo = self._memo.values()
        predictions = [p for answers in memo for p in (answers.coarse, answers.final) if p is not None]
        masks = sum(len(prediction.mask.counts) for prediction in predictions)
        finished = sum(len(annotation.mask.counts) for annotation in self._state.annotations)
        states = [answers.state for answers in memo if answers.state is not None]
        held = [t for state in states for t in (state.low_res_logits, state.final_logits, state.refocused)]
        tensors = {id(tensor): tensor for tensor in held if tensor is not None}
        return finished + masks + sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())

    @property
    def question(self) -> Question | None:
        """What to ask next until the current step has its answer (and its memory); None where nothing is missing."""
        draft = self._state.draft
        number = draft.answered_at(draft.cursor)
        if number == 0 or draft.chosen_at(number) is not None or self._answers(number).final is not None:
            return None
        if draft.accepted_at == number and self._answers(number).state is not None:
            return None
        while (state := self._memory(draft.steps[number - 1].basis)) is None:
            number = draft.answered_at(draft.steps[number - 1].basis)
        step = draft.steps[number - 1]
        is_corrected = draft.hand_until(step.basis) is not None or draft.chosen_at(step.basis) is not None
        corrected = self._shown(step.basis) if is_corrected else None
        return Question(self.model, step, number, draft.prompts_until(number), state, corrected)

    # ---- verbs

    def prompt(self, *prompts: Prompt) -> Events:
        """Add prompts to the draft, in order, all or none.

        Raises:
            PromptError: they do not fit the image or the model; nothing was changed.
        """
        if not prompts:
            raise PromptError("Say where the object is: give at least one click, box, scribble or polygon.")
        draft, size, model = self._state.draft, self._view.size, self.model
        _check_steps(draft, len(prompts))
        said = Prompts((*draft.prompts.items, *prompts), draft.mask)
        check_prompts(said, size)
        check_drawing_cost(said.items, size)
        check_prompt_kinds(said, self._spec(model))
        basis = next((number for number in range(draft.cursor, 0, -1) if self._is_settled(number)), 0)
        return tuple(log.Prompted(prompt, model, basis) for prompt in prompts)

    def paint(self, work: HandWork, how: HandTool) -> Events:
        """Set pixels of the draft by hand; no later answer of the model changes them."""
        _check_steps(self._state.draft, 1)
        check_hand_work(work, self._view.size)
        return (log.HandPainted(work.added, work.removed, how),)

    def tidy(self, how: CleanUp, amount: int) -> Events:
        """Clean the draft's mask up, which sets the pixels that change; nothing happens where none does."""
        return self._painted_over(self.tidied(how, amount), how)

    def tidied(self, how: CleanUp, amount: int) -> Rle:
        """What :meth:`tidy` would make of the draft's mask."""
        return clean_up(self._drawn("clean up"), how, amount)

    def subtract(self) -> Events:
        """Take the pixels of all other objects that are shown from the draft, now and in all later answers."""
        mask, others = self._drawn("take others from"), self._others()
        if not others:
            return ()
        _check_steps(self._state.draft, 1)
        taken = _pixels_of(others)
        return (log.HandPainted(None, taken, "subtract"),) if mask.intersection(taken).area else ()

    def choose(self, candidates: Sequence[log.MaskChosen]) -> Events:
        """Show the next of the masks that the draft's lone click can mean."""
        self._lone_click()
        shown = self._view.draft.mask
        at = next((n for n, each in enumerate(candidates) if each.mask == shown), 0)
        return (candidates[(at + 1) % len(candidates)],)

    async def candidates(self) -> tuple[log.MaskChosen, ...]:
        """The masks that the draft's lone click can mean: the object, a part of it, a group; asks the model for them.

        The part is what the model finds in a box of half the object's sides around the click, the group what it finds
        in a box of twice the sides around the object.

        Raises:
            SessionError: the draft is something else than a lone click, or the model has one mask for it only.
        """
        async with self._turn:
            await self._settled()
            click, step = self._lone_click()
        answers = self._memo.setdefault(id(step), _Answers(step))
        if answers.candidates is None:
            # Of a choice that came back from the log the click's own answer was never asked for.
            answer = answers.final or await self._ask_aside(Prompts((click,)))
            answers.candidates = await self._find_candidates(click, answer)
        if len(answers.candidates) < 2:
            raise SessionError("The model sees nothing else that this click could mean. Add a click or draw a box.")
        return answers.candidates

    async def _find_candidates(self, click: Click, answer: Prediction) -> tuple[log.MaskChosen, ...]:
        found = [log.MaskChosen(answer.mask, answer.score, "choose the object")]
        if "box" not in self._spec(self.model).prompts or answer.mask.area == 0:
            return tuple(found)
        part, group = _boxes_about(click, answer, self._view.size)
        for what, box in (("choose a part", part), ("choose a group", group)):
            last = await self._ask_aside(Prompts((box, click)))
            if last.mask.area and all(rle_iou(last.mask, each.mask) < SAME_CANDIDATE for each in found):
                found.append(log.MaskChosen(last.mask, last.score, what))
        return tuple(found)

    async def _ask_aside(self, prompts: Prompts) -> Prediction:
        """The model's final answer to prompts that are not those of the draft."""
        owner = f"{self.session_id}:candidates"
        predictions = self._engine.segment(self.image, self.model, prompts, None, owner=owner)
        async with aclosing(predictions):
            *_, last = [prediction async for prediction in predictions]
        return last

    def _lone_click(self) -> tuple[Click, DraftStep]:
        draft = self._state.draft
        items, first = draft.prompts.items, draft.steps[0] if draft.cursor else None
        is_lone = len(items) == 1 and draft.mask is None and draft.hand_until(draft.cursor) is None
        click = items[0] if is_lone else None
        if first is None or not isinstance(click, Click) or not click.positive or draft.edited is not None:
            raise SessionError("Other masks can be had for a lone click only. Click on an object first.")
        return click, first

    def replace_prompt(self, index: int, prompt: Prompt | None) -> Events:
        """Move one prompt of the draft, or take it away; the model answers what is left anew."""
        draft = self._state.draft
        items = draft.prompts.items
        if not 0 <= index < len(items):
            raise SessionError("That prompt is not there any more.")
        if prompt is not None:
            said = Prompts((*items[:index], prompt, *items[index + 1 :]), draft.mask)
            check_prompts(said, self._view.size)
            check_drawing_cost(said.items, self._view.size)
            check_prompt_kinds(said, self._spec(self.model))
        return (log.PromptReplaced(index, prompt),)

    def undo(self) -> Events:
        """One entry of the history back, whatever it was."""
        if self._history.undo is None:
            raise SessionError("There is nothing to undo.")
        return (log.Travelled(-1),)

    def redo(self) -> Events:
        """One entry of the history forward again."""
        if self._history.redo is None:
            raise SessionError("There is nothing to redo.")
        return (log.Travelled(1),)

    def travel(self, to: int) -> Events:
        """Go to any moment of the history; ``to`` is its place in :attr:`history`."""
        if not 0 <= to < len(self._history.entries):
            raise SessionError("That moment is not in the history any more.")
        return (log.Travelled(to - self._history.at),) if to != self._history.at else ()

    def clear(self) -> Events:
        """Give up the draft; an annotation that was being edited stays as it was."""
        draft = self._state.draft
        return (log.Cleared(),) if draft.steps or draft.mask is not None else ()

    def commit(self, class_id: int, author: str = "", overlap: Overlap = "keep") -> Events:
        """Accept the draft's mask, as it is shown now, as an annotation.

        Args:
            class_id: of the object.
            author: name the person gave.
            overlap: with other objects that are shown: ``keep`` it, put the new object ``under`` them (it loses the
                pixels) or ``over`` them (they lose them, unless locked).
        """
        draft, shown = self._state.draft, self._view.draft
        if shown.mask is None:
            raise SessionError(
                "The mask is not there yet. Wait a moment and accept it then."
                if draft.is_open
                else "There is nothing to accept. Click an object first."
            )
        edited, others = draft.edited, self._others()
        kept = others if overlap == "under" else [a for a in others if overlap == "over" and a.locked]
        mask = shown.mask.minus(_pixels_of(kept)) if kept else shown.mask
        if mask.area == 0:
            raise LabelError(
                "The mask is empty, so there is nothing to accept. Click inside the object."
                if shown.mask.area == 0
                else "Other objects cover all of this one, so nothing of it would be left. Let them overlap."
            )
        assert shown.score is not None, "what is shown has a score"
        accepted = Annotation(
            id=new_annotation_id() if edited is None else edited.id,
            class_id=class_id,
            mask=mask,
            prompts=draft.prompts,
            model="" if draft.answered_at(draft.cursor) == 0 and draft.mask is None else self.model,
            score=shown.score,
            created_at=datetime.fromtimestamp(self._clock(), UTC),
            author=author,
            seconds=self._active_seconds(),
            clicks=draft.clicks,
            by_hand=draft.hand_until(draft.cursor),
            note="" if edited is None else edited.note,
            attributes=() if edited is None else edited.attributes,
        )
        if overlap != "over":
            return (log.Committed(accepted),)
        return (log.Committed(accepted), *self._taken_from([a for a in others if not a.locked], mask))

    def edit(self, annotation_id: str) -> Events:
        """Start a draft from an annotation: its mask is shown, its prompts are steps that can be undone."""
        if self._state.draft.is_open:
            raise SessionError("Another object is being drawn. Accept it or give it up first.")
        annotation = self._unlocked(annotation_id)
        prompts = annotation.prompts if annotation.prompts.items else Prompts(mask=annotation.mask)
        check_prompt_kinds(prompts, self._spec(self.model))
        return (log.EditStarted(annotation_id),)

    def delete(self, annotation_id: str) -> Events:
        """Delete an annotation, and the draft if it was an edit of it."""
        self._unlocked(annotation_id)
        return (log.Deleted(annotation_id),)

    def delete_all(self, annotation_ids: Sequence[str]) -> Events:
        """Delete annotations in one act."""
        for annotation_id in annotation_ids:
            self._unlocked(annotation_id)
        return (log.AnnotationsReplaced(f"delete {counted(len(annotation_ids), 'object')}", tuple(annotation_ids), ()),)

    def set_visible(self, annotation_id: str, visible: bool) -> Events:
        """Hide or show an annotation."""
        same = self._found(annotation_id).visible == visible
        return () if same else (log.VisibilityChanged(annotation_id, visible),)

    def reclass(self, annotation_id: str, class_id: int) -> Events:
        """Give an annotation another class."""
        same = self._unlocked(annotation_id).class_id == class_id
        return () if same else (log.Reclassed(annotation_id, class_id),)

    def describe(self, described: log.Described) -> Events:
        """Change what is said about annotations; of a locked one only whether it is locked or shown."""
        says_more = (described.class_id, described.note, described.attributes) != (None, None, None)
        for annotation_id in described.annotation_ids:
            find = self._unlocked if says_more and described.locked is not False else self._found
            replace(
                find(annotation_id), note=described.note or "", attributes=described.attributes or ()
            )  # checks them
        return (described,)

    def reshape(self, annotation_id: str, work: HandWork) -> Events:
        """Set pixels of a finished object by hand."""
        annotation = self._unlocked(annotation_id)
        check_hand_work(work, self._view.size)
        mask = work.over(annotation.mask)
        if mask is None or mask.area == 0:
            raise LabelError("Nothing of the object would be left. Delete it instead.")
        known = work.after(annotation.by_hand)
        return (log.AnnotationsReplaced("move an outline", (), (replace(annotation, mask=mask, by_hand=known),)),)

    def merge(self, annotation_ids: Sequence[str]) -> Events:
        """Make one object of several; it has the id and the class of the first."""
        merged_ones = [self._unlocked(annotation_id) for annotation_id in dict.fromkeys(annotation_ids)]
        if len(merged_ones) < 2:
            raise LabelError("Select at least two objects to merge them.")
        first, *others = merged_ones
        merged = self._made_of(
            first,
            _pixels_of(merged_ones),
            score=min(a.score for a in merged_ones),
            seconds=sum(a.seconds for a in merged_ones),
            clicks=sum(a.clicks for a in merged_ones),
        )
        what = f"merge {len(merged_ones)} objects"
        return (log.AnnotationsReplaced(what, tuple(a.id for a in others), (merged,)),)

    def split(self, annotation_id: str) -> Events:
        """Make an object of each part that hangs together; the largest keeps the id."""
        annotation = self._unlocked(annotation_id)
        parts = annotation.mask.components(MAX_PARTS + 1)
        if len(parts) < 2:
            raise LabelError("The object is in one piece, so there is nothing to split.")
        if len(parts) > MAX_PARTS:
            raise LabelError(f"The object has more than {MAX_PARTS} parts. Drop its islands first, then split it.")
        ids = [annotation.id, *(new_annotation_id() for _ in parts[1:])]
        put = tuple(self._made_of(annotation, part, id=new_id) for new_id, part in zip(ids, parts, strict=True))
        return (log.AnnotationsReplaced(f"split into {len(parts)} objects", (), put),)

    def subtract_from(self, annotation_id: str, other_ids: Sequence[str]) -> Events:
        """Take the pixels of an object from others; one of which nothing is left goes."""
        taken = self._found(annotation_id)
        others = [self._unlocked(other_id) for other_id in other_ids if other_id != annotation_id]
        return self._overlap_taken(others, taken.mask)

    def subtract_others(self, annotation_id: str, other_ids: Sequence[str]) -> Events:
        """Take the pixels of others from an object."""
        annotation = self._unlocked(annotation_id)
        others = [self._found(other_id) for other_id in other_ids if other_id != annotation_id]
        if not others:
            raise LabelError("There is no other object to take pixels from.")
        taken = _pixels_of(others)
        if annotation.mask.minus(taken).area == 0:
            raise LabelError("Nothing of the object would be left. Delete it instead.")
        return self._overlap_taken([annotation], taken)

    def order(self, annotation_id: str, to: Order) -> Events:
        """Move an object over or under others: by one, or all the way."""
        ids = [a.id for a in self._state.annotations]
        at = ids.index(self._found(annotation_id).id)
        last = len(ids) - 1
        position = {"front": last, "back": 0, "forward": min(at + 1, last), "backward": max(at - 1, 0)}[to]
        return () if position == at else (log.Reordered(annotation_id, position),)

    def paste(self, annotations: Sequence[Annotation]) -> Events:
        """Put copies of objects of another image on top."""
        size = self._view.size
        if any((a.mask.height, a.mask.width) != (size.height, size.width) for a in annotations):
            raise LabelError("Objects can only be copied to an image of the same size.")
        now = datetime.fromtimestamp(self._clock(), UTC)
        put = tuple(replace(a, id=new_annotation_id(), created_at=now, locked=False) for a in annotations)
        return (log.AnnotationsReplaced(f"paste {counted(len(put), 'object')}", (), put),) if put else ()

    def use_model(self, name: str) -> Events:
        """Let another model answer; the draft's prompts are run again, in order."""
        if name == self.model:
            return ()
        draft = self._state.draft
        check_prompt_kinds(draft.prompts_until(len(draft.steps)), self._spec(name))
        return (log.ModelChanged(name),)

    def do(self, events: Events) -> SessionView:
        """Record what a verb decided, then fold it: what the recorder refuses did not happen."""
        if events:
            self._record(*events)
            self._happened(events)
        return self._view

    # ---- on the event loop, and the model's work

    async def perform(
        self, verb: Verb, tab_id: str, seen: int, *, on_mask: bool = False, seen_coarse: bool = False
    ) -> SessionView:
        """Do one verb; it is recorded on another thread, since that waits for the disk; then the model catches up.

        The view is the one right after the verb, to be given to :meth:`watch`.

        Args:
            verb: to be done.
            tab_id: who says so.
            seen: the revision which that tab last saw.
            on_mask: it works on the draft's mask: wait for the one under way first, and decide on a thread, since
                that may take a while on a large image.
            seen_coarse: that tab has a coarse mask of its own already, so that none is made here.

        Raises:
            StaleError: another tab changed the image since.
            SamrefError: the verb is refused; nothing was changed.
        """
        self._at_work += 1
        task = asyncio.create_task(self._perform(verb, tab_id, seen, on_mask, seen_coarse))
        task.add_done_callback(self._performed)
        return await asyncio.shield(task)  # whoever asked may go away; what is recorded must be folded all the same

    async def _perform(self, verb: Verb, tab_id: str, seen: int, on_mask: bool, seen_coarse: bool) -> SessionView:
        async with self._turn:
            self._check_fresh(tab_id, seen)
            if on_mask:
                await self._settled()
            events = await asyncio.to_thread(verb, self) if on_mask else verb(self)
            if events:
                await asyncio.to_thread(self._record, *events)
                self._happened(events)
                draft = self._state.draft
                self._seen_coarse = draft.steps[draft.cursor - 1] if seen_coarse and draft.cursor else None
                self._note_writer(tab_id)
                self._notify()
            self.catch_up()
            return self._view

    async def look(self, at: Callable[[Session], T]) -> T:
        """What something would come to once the mask under way is there, worked out on a thread; nothing changes."""
        async with self._turn:
            await self._settled()
            return await asyncio.to_thread(at, self)

    def _performed(self, task: asyncio.Task[SessionView]) -> None:
        self._at_work -= 1
        if not task.cancelled():
            task.exception()  # told to whoever asked, if they are still there

    async def absorb(self, event: Event) -> None:
        """Take note of an event that is in the log already (an import into the workspace)."""
        async with self._turn:
            self._fold((event,))
            self._view = self._build_view()
            self._note_writer(NOBODY)
            self._notify()

    async def take_note(self, event: Event, length: Callable[[], int]) -> None:
        """Take note of an event that is in the log already and touches neither the draft nor an annotation.

        No tab has to look again because of it. ``length`` reads how long the log is: whoever has read all of it since
        knows the event already.
        """
        async with self._turn:
            if self._revision < await asyncio.to_thread(length):
                self._fold((event,))
                self._view = self._build_view()
                self._notify()

    def catch_up(self) -> None:
        """Have computed what is missing, and nothing that is not wanted any more."""
        if not self._is_busy:
            self._failure = None
            if self.question is not None or not self._engine.is_embedded(self.image, self.model):
                self._work = asyncio.get_running_loop().create_task(self._catch_up())
        elif not _same(self._asked, self.question):
            self._engine.cancel(self.session_id)

    async def watch(self, after: SessionView | None = None) -> AsyncIterator[tuple[SessionView, bool]]:
        """The view each time there is something new to show, and whether it is the last for now.

        Args:
            after: what was seen already; everything is new unless given.

        Raises:
            Exception: what the model's work failed with.
        """
        shown = after
        while True:
            if self._failure is not None:
                raise self._failure
            view, is_busy, changed = self._view, self._is_busy, self._changed
            if view is not shown or not is_busy:
                yield view, not is_busy
                if not is_busy:
                    return
                shown = view
            else:
                await changed.wait()

    def note(self, question: Question, prediction: Prediction, *, is_last: bool = False) -> None:
        """Keep an answer if the step it belongs to is still there.

        Args:
            question: that was asked.
            prediction: the answer of one stage.
            is_last: whether no further stage follows, which some models decide from click to click.
        """
        is_final = is_last or prediction.stage == self._spec(question.model).stages[-1]
        draft, number = self._state.draft, question.number
        if self.model != question.model or len(draft.steps) < number or draft.steps[number - 1] is not question.step:
            return
        answers = self._memo[id(question.step)] = self._memo.pop(id(question.step), _Answers(question.step))
        if is_final:
            answers.final, answers.state = prediction, prediction.state
            for old in [one for one in self._memo.values() if one.state is not None][:-KEPT_STATES]:
                old.state = None
        else:
            answers.coarse = prediction
        while len(self._memo) > KEPT_ANSWERS:
            del self._memo[next(iter(self._memo))]
        if number == draft.answered_at(draft.cursor) and number != draft.accepted_at:
            self._view = self._build_view()

    async def _catch_up(self) -> None:
        """Ask what is missing, step by step; runs as the session's own task."""
        try:
            while True:
                self._asked = question = self.question
                model = self.model
                try:
                    if not self._engine.is_embedded(self.image, model):
                        self._encode_s = await self._engine.embed(self.image, model, owner=self.session_id)
                        self._view = self._build_view()
                        self._notify()
                    elif question is None:
                        return
                    else:
                        await self._ask(question)
                except SupersededError:
                    continue
                except Exception:
                    if _same(self.question, question):
                        raise  # otherwise it belongs to what nobody asks any more
        except Exception as error:  # noqa: BLE001 - told to whoever waits for the answer
            self._failure = error
        finally:
            self._work = None
            self._notify()

    async def _ask(self, question: Question) -> None:
        answers = self._engine.segment(
            self.image,
            question.model,
            question.prompts,
            question.state,
            corrected=question.corrected,
            final_only=question.step is self._seen_coarse,
            owner=self.session_id,
        )
        prediction = None
        async with aclosing(answers) as predictions:
            async for prediction in predictions:
                before = self._view
                self.note(question, prediction)
                if self._view is not before:
                    self._notify()
                if not _same(self.question, question):
                    return
        assert prediction is not None, "a model yields at least one mask"
        self.note(question, prediction, is_last=True)

    @property
    def _is_busy(self) -> bool:
        return self._work is not None

    async def _settled(self) -> None:
        while self._is_busy:
            self._engine.hurry(self.session_id)
            await self._changed.wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _check_fresh(self, tab_id: str, seen: int) -> None:
        if any(revision > seen for writer, revision in self._writers.items() if writer != tab_id):
            raise StaleError(
                "Another tab has changed this image since. You see it now as it is; do it again if you still want to."
            )

    def _note_writer(self, tab_id: str) -> None:
        self._writers[tab_id] = self._revision
        if len(self._writers) > MAX_WRITERS:  # the longest silent one becomes nobody
            oldest = min((writer for writer in self._writers if writer != NOBODY), key=lambda w: self._writers[w])
            self._writers[NOBODY] = max(self._writers[NOBODY], self._writers.pop(oldest))

    # ---- inside

    def _happened(self, events: Events) -> None:
        self._active_s = self._active_seconds()
        self._last_verb_at = self._clock()
        self._fold(events)
        edited = self._state.draft.edited
        if edited is not None and isinstance(events[-1], log.EditStarted):
            self._active_s = edited.seconds
        self._view = self._build_view()

    def _fold(self, events: Iterable[Event]) -> None:
        """Take in events: the state, which answers still belong to it, and which annotations they changed."""
        for event in events:
            before = self._state
            self._history = log.apply(self._history, event)
            self._revision += 1
            if self._revision == 1 or self._state.annotations is not before.annotations:  # a new image has none
                self._note_changes(before.annotations)

    def _note_changes(self, before: tuple[Annotation, ...]) -> None:
        old = {annotation.id: annotation for annotation in before}
        self._annotations_revision = self._revision
        self._changed_at = MappingProxyType(
            {
                new.id: self._changed_at[new.id] if old.get(new.id) is new else self._revision
                for new in self._state.annotations
            }
        )

    def _answers(self, number: int) -> _Answers:
        """What the model answered to a step so far."""
        step = self._state.draft.steps[number - 1]
        return self._memo.get(id(step)) or _Answers(step)

    def _memory(self, number: int) -> DecoderState | None:
        """What the model remembers after a step; None where it must be asked (again) first."""
        answered = self._state.draft.answered_at(number)
        if answered == 0 or self._state.draft.chosen_at(number) is not None:
            return DecoderState()
        return self._answers(answered).state

    def _is_settled(self, number: int) -> bool:
        """Whether what a step shows will stay."""
        draft = self._state.draft
        answered = draft.answered_at(number)
        if answered in (0, draft.accepted_at) or draft.chosen_at(number) is not None:
            return True
        return self._answers(answered).final is not None

    def _answered(self, number: int) -> tuple[Rle | None, Prediction | None]:
        """What the model gave for a step, before what was set by hand; the answer too where it is one."""
        draft = self._state.draft
        answered, chosen = draft.answered_at(number), draft.chosen_at(number)
        if draft.edited is not None and draft.accepted_at == answered:
            return draft.edited.mask, None
        if chosen is not None:
            return chosen.mask, None
        if answered == 0:
            return draft.mask, None
        answers = self._answers(answered)
        answer = answers.final or answers.coarse
        return (None, None) if answer is None else (answer.mask, answer)

    def _shown(self, number: int) -> Rle | None:
        """The mask of a step, with the pixels that were set by hand; None while there is none."""
        mask, hand = self._answered(number)[0], self._state.draft.hand_until(number)
        return mask if hand is None else hand.over(mask)

    def _drawn(self, act: str) -> Rle:
        """The draft's mask, to be worked on by hand."""
        mask = self._view.draft.mask
        if mask is None or mask.area == 0:
            raise SessionError(f"There is no mask to {act}. Click an object first.")
        return mask

    def _others(self) -> list[Annotation]:
        """The objects that are shown, without the one that is being edited."""
        edited = self._state.draft.edited
        return [a for a in self._state.annotations if a.visible and (edited is None or a.id != edited.id)]

    def _painted_over(self, mask: Rle, how: CleanUp) -> Events:
        """The draft's mask becomes ``mask``: the pixels that differ are set by hand."""
        _check_steps(self._state.draft, 1)
        work = HandWork.between(self._view.draft.mask, mask)
        return () if work.is_empty else (log.HandPainted(work.added, work.removed, how),)

    def _found(self, annotation_id: str) -> Annotation:
        return find_annotation(self._state.annotations, annotation_id)

    def _unlocked(self, annotation_id: str) -> Annotation:
        annotation = self._found(annotation_id)
        if annotation.locked:
            raise LabelError("That object is locked. Unlock it first.")
        return annotation

    def _made_of(self, annotation: Annotation, mask: Rle, **changes: Any) -> Annotation:
        """An annotation with another mask, which its prompts do not tell any more."""
        return replace(annotation, mask=mask, prompts=Prompts(), by_hand=None, **changes)

    def _overlap_taken(self, others: Iterable[Annotation], taken: Rle) -> Events:
        events = self._taken_from(others, taken)
        if not events:
            raise LabelError("The objects do not overlap, so there is nothing to take.")
        return events

    def _taken_from(self, others: Iterable[Annotation], taken: Rle) -> Events:
        """Others without those pixels."""
        gone, put = [], []
        for other in others:
            left = other.mask.minus(taken)
            if left.area == 0:
                gone.append(other.id)
            elif left != other.mask:
                known = HandWork(None, other.mask.intersection(taken)).after(other.by_hand)
                put.append(replace(other, mask=left, by_hand=known))
        if not gone and not put:
            return ()
        what = f"take the overlap from {counted(len(gone) + len(put), 'object')}"
        return (log.AnnotationsReplaced(what, tuple(gone), tuple(put)),)

    def _spec(self, model: str) -> ModelSpec:
        if model not in self._specs:
            self._specs[model] = self._engine.spec(model)
        return self._specs[model]

    def _active_seconds(self) -> float:
        """Time spent on the object being drawn, long pauses not counted."""
        if not self._state.draft.is_open:
            return 0.0
        return self._active_s + min(max(0.0, self._clock() - self._last_verb_at), IDLE_GAP_S)

    def _build_view(self) -> SessionView:
        state, model = self._state, self.model
        assert state.size is not None
        draft = self._draft_view(state.draft)
        return SessionView(
            revision=self._revision,
            phase=self._phase(state.draft, draft),
            digest=state.digest,
            file_name=state.file_name,
            size=state.size,
            draft=draft,
            annotations=state.annotations,
            annotations_revision=self._annotations_revision,
            changed_at=self._changed_at,
            model=model,
            model_note=self._specs[model].note if model in self._specs else "",
            undo=self._history.undo,
            redo=self._history.redo,
            encode_seconds=self._encode_s,
            proposed=state.proposed,
        )

    def _phase(self, draft: DraftState, shown: DraftView) -> Phase:
        if shown.mask is not None:
            return "refined" if self._is_settled(draft.cursor) else "coarse"
        return "ready" if not draft.is_open and self._engine.is_embedded(self.image, self.model) else "preparing"

    def _draft_view(self, draft: DraftState) -> DraftView:
        hand = draft.hand_until(draft.cursor)
        editing = None if draft.edited is None else draft.edited.id
        view = DraftView(draft.prompts, hand, editing=editing, bases=_bases_of(draft))
        mask, answer = self._answered(draft.cursor)
        shown = mask if hand is None else hand.over(mask)
        if shown is None:
            return view
        if answer is None:  # a rough mask, an accepted or a chosen one, or a stroke on nothing
            edited, chosen = draft.edited, draft.chosen_at(draft.cursor)
            score = edited.score if edited is not None and mask == edited.mask else 1.0
            score = score if chosen is None else chosen.score
            return replace(view, mask=shown, score=score, stage="refined")
        answers = self._answers(draft.answered_at(draft.cursor))
        return replace(
            view,
            mask=shown,
            window=answer.window if hand is None else None,
            coarse=_by_hand(answers.coarse, hand) if answers.final is not None else None,
            score=answer.score,
            stage=answer.stage,
            seconds=answer.seconds,
        )


def _bases_of(draft: DraftState) -> tuple[int, ...] | None:
    """See :attr:`DraftView.bases`."""
    steps = draft.steps[: draft.cursor]
    is_said = draft.mask is None and draft.hand is None and all(step.prompt is not None for step in steps)
    return tuple(step.basis for step in steps) if is_said else None


def _pixels_of(annotations: Sequence[Annotation]) -> Rle:
    """The pixels of any of some objects; there is at least one."""
    return union_of([annotation.mask for annotation in annotations])


def _by_hand(answer: Prediction | None, hand: HandWork | None) -> Prediction | None:
    """An answer with the pixels that were set by hand."""
    if answer is None or hand is None:
        return answer
    mask = hand.over(answer.mask)
    assert mask is not None, "there was one"
    return replace(answer, mask=mask, window=MaskWindow.from_rle(mask))


def _boxes_about(click: Click, answer: Prediction, size: ImageSize) -> tuple[Box, Box]:
    """A box of half the object's sides about a click, within the object's; one of twice its sides about the object."""
    x, y, width, height = answer.window.box_xywh
    half_width, half_height = max(1.0, width / 2), max(1.0, height / 2)
    x0 = min(max(click.x + 0.5 - half_width / 2, x), x + width - half_width)
    y0 = min(max(click.y + 0.5 - half_height / 2, y), y + height - half_height)
    part = Box(x0, y0, x0 + half_width, y0 + half_height)
    group = Box(
        max(0.0, x - half_width),
        max(0.0, y - half_height),
        min(float(size.width), x + width + half_width),
        min(float(size.height), y + height + half_height),
    )
    return part, group


def _check_steps(draft: DraftState, more: int) -> None:
    if draft.cursor + more > MAX_STEPS:
        raise PromptError(
            f"This object has {MAX_STEPS} prompts and strokes already. Accept it and edit it again to go on."
        )


def _same(one: Question | None, other: Question | None) -> bool:
    """Whether two questions are the same one."""
    if one is None or other is None:
        return one is other
    return one.step is other.step and one.number == other.number and one.model == other.model
