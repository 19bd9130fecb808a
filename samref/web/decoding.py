"""Threads for decoding images: their own, so that no click waits for a thread that waits for an image."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from samref.core.images import SMALL_PIXELS

__all__ = ["DecodeThreads"]

T = TypeVar("T")

LARGE_THREADS = 1
"""Each holds one large image, 300 MB at the most, for longer than it is being decoded."""

SMALL_THREADS = 3


class DecodeThreads:
    """One thread for large images, a few for small ones; who comes first is served first."""

    def __init__(self) -> None:
        self._large = ThreadPoolExecutor(LARGE_THREADS, thread_name_prefix="samref-large-image")
        self._small = ThreadPoolExecutor(SMALL_THREADS, thread_name_prefix="samref-image")

    async def run(self, pixels: int, work: Callable[[], T]) -> T:
        """What ``work`` gives, which decodes an image of ``pixels``."""
        threads = self._large if pixels > SMALL_PIXELS else self._small
        return await asyncio.get_running_loop().run_in_executor(threads, work)
