"""A person at the mouse, simulated for training: first prompts of every kind and corrections of what is wrong.

Coordinates are in the frame of the label map given. Unlike the annotator of the evaluation protocol this one is
random on purpose: it clicks anywhere well inside what it corrects, draws crooked boxes and careless outlines.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from samref.core.masks import mask_box
from samref.core.prompts import Box, Click, Polygon, Prompt, Scribble

__all__ = ["careless_box", "careless_mask", "careless_polygon", "click_in", "correction", "scribble_in"]

Map = NDArray[np.uint8]


def depth_map(region: Map) -> NDArray[np.float32]:
    """Distance of every pixel of ``region`` to its edge; the border of the map counts as an edge."""
    padded = cv2.copyMakeBorder(region, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    return np.asarray(cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1], dtype=np.float32)


def click_in(region: Map, positive: bool, rng: np.random.Generator) -> Click | None:
    """A click in ``region``: its deepest pixel half of the time, else anywhere in its deeper part."""
    depth = depth_map(region)
    deepest = float(depth.max())
    if deepest <= 0:
        return None
    if rng.random() < 0.5:
        index = int(depth.argmax())
    else:
        candidates = np.flatnonzero(depth > deepest * rng.uniform(0.2, 0.7))
        index = int(candidates[rng.integers(candidates.size)])
    row, column = divmod(index, region.shape[1])
    return Click(float(column), float(row), positive)


def scribble_in(region: Map, positive: bool, rng: np.random.Generator) -> Scribble | None:
    """The longest of several random strokes that stay (nearly) inside ``region``."""
    depth = depth_map(region)
    deepest = float(depth.max())
    if deepest <= 0:
        return None
    rows, columns = np.nonzero(depth >= min(deepest, max(1.5, 0.3 * deepest)))
    height, width = region.shape
    best: NDArray[np.float64] | None = None
    best_length = -1.0
    t = np.linspace(0, 1, 12)[:, None]
    for _ in range(8):
        picks = rng.integers(rows.size, size=3)
        start, middle, end = (np.array([columns[i], rows[i]], dtype=np.float64) for i in picks)
        curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end
        curve += rng.normal(0, 0.3, curve.shape)
        cells = np.clip(np.round(curve), 0, [width - 1, height - 1]).astype(int)
        inside = region[cells[:, 1], cells[:, 0]] > 0
        length = float(np.linalg.norm(np.diff(curve, axis=0), axis=1).sum())
        if inside.mean() >= 0.95 and length > best_length:
            best, best_length = np.clip(curve, 0, [width - 1, height - 1]), length
    if best is None:
        row, column = divmod(int(depth.argmax()), width)
        best = np.array([[column, row]], dtype=np.float64)
    stroke = float(min(rng.uniform(1.5, 6.0), max(1.0, 1.6 * deepest)))
    return Scribble(tuple((float(x), float(y)) for x, y in best), positive, stroke)


def careless_box(region: Map, rng: np.random.Generator) -> Box | None:
    """The bounding box with every side off by up to a tenth of its length."""
    box = mask_box(region > 0)
    if box is None:
        return None
    height, width = region.shape
    x0, y0, x1, y1 = box
    slack_x, slack_y = (rng.choice([0.02, 0.1]) * side for side in (x1 - x0, y1 - y0))
    left, right = (float(np.clip(x + rng.uniform(-slack_x, slack_x), 0, width)) for x in (x0, x1))
    top, bottom = (float(np.clip(y + rng.uniform(-slack_y, slack_y), 0, height)) for y in (y0, y1))
    if right - left < 1 or bottom - top < 1:
        return Box(float(x0), float(y0), float(x1), float(y1))
    return Box(left, top, right, bottom)


def careless_polygon(region: Map, rng: np.random.Generator) -> Polygon | None:
    """The largest part's outline with few corners, each of them a little off."""
    contours, _ = cv2.findContours(region, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return None
    contour = max(contours, key=cv2.contourArea)
    size = np.sqrt(max(cv2.contourArea(contour), 1.0))
    corners = cv2.approxPolyDP(contour, rng.uniform(0.02, 0.12) * size, True)[:, 0].astype(np.float64) + 0.5
    if len(corners) < 3:
        return None
    height, width = region.shape
    corners = np.clip(corners + rng.normal(0, 0.03 * size, corners.shape), 0, [width, height])
    return Polygon(tuple((float(x), float(y)) for x, y in corners))


def careless_mask(region: Map, rng: np.random.Generator) -> Map:
    """A rough mask such as another tool leaves: grown or shrunk, shifted, blocky, with parts lost or holes torn."""
    area = max(int(region.sum()), 1)
    side = int(np.ceil(np.sqrt(area)))
    out = region.copy()
    amount = int(rng.integers(1, max(2, side // 8) + 1))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * amount + 1, 2 * amount + 1))
    change = rng.integers(4)
    if change == 0:
        out = np.asarray(cv2.dilate(out, kernel), dtype=np.uint8)
    elif change == 1:
        smaller = np.asarray(cv2.erode(out, kernel), dtype=np.uint8)
        out = smaller if smaller.any() else out
    elif change == 2:
        shift = rng.integers(-amount, amount + 1, size=2).astype(np.float64)
        matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], dtype=np.float64)
        moved = cv2.warpAffine(out, matrix, (out.shape[1], out.shape[0]), flags=cv2.INTER_NEAREST)
        out = np.asarray(moved, dtype=np.uint8)
    else:
        factor = int(rng.integers(4, 17))
        size = (max(2, out.shape[1] // factor), max(2, out.shape[0] // factor))
        small = cv2.resize(out, size, interpolation=cv2.INTER_AREA)
        blocky = cv2.resize(small, (out.shape[1], out.shape[0]), interpolation=cv2.INTER_NEAREST)
        out = np.asarray(blocky, dtype=np.uint8)
    rows, columns = np.nonzero(out)
    for _ in range(int(rng.integers(0, 3))):
        if rows.size == 0:
            break
        index = int(rng.integers(rows.size))
        centre = (int(columns[index]), int(rows[index]))
        cv2.circle(out, centre, int(rng.integers(1, max(2, side // 4) + 1)), int(rng.integers(2)), -1)
    return out


def correction(pred: Map, gt: Map, ignore: Map, rng: np.random.Generator) -> Prompt | None:
    """A click (or, one time in six, a stroke) on the larger kind of mistake; None when nothing is wrong."""
    missed = ((gt > 0) & (pred == 0) & (ignore == 0)).astype(np.uint8)
    extra = ((gt == 0) & (pred > 0) & (ignore == 0)).astype(np.uint8)
    deep_missed, deep_extra = (float(depth_map(m).max()) for m in (missed, extra))
    if max(deep_missed, deep_extra) <= 0:
        return None
    positive = deep_missed > deep_extra
    region = missed if positive else extra
    if max(deep_missed, deep_extra) > 3 and rng.random() < 1 / 6:
        return scribble_in(region, positive, rng)
    return click_in(region, positive, rng)
