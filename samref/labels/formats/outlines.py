"""Outlines of masks for formats that hold polygons: simplified as far as asked, and what that costs in pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from samref.core.geometry import ImageSize
from samref.core.masks import Mask, Rle, mask_iou
from samref.core.polygons import (
    PolygonWithHoles,
    Ring,
    mask_to_polygons,
    polygons_to_mask,
    read_segmentation,
    ring_area,
)

_LEAST_TOLERANCE = 0.25  # below it a simplified outline is the outline itself
_SMOOTH = 1.0  # measured: above it, cutting the steps gains nothing


@dataclass(frozen=True, slots=True)
class Outline:
    """The parts of a mask as polygons, vertices between pixels in the image frame."""

    parts: tuple[PolygonWithHoles, ...]

    @property
    def points(self) -> int:
        """Corners of all rings."""
        return sum(len(part.outer) + sum(map(len, part.holes)) for part in self.parts)

    @property
    def has_holes(self) -> bool:
        return any(part.holes for part in self.parts)

    def without_holes(self) -> Outline:
        """The same parts, their holes filled."""
        return Outline(tuple(PolygonWithHoles(part.outer) for part in self.parts))


def outline_of(mask: Rle, tolerance: float = 0.0) -> Outline:
    """The outline of a mask, at most ``tolerance`` pixels off; exact at 0."""
    if mask.area == 0:
        return Outline(())
    crop, left, top = mask.to_crop()
    parts = (_moved(part, left, top) for part in mask_to_polygons(crop))
    if tolerance <= 0:
        return Outline(tuple(parts))
    return Outline(tuple(_simplified(part, tolerance) for part in parts))


def outline_iou(mask: Rle, outline: Outline, *, as_coco: bool = False) -> float:
    """How far the pixels inside an outline agree with a mask.

    ``as_coco`` takes the pixels as pycocotools does; otherwise those are inside whose middle is.
    """
    corners = [corner for part in outline.parts for corner in part.outer]
    if not corners:
        return 1.0 if mask.area == 0 else 0.0
    left, top, width, height = mask.box_xywh
    x0 = max(0, min(left, math.floor(min(x for x, _ in corners))))
    y0 = max(0, min(top, math.floor(min(y for _, y in corners))))
    x1 = min(mask.width, max(left + width, math.ceil(max(x for x, _ in corners))))
    y1 = min(mask.height, max(top + height, math.ceil(max(y for _, y in corners))))
    gt: Mask = np.zeros((y1 - y0, x1 - x0), dtype=np.bool_)
    crop, left, top = mask.to_crop()
    gt[top - y0 : top - y0 + crop.shape[0], left - x0 : left - x0 + crop.shape[1]] = crop
    size = ImageSize(*gt.shape)
    parts = [_moved(part, -x0, -y0) for part in outline.parts]
    if as_coco:
        found = read_segmentation([flat(part.outer) for part in parts], size, "")
        pixels = np.zeros_like(gt) if found is None else found.to_mask()
    else:
        pixels = polygons_to_mask(parts, size)
    return mask_iou(pixels, gt)


@dataclass(frozen=True, slots=True)
class Simplification:
    """What a tolerance does to some objects."""

    tolerance: float
    points: int
    as_masks: int  # objects that stay masks, because outlines cannot say their holes
    mean_iou: float
    worst_iou: float


def simplifications(
    masks: Iterable[Rle],
    tolerances: Sequence[float],
    *,
    fill_holes: bool,
    as_coco: bool,
    go_on: Callable[[], bool] = lambda: True,
) -> tuple[int, list[Simplification]]:
    """How many objects were measured while ``go_on``, and what each tolerance does to them.

    Objects that stay run lengths have no corners and lose nothing: those with a hole, unless ``fill_holes``.
    """
    points, as_masks = [0] * len(tolerances), [0] * len(tolerances)
    ious: list[list[float]] = [[] for _ in tolerances]
    for mask in masks:
        if not go_on():
            break
        for place, tolerance in enumerate(tolerances):
            outline = outline_of(mask, tolerance)
            if outline.has_holes and not fill_holes:
                as_masks[place] += 1
                ious[place].append(1.0)
                continue
            filled = outline.without_holes()
            points[place] += filled.points
            is_exact = tolerance == 0 and not outline.has_holes
            ious[place].append(1.0 if is_exact else outline_iou(mask, filled, as_coco=as_coco))
    measured = len(ious[0]) if ious else 0
    return measured, [
        Simplification(tolerance, points[place], as_masks[place], sum(found) / len(found), min(found))
        for place, (tolerance, found) in enumerate(zip(tolerances, ious, strict=True))
        if found
    ]


def flat(ring: Ring) -> list[float]:
    """A ring as a list x, y, x, y, …, whole numbers without their ".0"."""
    return [int(c) if float(c).is_integer() else c for corner in ring for c in corner]


def _moved(part: PolygonWithHoles, dx: float, dy: float) -> PolygonWithHoles:
    def moved(ring: Ring) -> Ring:
        return tuple((x + dx, y + dy) for x, y in ring)

    return PolygonWithHoles(moved(part.outer), tuple(moved(hole) for hole in part.holes))


def _simplified(part: PolygonWithHoles, tolerance: float) -> PolygonWithHoles:
    """A part with fewer corners; a hole smaller than the tolerance is a step of its edge and goes."""
    holes = [hole for hole in part.holes if abs(ring_area(hole)) > tolerance * tolerance]
    return PolygonWithHoles(simplify_ring(part.outer, tolerance), tuple(simplify_ring(h, tolerance) for h in holes))


def simplify_ring(ring: Ring, tolerance: float) -> Ring:
    """A ring of fewer corners (Douglas and Peucker), never fewer than three and never without area.

    Up to :data:`_SMOOTH` the staircase of pixels is first cut through the middle of its steps: at half a pixel that
    needs a third of the corners.
    """
    steps = np.asarray(_middles(ring) if tolerance <= _SMOOTH else ring, dtype=np.float32)
    while tolerance >= _LEAST_TOLERANCE:
        fewer = cv2.approxPolyDP(steps, tolerance, True).reshape(-1, 2)
        if len(fewer) >= 3 and abs(ring_area(fewer.astype(np.float64))) >= 1.0:
            return tuple((float(x), float(y)) for x, y in fewer.tolist())
        tolerance /= 2
    return ring


def _middles(ring: Ring) -> NDArray[np.float64]:
    """The middle of each side one pixel long, and the middles of the first and last pixel of each longer one."""
    tails = np.asarray(ring, dtype=np.float64)
    sides = np.roll(tails, -1, axis=0) - tails
    lengths = np.abs(sides).max(axis=1, keepdims=True)
    half = sides / lengths / 2
    points = np.stack([tails + half, tails + sides - half], axis=1)
    is_kept = np.stack([np.ones(len(tails), dtype=np.bool_), lengths[:, 0] > 1], axis=1)
    kept: NDArray[np.float64] = points[is_kept]
    return kept
