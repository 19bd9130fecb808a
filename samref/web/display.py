"""Copies of images for browsers: upright JPEGs, made on demand and kept for a while."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from samref.core.images import DecodedImage, encode_jpeg

__all__ = ["DISPLAY_PIXELS", "DISPLAY_SIDE", "THUMBNAIL_SIDE", "DisplayCopies"]

DISPLAY_PIXELS = 24_000_000
"""Larger images are shown reduced; no screen has as many pixels and some browsers refuse them."""

DISPLAY_SIDE = 16_384
"""Longer images are shown reduced: the longest side that all browsers draw, and a JPEG must end at 65 500."""

THUMBNAIL_SIDE = 256
QUALITY = 92


class DisplayCopies:
    """JPEGs by (digest, kind), the least recently used leave when there are too many bytes."""

    def __init__(self, size_bytes: int = 128 * 1024 * 1024) -> None:
        """Keep at most ``size_bytes`` of JPEGs."""
        self._size_bytes = size_bytes
        self._held: OrderedDict[tuple[str, bool], bytes] = OrderedDict()
        self._held_bytes = 0
        self._lock = threading.Lock()

    def get(self, digest: str, thumbnail: bool, decode: Callable[[], DecodedImage]) -> bytes:
        """The copy of one image; ``decode`` is called when it is not here."""
        copy = self.held(digest, thumbnail)
        if copy is None:
            copy = encode_jpeg(_reduced(decode().rgb, thumbnail), quality=QUALITY)
            self._keep((digest, thumbnail), copy)
        return copy

    def held(self, digest: str, thumbnail: bool) -> bytes | None:
        """The copy of one image where it is here already; never blocks for long."""
        with self._lock:
            copy = self._held.get((digest, thumbnail))
            if copy is not None:
                self._held.move_to_end((digest, thumbnail))
            return copy

    def _keep(self, key: tuple[str, bool], copy: bytes) -> None:
        with self._lock:
            if key in self._held or len(copy) > self._size_bytes:
                return
            self._held[key] = copy
            self._held_bytes += len(copy)
            while self._held_bytes > self._size_bytes:
                _, gone = self._held.popitem(last=False)
                self._held_bytes -= len(gone)


def _reduced(rgb: NDArray[np.uint8], thumbnail: bool) -> NDArray[np.uint8]:
    height, width = rgb.shape[:2]
    if thumbnail:
        scale = THUMBNAIL_SIDE / max(height, width)
    else:
        scale = min((DISPLAY_PIXELS / (height * width)) ** 0.5, DISPLAY_SIDE / max(height, width))
    if scale >= 1:
        return rgb
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    reduced: NDArray[np.uint8] = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return reduced
