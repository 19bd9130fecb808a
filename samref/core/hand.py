"""Pixels that a person set by hand: what no answer of a model may change, and the clean-ups that set them.

A brush, an eraser, an exact outline and each clean-up come down to the same: these pixels belong to the object, those
do not. What was set later counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from samref.core.geometry import ImageSize
from samref.core.masks import Mask, Rle
from samref.errors import PromptError

HandTool: TypeAlias = Literal["brush", "eraser", "lasso", "polygon", "vertices", "subtract"]
CleanUp: TypeAlias = Literal["fill_holes", "drop_islands", "smooth", "grow", "shrink"]
HOWS: tuple[str, ...] = (*get_args(HandTool), *get_args(CleanUp))
"""How pixels can be set by hand."""

MAX_REACH = 100
"""Most pixels by which a mask is smoothed, grown or shrunk at once."""


@dataclass(frozen=True, slots=True)
class HandWork:
    """Pixels of an image that are known: ``added`` belong to the object, ``removed`` do not; none is in both."""

    added: Rle | None = None
    removed: Rle | None = None

    @classmethod
    def between(cls, before: Rle | None, after: Rle) -> HandWork:
        """What turns one mask (None: an empty one) into another."""
        if before is None:
            return cls(_or_none(after))
        return cls(_or_none(after.minus(before)), _or_none(before.minus(after)))

    @property
    def is_empty(self) -> bool:
        """Whether no pixel is known."""
        return self.added is None and self.removed is None

    def over(self, mask: Rle | None) -> Rle | None:
        """A mask with these pixels as they were set; None for an empty one that nothing was added to."""
        if self.added is not None:
            mask = self.added if mask is None else mask.union(self.added)
        return mask if mask is None or self.removed is None else mask.minus(self.removed)

    def then(self, later: HandWork) -> HandWork:
        """All that is known after more was set."""
        return HandWork(
            _set(self.added, later.removed, later.added),
            _set(self.removed, later.added, later.removed),
        )

    def after(self, earlier: HandWork | None) -> HandWork:
        """All that is known where something may have been set before."""
        return self if earlier is None else earlier.then(self)


def _set(known: Rle | None, taken: Rle | None, given: Rle | None) -> Rle | None:
    if known is not None and taken is not None:
        known = _or_none(known.minus(taken))
    if known is None or given is None:
        return known or given
    return known.union(given)


def _or_none(mask: Rle) -> Rle | None:
    return mask if mask.area else None


def check_hand_work(work: HandWork, size: ImageSize) -> None:
    """Refuse pixels set by hand that do not fit an image.

    Raises:
        PromptError: no pixel, a mask of another size, or a pixel that is both added and removed.
    """
    parts = [part for part in (work.added, work.removed) if part is not None]
    if not any(part.area for part in parts):
        raise PromptError("The stroke holds no pixel of the image. Draw on the image.")
    if any((part.height, part.width) != (size.height, size.width) for part in parts):
        raise PromptError("The stroke was made on an image of another size. Reload the page.")
    if len(parts) == 2 and parts[0].intersection(parts[1]).area:
        raise PromptError("The stroke adds and removes the same pixel. Draw it again.")


# ---- clean-ups


def clean_up(mask: Rle, how: CleanUp, amount: int) -> Rle:
    """A mask after one clean-up.

    Args:
        mask: of an image.
        how: ``fill_holes`` fills holes of at most ``amount`` pixels (0: all), ``drop_islands`` removes parts smaller
            than ``amount`` pixels (0: all but the largest), ``smooth`` takes from the outline what is finer than
            ``amount`` pixels, ``grow`` and ``shrink`` move it by ``amount`` pixels.
        amount: pixels of area, or pixels of length up to :data:`MAX_REACH`.

    Raises:
        PromptError: the amount cannot be used.
    """
    by_length = how in ("smooth", "grow", "shrink")
    if by_length and not 1 <= amount <= MAX_REACH:
        raise PromptError(f"Give a width of 1 to {MAX_REACH} pixels.")
    if amount < 0:
        raise PromptError("Give an area of 0 pixels or more.")
    size = ImageSize(mask.height, mask.width)
    crop, left, top = mask.to_crop()
    if crop.size == 0:
        return mask
    rim = 2 * amount + 1 if by_length else 1
    framed = np.pad(crop, rim)
    # What lies beyond the image counts as what lies at its border: an object cut by the border keeps its edge there.
    x0, y0 = left - rim, top - rim
    x1, y1 = x0 + framed.shape[1], y0 + framed.shape[0]
    rows = slice(max(0, -y0), framed.shape[0] - max(0, y1 - size.height))
    columns = slice(max(0, -x0), framed.shape[1] - max(0, x1 - size.width))
    changed = _CLEAN_UPS[how](framed[rows, columns], amount)
    return Rle.from_window(np.ascontiguousarray(changed.T), max(0, x0), max(0, y0), size)


def _fill_holes(mask: Mask, amount: int) -> Mask:
    count, parts, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    height, width = mask.shape
    fills = np.zeros(count, dtype=np.bool_)
    for number in range(1, count):
        x, y, w, h, area = stats[number]
        is_open = x == 0 or y == 0 or x + w == width or y + h == height
        fills[number] = not is_open and (amount == 0 or area <= amount)
    filled: Mask = mask | fills[parts]
    return filled


def _drop_islands(mask: Mask, amount: int) -> Mask:
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count <= 1:
        return mask
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    keeps = areas >= (amount or areas.max())
    keeps[0] = False
    kept: Mask = keeps[parts]
    return kept


def _smooth(mask: Mask, amount: int) -> Mask:
    side = 2 * amount + 1
    blurred = (2 * side + 1, 2 * side + 1)
    share = cv2.GaussianBlur(mask.astype(np.float32), blurred, amount, borderType=cv2.BORDER_REPLICATE)
    smoothed: Mask = share > 0.5
    return smoothed


def _grow(mask: Mask, amount: int) -> Mask:
    grown: Mask = cv2.dilate(mask.astype(np.uint8), _disk(amount)) > 0
    return grown


def _shrink(mask: Mask, amount: int) -> Mask:
    shrunk: Mask = cv2.erode(mask.astype(np.uint8), _disk(amount), borderType=cv2.BORDER_REPLICATE) > 0
    return shrunk


def _disk(radius: int) -> NDArray[np.uint8]:
    """A disk of the pixels whose middles are at most ``radius`` from that of the middle one."""
    offsets = np.arange(-radius, radius + 1)
    return (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(np.uint8)


_CLEAN_UPS: dict[CleanUp, Callable[[Mask, int], Mask]] = {
    "fill_holes": _fill_holes,
    "drop_islands": _drop_islands,
    "smooth": _smooth,
    "grow": _grow,
    "shrink": _shrink,
}
