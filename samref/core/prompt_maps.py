"""Prompts drawn as dense maps (SegNext, papers.md §2; its three-channel map generalised to every prompt kind).

A map pixel ``(row, column)`` is hit by a disk when its *index* lies within the radius of the disk's centre, which is
how SegNext and RITM draw clicks.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from samref.core.prompts import Box, Click, Point, Polygon, Prompt, Prompts, Scribble

__all__ = ["MapFrame", "PromptMaps", "draw_disk", "draw_prompt", "draw_prompt_maps", "empty_maps"]

_SHIFT = 4
"""Fractional bits OpenCV draws polygons with."""


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
        case Box(x0, y0, x1, y1):
            left, top = (round(v) for v in frame.position(x0, y0))
            right, bottom = (round(v) for v in frame.position(x1, y1))
            maps.box[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = 1
        case Polygon(points, positive):
            corners = np.array([frame.position(x, y) for x, y in points], dtype=np.float64) - 0.5
            fixed = np.round(corners * (1 << _SHIFT)).astype(np.int32)
            cv2.fillPoly(maps.region if positive else maps.negative, [fixed], 1, shift=_SHIFT)


def _draw_stroke(target: NDArray[np.uint8], points: tuple[Point, ...], width: float, frame: MapFrame) -> None:
    scale = (frame.scale_xy[0] * frame.scale_xy[1]) ** 0.5
    cells = np.array([frame.cell(x, y) for x, y in points], dtype=np.float64)
    radius = max(width * scale / 2, 0.75)
    for column, row in cells[[0, -1]]:
        draw_disk(target, column, row, radius)
    if len(cells) > 1:
        fixed = np.round(cells * (1 << _SHIFT)).astype(np.int32)
        cv2.polylines(target, [fixed], False, 1, thickness=max(1, round(2 * radius)), shift=_SHIFT)
