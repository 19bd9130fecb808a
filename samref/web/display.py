"""Copies of images for browsers: upright JPEGs, made on demand and kept for a while."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from samref.caches import Cache
from samref.core.images import DecodedImage, encode_jpeg

DISPLAY_PIXELS = 24_000_000
"""Larger images are shown reduced; no screen has as many pixels and some browsers refuse them."""

DISPLAY_SIDE = 16_384
"""Longer images are shown reduced: the longest side that all browsers draw, and a JPEG must end at 65 500."""

THUMBNAIL_SIDE = 256
QUALITY = 92
THUMBNAIL_QUALITY = 65


class DisplayCopies:
    """JPEGs by (digest, kind), the least recently used leave when there are too many bytes."""

    def __init__(self, size_bytes: int = 128 * 1024 * 1024) -> None:
        """Keep at most ``size_bytes`` of JPEGs."""
        self._cache: Cache[tuple[str, bool], bytes] = Cache(max_bytes=size_bytes, size_of=len)

    def get(self, digest: str, thumbnail: bool, decode: Callable[[], DecodedImage]) -> bytes:
        """The copy of one image; ``decode`` is called when it is not here, for all who want it once."""
        return self._cache.get_or_create(
            (digest, thumbnail),
            lambda: encode_jpeg(_reduced(decode().rgb, thumbnail), quality=THUMBNAIL_QUALITY if thumbnail else QUALITY),
        )

    def held(self, digest: str, thumbnail: bool) -> bytes | None:
        """The copy of one image where it is here already; never blocks for long."""
        return self._cache.get((digest, thumbnail))


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
