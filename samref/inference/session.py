"""One person at one image: the fold over prompts, with undo, redo, objects and a log.

Every verb does its bookkeeping at once, on the calling thread: it checks, records its event, changes the draft and
gives the view, without touching the model. The model's work is an iterator apart, for the device's worker:
:meth:`Session.catch_up` computes what the present state still lacks (the embedding, the current step's masks).
:meth:`Session.prompt` gives that iterator; after every other verb ask :attr:`Session.needs_work`.

    scheduler.submit(session.session_id, session.prompt(Click(3, 4)))

So ten quick clicks are ten steps in the draft and in the log, while only the newest is computed to the end; see
:mod:`samref.inference.draft` for why a replay gives the same masks nevertheless. Where the model fails, the prompt
stays as a step without a mask: it can be undone, and the next ``catch_up`` tries it again.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from samref.core.images import DecodedImage
from samref.core.masks import Rle
from samref.core.prompts import Prompt, Prompts, check_drawing_cost, check_prompts
from samref.errors import LabelError, PromptError, SessionError
from samref.inference.predictor import check_prompt_kinds
from samref.inference.session_core import Recorder, SessionCore
from samref.inference.views import SessionView
from samref.labels import events as log
from samref.labels.annotations import Annotation, find_annotation, new_annotation_id
from samref.labels.events import Event

__all__ = ["Recorder", "Session", "SessionView"]


class Session(SessionCore):
    """An image, its finished objects and the one being drawn. Any thread may call any method.

    Each verb gives the view after it. It raises, records nothing and changes nothing when it is refused: with the
    errors named below, :class:`SessionError` when no image is open, :class:`SessionExpiredError` when the session was
    closed (rebuild it with :meth:`replay`), and whatever the recorder raises.
    """

    def open_image(self, image: DecodedImage, file_name: str) -> SessionView:
        """Begin with an image; opening the same one again changes nothing.

        Raises:
            SessionError: another image is open here.
        """
        with self._verb(opened=False):
            state = self._now.state
            if state.size is None:
                self._predictor()
                self._do(log.ImageOpened(image.digest, file_name, image.size.height, image.size.width))
                self._image = image
            elif state.digest != image.digest:
                raise SessionError("Another image is open in this session. Start a new session for this one.")
            return self.view

    def prompt(self, *prompts: Prompt) -> Iterator[SessionView]:
        """Add prompts to the draft, in order, and give the iterator that computes the newest one's masks.

        They are accepted and recorded when this returns, all or none, whether or not the iterator is ever used.

        Returns:
            Views as of :meth:`catch_up`: coarse, then refined.

        Raises:
            PromptError: they do not fit the image or the model; nothing was changed.
        """
        with self._verb():
            if not prompts:
                raise PromptError("Say where the object is: give at least one click, box, scribble or polygon.")
            draft, size = self._now.draft, self._now.state.size
            assert size is not None
            said = Prompts((*draft.prompts.items, *prompts), draft.prompts.mask)
            check_prompts(said, size)
            check_drawing_cost(said.items, size)
            check_prompt_kinds(said, self._predictor().spec)
            basis = draft.next_basis
            self._do(*(log.Prompted(prompt, self.model, basis) for prompt in prompts))
        return self.catch_up()

    def give_mask(self, mask: Rle) -> SessionView:
        """Start a draft from a rough mask.

        Raises:
            PromptError: it is of another size, or the model takes no masks.
            SessionError: another object is being drawn.
        """
        with self._verb():
            size = self._now.state.size
            assert size is not None
            self._check_no_draft()
            check_prompts(Prompts(mask=mask), size)
            check_prompt_kinds(Prompts(mask=mask), self._predictor().spec)
            return self._do(log.MaskGiven(mask))

    def undo(self) -> SessionView:
        """One step back: the step before, with its own mask and memory.

        Raises:
            SessionError: there is nothing to undo.
        """
        with self._verb():
            if self._now.draft.cursor == 0:
                raise SessionError("There is nothing to undo.")
            return self._do(log.Undone())

    def redo(self) -> SessionView:
        """One step forward again.

        Raises:
            SessionError: there is nothing to redo.
        """
        with self._verb():
            if self._now.draft.cursor == len(self._now.draft.steps):
                raise SessionError("There is nothing to redo.")
            return self._do(log.Redone())

    def clear(self) -> SessionView:
        """Give up the draft; an annotation that was being edited stays as it was."""
        with self._verb():
            draft = self._now.draft
            return self._do(log.Cleared()) if draft.steps or draft.start else self.view

    def commit(self, class_id: int, author: str = "") -> SessionView:
        """Accept the draft's mask, as it is shown now, as an annotation.

        Raises:
            SessionError: there is no mask yet.
            LabelError: the mask is empty, or the recorder refuses it (no such class, ...).
        """
        with self._verb():
            draft = self._now.draft
            answer = draft.answer
            if answer is None:
                raise SessionError(
                    "The mask is not there yet. Wait a moment and accept it then."
                    if draft.is_open
                    else "There is nothing to accept. Click an object first."
                )
            if answer.mask.area == 0:
                raise LabelError("The mask is empty, so there is nothing to accept. Click inside the object.")
            accepted = Annotation(
                id=draft.editing or new_annotation_id(),
                class_id=class_id,
                mask=answer.mask,
                prompts=draft.prompts,
                model=self.model,
                score=answer.score,
                created_at=datetime.fromtimestamp(self._clock(), UTC),
                author=author,
                seconds=self._active_seconds(),
                clicks=draft.clicks,
            )
            return self._do(log.Committed(accepted))

    def edit(self, annotation_id: str) -> SessionView:
        """Start a draft from an annotation: its mask is shown, its prompts are steps that can be undone.

        Raises:
            LabelError: there is no such annotation.
            PromptError: the model does not take its prompts.
            SessionError: another object is being drawn.
        """
        with self._verb():
            self._check_no_draft()
            annotation = find_annotation(self._now.state.annotations, annotation_id)
            prompts = annotation.prompts if annotation.prompts.items else Prompts(mask=annotation.mask)
            check_prompt_kinds(prompts, self._predictor().spec)
            self._do(log.EditStarted(annotation_id))
            self._active_s = annotation.seconds
            return self.view

    def delete(self, annotation_id: str) -> SessionView:
        """Delete an annotation, and the draft if it was an edit of it.

        Raises:
            LabelError: there is no such annotation.
        """
        with self._verb():
            find_annotation(self._now.state.annotations, annotation_id)
            return self._do(log.Deleted(annotation_id))

    def set_visible(self, annotation_id: str, visible: bool) -> SessionView:
        """Hide or show an annotation.

        Raises:
            LabelError: there is no such annotation.
        """
        with self._verb():
            annotation = find_annotation(self._now.state.annotations, annotation_id)
            same = annotation.visible == visible
            return self.view if same else self._do(log.VisibilityChanged(annotation_id, visible))

    def reclass(self, annotation_id: str, class_id: int) -> SessionView:
        """Give an annotation another class.

        Raises:
            LabelError: there is no such annotation, or the recorder knows no such class.
        """
        with self._verb():
            annotation = find_annotation(self._now.state.annotations, annotation_id)
            same = annotation.class_id == class_id
            return self.view if same else self._do(log.Reclassed(annotation_id, class_id))

    def use_model(self, name: str) -> SessionView:
        """Let another model answer; the draft's prompts are run again, in order, by :meth:`catch_up`.

        Raises:
            ModelError: there is no such model, or its weights are missing.
            PromptError: it does not take the draft's prompts.
        """
        with self._verb():
            if name == self.model:
                return self.view
            check_prompt_kinds(self._now.draft.all_prompts, self._predictor(name).spec)
            return self._do(log.ModelChanged(name))

    def absorb(self, *events: Event) -> SessionView:
        """Take note of events that were recorded elsewhere (an import into the workspace)."""
        with self._verb():
            self._apply(events)
            return self.view
