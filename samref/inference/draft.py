"""The object being drawn: prompts, what the model answered to each, and how far one has gone back.

:mod:`samref.labels.events` says what an event does to the prompts; this file adds the answers. The rule by which a log
gives the same masks again, whatever was superseded on the way:

    the answer to step k = the model, given all prompts up to k and the memory of step ``basis(k)``

``basis`` is fixed when the prompt is accepted: it is the newest step that has its final answer at that moment, 0 if
none has. It is recorded with the prompt. A step that was overtaken before its final answer keeps its prompt and has no
answer; going back to it computes the one that the rule says. After a change of model, and for an annotation that is
edited again, every step's basis is the step before it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from torch import Tensor

from samref.core.masks import Rle
from samref.core.prompts import Prompt, Prompts
from samref.inference.limits import KEPT_STATES
from samref.inference.predictor import Prediction
from samref.labels.annotations import find_annotation
from samref.labels.events import Cleared, Committed, EditStarted, Event, ImageState, MaskGiven, ModelChanged, Prompted
from samref.models.interface import DecoderState, Stage

__all__ = ["Answer", "Draft", "Step", "follow", "memory_bytes"]

_serials = itertools.count()


@dataclass(frozen=True, slots=True)
class Answer:
    """A mask to show, with where it came from.

    Attributes:
        mask: of the image's size.
        score: the model's own IoU estimate.
        stage: which part of the model answered.
        seconds: model time from the prompt to this mask; 0 for a mask that was not computed.
    """

    mask: Rle
    score: float
    stage: Stage
    seconds: float

    @classmethod
    def from_prediction(cls, prediction: Prediction) -> Answer:
        return cls(prediction.mask, prediction.score, prediction.stage, prediction.seconds)


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One prompt and what came of it.

    Attributes:
        prompt: what was said.
        basis: number of the step whose memory the model starts from; 0 is the beginning.
        given: a mask accepted earlier, shown instead of a computed one (an annotation that is edited again).
        coarse: the coarse stage's answer, if it came and was not the final one.
        final: the last stage's answer; None while it is missing.
        state: the model's memory after this step; None while it is missing, and where it was dropped to save room.
        serial: tells this step from every other one, also after it got its answers.
    """

    prompt: Prompt
    basis: int
    given: Answer | None = None
    coarse: Answer | None = None
    final: Answer | None = None
    state: DecoderState | None = None
    serial: int = field(default_factory=lambda: next(_serials))

    @property
    def answer(self) -> Answer | None:
        """What to show."""
        return self.given or self.final or self.coarse

    @property
    def is_settled(self) -> bool:
        """Whether what is shown will stay."""
        return self.given is not None or self.final is not None


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """Steps, of which the first ``cursor`` are done and the others can be redone.

    Attributes:
        steps: one for each prompt.
        cursor: number of the current step, from 1; 0 is before the first.
        start: the rough mask the draft began with, as what to show before the first step.
        editing: id of the annotation it will replace.
        clicks: prompts given so far, undone ones included.
    """

    steps: tuple[Step, ...] = ()
    cursor: int = 0
    start: Answer | None = None
    editing: str | None = None
    clicks: int = 0

    @property
    def current(self) -> Step | None:
        return self.steps[self.cursor - 1] if self.cursor else None

    @property
    def prompts(self) -> Prompts:
        """What has been said and not undone."""
        return self.prompts_until(self.cursor)

    @property
    def all_prompts(self) -> Prompts:
        """What has been said, undone or not."""
        return self.prompts_until(len(self.steps))

    @property
    def is_open(self) -> bool:
        """Whether there is anything to accept or give up."""
        return self.cursor > 0 or self.start is not None

    @property
    def answer(self) -> Answer | None:
        """What to show now."""
        return self.start if self.current is None else self.current.answer

    @property
    def next_basis(self) -> int:
        """The basis of a prompt that is given now."""
        settled = (number for number in range(self.cursor, 0, -1) if self.steps[number - 1].is_settled)
        return next(settled, 0)

    @property
    def missing(self) -> tuple[int, ...]:
        """Numbers of the steps to compute, in order, until the current one has its answer (and memory)."""
        step = self.current
        if step is None or step.final is not None or (step.given is not None and step.state is not None):
            return ()
        numbers = [self.cursor]
        while step.basis > 0:
            number, step = step.basis, self.steps[step.basis - 1]
            if step.state is not None:
                break
            numbers.append(number)
        return tuple(reversed(numbers))

    def prompts_until(self, number: int) -> Prompts:
        """All that was said up to a step."""
        mask = None if self.start is None else self.start.mask
        return Prompts(tuple(step.prompt for step in self.steps[:number]), mask)

    def state_before(self, number: int) -> DecoderState:
        """The memory that a step's answer starts from; it must have been computed."""
        basis = self.steps[number - 1].basis
        if basis == 0:
            return DecoderState()
        state = self.steps[basis - 1].state
        assert state is not None, "steps are computed in the order of `missing`"
        return state

    def holds(self, number: int, serial: int) -> bool:
        """Whether a step is still there, undone or not."""
        return number <= len(self.steps) and self.steps[number - 1].serial == serial

    def with_coarse(self, number: int, prediction: Prediction) -> Draft:
        """The draft with a stage's answer that is not the final one."""
        return self._with_step(number, replace(self.steps[number - 1], coarse=Answer.from_prediction(prediction)))

    def with_final(self, number: int, prediction: Prediction) -> Draft:
        """The draft with a step's final answer and memory; memories from long ago are dropped."""
        answer = Answer.from_prediction(prediction)
        draft = self._with_step(number, replace(self.steps[number - 1], final=answer, state=prediction.state))
        old = draft.cursor - KEPT_STATES
        if old <= 0 or all(step.state is None for step in draft.steps[:old]):
            return draft
        kept = tuple(replace(step, state=None) for step in draft.steps[:old])
        return replace(draft, steps=kept + draft.steps[old:])

    def _with_step(self, number: int, step: Step) -> Draft:
        return replace(self, steps=(*self.steps[: number - 1], step, *self.steps[number:]))

    @property
    def size_bytes(self) -> int:
        """Memory of masks and decoder states; states that share a tensor count it once."""
        answers = [self.start, *(a for step in self.steps for a in (step.given, step.coarse, step.final))]
        masks = sum(memory_bytes(answer.mask) for answer in answers if answer is not None)
        return masks + _state_bytes(step.state for step in self.steps)


