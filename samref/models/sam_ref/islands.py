"""Parts of a mask, or of a change to it, that nobody pointed at.

Who clicks on an object means the part that was clicked; specks elsewhere are the model's doubts. A part that is meant
as well needs a click of its own, which is less work than removing every speck. Who corrects a mask that is nearly right
may mean the place of the correction alone (docs/adr/0011 says why that is not taken for granted).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from samref.core.prompts import Box, Click, Point, Polygon, Scribble
from samref.models.interface import PromptBatch

__all__ = ["changed_elsewhere", "newest_points", "pointed_at", "stray_cells", "sunk"]


def pointed_at(prompts: PromptBatch) -> list[Point]:
    """Model-frame positions said to be inside; empty where a box, outline or mask spoke of the object as a whole."""
    said = prompts.prompts
    if prompts.mask is not None or any(isinstance(p, Box | Polygon) for p in said.items):
        return []
    strokes = [point for scribble in said.scribbles if scribble.positive for point in scribble.points]
    return [(click.x, click.y) for click in said.clicks if click.positive] + strokes


def newest_points(prompts: PromptBatch) -> list[Point]:
    """Model-frame positions of the newest prompt; empty where it is neither a click nor a scribble."""
    newest = prompts.prompts.items[-1] if prompts.prompts.items else None
    if isinstance(newest, Click):
        return [(newest.x, newest.y)]
    return list(newest.points) if isinstance(newest, Scribble) else []


def stray_cells(mask: NDArray[np.bool_], points_xy: list[Point]) -> NDArray[np.bool_] | None:
    """Cells of 8-connected parts without any of ``points_xy`` (in cells), and their rim; None when there are none.

    A point also holds the parts that touch its neighbouring cells. Where no part holds a point, all stay.
    """
    kept = _held(mask, points_xy)
    stray = mask & ~kept
    if not kept.any() or not stray.any():
        return None
    rim = cv2.dilate(stray.astype(np.uint8), np.ones((3, 3), dtype=np.uint8)) > 0
    return np.asarray(rim & ~kept, dtype=np.bool_)


def changed_elsewhere(
    mask: NDArray[np.bool_], previous: NDArray[np.bool_], points_xy: list[Point]
) -> NDArray[np.bool_] | None:
    """Cells that changed sides in 8-connected parts of the change without any of ``points_xy`` (in cells), or None.

    A point holds parts as in :func:`stray_cells`; where no part holds one, every change is elsewhere.
    """
    changed = mask ^ previous
    elsewhere = changed & ~_held(changed, points_xy)
    return elsewhere if elsewhere.any() else None


def _held(mask: NDArray[np.bool_], points_xy: list[Point]) -> NDArray[np.bool_]:
    """The 8-connected parts of ``mask`` that a point lies in or next to."""
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    height, width = mask.shape
    near = np.zeros(mask.shape, dtype=np.uint8)
    if points_xy:
        columns, rows = np.array(points_xy, dtype=np.float64).T.astype(np.int64)
        near[rows.clip(0, height - 1), columns.clip(0, width - 1)] = 1
    held = np.unique(np.asarray(labels)[cv2.dilate(near, np.ones((3, 3), dtype=np.uint8)) > 0])
    return np.asarray(np.isin(labels, held[held > 0]), dtype=np.bool_)


def sunk(logits: Tensor, stray: Tensor) -> Tensor:
    """A copy of ``logits`` that is nowhere above zero where ``stray`` is."""
    return logits.where(~stray, -logits.abs())
