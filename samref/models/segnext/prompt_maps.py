"""What a person says, as the three maps SegNext sees: probability of the mask so far, positive disks, negative disks.

The published code knows clicks and the previous mask; the paper has boxes, polygons and scribbles too, without saying
how they are drawn. Here:

* a click is a disk in the map of its sign, a scribble that disk drawn along its line (the released weights have seen
  nothing else in these maps, so the width of the brush is lost);
* a box or a positive polygon is a rough mask: while it is new it is filled with 1 in the map of the mask so far;
  afterwards the network's own answer, which has seen it, stands there;
* a negative polygon is filled in the negative map, and while it is new cut out of the mask so far.

Source: arXiv 2404.00741 and its code (clicks, mask); papers.md section 2.1 (the rest is our reading).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from samref.core.geometry import Frame, ImageSize
from samref.core.prompt_maps import MapFrame, draw_disk, empty_maps, fill_area
from samref.core.prompts import Box, Click, Point, Polygon, Prompts, Scribble

PADDING = (-1.0, -1.0, -1.0)


def list_points(clicks: Iterable[Click]) -> NDArray[np.float32]:
    """Clicks as the published code lists them: float32 (2N, 3) of (row, column, index).

    First N positive ones, then N negative ones; the shorter half is filled up with -1.
    """
    numbered = [(click.y, click.x, float(index), click.positive) for index, click in enumerate(clicks)]
    halves = [[point[:3] for point in numbered if point[3] is sign] for sign in (True, False)]
    longest = max(1, *map(len, halves))
    rows = [row for half in halves for row in (*half, *[PADDING] * (longest - len(half)))]
    return np.array(rows, dtype=np.float32)


def scale_points(points: NDArray[np.float32], image: ImageSize, frame: ImageSize) -> NDArray[np.float32]:
    """Listed points of the image frame as whole pixels of the model frame.

    Rounded half up in float32, per axis; points of a negative index stay as they are. In images of twice the model
    frame or more a point of the last row or column lands just outside of it, as in the published code.

    Args:
        points: (2N, 3), see :func:`list_points`.
        image: size of the image.
        frame: size at which it lies in the model frame.
    """
    scale = np.array([frame.height / image.height, frame.width / image.width], dtype=np.float32)
    scaled = points.astype(np.float32)
    real = scaled[:, 2] > -1
    scaled[real, :2] = np.floor(scaled[real, :2] * scale + np.float32(0.5))
    return scaled


def draw_points(points: NDArray[np.float32], size: ImageSize, radius: float) -> NDArray[np.uint8]:
    """Maps (2, H, W) of the positive and the negative half of a list of points, a disk each.

    A point is left out only where row *and* column are negative; its index does not matter here.
    """
    maps = np.zeros((2, size.height, size.width), dtype=np.uint8)
    for target, half in zip(maps, np.split(points, 2), strict=True):
        for row, column, _ in half.tolist():
            if row >= 0 or column >= 0:
                draw_disk(target, column, row, radius)
    return maps


def draw_signed_maps(prompts: Prompts, frame: Frame, radius: float) -> NDArray[np.uint8]:
    """Maps (2, H, W) over the padded frame: clicks, scribbles and negative polygons.

    Args:
        prompts: model frame.
        frame: how the image lies in it.
        radius: of a click, in model pixels.
    """
    # Back to the image frame first: there the published code rounds.
    named = [Click(*frame.to_image(click.x, click.y), click.positive) for click in prompts.clicks]
    drawn = draw_points(scale_points(list_points(named), frame.image, frame.resized), frame.padded, radius)
    cells = MapFrame(frame.padded.height, frame.padded.width)
    maps = empty_maps(cells)
    lines = empty_maps(cells)
    for prompt in prompts.items:
        match prompt:
            case Scribble(points, positive):
                _draw_line(lines.positive if positive else lines.negative, points)
            case Polygon(positive=False):
                fill_area(maps.negative, prompt, cells)
    for target, line in ((maps.positive, lines.positive), (maps.negative, lines.negative)):
        if line.any():
            np.maximum(target, cv2.dilate(line, _disk(radius)), out=target)
    return np.maximum(drawn, np.stack([maps.positive, maps.negative]))


def _draw_line(target: NDArray[np.uint8], points: Sequence[Point]) -> None:
    pixels = np.floor(np.array([*points, points[-1]], dtype=np.float64) + 0.5).astype(np.int32)  # a lone point, too
    cv2.polylines(target, [pixels], False, 1)


def _disk(radius: float) -> NDArray[np.uint8]:
    reach = np.arange(-int(radius), int(radius) + 1)
    return (reach[:, None] ** 2 + reach**2 <= radius**2).astype(np.uint8)


def paint_areas(mask: NDArray[np.float32], prompts: Prompts, seen: int) -> NDArray[np.float32]:
    """The mask so far with the boxes and polygons that are new.

    Args:
        mask: probabilities (H, W) over the padded frame; not changed.
        prompts: model frame.
        seen: how many of the prompts were answered before.
    """
    painted = mask.copy()
    cells = MapFrame(*mask.shape)
    for prompt in prompts.items[seen:]:
        if isinstance(prompt, (Box, Polygon)):
            is_cut_out = isinstance(prompt, Polygon) and not prompt.positive
            fill_area(painted, prompt, cells, 0.0 if is_cut_out else 1.0)
    return painted
