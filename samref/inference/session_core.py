"""What a session is apart from its verbs: its present state, its log, its views, and the model's work for it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from samref.core.images import DecodedImage
from samref.errors import ImageError, SessionError, SessionExpiredError, SupersededError
from samref.inference.draft import Draft, follow, memory_bytes
from samref.inference.limits import IDLE_GAP_S
from samref.inference.predictor import Embedding, Prediction, Predictor
from samref.inference.stores import EmbeddingStore
from samref.inference.views import DraftView, SessionView, phase_of
from samref.labels import events as log
from samref.labels.events import Event, ImageState

__all__ = ["Recorder", "SessionCore"]


class Recorder(Protocol):
    """Makes events durable, all or none, before it returns; what it raises refuses the verb."""

    def __call__(self, *events: Event) -> object: ...


@dataclass(frozen=True, slots=True)
class _Now:
    """All that a view needs, replaced as a whole, so that looking never waits."""

    state: ImageState
    draft: Draft
    revision: int


class SessionCore:
    """An image, its finished objects and the one being drawn. Any thread may call any method.

    Args:
        session_id: names it in stores and queues.
        predictors: gives the predictor of a model by name; raises ``ModelError`` where there is none.
        embeddings: shared by all sessions.
        record: keeps the events.
        model: answers until another is chosen.
        clock: seconds since 1970.
        load_image: gives the image again by its digest. With it the pixels are let go once they are encoded.
    """

    def __init__(
        self,
        session_id: str,
        predictors: Callable[[str], Predictor],
        embeddings: EmbeddingStore,
        record: Recorder,
        *,
        model: str = "tiny",
        clock: Callable[[], float] = time.time,
        load_image: Callable[[str], DecodedImage] | None = None,
    ) -> None:
        self.session_id = session_id
        self._predictors = predictors
        self._embeddings = embeddings
        self._record = record
        self._first_model = model
        self._clock = clock
        self._load_image = load_image
        self._image: DecodedImage | None = None
        self._now = _Now(ImageState(), Draft(), 0)
        self._encode_s = 0.0
        self._notes: dict[str, str] = {}  # what the specifications of the models used so far say
        self._active_s = 0.0
        self._last_verb_at = clock()
        self._lock = threading.RLock()  # one verb at a time
        self._gate = threading.Lock()  # guards the two below, never held for long
        self._at_work = 0
        self._is_closed = False

    def replay(self, events: Iterable[Event], image: DecodedImage | None = None) -> SessionView:
        """Become the session that recorded ``events``; its masks come with the next :meth:`catch_up`.

        Args:
            events: in order; they are not recorded again.
            image: the image, or None to have it loaded when it is needed.

        Raises:
            SessionError: this session has begun already, or the events are about another image.
        """
        with self._working(), self._lock:
            if self._now.revision:
                raise SessionError("A session can be rebuilt from a log only at its beginning.")
            read = list(events)
            digests = {event.digest for event in read if isinstance(event, log.ImageOpened)}
            if image is not None and digests - {image.digest}:
                raise SessionError("This log belongs to another image. Open the image it was made on.")
            self._image = image
            self._apply(read)
            return self.view

    # ---- looking

    @property
    def model(self) -> str:
        """Name of the model that answers."""
        return self._now.state.model or self._first_model

    @property
    def view(self) -> SessionView:
        """The session as it is now; never waits."""
        return self._view(self._now)

    @property
    def needs_encode(self) -> bool:
        """Whether :meth:`catch_up` would begin by encoding the image."""
        state = self._now.state
        return state.size is not None and not self._embeddings.contains(state.digest, self.model)

    @property
    def needs_work(self) -> bool:
        """Whether :meth:`catch_up` has anything to do."""
        return self.needs_encode or bool(self._now.draft.missing)

    @property
    def size_bytes(self) -> int:
        """Memory of this session: draft, annotations, and the pixels while they are held. Embeddings not included."""
        now, image = self._now, self._image
        finished = sum(memory_bytes(annotation.mask) for annotation in now.state.annotations)
        return now.draft.size_bytes + finished + (0 if image is None else image.rgb.nbytes)

    # ---- the model's work

    def catch_up(self) -> Iterator[SessionView]:
        """Compute what the present state lacks, a stage at each ``next``; give the view after each that shows.

        Stages are: the embedding; masks of earlier steps that the current one rests on (no view); the current step's
        coarse mask; its final mask. Nothing is yielded where nothing is lacking. Leaving it at a stage loses nothing.

        Raises:
            SupersededError: the draft was changed meanwhile; what was computed is kept where it still fits.
            SessionExpiredError: the session was closed meanwhile.
        """
        must_encode = self.needs_encode
        with self._working():
            self._check_opened()
            model = self.model
            predictor, embedding = self._embed(model)
        if must_encode:
            yield self.view
        with self._lock:
            draft = self._now.draft
            if self.model != model:
                raise SupersededError("Another model was chosen meanwhile.")
        target = draft.current
        for number in draft.missing:
            assert target is not None
            for _ in self._compute(predictor, embedding, number, target.serial):
                if number == draft.cursor and target.given is None:
                    yield self.view

    def _predictor(self, model: str | None = None) -> Predictor:
        """The predictor of a model, of the present one unless told otherwise."""
        name = model or self.model
        predictor = self._predictors(name)
        self._notes[name] = predictor.spec.note
        return predictor

    def _embed(self, model: str) -> tuple[Predictor, Embedding]:
        predictor = self._predictor(model)
        digest = self._now.state.digest
        embedding = self._embeddings.get(digest, predictor.spec.name)
        if embedding is None:
            embedding = self._embeddings.get_or_encode(predictor, digest, lambda: self._pixels(digest))
            self._encode_s = embedding.encode_s
        if self._load_image is not None:
            self._image = None
        return predictor, embedding

    def _pixels(self, digest: str) -> DecodedImage:
        if (held := self._image) is not None:
            return held
        if self._load_image is None:
            raise SessionError("The image of this session is not at hand. Open it again.")
        image = self._load_image(digest)
        if image.digest != digest:
            raise ImageError("The stored image is not the one these labels were made on. Upload it again.")
        return image

    def _compute(self, predictor: Predictor, embedding: Embedding, number: int, target: int) -> Iterator[None]:
        """Answer step ``number`` for the sake of the step with serial ``target``; yields when there is a new mask."""
        with self._lock:
            draft = self._now.draft
            self._check_current(target)
            serial = draft.steps[number - 1].serial
            prompts, state = draft.prompts_until(number), draft.state_before(number)
        predictions = predictor.predict(embedding, prompts, state)
        last: Prediction | None = None
        while True:
            with self._working():
                prediction = next(predictions, None)
            if prediction is None:
                break
            last = prediction
            if prediction.stage != predictor.spec.stages[-1]:
                self._keep(number, serial, prediction, is_final=False)
                self._check_current(target)
                yield
        assert last is not None, "a model yields at least one mask"
        self._keep(number, serial, last, is_final=True)
        self._check_current(target)
        yield

    def _keep(self, number: int, serial: int, prediction: Prediction, *, is_final: bool) -> None:
        """Put an answer into the draft if the step it belongs to is still there."""
        with self._lock:
            now = self._now
            if not now.draft.holds(number, serial):
                raise SupersededError("The draft was changed meanwhile.")
            put = now.draft.with_final if is_final else now.draft.with_coarse
            self._now = _Now(now.state, put(number, prediction), now.revision)

    def _check_current(self, serial: int) -> None:
        current = self._now.draft.current
        if current is None or current.serial != serial:
            raise SupersededError("A newer prompt took this one's place.")

    def _view(self, now: _Now) -> SessionView:
        state, answer, model = now.state, now.draft.answer, now.state.model or self._first_model
        return SessionView(
            session_id=self.session_id,
            revision=now.revision,
            phase=phase_of(state, now.draft, is_encoded=not self.needs_encode),
            image_digest=state.digest or None,
            file_name=state.file_name,
            image_size=state.size,
            draft=DraftView.from_draft(now.draft),
            annotations=state.annotations,
            model=model,
            model_note=self._notes.get(model, ""),
            seconds=0.0 if answer is None else answer.seconds,
            encode_seconds=self._encode_s,
        )

    def close(self) -> bool:
        """Refuse everything from now on; False, and go on as before, when something is at work. Never waits."""
        with self._gate:
            if self._at_work:
                return False
            self._is_closed = True
            return True

    @contextlib.contextmanager
    def _working(self) -> Iterator[None]:
        with self._gate:
            if self._is_closed:
                raise SessionExpiredError("This session has expired. Open the image again to go on where you were.")
            self._at_work += 1
        try:
            yield
        finally:
            with self._gate:
                self._at_work -= 1

    @contextlib.contextmanager
    def _verb(self, *, opened: bool = True) -> Iterator[None]:
        with self._working(), self._lock:
            if opened:
                self._check_opened()
            yield

    def _check_opened(self) -> None:
        if self._now.state.size is None:
            raise SessionError("Open an image first.")

    def _check_no_draft(self) -> None:
        if self._now.draft.is_open:
            raise SessionError("Another object is being drawn. Accept it or give it up first.")

    def _do(self, *events: Event) -> SessionView:
        """Record, then change: what the recorder refuses did not happen."""
        self._record(*events)
        self._active_s = self._active_seconds()
        self._last_verb_at = self._clock()
        self._apply(events)
        return self.view

    def _active_seconds(self) -> float:
        """Time spent on the object being drawn, long pauses not counted."""
        if not self._now.draft.is_open:
            return 0.0
        return self._active_s + min(max(0.0, self._clock() - self._last_verb_at), IDLE_GAP_S)

    def _apply(self, events: Iterable[Event]) -> None:
        now = self._now
        for event in events:
            state = log.apply(now.state, event)
            now = _Now(state, follow(now.draft, event, now.state, state), now.revision + 1)
        self._now = now
