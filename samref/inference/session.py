"""One image being worked on: its log folded into a state, and the model's answers to the draft beside it.

:func:`samref.labels.events.apply` alone says what an event means. A session adds what the model answered to each step
of the draft, and the rule by which a log gives the same masks again, whatever was overtaken on the way:

    the answer to step k = the model, given all prompts up to k and the memory of step ``basis(k)``

``basis`` is fixed when the prompt is accepted: the newest step that has its final answer at that moment, 0 if none
has. It is recorded with the prompt. A step that was overtaken before its final answer keeps its prompt and has no
answer; going back to it computes the one that the rule says.

A verb decides: it checks and gives the events, without touching the model. They are recorded, then folded; a verb that
is refused left everything as it was. What the model still owes the state is :attr:`Session.question`; a task of the
event loop asks the engine for it, step by step, until nothing is missing. So ten quick clicks are ten steps in the
draft and in the log, while only the newest is computed to the end. Where the model fails, the prompt stays as a step
without a mask: it can be undone, and the next request tries it again.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Literal, Protocol, TypeAlias

from samref.core.geometry import ImageSize
from samref.core.masks import Rle
from samref.core.prompts import Prompt, Prompts, check_drawing_cost, check_prompts
from samref.errors import LabelError, ModelError, PromptError, SessionError, StaleError, SupersededError
from samref.inference.engine import Engine, StoredImage
from samref.inference.predictor import Prediction, check_prompt_kinds
from samref.labels import events as log
from samref.labels.annotations import Annotation, find_annotation, new_annotation_id
from samref.labels.events import DraftState, DraftStep, Event, ImageState
from samref.models.interface import DecoderState, ModelSpec, Stage

KEPT_STATES = 64
"""Decoder states one draft keeps; older steps keep their masks, their states are computed again when needed."""

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
        mask: what to show now.
        answer: the model's answer that ``mask`` is; None for a rough or accepted mask.
        coarse: the coarse stage's answer, where there is one beside the final one.
        score: the model's own IoU estimate for ``mask``.
        stage: which part of the model drew ``mask``.
        can_undo, can_redo: whether those verbs would be accepted.
        editing: id of the annotation that accepting would replace.
    """

    prompts: Prompts
    mask: Rle | None
    answer: Prediction | None
    coarse: Prediction | None
    score: float | None
    stage: Stage | None
    can_undo: bool
    can_redo: bool
    editing: str | None


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
        seconds: model time from the prompt to ``draft.mask``.
        encode_seconds: time the image's embedding took; 0 where this session did not need to make one.
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
    seconds: float
    encode_seconds: float


@dataclass(frozen=True, slots=True)
class Question:
    """What the model is to be asked for a step of the draft.

    Attributes:
        step: of the draft; the very object, since an equal one later is another question.
        number: of that step, from 1.
    """

    model: str
    step: DraftStep
    number: int
    prompts: Prompts
    state: DecoderState


