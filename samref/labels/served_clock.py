"""A clock that counts seconds in which servers ran, whatever the wall clock says or is set to."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["ServedClock"]


class ServedClock:
    """Seconds that servers have been running on a data folder; it stands still while none runs and never goes back."""

    def __init__(self, before_s: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Go on from ``before_s``, the seconds of all servers before this one."""
        self._before_s = before_s
        self._monotonic = monotonic
        self._started_at = monotonic()

    def __call__(self) -> float:
        return self._before_s + max(0.0, self._monotonic() - self._started_at)
