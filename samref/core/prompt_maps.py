"""Prompts drawn as dense maps (SegNext, papers.md §2; its three-channel map generalised to every prompt kind).

A map pixel ``(row, column)`` is hit by a disk when its *index* lies within the radius of the disk's centre, which is
how SegNext and RITM draw clicks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from samref.core.prompts import Box, Click, Point, Polygon, Prompt, Prompts, Scribble

_SHIFT = 4
"""Fractional bits OpenCV draws polygons with."""

_FEW_CORNERS = 500
"""Up to here OpenCV fills a polygon in 2 ms; its time grows with the square of the corners (20 000: 14 s)."""

_CROSSINGS = 2_000_000
"""Of rows by sides, looked at together: what bounds the memory of filling."""

_FEW_POINTS = 2_000
"""Of a stroke; with more, those that stay in one cell are drawn as one."""

_STROKE_CHUNK = 1_000


@dataclass(frozen=True, slots=True)
class MapFrame:
    """A map of ``height`` x ``width`` cells over a window of the frame the prompts live in.

    A position ``p`` of that frame is at ``(p - origin) * scale`` cells; ``pixel_centre`` (per axis, in lengths of the
    prompts' frame) is where the middle of a *named pixel* lies relative to its position.
    """

    height: int
    width: int
    scale_xy: tuple[float, float] = (1.0, 1.0)
    origin_xy: tuple[float, float] = (0.0, 0.0)
    pixel_centre_xy: tuple[float, float] = (0.5, 0.5)

    def position(self, x: float, y: float) -> Point:
        """A position in cells, where cell (0, 0) covers 0..1."""
        return (x - self.origin_xy[0]) * self.scale_xy[0], (y - self.origin_xy[1]) * self.scale_xy[1]

    def cell(self, x: float, y: float) -> Point:
        """The fractional *index* of the cell in which the middle of a named pixel falls."""
        px, py = self.position(x + self.pixel_centre_xy[0], y + self.pixel_centre_xy[1])
        return px - 0.5, py - 0.5

    def positions(self, points: Sequence[Point]) -> NDArray[np.float64]:
        """:meth:`position` of many points, (N, 2)."""
        return (np.array(points, dtype=np.float64).reshape(-1, 2) - self.origin_xy) * self.scale_xy

    def cells(self, points: Sequence[Point]) -> NDArray[np.float64]:
        """:meth:`cell` of many points, (N, 2)."""
        middles = np.array(points, dtype=np.float64).reshape(-1, 2) + self.pixel_centre_xy
        return (middles - self.origin_xy) * self.scale_xy - 0.5


@dataclass(frozen=True, slots=True)
class PromptMaps:
    """uint8 maps (h, w) of zeros and ones.

    Attributes:
        positive, negative: disks of clicks and strokes of scribbles of each sign; a negative polygon is filled.
        box: filled boxes.
        region: filled positive polygons (rough outlines).
    """

    positive: NDArray[np.uint8]
    negative: NDArray[np.uint8]
    box: NDArray[np.uint8]
    region: NDArray[np.uint8]


def draw_disk(target: NDArray[np.uint8], column: float, row: float, radius: float) -> None:
    """Set every cell whose index lies within ``radius`` of the (fractional) centre; parts outside are cut off."""
    height, width = target.shape
    top, bottom = max(0, int(np.ceil(row - radius))), min(height, int(np.floor(row + radius)) + 1)
    left, right = max(0, int(np.ceil(column - radius))), min(width, int(np.floor(column + radius)) + 1)
    if top >= bottom or left >= right:
        return
    rows = np.arange(top, bottom, dtype=np.float64)[:, None] - row
    columns = np.arange(left, right, dtype=np.float64)[None, :] - column
    target[top:bottom, left:right][rows**2 + columns**2 <= radius**2] = 1


def draw_prompt_maps(prompts: Prompts, frame: MapFrame, radius: float) -> PromptMaps:
    """Draw all prompts; ``radius`` of click disks in cells. ``prompts.mask`` is not drawn (models resize it)."""
    maps = empty_maps(frame)
    for prompt in prompts.items:
        draw_prompt(maps, prompt, frame, radius)
    return maps


def empty_maps(frame: MapFrame) -> PromptMaps:
    """Maps on which nothing is drawn yet."""
    return PromptMaps(*(np.zeros((frame.height, frame.width), dtype=np.uint8) for _ in range(4)))


def draw_prompt(maps: PromptMaps, prompt: Prompt, frame: MapFrame, radius: float) -> None:
    """Draw one more prompt into ``maps``."""
    match prompt:
        case Click(x, y, positive):
            draw_disk(maps.positive if positive else maps.negative, *frame.cell(x, y), radius)
        case Scribble(points, positive, width):
            _draw_stroke(maps.positive if positive else maps.negative, points, width, frame)
        case Box():
            fill_area(maps.box, prompt, frame)
        case Polygon(_, positive):
            fill_area(maps.region if positive else maps.negative, prompt, frame)


def fill_area(target: NDArray[Any], area: Box | Polygon, frame: MapFrame, value: float = 1) -> None:
    """Set the cells of ``target`` that a box or polygon covers, whatever the sign of the polygon."""
    match area:
        case Box(x0, y0, x1, y1):
            left, top = (round(v) for v in frame.position(x0, y0))
            right, bottom = (round(v) for v in frame.position(x1, y1))
            target[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = value
        case Polygon(points):
            corners = _without_repeats(_fixed_point(frame.positions(points) - 0.5))
            if len(corners) <= _FEW_CORNERS:
                cv2.fillPoly(target, [corners], value, shift=_SHIFT)
            else:
                _fill_many_corners(target, corners, value)


def _fill_many_corners(target: NDArray[Any], corners: NDArray[np.int32], value: float) -> None:
    """What ``cv2.fillPoly`` draws, in time that grows with the corners and not with their square.

    OpenCV draws the outline, and fills between each two sides that a row crosses (in order); a cell lies between them
    where an odd number of sides is crossed left of it. Cells on a side itself belong to the outline.
    """
    height, width = target.shape
    half = 1 << (_SHIFT - 1)
    whole = (corners + half) >> _SHIFT
    cv2.polylines(target, [whole], True, value)
    x, row = corners[:, 0].astype(np.int64) << (16 - _SHIFT), whole[:, 1].astype(np.int64)
    x_next, row_next = np.roll(x, -1), np.roll(row, -1)
    rises = row != row_next
    x, row, x_next, row_next = x[rises], row[rises], x_next[rises], row_next[rises]
    if len(x) == 0:
        return
    slope = np.trunc((x_next - x) / (row_next - row)).astype(np.int64)
    first, last = np.minimum(row, row_next), np.maximum(row, row_next)
    top, bottom = max(0, int(first.min())), min(height, int(last.max()))
    start = np.where(row < row_next, x, x_next) + ((1 << 16) - 1)
    band = max(1, _CROSSINGS // len(x))
    for upper in range(top, bottom, band):
        lower = min(upper + band, bottom)
        begin = first.clip(upper, lower)
        rows = last.clip(upper, lower) - begin
        side = np.repeat(np.arange(len(x)), rows)
        y = np.arange(len(side)) - np.repeat(np.cumsum(rows) - rows, rows) + begin[side]
        # The first cell right of each side in each row that it crosses.
        column = ((start[side] + (y - first[side]) * slope[side]) >> 16).clip(0, width)
        flips = np.bincount((y - upper) * (width + 1) + column, minlength=(lower - upper) * (width + 1))
        inside = np.cumsum(flips.reshape(-1, width + 1)[:, :width], axis=1) & 1
        target[upper:lower][inside.astype(np.bool_)] = value


def _draw_stroke(target: NDArray[np.uint8], points: Sequence[Point], width: float, frame: MapFrame) -> None:
    if target.all():
        return
    scale = (frame.scale_xy[0] * frame.scale_xy[1]) ** 0.5
    cells = frame.cells(points)
    radius = max(width * scale / 2, 0.75)
    for column, row in cells[[0, -1]]:
        draw_disk(target, column, row, radius)
    if len(cells) == 1:
        return
    path = _without_repeats(_fixed_point(cells), closed=False)
    if len(path) > _FEW_POINTS:
        moves = np.any(np.diff(path >> _SHIFT, axis=0) != 0, axis=1)
        path = path[np.concatenate([[True], moves | (np.arange(1, len(path)) == len(path) - 1)])]
    for start in range(0, max(1, len(path) - 1), _STROKE_CHUNK):
        if start and target.all():
            return
        part = path[start : start + _STROKE_CHUNK + 1]
        cv2.polylines(target, [part], False, 1, thickness=max(1, round(2 * radius)), shift=_SHIFT)


def _fixed_point(cells: NDArray[np.float64]) -> NDArray[np.int32]:
    return np.round(cells * (1 << _SHIFT)).astype(np.int32)


def _without_repeats(path: NDArray[np.int32], *, closed: bool = True) -> NDArray[np.int32]:
    """The path without points that repeat the one before (of a closed one, also the last where it is the first)."""
    before = np.roll(path, 1, axis=0)
    moves = np.any(path != before, axis=1)
    moves[0] |= not closed or not moves.any()
    return path[moves]
