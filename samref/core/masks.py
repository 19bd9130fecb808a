"""Masks and their run-length form, through pycocotools."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

__all__ = ["BOUNDARY_RATIO", "Mask", "Rle", "boundary_iou", "mask_box", "mask_iou"]

Mask: TypeAlias = NDArray[np.bool_]
"""bool (H, W), image frame; True is the object."""

BOUNDARY_RATIO = 0.02
"""Width of the boundary band over the image diagonal (Cheng et al., Boundary IoU, CVPR 2021)."""


@dataclass(frozen=True, slots=True)
class Rle:
    """A mask as COCO's compressed run lengths: column-major, background first. The stored, sent and exported form."""

    height: int
    width: int
    counts: str

    @classmethod
    def from_mask(cls, mask: Mask) -> Rle:
        """Encode a bool mask (H, W)."""
        coded = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
        return cls(mask.shape[0], mask.shape[1], coded["counts"].decode("ascii"))

    @classmethod
    def empty(cls, height: int, width: int) -> Rle:
        """A mask without a single pixel."""
        return cls.from_mask(np.zeros((height, width), dtype=np.bool_))

    def to_mask(self) -> Mask:
        """Decode to bool (H, W)."""
        decoded: Mask = coco_mask.decode(self.to_coco()).astype(np.bool_)
        return decoded

    def to_coco(self) -> dict[str, Any]:
        """As pycocotools and COCO files write it: ``{"size": [height, width], "counts": ...}``."""
        return {"size": [self.height, self.width], "counts": self.counts}

    @property
    def area(self) -> int:
        """Number of object pixels."""
        return int(coco_mask.area(self.to_coco()))

    @property
    def box_xywh(self) -> tuple[int, int, int, int]:
        """Bounding box (x, y, width, height); all zero for an empty mask."""
        x, y, width, height = coco_mask.toBbox(self.to_coco())
        return int(x), int(y), int(width), int(height)


def mask_box(mask: Mask) -> tuple[int, int, int, int] | None:
    """Bounding box (x0, y0, x1, y1) with exclusive ends, or None for an empty mask."""
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return None
    columns = np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def mask_iou(pred: Mask, gt: Mask, ignore: Mask | None = None) -> float:
    """Intersection over union outside ``ignore``, in float32 precision; NaN when both are empty (papers: 0/0)."""
    if ignore is not None:
        pred, gt = pred & ~ignore, gt & ~ignore
    union = np.count_nonzero(pred | gt)
    if union == 0:
        return float("nan")
    return float(np.float32(np.count_nonzero(pred & gt)) / np.float32(union))


def boundary_iou(pred: Mask, gt: Mask, ignore: Mask | None = None, dilation_ratio: float = BOUNDARY_RATIO) -> float:
    """IoU of the two inner boundary bands, in float32 precision; NaN when both are empty.

    The band of a mask is what an erosion by ``max(1, round(dilation_ratio * diagonal))`` pixels takes away; the
    image border counts as background.

    Source: Cheng et al., "Boundary IoU", CVPR 2021, and their published code. Deviation: under ``ignore`` the
    prediction is taken to be right, and those pixels are counted in neither band (the original has no ignore).
    """
    if ignore is not None:
        pred = np.where(ignore, gt, pred)
    box = mask_box(pred | gt)
    if box is None:
        return float("nan")
    width = max(1, round(dilation_ratio * math.hypot(*gt.shape)))
    x0, y0, x1, y1 = box
    window = np.s_[y0:y1, x0:x1]
    skip = None if ignore is None else ignore[window]
    return mask_iou(_inner_band(pred[window], width), _inner_band(gt[window], width), skip)


def _inner_band(mask: Mask, width: int) -> Mask:
    """Pixels of ``mask`` at most ``width`` (chessboard) away from its outside, beyond the array included."""
    kernel = np.ones((2 * width + 1, 2 * width + 1), dtype=np.uint8)
    pixels = np.ascontiguousarray(mask).view(np.uint8)
    core = cv2.erode(pixels, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    band: Mask = mask & (core == 0)
    return band
