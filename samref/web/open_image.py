"""Images in memory: a session each, the work under way for it, and who changed it when.

There is one :class:`OpenImage` per workspace and image, however many tabs look at it; it lives in a bounded store and
is rebuilt from the log whenever it is not there.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, TypeAlias

from samref.core.images import DecodedImage
from samref.core.prompts import Prompt
from samref.errors import ImageError, SessionExpiredError, SupersededError
from samref.inference.predictor import Predictor
from samref.inference.scheduler import Job, JobKind, Scheduler
from samref.inference.session import Session
from samref.inference.stores import EmbeddingStore, SessionStore
from samref.inference.views import SessionView
from samref.labels.events import Event
from samref.labels.store import ProjectStore
from samref.web.answers import StaleError
from samref.web.changes import AnnotationChanges
from samref.web.view_wire import view_to_wire

__all__ = ["Action", "OpenImage", "OpenImages"]

Action: TypeAlias = Callable[[Session], SessionView]
"""A verb of a session, ready to be done."""

SETTLED = frozenset({"empty", "ready", "refined"})
"""Phases after which nothing more comes by itself."""

MAX_WRITERS = 64
"""Tabs told apart on one image."""

NOBODY = ""
"""Stands for a tab where a change came from elsewhere (an import, an earlier life of the server)."""


class OpenImage:
    """An image being worked on. Its coroutines belong to the server's event loop."""

    def __init__(self, session: Session, scheduler: Scheduler, digest: str) -> None:
        """Wrap a session.

        Args:
            session: of this image, with the events so far applied.
            scheduler: does the model's work.
            digest: of the image.
        """
        self.digest = digest
        self._session = session
        self._scheduler = scheduler
        self._job: Job[SessionView] | None = None
        self._turn = asyncio.Lock()
        self._writers = {NOBODY: session.view.revision}
        self._changes = AnnotationChanges()
        self._changes_lock = threading.Lock()

    # ---- as the session store sees it

    @property
    def size_bytes(self) -> int:
        """Memory of the session."""
        return self._session.size_bytes

    def close(self) -> bool:
        """Let go of the session; False while there is work under way."""
        return not self._is_busy and self._session.close()

    # ---- as the handlers see it

    async def prompt(self, prompts: Sequence[Prompt], tab_id: str, seen: int) -> None:
        """Add prompts to the draft and have the newest one computed.

        Args:
            prompts: in order.
            tab_id: who says so.
            seen: the revision which that tab last saw.

        Raises:
            StaleError: another tab changed the image since.
            PromptError: they cannot be used; nothing was changed.
        """
        async with self._turn:
            self._check_fresh(tab_id, seen)
            stages = await asyncio.to_thread(self._session.prompt, *prompts)
            self._note_writer(tab_id)
            self._submit(stages)

    async def act(self, action: Action, tab_id: str, seen: int, *, when_settled: bool = False) -> None:
        """Do one verb, and have the model catch up if that is needed.

        Args:
            action: the verb.
            tab_id: who says so.
            seen: the revision which that tab last saw.
            when_settled: wait for the mask under way first.

        Raises:
            StaleError: another tab changed the image since.
            SamrefError: the session refuses; nothing was changed.
        """
        async with self._turn:
            self._check_fresh(tab_id, seen)
            if when_settled:
                await self._settle()
            before = self._session.view
            after = await asyncio.to_thread(action, self._session)
            if after.revision != before.revision:
                self._note_writer(tab_id)
            if not (self._is_busy and _same_question(before, after)):
                self._drop_job()
                self._catch_up()

    async def absorb(self, event: Event) -> None:
        """Take note of an event that is in the log already."""
        async with self._turn:
            await asyncio.to_thread(self._session.absorb, event)
            self._note_writer(NOBODY)

    def wake(self) -> None:
        """Have computed what is lacking (after opening, or where an attempt failed)."""
        if not self._is_busy:
            self._catch_up()

    async def watch(self, *, first: bool = True) -> AsyncIterator[bool]:
        """Yield whenever there is something new to show: whether it is the last for now.

        Args:
            first: also yield at once.

        Raises:
            Exception: what the model's work failed with.
        """
        if first:
            is_busy = self._is_busy
            yield not is_busy
            if not is_busy:
                return
        job = self._job
        while job is not None:
            try:
                async for view in job:
                    is_settled = view.phase in SETTLED
                    yield is_settled
                    if is_settled:
                        return
            except SupersededError:
                if self._job is not job:
                    job = self._job  # a newer question, perhaps of another tab: its answer is the one to show
                    continue
            break
        yield True

    def to_wire(self, known_annotations: int, *, with_prompts: bool) -> dict[str, Any]:
        """The image as the page is told; see ``docs/protocol.md``."""
        with self._changes_lock:  # so that revisions only go up
            view = self._session.view
            self._changes.note(view)
            annotations = self._changes.since(known_annotations, view)
        return view_to_wire(view, annotations, with_prompts=with_prompts)

    # ---- inside

    @property
    def _is_busy(self) -> bool:
        return self._job is not None and not self._job.is_done

    def _catch_up(self) -> None:
        if self._session.needs_work:
            self._submit(self._session.catch_up())

    def _submit(self, stages: Iterator[SessionView]) -> None:
        kind: JobKind = "encode" if self._session.needs_encode else "click"
        self._job = self._scheduler.submit(self._session.session_id, stages, kind)

    def _drop_job(self) -> None:
        """Compute no further what nobody asks for any more."""
        if self._is_busy:
            self._job = None
            self._scheduler.cancel(self._session.session_id)

    async def _settle(self) -> None:
        job = self._job
        if job is not None and not job.is_done:
            with contextlib.suppress(SupersededError):
                async for _ in job:
                    pass

    def _check_fresh(self, tab_id: str, seen: int) -> None:
        if any(revision > seen for writer, revision in self._writers.items() if writer != tab_id):
            raise StaleError(
                "Another tab has changed this image since. You see it now as it is; do it again if you still want to."
            )

    def _note_writer(self, tab_id: str) -> None:
        self._writers[tab_id] = self._session.view.revision
        if len(self._writers) > MAX_WRITERS:  # the longest silent one becomes nobody
            oldest = min((writer for writer in self._writers if writer != NOBODY), key=lambda w: self._writers[w])
            self._writers[NOBODY] = max(self._writers[NOBODY], self._writers.pop(oldest))


