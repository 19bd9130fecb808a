"""What the simulated annotator says first; from then on it clicks."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import cv2
import numpy as np

from samref.core.masks import Mask, mask_box
from samref.core.oracle import Clicker
from samref.core.prompts import SCRIBBLE_WIDTH, Box, Prompt, Scribble

__all__ = ["FirstPrompt", "first_prompt", "tight_box", "widest_stroke"]

FirstPrompt: TypeAlias = Literal["click", "box", "scribble"]

STROKE_DIRECTIONS = 36
"""Directions tried for a stroke, every 5 degrees of a half turn."""


def first_prompt(kind: FirstPrompt, gt: Mask, annotator: Clicker) -> Prompt:
    """The first prompt for an object that is not empty; it counts as one interaction, like a click.

    Args:
        kind: what it is.
        gt: bool (H, W), the object.
        annotator: clicks, where it is a click.
    """
    if kind == "box":
        return tight_box(gt)
    if kind == "scribble":
        return widest_stroke(gt)
    click = annotator.click(np.zeros_like(gt))
    assert click is not None, "of an object that is not empty something is missing"
    return click


def tight_box(gt: Mask) -> Box:
    """The bounding box of an object that is not empty."""
    box = mask_box(gt)
    assert box is not None, "an empty object is never measured"
    return Box(*(float(side) for side in box))


def widest_stroke(gt: Mask) -> Scribble:
    """A straight stroke through the deepest pixel, along the longest way that stays half as deep.

    It is deterministic and lies well inside the object, as a careful person's first stroke does. It is never wider
    than the object is thick around it.
    """
    depth = np.asarray(cv2.distanceTransform(np.pad(gt.astype(np.uint8), 1), cv2.DIST_L2, cv2.DIST_MASK_PRECISE))
    depth = depth[1:-1, 1:-1]
    row, column = (int(index) for index in np.unravel_index(int(depth.argmax()), depth.shape))
    inner = depth >= depth[row, column] / 2
    best = ((column, row), (column, row))
    longest = 0.0
    for step in range(STROKE_DIRECTIONS):
        angle = math.pi * step / STROKE_DIRECTIONS
        ends = (_last_inside(inner, column, row, angle), _last_inside(inner, column, row, angle + math.pi))
        length = math.dist(*ends)
        if length > longest:
            best, longest = ends, length
    width = min(SCRIBBLE_WIDTH, max(1.0, math.floor(float(depth[row, column]))))
    (x0, y0), (x1, y1) = best
    count = max(2, math.ceil(longest / 4) + 1)
    points = [(x0 + (x1 - x0) * i / (count - 1), y0 + (y1 - y0) * i / (count - 1)) for i in range(count)]
    return Scribble(tuple(points), True, width)


def _last_inside(inner: Mask, column: int, row: int, angle: float) -> tuple[int, int]:
    """The last pixel (x, y) on the way from (column, row) before leaving ``inner``."""
    height, width = inner.shape
    distance = np.arange(math.hypot(height, width))
    x = np.rint(column + distance * math.cos(angle)).astype(np.int64)
    y = np.rint(row + distance * math.sin(angle)).astype(np.int64)
    within = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    within[within] = inner[y[within], x[within]]
    last = int(np.argmin(within)) - 1 if not within.all() else len(within) - 1
    return int(x[last]), int(y[last])
