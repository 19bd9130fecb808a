"""What a person says, in the words SAM knows: signed points, one box, one mask prompt.

SAM was trained on clicks, boxes and its own previous masks. Scribbles and polygons are *translated* here, and a
translation loses something:

* a click is a point;
* all boxes become one, the smallest around them all (SAM takes one box per object);
* a scribble becomes a few points, evenly spaced along it, of its sign; its width is lost;
* a positive polygon becomes its bounding box, one positive point deep inside it, and, in the step in which it is new,
  its raster painted into the mask prompt; a negative polygon becomes one negative point deep inside it, and, where
  there is a mask prompt, is painted out of it when it is new.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from samref.core.geometry import ImageSize
from samref.core.prompt_maps import MapFrame, fill_area
from samref.core.prompts import Box, Click, Point, Polygon, Scribble
from samref.models.interface import DecoderState, PromptBatch

BoxXyxy = tuple[float, float, float, float]

PAINTED_LOGIT = 8.0
"""Logit of a painted mask prompt: about as sure as SAM's own answers inside an object, on which it was trained."""
SCRIBBLE_POINTS = 5
"""Points of one scribble; SAM was trained with few points per object."""
SCRIBBLE_SPACING = 32.0
"""Model pixels between them at least: two cells of SAM's 64 x 64 embedding."""
ALL_SCRIBBLE_POINTS = 200
"""Points of all scribbles of an object together (attention grows with the square)."""
POLYGON_POINTS = 16
"""Polygons that give a point each, the newest ones: finding the deepest position takes a millisecond or two."""


@dataclass(frozen=True, slots=True)
class SamPrompt:
    """One object's prompts for SAM, in the model frame.

    Attributes:
        points_xy: positions before SAM's own shift of half a pixel.
        labels: 1 inside, 0 outside, one per point.
        box_xyxy: corners before SAM's own shift of half a pixel, or None.
        mask_input: (1, 1, h, w) float32 logits at the prompt encoder's mask size, or None.
    """

    points_xy: tuple[Point, ...] = ()
    labels: tuple[int, ...] = ()
    box_xyxy: BoxXyxy | None = None
    mask_input: Tensor | None = None

    @property
    def is_lone_click(self) -> bool:
        """One point and nothing else: the ambiguous case that SAM's three masks are for."""
        return len(self.points_xy) == 1 and self.box_xyxy is None and self.mask_input is None


def to_sam_prompt(batch: PromptBatch, state: DecoderState, mask_size: ImageSize) -> SamPrompt:
    """All prompts of the object so far, translated as the module says.

    The mask prompt is SAM's own previous answer, or else the rough mask the user gave.

    ``state`` is of the step before; its ``step`` tells which polygons are new.
    """
    points: list[tuple[Point, int]] = []
    boxes: list[BoxXyxy] = []
    scale_xy = (mask_size.width / batch.frame.padded.width, mask_size.height / batch.frame.padded.height)
    frame = MapFrame(mask_size.height, mask_size.width, scale_xy)
    paint = _Paint(_mask_input(batch, state, mask_size), mask_size)
    polygons_before = max(0, len(batch.prompts.polygons) - POLYGON_POINTS)
    scribble_points = max(1, min(SCRIBBLE_POINTS, ALL_SCRIBBLE_POINTS // max(1, len(batch.prompts.scribbles))))
    for index, prompt in enumerate(batch.prompts.items):
        match prompt:
            case Click(x, y, positive):
                points.append(((x, y), int(positive)))
            case Box(x0, y0, x1, y1):
                boxes.append((x0, y0, x1, y1))
            case Scribble(positions, positive):
                points += [(point, int(positive)) for point in _along(positions, scribble_points)]
            case Polygon(positions, positive):
                if positive:
                    xs, ys = zip(*positions, strict=True)
                    boxes.append((min(xs), min(ys), max(xs), max(ys)))
                if polygons_before > 0:
                    polygons_before -= 1
                else:
                    points.append((_deepest(prompt, frame), int(positive)))
                if index >= state.step:
                    paint.fill(prompt, frame)
    return SamPrompt(tuple(p for p, _ in points), tuple(label for _, label in points), _around(boxes), paint.result())


def _mask_input(batch: PromptBatch, state: DecoderState, size: ImageSize) -> Tensor | None:
    given = state.low_res_logits if state.low_res_logits is not None else batch.mask
    if given is None:
        return None
    given = given.float()
    if given.shape[-2:] == (size.height, size.width):
        return given
    shrinking = given.shape[-2] > size.height or given.shape[-1] > size.width
    return F.interpolate(given, (size.height, size.width), mode="bilinear", align_corners=False, antialias=shrinking)


def _around(boxes: list[BoxXyxy]) -> BoxXyxy | None:
    if not boxes:
        return None
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def _along(points: tuple[Point, ...], at_most: int) -> list[Point]:
    """The middles of equal pieces of the stroke: its ends, drawn past the object most often, are left out."""
    path = np.asarray(points, dtype=np.float64)
    lengths = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
    pieces = int(np.clip(lengths[-1] // SCRIBBLE_SPACING, 1, at_most))
    wanted = (np.arange(pieces) + 0.5) / pieces * lengths[-1]
    xs, ys = (np.interp(wanted, lengths, path[:, axis]) for axis in (0, 1))
    return list(zip(xs.tolist(), ys.tolist(), strict=True))


def _deepest(polygon: Polygon, frame: MapFrame) -> Point:
    """The position deepest inside the polygon, or the mean of its corners where it covers no cell."""
    raster = np.zeros((frame.height, frame.width), dtype=np.uint8)
    fill_area(raster, polygon, frame)
    if not raster.any():
        x, y = np.mean(np.asarray(polygon.points, dtype=np.float64), axis=0).tolist()
        return x - 0.5, y - 0.5  # corners lie between pixels, a point names one
    depth = cv2.distanceTransform(np.pad(raster, 1), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    scale_x, scale_y = frame.scale_xy
    return (int(column) + 0.5) / scale_x - 0.5, (int(row) + 0.5) / scale_y - 0.5


class _Paint:
    """The mask prompt with the new polygons painted in, or cut out, in order; None as long as there is nothing."""

    def __init__(self, mask: Tensor | None, size: ImageSize) -> None:
        self._mask = mask
        self._size = size
        self._painted: NDArray[np.float32] | None = None  # 0 where nothing was painted

    def fill(self, polygon: Polygon, frame: MapFrame) -> None:
        if self._painted is None:
            if self._mask is None and not polygon.positive:
                return  # nothing to cut out of
            outside = 0.0 if self._mask is not None else -PAINTED_LOGIT
            self._painted = np.full((self._size.height, self._size.width), outside, dtype=np.float32)
        fill_area(self._painted, polygon, frame, PAINTED_LOGIT if polygon.positive else -PAINTED_LOGIT)

    def result(self) -> Tensor | None:
        if self._painted is None:
            return self._mask
        painted = torch.from_numpy(self._painted)[None, None]
        if self._mask is None:
            return painted
        painted = painted.to(self._mask.device)
        return torch.where(painted != 0, painted, self._mask)
