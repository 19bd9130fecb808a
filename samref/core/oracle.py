"""The simulated annotator ("oracle"): clicks the middle of the largest mistake.

Source: papers.md §4.1, the click simulator of RITM, which SegNext shares.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from samref.core.masks import Mask, mask_box
from samref.core.prompts import Click

__all__ = ["Annotator", "next_click"]


class Annotator:
    """Labels one object by clicking; remembers which pixels it has clicked.

    Args:
        gt: bool (H, W), the object.
        ignore: bool (H, W), pixels that are neither right nor wrong.
    """

    def __init__(self, gt: Mask, ignore: Mask | None = None) -> None:
        self.gt = gt
        self.ignore = ignore
        self._seen: Mask = np.zeros(gt.shape, dtype=np.bool_)

    def click(self, pred: Mask) -> Click:
        """The next click on ``pred``, and remember it."""
        click = next_click(pred, self.gt, self.ignore, self._seen)
        self._seen[int(click.y), int(click.x)] = True
        return click


def next_click(pred: Mask, gt: Mask, ignore: Mask | None = None, seen: Mask | None = None) -> Click:
    """The pixel deepest inside the largest mistake: positive where the object is missing, negative where it spills.

    The image border counts as background. Equal depth gives the negative click, the first pixel in reading order
    wins among equals, and a perfect prediction gives the negative click at (0, 0).

    Args:
        pred: bool (H, W), the mask so far.
        gt: bool (H, W), the object.
        ignore: bool (H, W), pixels that are neither missing nor surplus.
        seen: bool (H, W), pixels already clicked: never chosen again, but the distances of others stay.
    """
    missing = gt & ~pred
    surplus = pred & ~gt
    if ignore is not None:
        missing &= ~ignore
        surplus &= ~ignore
    missing_depth, missing_x, missing_y = _deepest(missing, seen)
    surplus_depth, surplus_x, surplus_y = _deepest(surplus, seen)
    if missing_depth > surplus_depth:
        return Click(missing_x, missing_y, True)
    return Click(surplus_x, surplus_y, False)


def _deepest(region: Mask, seen: Mask | None) -> tuple[float, int, int]:
    """(depth, x, y) of the first deepest pixel not seen; (0, 0, 0) where there is none.

    Only the bounding box is transformed: all around it is background, so the distances are the same.
    """
    box = mask_box(region)
    if box is None:
        return 0.0, 0, 0
    x0, y0, x1, y1 = box
    padded = np.pad(region[y0:y1, x0:x1].view(np.uint8), 1)
    depth: NDArray[np.float32] = np.asarray(
        cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1], dtype=np.float32
    )
    if seen is not None:
        depth = np.where(seen[y0:y1, x0:x1], np.float32(0), depth)
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    deepest = float(depth[row, column])
    if deepest == 0:
        return 0.0, 0, 0
    return deepest, x0 + int(column), y0 + int(row)