def _same_question(before: SessionView, after: SessionView) -> bool:
    """Whether what the model is computing for ``before`` is what ``after`` needs, too."""
    return before.model == after.model and before.draft.prompts == after.draft.prompts


class OpenImages:
    """All images in memory."""

    def __init__(
        self,
        store: ProjectStore,
        sessions: SessionStore[OpenImage],
        embeddings: EmbeddingStore,
        scheduler: Scheduler,
        predictors: Callable[[str], Predictor],
        model: str,
    ) -> None:
        """Bring the parts together.

        Args:
            store: where the logs are.
            sessions: bounds what is in memory.
            embeddings: shared by all.
            scheduler: does the model's work.
            predictors: gives the predictor of a model by name.
            model: answers on a new image.
        """
        self._store = store
        self._sessions = sessions
        self._embeddings = embeddings
        self._scheduler = scheduler
        self._predictors = predictors
        self._model = model

    async def open(self, workspace_id: int, digest: str, load: Callable[[], DecodedImage]) -> OpenImage:
        """The image, from memory or rebuilt from its log; what it lacks is being computed when this returns.

        Args:
            workspace_id: that holds it.
            digest: of the image.
            load: gives its pixels when they are needed.

        Raises:
            ImageError: the workspace does not hold it.
            SessionError: there is no room for one more.
        """
        session_id = f"{workspace_id}:{digest}"
        image = await asyncio.to_thread(
            self._sessions.get_or_create, session_id, lambda: self._rebuilt(session_id, workspace_id, digest, load)
        )
        image.wake()
        return image

    async def absorb(self, workspace_id: int, digest: str, event: Event) -> None:
        """Tell the image of an event that is in its log already, if it is in memory."""
        try:
            image = self._sessions.get(f"{workspace_id}:{digest}")
        except SessionExpiredError:
            return  # it will be read from the log
        await image.absorb(event)

    def prefetch(self, digest: str, load: Callable[[], DecodedImage]) -> None:
        """Encode an image when nothing else is to do."""
        predictor = self._predictors(self._model)
        if self._embeddings.contains(digest, predictor.spec.name):
            return

        def encode() -> Iterator[None]:
            self._embeddings.get_or_encode(predictor, digest, load)
            yield None

        self._scheduler.submit(f"prefetch:{digest}", encode, "encode")

    def _rebuilt(self, session_id: str, workspace_id: int, digest: str, load: Callable[[], DecodedImage]) -> OpenImage:
        session = Session(
            session_id,
            self._predictors,
            self._embeddings,
            lambda *events: self._store.append(workspace_id, digest, *events),
            model=self._model,
            load_image=lambda _: load(),
        )
        session.replay(self._store.events(workspace_id, digest))
        if session.view.image_digest is None:
            raise ImageError("This workspace does not hold that image. Open it again from its file.")
        return OpenImage(session, self._scheduler, digest)
