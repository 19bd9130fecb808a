"""The one bounded cache: values by key, limited in bytes, number and idle time, shared by all threads."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What a :class:`Cache` holds."""

    count: int
    size_bytes: int


class CacheFullError(Exception):
    """There is no room, because none of the values in the cache may go."""


@dataclass(slots=True)
class _Entry(Generic[V]):
    value: V
    used_at: float
    size_bytes: int


class Cache(Generic[K, V]):
    """Values by key; the least recently used make room for new ones.

    A value that has to go (for room, because its time is up, replaced or removed) is asked first through
    ``may_evict``. One that may not go stays: for its sake the bytes may be exceeded, the number may not.
    """

    def __init__(
        self,
        *,
        max_bytes: int | None = None,
        max_count: int | None = None,
        max_idle_s: float | None = None,
        size_of: Callable[[V], int] = lambda _: 0,
        may_evict: Callable[[V], bool] = lambda _: True,
        keeps_oversize: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make an empty cache.

        Args:
            max_bytes: what all values together may take.
            max_count: values.
            max_idle_s: seconds without use after which a value goes.
            size_of: bytes of a value, asked anew each time it is used. Must not block.
            may_evict: whether a value may go now; when this says True it has gone, so it may close it. Must not block.
            keeps_oversize: whether the value used last stays though it alone takes more than ``max_bytes``; otherwise
                such a value is handed out and not kept.
            clock: seconds that only go up.
        """
        self._max_bytes = max_bytes
        self._max_count = max_count
        self._max_idle_s = max_idle_s
        self._size_of = size_of
        self._may_evict = may_evict
        self._keeps_oversize = keeps_oversize
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()  # least recently used first
        self._under_way: dict[K, Future[V]] = {}
        self._size_bytes = 0

    def __contains__(self, key: K) -> bool:
        """Whether a value is here; it does not count as used."""
        with self._lock:
            self._expire()
            return key in self._entries

    def get(self, key: K) -> V | None:
        """The value if it is here; it counts as used."""
        with self._lock:
            return self._use(key)

    def get_or_create(self, key: K, create: Callable[[], V]) -> V:
        """The value, made by ``create`` (on this thread, by one thread at a time) when it is not here.

        Raises:
            CacheFullError: there is no room, because no other value may go.
            Exception: whatever ``create`` raises, in every thread that waited for it; the next call tries again.
        """
        with self._lock:
            found = self._use(key)
            if found is not None:
                return found
            waiting_for = self._under_way.get(key)
            if waiting_for is None:
                own: Future[V] = Future()
                self._under_way[key] = own
        if waiting_for is not None:
            return waiting_for.result()
        try:
            value = create()
            with self._lock:
                self._keep(key, value)
                del self._under_way[key]
        except BaseException as error:
            with self._lock:
                self._under_way.pop(key, None)
            own.set_exception(error)
            raise
        own.set_result(value)
        return value

    def put(self, key: K, value: V) -> None:
        """Keep a value; one of the same key is replaced."""
        with self._lock:
            self._expire()
            self._keep(key, value)

    def remove(self, key: K) -> bool:
        """Forget a value; False when it is not here or may not go."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or not self._may_evict(entry.value):
                return False
            self._drop(key)
            return True

    def stats(self) -> CacheStats:
        """What is here now."""
        with self._lock:
            return CacheStats(len(self._entries), self._size_bytes)

    # ---- inside, under the lock

    def _use(self, key: K) -> V | None:
        self._expire()
        entry = self._entries.get(key)
        if entry is None:
            return None
        entry.used_at = self._clock()
        size_bytes = self._size_of(entry.value)
        self._size_bytes += size_bytes - entry.size_bytes
        entry.size_bytes = size_bytes
        self._entries.move_to_end(key)
        self._shrink(key)
        return entry.value

    def _keep(self, key: K, value: V) -> None:
        size_bytes = self._size_of(value)
        if self._max_bytes is not None and size_bytes > self._max_bytes and not self._keeps_oversize:
            return
        old = self._entries.get(key)
        if old is not None:
            if not self._may_evict(old.value):
                raise CacheFullError
            self._drop(key)
        if self._max_count is not None and len(self._entries) >= self._max_count and not self._evict_one():
            raise CacheFullError
        self._entries[key] = _Entry(value, self._clock(), size_bytes)
        self._size_bytes += size_bytes
        self._shrink(key)

    def _shrink(self, kept: K) -> None:
        while self._max_bytes is not None and self._size_bytes > self._max_bytes and self._evict_one(kept):
            pass

    def _evict_one(self, kept: K | None = None) -> bool:
        for key, entry in self._entries.items():
            if key != kept and self._may_evict(entry.value):
                self._drop(key)
                return True
        return False

    def _expire(self) -> None:
        if self._max_idle_s is None:
            return
        deadline = self._clock() - self._max_idle_s
        old = [key for key, entry in self._entries.items() if entry.used_at < deadline]
        for key in old:
            if self._may_evict(self._entries[key].value):
                self._drop(key)

    def _drop(self, key: K) -> None:
        self._size_bytes -= self._entries.pop(key).size_bytes
