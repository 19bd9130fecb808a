"""One object of a COCO file: polygons or run lengths to a mask, by pycocotools, which is given nothing harmful.

pycocotools holds Python's lock for as long as one call takes (0.1 microseconds for each pixel of an outline), so no
single call is given much: polygons are rasterised one by one, and joined in pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from samref.core.geometry import ImageSize
from samref.core.masks import Rle
from samref.errors import LabelError
from samref.labels.plain import read_list, read_text
from samref.labels.run_lengths import rle_from_counts, rle_from_runs

__all__ = ["check_segmentation", "mask_of_checked", "read_segmentation"]

MAX_NUMBERS = 2_000_000  # coordinates or run lengths of one object
MAX_POLYGONS = 10_000  # of one object
MAX_OUTLINE = 5_000_000  # pixels along the polygons of one object: rasterising takes memory for each of them
MAX_RING = 1_000_000  # pixels along one polygon: 0.1 s

_OBJECT_COST = 1_000  # what an object costs beside its outline, in pixels of outline
_POLYGON_COST = 300  # the same for each of its polygons
_RUN_COST = 2  # the same for a run length, or a character of a compressed one


def check_segmentation(segmentation: Any, size: ImageSize, file_name: str) -> float:
    """What reading a segmentation will cost, in pixels of outline (0.1 microseconds each); nothing is rasterised yet.

    Raises:
        LabelError: it is wrong, of another size, or too large.
    """
    if segmentation is None or segmentation == []:
        return 0.0
    if isinstance(segmentation, Mapping):
        sides = read_list(segmentation, "size", 2)
        if sides != [size.height, size.width]:
            claimed = " x ".join(f"{side!r:.20}" for side in reversed(sides))
            raise LabelError(
                f"Its mask is {claimed} pixels, the image {file_name!r} {size.width} x {size.height}. "
                "Masks are never resized."
            )
        if isinstance(segmentation.get("counts"), str):
            return _OBJECT_COST + _RUN_COST * len(read_text(segmentation, "counts", MAX_NUMBERS))
        return _OBJECT_COST + _RUN_COST * len(read_list(segmentation, "counts", MAX_NUMBERS))
    if not isinstance(segmentation, list):
        raise LabelError("Its segmentation must be polygons or run lengths.")
    return _polygons_cost(_listed(segmentation), size)


def read_segmentation(segmentation: Any, size: ImageSize, file_name: str) -> Rle | None:
    """The pixels of one segmentation of an image; None where there is none.

    Raises:
        LabelError: it is wrong, of another size, or too large.
    """
    check_segmentation(segmentation, size, file_name)
    return mask_of_checked(segmentation, size)


def mask_of_checked(segmentation: Any, size: ImageSize) -> Rle | None:
    """The pixels of a segmentation that :func:`check_segmentation` has accepted; None where there is none.

    Raises:
        LabelError: its run lengths do not add up to the image.
    """
    if segmentation is None or segmentation == []:
        return None
    if isinstance(segmentation, Mapping):
        counts = segmentation["counts"]
        if isinstance(counts, str):
            return rle_from_counts(size.height, size.width, counts)
        return rle_from_runs(size.height, size.width, counts)
    parts = [coco_mask.frPyObjects([polygon], size.height, size.width)[0] for polygon in _listed(segmentation)]
    while len(parts) > 1:  # in pairs: one after another would read the whole so far again for each
        parts = [coco_mask.merge(parts[place : place + 2]) for place in range(0, len(parts), 2)]
    return rle_from_counts(size.height, size.width, parts[0]["counts"].decode("ascii"))


def _listed(polygons: list[Any]) -> list[Any]:
    """Polygons as a list of them; some programs write a single one without the list around it."""
    return [polygons] if polygons and not isinstance(polygons[0], list) else polygons


def _polygons_cost(polygons: list[Any], size: ImageSize) -> float:
    """What polygons cost that pycocotools can rasterise without harm."""
    if len(polygons) > MAX_POLYGONS:
        raise LabelError(f"It has {len(polygons)} polygons; the limit is {MAX_POLYGONS}.")
    if sum(len(polygon) if isinstance(polygon, list) else 0 for polygon in polygons) > MAX_NUMBERS:
        raise LabelError(f"Its polygons have more than {MAX_NUMBERS} coordinates.")
    lengths = [_length(_corners(polygon, size)) for polygon in polygons]
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


def _length(corners: NDArray[np.float64]) -> float:
    """Pixels that rasterising visits: the longer of the two legs of each side."""
    return float(np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1).sum())
