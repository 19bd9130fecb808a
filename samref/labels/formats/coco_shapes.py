"""One object of a COCO file: polygons or run lengths to a mask, by pycocotools, which is given nothing harmful."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from samref.core.geometry import ImageSize
from samref.core.masks import Rle
from samref.errors import LabelError
from samref.labels.plain import read_list, read_text
from samref.labels.run_lengths import rle_from_counts, rle_from_runs

__all__ = ["outline_length", "read_segmentation"]

MAX_NUMBERS = 2_000_000  # coordinates or run lengths of one object
MAX_OUTLINE = 5_000_000  # pixels along the polygons of one object: rasterising takes memory for each of them


def read_segmentation(segmentation: Any, size: ImageSize, file_name: str) -> Rle | None:
    """The pixels of one segmentation of a picture; None where there is none.

    Raises:
        LabelError: it is wrong or of another size.
    """
    if segmentation is None or segmentation == []:
        return None
    if isinstance(segmentation, Mapping):
        sides = read_list(segmentation, "size", 2)
        if sides != [size.height, size.width]:
            claimed = " x ".join(f"{side!r:.20}" for side in reversed(sides))
            raise LabelError(
                f"Its mask is {claimed} pixels, the picture {file_name!r} {size.width} x {size.height}. "
                "Masks are never resized."
            )
        if isinstance(segmentation.get("counts"), str):
            return rle_from_counts(size.height, size.width, read_text(segmentation, "counts", MAX_NUMBERS))
        return rle_from_runs(size.height, size.width, read_list(segmentation, "counts", MAX_NUMBERS))
    if not isinstance(segmentation, list):
        raise LabelError("Its segmentation must be polygons or run lengths.")
    polygons = _checked_polygons(segmentation, size)
    merged = coco_mask.merge(coco_mask.frPyObjects(polygons, size.height, size.width))
    return rle_from_counts(size.height, size.width, merged["counts"].decode("ascii"))


def outline_length(segmentation: Any) -> float:
    """Pixels along the polygons of a segmentation that :func:`read_segmentation` has accepted; 0 for run lengths."""
    return sum(_length(polygon) for polygon in _listed(segmentation)) if isinstance(segmentation, list) else 0.0


def _listed(polygons: list[Any]) -> list[Any]:
    """Polygons as a list of them; some programs write a single one without the list around it."""
    return [polygons] if polygons and not isinstance(polygons[0], list) else polygons


def _checked_polygons(polygons: list[Any], size: ImageSize) -> list[list[float]]:
    """Polygons that pycocotools can rasterise without harm."""
    polygons = _listed(polygons)
    if sum(len(polygon) if isinstance(polygon, list) else 0 for polygon in polygons) > MAX_NUMBERS:
        raise LabelError(f"Its polygons have more than {MAX_NUMBERS} coordinates.")
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise LabelError("A polygon must be a list x, y, x, y, … of at least three corners.")
        # Somewhat outside is common and harmless; far outside, rasterising would need any amount of memory.
        sides = itertools.cycle((size.width, size.height))
        if not all(_within(value, side) for value, side in zip(polygon, sides, strict=False)):
            raise LabelError("A corner of a polygon is no number or lies far outside the picture.")
    if sum(_length(polygon) for polygon in polygons) > MAX_OUTLINE:
        raise LabelError(f"Its outline is more than {MAX_OUTLINE} pixels long.")
    return polygons


def _length(polygon: list[float]) -> float:
    """Pixels that rasterising visits: the longer of the two legs of each side."""
    corners = np.array(polygon, dtype=np.float64).reshape(-1, 2)
    return float(np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1).sum())


def _within(value: Any, side: int) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -side <= value <= 2 * side
