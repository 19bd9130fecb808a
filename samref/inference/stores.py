"""Where embeddings and sessions live: bounded in bytes, number and time, shared by all threads.

Nothing that a person made is only here: embeddings can be computed again, sessions are rebuilt from their log.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from samref.core.images import DecodedImage
from samref.errors import SessionError, SessionExpiredError
from samref.inference.limits import EMBEDDING_STORE_BYTES, SESSION_IDLE_S, SESSION_STORE_BYTES, SESSION_STORE_COUNT
from samref.inference.predictor import Embedding, Predictor

__all__ = ["EmbeddingStats", "EmbeddingStore", "SessionStats", "SessionStore", "Storable"]


@dataclass(frozen=True, slots=True)
class EmbeddingStats:
    """What an :class:`EmbeddingStore` holds and how well it does."""

    count: int
    size_bytes: int
    max_bytes: int
    hits: int
    misses: int
    evictions: int


class EmbeddingStore:
    """Embeddings by image and model; the least recently used go first when the bytes run out.

    Threads that want the same embedding at once wait for one encode. An embedding larger than the whole store is
    handed out and not kept.

    Args:
        max_bytes: what all embeddings together may take.
    """

    def __init__(self, max_bytes: int = EMBEDDING_STORE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], Embedding] = OrderedDict()
        self._under_way: dict[tuple[str, str], Future[Embedding]] = {}
        self._size_bytes = self._hits = self._misses = self._evictions = 0

    def get(self, image_digest: str, model_name: str) -> Embedding | None:
        """The embedding if it is here; it counts as used."""
        with self._lock:
            embedding = self._kept.get((image_digest, model_name))
            if embedding is not None:
                self._kept.move_to_end((image_digest, model_name))
                self._hits += 1
            return embedding

    def contains(self, image_digest: str, model_name: str) -> bool:
        """Whether the embedding is here; it does not count as used."""
        with self._lock:
            return (image_digest, model_name) in self._kept

    def get_or_encode(self, predictor: Predictor, image_digest: str, load: Callable[[], DecodedImage]) -> Embedding:
        """The embedding, encoded on this thread unless it is here or another thread is at it.

        Args:
            predictor: the model.
            image_digest: of the image.
            load: gives the image, called only when it must be encoded.

        Raises:
            Exception: whatever the encode raises, in every thread that waited for it; the next call tries again.
        """
        key = (image_digest, predictor.spec.name)
        with self._lock:
            embedding = self._kept.get(key)
            if embedding is not None:
                self._kept.move_to_end(key)
                self._hits += 1
                return embedding
            waiting_for = self._under_way.get(key)
            if waiting_for is None:
                own: Future[Embedding] = Future()
                self._under_way[key] = own
                self._misses += 1
            else:
                self._hits += 1
        if waiting_for is not None:
            return waiting_for.result()
        try:
            embedding = predictor.embed(load())
        except BaseException as error:
            with self._lock:
                del self._under_way[key]
            own.set_exception(error)
            raise
        with self._lock:
            self._keep(key, embedding)
            del self._under_way[key]
        own.set_result(embedding)
        return embedding

    def stats(self) -> EmbeddingStats:
        with self._lock:
            return EmbeddingStats(
                len(self._kept), self._size_bytes, self._max_bytes, self._hits, self._misses, self._evictions
            )

    def _keep(self, key: tuple[str, str], embedding: Embedding) -> None:
        if embedding.size_bytes > self._max_bytes:
            return
        self._kept[key] = embedding
        self._size_bytes += embedding.size_bytes
        while self._size_bytes > self._max_bytes:
            _, dropped = self._kept.popitem(last=False)
            self._size_bytes -= dropped.size_bytes
            self._evictions += 1


class Storable(Protocol):
    """What a :class:`SessionStore` asks of a session."""

    @property
    def size_bytes(self) -> int:
        """Memory it takes now; must not block."""
        ...

    def close(self) -> bool:
        """Refuse everything from now on; False, and go on as before, when a verb is at work. Must not block."""
        ...


S = TypeVar("S", bound=Storable)


@dataclass(frozen=True, slots=True)
class SessionStats:
    """What a :class:`SessionStore` holds."""

    count: int
    size_bytes: int
    max_count: int
    max_bytes: int
    evictions: int


@dataclass(slots=True)
class _Entry(Generic[S]):
    session: S
    used_at: float
    size_bytes: int


class SessionStore(Generic[S]):
    """Sessions by id, bounded by number, bytes and time since their last use.

    A session that has to go is closed first, so whoever still holds it gets :class:`SessionExpiredError` from its
    next verb instead of working beside the one rebuilt from the log. A session at work is never closed: for its sake
    the bytes may be exceeded for a moment, the number may not.

    Args:
        max_count: sessions.
        max_bytes: what all of them together may take, as far as known from their last use.
        max_idle_s: seconds without use after which a session expires.
        clock: seconds that only go up.
    """

    def __init__(
        self,
        max_count: int = SESSION_STORE_COUNT,
        max_bytes: int = SESSION_STORE_BYTES,
        max_idle_s: float = SESSION_IDLE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._max_idle_s = max_idle_s
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, _Entry[S]] = OrderedDict()  # least recently used first
        self._under_way: dict[str, Future[S]] = {}
        self._evictions = 0

    def get(self, session_id: str) -> S:
        """The session; it counts as used.

        Raises:
            SessionExpiredError: it is not here (any more).
        """
        with self._lock:
            self._expire()
            entry = self._entries.get(session_id)
            if entry is None:
                raise SessionExpiredError("This session has expired. Open the image again to go on where you were.")
            self._touch(session_id, entry)
            return entry.session

    def get_or_create(self, session_id: str, create: Callable[[], S]) -> S:
        """The session, made by ``create`` (on this thread, only once at a time) when it is not here.

        Raises:
            SessionError: there is no room, because every session in the store is at work.
            Exception: whatever ``create`` raises, in every thread that waited for it.
        """
        with self._lock:
            self._expire()
            entry = self._entries.get(session_id)
            if entry is not None:
                self._touch(session_id, entry)
                return entry.session
            waiting_for = self._under_way.get(session_id)
            if waiting_for is None:
                own: Future[S] = Future()
                self._under_way[session_id] = own
        if waiting_for is not None:
            return waiting_for.result()
        try:
            session = create()
            with self._lock:
                self._put(session_id, session)
                del self._under_way[session_id]
        except BaseException as error:
            with self._lock:
                self._under_way.pop(session_id, None)
            own.set_exception(error)
            raise
        own.set_result(session)
        return session

    def put(self, session_id: str, session: S) -> None:
        """Keep a session; one of the same id is replaced (and closed).

        Raises:
            SessionError: there is no room, or the one to replace is at work.
        """
        with self._lock:
            self._expire()
            self._put(session_id, session)

    def remove(self, session_id: str) -> bool:
        """Close and forget a session; False when it is not here or at work."""
        with self._lock:
            entry = self._entries.get(session_id)
            if entry is None or not entry.session.close():
                return False
            del self._entries[session_id]
            return True

    def expire(self) -> int:
        """Drop the sessions whose time is up; how many went. Every other call does this too."""
        with self._lock:
            return self._expire()

    def stats(self) -> SessionStats:
        with self._lock:
            total = self._total_bytes()
            return SessionStats(len(self._entries), total, self._max_count, self._max_bytes, self._evictions)

    def _total_bytes(self) -> int:
        return sum(entry.size_bytes for entry in self._entries.values())

    def _touch(self, session_id: str, entry: _Entry[S]) -> None:
        entry.used_at = self._clock()
        entry.size_bytes = entry.session.size_bytes
        self._entries.move_to_end(session_id)
        self._shrink(keep=session_id)

    def _put(self, session_id: str, session: S) -> None:
        old = self._entries.get(session_id)
        if old is not None and not old.session.close():
            raise SessionError("This session is still at work. Try again in a moment.")
        self._entries.pop(session_id, None)
        if len(self._entries) >= self._max_count and not self._evict_one():
            raise SessionError("Too many people are at work here right now. Try again in a moment.")
        self._entries[session_id] = _Entry(session, self._clock(), session.size_bytes)
        self._shrink(keep=session_id)

    def _shrink(self, keep: str) -> None:
        while self._total_bytes() > self._max_bytes and self._evict_one(keep):
            pass

    def _evict_one(self, keep: str | None = None) -> bool:
        for session_id, entry in self._entries.items():
            if session_id != keep and entry.session.close():
                del self._entries[session_id]
                self._evictions += 1
                return True
        return False

    def _expire(self) -> int:
        deadline = self._clock() - self._max_idle_s
        old = [session_id for session_id, entry in self._entries.items() if entry.used_at < deadline]
        gone = [session_id for session_id in old if self._entries[session_id].session.close()]
        for session_id in gone:
            del self._entries[session_id]
        return len(gone)
