"""Masks as polygons with holes, and back; and what COCO files call a segmentation as a mask.

Vertices lie *between* pixels (``(0, 0)`` is the top left corner of the first pixel), so that a traced polygon covers
exactly the pixels of its mask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from samref.core.geometry import ImageSize
from samref.core.masks import Mask, Rle, union_of_coded
from samref.errors import LabelError

Ring: TypeAlias = tuple[tuple[float, float], ...]
"""Corners (x, y) of a closed outline, image frame; the last one is joined to the first."""

_BAND_PIXELS = 4_000_000
"""Pixels filled at a time: a polygon over a huge image must not need a huge table."""

MAX_NUMBERS = 2_000_000  # coordinates or run lengths of one object
MAX_POLYGONS = 10_000  # of one object
MAX_OUTLINE = 5_000_000  # pixels along the polygons of one object: rasterising takes memory for each of them
MAX_RING = 1_000_000  # pixels along one polygon: 0.1 s

_OBJECT_COST = 1_000  # what an object costs beside its outline, in pixels of outline
_POLYGON_COST = 300  # the same for each of its polygons
_RUN_COST = 2  # the same for a run length, or a character of a compressed one

_Lattice: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PolygonWithHoles:
    """One part of an object.

    Attributes:
        outer: its outline, clockwise on the screen (positive :func:`ring_area`).
        holes: outlines of what is missing inside, counter-clockwise.
    """

    outer: Ring
    holes: tuple[Ring, ...] = ()


def ring_area(ring: Ring | _Lattice | NDArray[np.float64]) -> float:
    """Signed area; positive where the ring runs clockwise on the screen (y down)."""
    corners = np.asarray(ring, dtype=np.float64)
    x, y = corners[:, 0], corners[:, 1]
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def mask_to_polygons(mask: Mask) -> list[PolygonWithHoles]:
    """The parts of ``mask``, from the top down; pixels that touch at a corner only are different parts.

    No ring touches itself. :func:`polygons_to_mask` gives the same mask back.
    """
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    outers: dict[int, _Lattice] = {}
    holes: dict[int, list[_Lattice]] = {part: [] for part in range(1, count)}
    for ring, part in _trace(mask, np.asarray(labels)):
        if ring_area(ring) > 0:
            outers[part] = ring
        else:
            holes[part].append(ring)
    return [
        PolygonWithHoles(_to_ring(outers[part]), tuple(_to_ring(hole) for hole in holes[part]))
        for part in range(1, count)
    ]


def polygons_to_mask(polygons: Sequence[PolygonWithHoles], size: ImageSize) -> Mask:
    """Pixels whose middle lies inside any of ``polygons`` (even-odd rule within one), clipped to ``size``."""
    mask: Mask = np.zeros((size.height, size.width), dtype=np.bool_)
    for polygon in polygons:
        _fill([ring for ring in (polygon.outer, *polygon.holes) if len(ring) >= 3], mask)
    return mask


# ------------------------------------------------------------------------------------------------ mask to polygons
#
# The outline of a set of pixels is made of horizontal and vertical sides between lattice points. Sorted along each
# lattice row, corners pair up as ends of horizontal sides; along each lattice column, as ends of vertical sides.
# Following horizontal and vertical partners in turn walks round each ring: no pixel is visited, only corners.


def _trace(mask: Mask, labels: NDArray[np.int32]) -> list[tuple[_Lattice, int]]:
    """Closed rings of corners (x, y), object on the right hand, each with the part it belongs to."""
    padded = np.pad(mask, 1)
    top_left, top_right = padded[:-1, :-1], padded[:-1, 1:]
    low_left, low_right = padded[1:, :-1], padded[1:, 1:]
    saddle = (top_left == low_right) & (top_right == low_left) & (top_left != top_right)
    corner = (top_left ^ top_right ^ low_left ^ low_right) | saddle

    y, x = np.nonzero(corner)
    # Two diagonal pixels meet at a saddle: it is two corners, each belonging to the one of its two object pixels.
    y, x = np.repeat(y, 1 + saddle[y, x]), np.repeat(x, 1 + saddle[y, x])
    at_saddle = saddle[y, x]
    second = np.zeros(len(y), dtype=np.bool_)
    second[1:] = at_saddle[1:] & (y[1:] == y[:-1]) & (x[1:] == x[:-1])

    # In reading order corners 2k and 2k + 1 are the ends of a side; the first at a saddle ends the side from the left.
    left_end = np.arange(0, len(y), 2)
    beside = np.arange(len(y)) ^ 1
    # That first corner also ends the side from above if its own object pixel is the upper left one.
    ends_below = np.where(top_left[y, x], second, ~second)
    columns = np.lexsort((ends_below, y, x))
    below = np.empty(len(y), dtype=np.int64)
    below[columns[0::2]], below[columns[1::2]] = columns[1::2], columns[0::2]

    # A horizontal side is walked to the right when the object lies below it (on the right hand), else to the left.
    heads_right = low_right[y[left_end], x[left_end]]
    starts = left_end + ~heads_right
    side_part = np.pad(labels, 1)[y[left_end] + heads_right, x[left_end] + 1]
    return _walk(np.stack([x, y], axis=1), at_saddle, beside, below, starts, side_part)


def _walk(
    points: _Lattice,
    at_saddle: NDArray[np.bool_],
    beside: NDArray[np.int64],
    below: NDArray[np.int64],
    starts: NDArray[np.int64],
    side_part: NDArray[np.int32],
) -> list[tuple[_Lattice, int]]:
    rings: list[tuple[_Lattice, int]] = []
    across, along, crossing = beside.tolist(), below.tolist(), at_saddle.tolist()
    visited = bytearray(len(points))
    for start, part in zip(starts.tolist(), side_part.tolist(), strict=True):
        if visited[start]:
            continue
        path: list[int] = []
        open_saddles: dict[tuple[int, int], int] = {}  # saddles on the path, and where
        corner = start
        while not visited[corner]:
            for step in (corner, across[corner]):
                visited[step] = 1
                if crossing[step]:
                    place = (int(points[step, 0]), int(points[step, 1]))
                    if place in open_saddles:  # the ring touches itself here: cut the loop off
                        since = open_saddles[place]
                        loop, path = path[since:], path[:since]
                        rings.append((points[loop], part))
                        open_saddles = {spot: index for spot, index in open_saddles.items() if index < since}
                    open_saddles[place] = len(path)
                path.append(step)
            corner = along[path[-1]]
        rings.append((points[path], part))
    return rings


def _to_ring(corners: _Lattice) -> Ring:
    return tuple((float(x), float(y)) for x, y in corners.tolist())


# ------------------------------------------------------------------------------------------------ polygons to mask


def _fill(rings: Sequence[Ring], mask: Mask) -> None:
    """Set the pixels inside ``rings``: every side flips, in each pixel row it crosses, all pixels right of it."""
    if not rings:
        return
    corners = [np.asarray(ring, dtype=np.float64) for ring in rings]
    heads = np.concatenate(corners)
    tails = np.concatenate([np.roll(ring, -1, axis=0) for ring in corners])
    downwards = (heads[:, 1] <= tails[:, 1])[:, None]
    upper, lower = np.where(downwards, heads, tails), np.where(downwards, tails, heads)
    height, width = mask.shape
    # Pixel row r is crossed when its middle r + 0.5 lies in [upper y, lower y).
    first = np.ceil(upper[:, 1] - 0.5).clip(0, height).astype(np.int64)
    last = np.ceil(lower[:, 1] - 0.5).clip(0, height).astype(np.int64)
    left = int(np.floor(heads[:, 0].min()).clip(0, width))
    right = int(np.ceil(heads[:, 0].max()).clip(0, width))
    stride = right - left + 1
    band = max(1, _BAND_PIXELS // stride)
    for top in range(int(first.min()), int(last.max()), band):
        bottom = min(top + band, int(last.max()))
        start, stop = first.clip(top, bottom), last.clip(top, bottom)
        crossings = stop - start
        side = np.repeat(np.arange(len(start)), crossings)
        row = np.arange(len(side)) - np.repeat(np.cumsum(crossings) - crossings, crossings) + start[side]
        slope = (lower[side, 0] - upper[side, 0]) / (lower[side, 1] - upper[side, 1])
        x = upper[side, 0] + (row + 0.5 - upper[side, 1]) * slope
        column = np.ceil(x - 0.5).clip(left, right).astype(np.int64)
        flips = np.bincount((row - top) * stride + column - left, minlength=(bottom - top) * stride)
        parity = np.cumsum(flips.reshape(bottom - top, stride) & 1, axis=1, dtype=np.uint8)  # wraps: only odd counts
        mask[top:bottom, left:right] |= (parity[:, :-1] & 1).astype(np.bool_)


# --------------------------------------------------------------------------- a segmentation of a COCO file to a mask
#
# pycocotools rasterises, and is given nothing harmful. It holds Python's lock for as long as one call takes (0.1
# microseconds for each pixel of an outline), so no single call is given much: polygons are rasterised one by one, and
# joined in pairs.


def check_segmentation(segmentation: Any, size: ImageSize, file_name: str) -> float:
    """What reading a segmentation will cost, in pixels of outline (0.1 microseconds each); nothing is rasterised yet.

    Raises:
        LabelError: it is wrong, of another size, or too large.
    """
    if segmentation is None or segmentation == []:
        return 0.0
    if isinstance(segmentation, Mapping):
        sides = segmentation.get("size")
        if not isinstance(sides, list | tuple) or len(sides) > 2:
            raise LabelError("The value 'size' must be a list of two numbers.")
        if list(sides) != [size.height, size.width]:
            claimed = " x ".join(f"{side!r:.20}" for side in reversed(sides))
            raise LabelError(
                f"Its mask is {claimed} pixels, the image {file_name!r} {size.width} x {size.height}. "
                "Masks are never resized."
            )
        counts = segmentation.get("counts")
        if not isinstance(counts, str | list | tuple):
            raise LabelError("The value 'counts' must be a list or text.")
        if len(counts) > MAX_NUMBERS:
            raise LabelError(f"The value 'counts' has {len(counts)} entries; the limit is {MAX_NUMBERS}.")
        return _OBJECT_COST + _RUN_COST * len(counts)
    if not isinstance(segmentation, list):
        raise LabelError("Its segmentation must be polygons or run lengths.")
    return _polygons_cost(_listed(segmentation), size)


def read_segmentation(segmentation: Any, size: ImageSize, file_name: str) -> Rle | None:
    """The pixels of one segmentation of an image; None where there is none."""
    check_segmentation(segmentation, size, file_name)
    return mask_of_checked(segmentation, size)


def mask_of_checked(segmentation: Any, size: ImageSize) -> Rle | None:
    """The pixels of a segmentation that :func:`check_segmentation` has accepted; None where there is none."""
    if segmentation is None or segmentation == []:
        return None
    if isinstance(segmentation, Mapping):
        counts = segmentation["counts"]
        if isinstance(counts, str):
            return Rle.from_counts(size.height, size.width, counts)
        return Rle.from_runs(size.height, size.width, counts)
    return union_of_coded(
        [coco_mask.frPyObjects([polygon], size.height, size.width)[0] for polygon in _listed(segmentation)]
    )


def _listed(polygons: list[Any]) -> list[Any]:
    """Polygons as a list of them; some programs write a single one without the list around it."""
    return [polygons] if polygons and not isinstance(polygons[0], list) else polygons


def _polygons_cost(polygons: list[Any], size: ImageSize) -> float:
    """What polygons cost that pycocotools can rasterise without harm."""
    if len(polygons) > MAX_POLYGONS:
        raise LabelError(f"It has {len(polygons)} polygons; the limit is {MAX_POLYGONS}.")
    if sum(len(polygon) if isinstance(polygon, list) else 0 for polygon in polygons) > MAX_NUMBERS:
        raise LabelError(f"Its polygons have more than {MAX_NUMBERS} coordinates.")
    lengths = [_outline_length(_corners(polygon, size)) for polygon in polygons]
    if max(lengths) > MAX_RING:
        raise LabelError(f"The outline of one of its polygons is {max(lengths):.0f} pixels long; at most {MAX_RING}.")
    if sum(lengths) > MAX_OUTLINE:
        raise LabelError(f"Its outline is more than {MAX_OUTLINE} pixels long.")
    return _OBJECT_COST + _POLYGON_COST * len(lengths) + sum(lengths)


def _corners(polygon: Any, size: ImageSize) -> NDArray[np.float64]:
    """The corners (N, 2) of a polygon from outside."""
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        raise LabelError("A polygon must be a list x, y, x, y, … of at least three corners.")
    wrong = LabelError("A corner of a polygon is no number or lies far outside the image.")
    if not set(map(type, polygon)) <= {int, float}:
        raise wrong
    try:
        corners = np.array(polygon, dtype=np.float64).reshape(-1, 2)
    except OverflowError as error:  # an integer of hundreds of digits
        raise wrong from error
    # Somewhat outside is common and harmless; far outside, rasterising would need any amount of memory.
    sides = np.array([size.width, size.height], dtype=np.float64)
    if not ((-sides <= corners) & (corners <= 2 * sides)).all():
        raise wrong
    return corners


def _outline_length(corners: NDArray[np.float64]) -> float:
    """Pixels that rasterising visits: the longer of the two legs of each side."""
    return float(np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1).sum())