@dataclass(slots=True)
class _Answers:
    """What the model answered to one step: the memo beside the fold."""

    coarse: Prediction | None = None
    final: Prediction | None = None
    state: DecoderState | None = None


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
        self._state = ImageState()
        self._answers: list[_Answers] = []
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
    def view(self) -> SessionView:
        """The session as it is now."""
        return self._view

    @property
    def state(self) -> ImageState:
        """The image after its log."""
        return self._state

    @property
    def is_idle(self) -> bool:
        """Whether nobody is at work here, so that it can be dropped from memory."""
        return self._at_work == 0 and not self._turn.locked() and not self._is_busy

    @property
    def size_bytes(self) -> int:
        """Memory of annotations, masks and decoder states; a tensor that states share counts once."""
        predictions = [p for answers in self._answers for p in (answers.coarse, answers.final) if p is not None]
        masks = sum(len(prediction.mask.counts) for prediction in predictions)
        finished = sum(len(annotation.mask.counts) for annotation in self._state.annotations)
        states = [answers.state for answers in self._answers if answers.state is not None]
        held = [t for state in states for t in (state.low_res_logits, state.final_logits, state.refocused)]
        tensors = {id(tensor): tensor for tensor in held if tensor is not None}
        return finished + masks + sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())

    @property
    def question(self) -> Question | None:
        """What to ask next until the current step has its answer (and its memory); None where nothing is missing."""
        draft, answers = self._state.draft, self._answers
        number = draft.cursor
        if number == 0 or answers[number - 1].final is not None:
            return None
        if draft.accepted_at == number and answers[number - 1].state is not None:
            return None
        while (basis := draft.steps[number - 1].basis) > 0 and answers[basis - 1].state is None:
            number = basis
        state = answers[basis - 1].state if basis else None
        step = draft.steps[number - 1]
        return Question(self.model, step, number, draft.prompts_until(number), state or DecoderState())

    # ---- verbs

    def prompt(self, *prompts: Prompt) -> Events:
        """Add prompts to the draft, in order, all or none.

        Raises:
            PromptError: they do not fit the image or the model; nothing was changed.
        """
        if not prompts:
            raise PromptError("Say where the object is: give at least one click, box, scribble or polygon.")
        draft, size, model = self._state.draft, self._view.size, self.model
        said = Prompts((*draft.prompts.items, *prompts), draft.mask)
        check_prompts(said, size)
        check_drawing_cost(said.items, size)
        check_prompt_kinds(said, self._spec(model))
        basis = next((number for number in range(draft.cursor, 0, -1) if self._is_settled(number)), 0)
        return tuple(log.Prompted(prompt, model, basis) for prompt in prompts)

    def undo(self) -> Events:
        """One step back: the step before, with its own mask and memory."""
        if self._state.draft.cursor == 0:
            raise SessionError("There is nothing to undo.")
        return (log.Undone(),)

    def redo(self) -> Events:
        """One step forward again."""
        if self._state.draft.cursor == len(self._state.draft.steps):
            raise SessionError("There is nothing to redo.")
        return (log.Redone(),)

    def clear(self) -> Events:
        """Give up the draft; an annotation that was being edited stays as it was."""
        draft = self._state.draft
        return (log.Cleared(),) if draft.steps or draft.mask is not None else ()

    def commit(self, class_id: int, author: str = "") -> Events:
        """Accept the draft's mask, as it is shown now, as an annotation."""
        draft, shown = self._state.draft, self._view.draft
        if shown.mask is None:
            raise SessionError(
                "The mask is not there yet. Wait a moment and accept it then."
                if draft.is_open
                else "There is nothing to accept. Click an object first."
            )
        if shown.mask.area == 0:
            raise LabelError("The mask is empty, so there is nothing to accept. Click inside the object.")
        assert shown.score is not None, "what is shown has a score"
        accepted = Annotation(
            id=new_annotation_id() if draft.edited is None else draft.edited.id,
            class_id=class_id,
            mask=shown.mask,
            prompts=draft.prompts,
            model=self.model,
            score=shown.score,
            created_at=datetime.fromtimestamp(self._clock(), UTC),
            author=author,
            seconds=self._active_seconds(),
            clicks=draft.clicks,
        )
        return (log.Committed(accepted),)

    def edit(self, annotation_id: str) -> Events:
        """Start a draft from an annotation: its mask is shown, its prompts are steps that can be undone."""
        if self._state.draft.is_open:
            raise SessionError("Another object is being drawn. Accept it or give it up first.")
        annotation = find_annotation(self._state.annotations, annotation_id)
        prompts = annotation.prompts if annotation.prompts.items else Prompts(mask=annotation.mask)
        check_prompt_kinds(prompts, self._spec(self.model))
        return (log.EditStarted(annotation_id),)

    def delete(self, annotation_id: str) -> Events:
        """Delete an annotation, and the draft if it was an edit of it."""
        find_annotation(self._state.annotations, annotation_id)
        return (log.Deleted(annotation_id),)

    def set_visible(self, annotation_id: str, visible: bool) -> Events:
        """Hide or show an annotation."""
        same = find_annotation(self._state.annotations, annotation_id).visible == visible
        return () if same else (log.VisibilityChanged(annotation_id, visible),)

    def reclass(self, annotation_id: str, class_id: int) -> Events:
        """Give an annotation another class."""
        same = find_annotation(self._state.annotations, annotation_id).class_id == class_id
        return () if same else (log.Reclassed(annotation_id, class_id),)

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

    async def perform(self, verb: Verb, tab_id: str, seen: int, *, when_settled: bool = False) -> SessionView:
        """Do one verb; it is recorded on another thread, since that waits for the disk; then the model catches up.

        The view is the one right after the verb, to be given to :meth:`watch`.

        Args:
            verb: to be done.
            tab_id: who says so.
            seen: the revision which that tab last saw.
            when_settled: wait for the mask under way first.

        Raises:
            StaleError: another tab changed the image since.
            SamrefError: the verb is refused; nothing was changed.
        """
        self._at_work += 1
        task = asyncio.create_task(self._perform(verb, tab_id, seen, when_settled))
        task.add_done_callback(self._performed)
        return await asyncio.shield(task)  # whoever asked may go away; what is recorded must be folded all the same

    async def _perform(self, verb: Verb, tab_id: str, seen: int, when_settled: bool) -> SessionView:
        async with self._turn:
            self._check_fresh(tab_id, seen)
            if when_settled:
                await self._settled()
            events = verb(self)
            if events:
                await asyncio.to_thread(self._record, *events)
                self._happened(events)
                self._note_writer(tab_id)
                self._notify()
            self.catch_up()
            return self._view

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
        answers = self._answers[number - 1]
        if is_final:
            answers.final, answers.state = prediction, prediction.state
            for old in self._answers[: max(0, min(number - 1, draft.cursor - KEPT_STATES))]:
                old.state = None
        else:
            answers.coarse = prediction
        if number == draft.cursor and number != draft.accepted_at:
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
            self.image, question.model, question.prompts, question.state, owner=self.session_id
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
            before, self._state = self._state, log.apply(self._state, event)
            self._revision += 1
            self._keep_answers(before)
            if self._revision == 1 or self._state.annotations is not before.annotations:  # a new image has none
                self._note_changes(before.annotations)

    def _keep_answers(self, before: ImageState) -> None:
        """Keep the answers to the steps that are still there; steps are only ever cut off, appended or all replaced."""
        old, new = before.draft, self._state.draft
        if old is new:
            return
        pairs = zip(old.steps, new.steps, strict=False) if old.mask is new.mask else ()
        kept = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] is pair[1], pairs))
        self._answers = [*self._answers[:kept], *(_Answers() for _ in new.steps[kept:])]

    def _note_changes(self, before: tuple[Annotation, ...]) -> None:
        old = {annotation.id: annotation for annotation in before}
        self._annotations_revision = self._revision
        self._changed_at = MappingProxyType(
            {
                new.id: self._changed_at[new.id] if old.get(new.id) is new else self._revision
                for new in self._state.annotations
            }
        )

    def _is_settled(self, number: int) -> bool:
        """Whether what a step shows will stay."""
        return self._state.draft.accepted_at == number or self._answers[number - 1].final is not None

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
            seconds=0.0 if draft.answer is None else draft.answer.seconds,
            encode_seconds=self._encode_s,
        )

    def _phase(self, draft: DraftState, shown: DraftView) -> Phase:
        if shown.mask is not None:
            return "refined" if draft.cursor == 0 or self._is_settled(draft.cursor) else "coarse"
        return "ready" if not draft.is_open and self._engine.is_embedded(self.image, self.model) else "preparing"

    def _draft_view(self, draft: DraftState) -> DraftView:
        empty = DraftView(
            prompts=draft.prompts,
            mask=None,
            answer=None,
            coarse=None,
            score=None,
            stage=None,
            can_undo=draft.cursor > 0,
            can_redo=draft.cursor < len(draft.steps),
            editing=None if draft.edited is None else draft.edited.id,
        )
        if draft.edited is not None and draft.accepted_at == draft.cursor:
            # Shown as it was accepted, in one piece.
            return replace(empty, mask=draft.edited.mask, score=draft.edited.score, stage="refined")
        if draft.cursor == 0:
            if draft.mask is None:
                return empty
            accepted = draft.edited is not None and draft.edited.mask == draft.mask
            score = draft.edited.score if draft.edited is not None and accepted else 1.0
            return replace(empty, mask=draft.mask, score=score, stage="refined")
        answers = self._answers[draft.cursor - 1]
        answer = answers.final or answers.coarse
        if answer is None:
            return empty
        coarse = answers.coarse if answers.final is not None else None
        return replace(empty, mask=answer.mask, answer=answer, coarse=coarse, score=answer.score, stage=answer.stage)


def _same(one: Question | None, other: Question | None) -> bool:
    """Whether two questions are the same one."""
    if one is None or other is None:
        return one is other
    return one.step is other.step and one.number == other.number and one.model == other.model
