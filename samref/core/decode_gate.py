"""The bound on what is being decoded at the same time, over all threads of the process."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["DecodeGate"]


class _Lane:
    """Room for so many bytes, given out in the order in which it was asked for."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._used = 0
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def room(self, wanted: int) -> Iterator[None]:
        wanted = min(wanted, self._capacity)  # what needs more than there is goes alone
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                self._changed.wait_for(lambda: self._waiting[0] is ticket and self._used + wanted <= self._capacity)
                self._used += wanted
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._used -= wanted
                self._changed.notify_all()


class DecodeGate:
    """Two lanes, so that neither kind waits for the other: large images one after another, small ones side by side.

    Within a lane whoever came first goes first.
    """

    def __init__(self, large_bytes: int, small_bytes: int) -> None:
        """Bound the decoding.

        Args:
            large_bytes: memory for all large images being decoded at once; one that needs more goes alone.
            small_bytes: the same for small ones.
        """
        self._large = _Lane(large_bytes)
        self._small = _Lane(small_bytes)

    @contextmanager
    def room(self, needed_bytes: int, *, is_large: bool) -> Iterator[None]:
        """Wait until there is room for ``needed_bytes`` more, and hold it."""
        with (self._large if is_large else self._small).room(needed_bytes):
            yield
