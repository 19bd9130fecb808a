"""Masks on the wire: run lengths cropped to the object's box, and smaller previews where those are too long.

Cropping works on the run lengths alone: for an image of 12 megapixels that is a millisecond, where decoding,
cutting and encoding pixels would take a hundred.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from samref.core.masks import Rle

__all__ = ["COARSE_CHARACTERS", "MASK_CHARACTERS", "mask_to_wire"]

MASK_CHARACTERS = 15_000
"""Longest run-length text of a mask; with all around it an answer stays under 20 kB."""

COARSE_CHARACTERS = 3_000
"""The same for the coarse mask that rides along with a refined one."""

COARSEST = 64
"""No preview has larger cells, in pixels."""

_BITS = 5  # of a length in each character of COCO's compressed string; the sixth says that another one follows


def mask_to_wire(mask: Rle | None, characters: int = MASK_CHARACTERS) -> dict[str, Any] | None:
    """A mask cropped to its box, as a preview at a lower resolution when its run lengths are too long.

    Args:
        mask: of the whole image.
        characters: what its run lengths may take.
    """
    if mask is None:
        return None
    box, counts, scale = _on_wire(mask, characters)
    return {"box": list(box), "counts": counts, "scale": scale}


@lru_cache(maxsize=512)
def _on_wire(mask: Rle, characters: int) -> tuple[tuple[int, int, int, int], str, int]:
    box = mask.box_xywh
    if box[2] == 0 or box[3] == 0:
        return (0, 0, 0, 0), "", 1
    crop = _cropped(mask, box)
    return (box, crop.counts, 1) if len(crop.counts) <= characters else (box, *_preview(crop, characters))


def _cropped(mask: Rle, box: tuple[int, int, int, int]) -> Rle:
    """The part of ``mask`` in its bounding box."""
    left, top, width, height = box
    ends = np.cumsum(_lengths(mask.counts))
    starts, stops = ends[0:-1:2], ends[1::2]  # of the object's runs, column by column
    if height < mask.height:  # then no run goes on into the next column
        column, row = np.divmod(starts, mask.height)
        moved = (column - left) * height + (row - top)
        starts, stops = moved, moved + (stops - starts)
        follows = starts[1:] == stops[:-1]  # from the lower rim of the box on at the upper one
        starts, stops = starts[np.append(True, ~follows)], stops[np.append(~follows, True)]
    else:
        starts, stops = starts - left * height, stops - left * height
    edges = np.column_stack([starts, stops]).ravel()
    runs = np.diff(edges, prepend=0, append=width * height)
    if runs[-1] == 0:
        runs = runs[:-1]
    size = {"size": [height, width], "counts": runs.tolist()}
    counts: bytes = coco_mask.frPyObjects(size, height, width)["counts"]
    return Rle(height, width, counts.decode("ascii"))


def _lengths(counts: str) -> NDArray[np.int64]:
    """The run lengths of COCO's compressed string, background first; an even number of them is made odd by a 0."""
    codes = np.frombuffer(counts.encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    last = np.flatnonzero((codes & 0x20) == 0)
    first = np.concatenate(([0], last[:-1] + 1))
    shifts = _BITS * (np.arange(codes.size) - np.repeat(first, last - first + 1))
    lengths = np.add.reduceat((codes & 0x1F) << shifts, first)
    lengths -= np.where(codes[last] & 0x10, np.int64(1) << _BITS * (last - first + 1), 0)
    lengths[1::2] = np.cumsum(lengths[1::2])  # from the fourth on, a length is told by its difference to the
    lengths[2::2] = np.cumsum(lengths[2::2])  # one two places before
    return lengths if lengths.size % 2 else np.append(lengths, 0)


def _preview(crop: Rle, characters: int) -> tuple[str, int]:
    """Run lengths of cells of ``scale`` x ``scale`` pixels that are short enough, and that ``scale``.

    A cell is set where at least half of its pixels are; pixels beyond the rim count as their neighbours.
    """
    share = np.ascontiguousarray(crop.to_mask()).view(np.uint8) * np.uint8(255)
    scale = 1
    while True:
        height, width = share.shape
        if height % 2 or width % 2:
            share = cv2.copyMakeBorder(share, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE).astype(np.uint8)
        halved = (share.shape[1] // 2, share.shape[0] // 2)
        share = cv2.resize(share, halved, interpolation=cv2.INTER_AREA).astype(np.uint8)
        scale *= 2
        counts = Rle.from_mask(share >= 128).counts
        if len(counts) <= characters or scale >= COARSEST:
            return counts, scale