def memory_bytes(mask: Rle) -> int:
    """Memory of a mask's run lengths."""
    return len(mask.counts)


def _state_bytes(states: Iterable[DecoderState | None]) -> int:
    tensors: dict[int, Tensor] = {}
    for state in states:
        if state is not None:
            for tensor in (state.low_res_logits, state.final_logits, state.refocused):
                if tensor is not None:
                    tensors[id(tensor)] = tensor
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def follow(draft: Draft, event: Event, before: ImageState, after: ImageState) -> Draft:
    """The draft after an event that led from one state of the image to the next."""
    now = after.draft
    if isinstance(event, EditStarted) and now is not before.draft:
        return _edited(after)
    if isinstance(event, MaskGiven) or (now is not before.draft and isinstance(event, Cleared | Committed)):
        return Draft(start=None if now.mask is None else _as_given(now.mask))
    if now is not before.draft and now.editing is None and draft.editing is not None:
        return Draft()  # the annotation that was being edited is gone
    changed = isinstance(event, ModelChanged) or (before.model is not None and after.model != before.model)
    if changed and draft.steps:
        draft = replace(draft, steps=tuple(Step(step.prompt, number) for number, step in enumerate(draft.steps)))
    if isinstance(event, Prompted):
        done = draft.steps[: draft.cursor]
        basis = len(done) if event.basis is None else min(event.basis, len(done))
        draft = replace(draft, steps=(*done, Step(event.prompt, basis)), clicks=draft.clicks + 1)
    return replace(draft, cursor=now.cursor)


def _edited(state: ImageState) -> Draft:
    """The draft that an annotation is edited in: its own mask is shown until something new is said."""
    assert state.draft.editing is not None
    annotation = find_annotation(state.annotations, state.draft.editing)
    accepted = _as_given(annotation.mask, annotation.score)
    prompts = state.draft.steps
    steps = tuple(Step(p, i, accepted if i == len(prompts) - 1 else None) for i, p in enumerate(prompts))
    rough = state.draft.mask
    start = None if rough is None else (accepted if rough == annotation.mask else _as_given(rough))
    return Draft(steps, len(steps), start, annotation.id, annotation.clicks)


def _as_given(mask: Rle, score: float = 1.0) -> Answer:
    return Answer(mask, score, "refined", 0.0)
