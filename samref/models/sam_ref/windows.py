"""Where the local refiner looks, how it looks there, what it is pasted on (papers.md 1.3), and which parts stay."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from samref.core.geometry import Frame
from samref.core.masks import mask_box
from samref.core.prompt_maps import MapFrame
from samref.core.prompts import Box, Point, Polygon
from samref.models.interface import ImageFeatures, PromptBatch
from samref.models.layers import to_unit
from samref.models.sam_ref.network import Selector

GridSize: TypeAlias = int | tuple[int, int]
"""Side of a square grid, or its (rows, columns)."""


class Window(NamedTuple):
    """A rectangle of whole low-res cells, exclusive ends."""

    x0: int
    y0: int
    x1: int
    y1: int

    def in_pixels(self, stride: int) -> tuple[float, float, float, float]:
        """The rectangle in model pixels, x0 y0 x1 y1."""
        return (float(self.x0 * stride), float(self.y0 * stride), float(self.x1 * stride), float(self.y1 * stride))

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.y0, self.y1), slice(self.x0, self.x1)


def object_window(
    mask: NDArray[np.bool_],
    points_xy: list[tuple[float, float]],
    *,
    expand: float,
    minimum: int,
    limit: tuple[int, int],
) -> Window | None:
    """The whole object: box of ``mask`` and of the ``points_xy`` said to be inside, expanded. None without either.

    Deviation from the paper, which looks at the change only; see the decision record on the embedded model.
    """
    box = mask_box(mask)
    corners: list[tuple[float, float]] = [] if box is None else [box[:2], box[2:]]
    corners += [(x, y) for x, y in points_xy] + [(x + 1, y + 1) for x, y in points_xy]
    if not corners:
        return None
    x0, y0 = np.min(corners, axis=0)
    x1, y1 = np.max(corners, axis=0)
    return grown_window((x0, y0, x1, y1), expand, minimum, limit)


def change_window(
    mask: NDArray[np.bool_],
    previous: NDArray[np.bool_] | None,
    click_xy: tuple[float, float] | None,
    *,
    expand: float,
    minimum: int,
    limit: tuple[int, int],
    small_share: float = 1 / 3,
    small_half: float = 0.2,
) -> Window | None:
    """The paper's rule: the part that changed since the previous mask; None where there is nothing to look at.

    With a previous mask: the 8-connected component of the difference that holds the last click, else the largest. A
    box much smaller than the object becomes a square around the click.
    """
    whole = mask_box(mask)
    if previous is None or not previous.any():
        return None if whole is None else grown_window(whole, expand, minimum, limit)
    difference = mask ^ previous
    if not difference.any():
        return None
    count, labels, stats, _ = cv2.connectedComponentsWithStats(difference.astype(np.uint8), connectivity=8)
    chosen = 1 + int(np.argmax(stats[1:count, cv2.CC_STAT_AREA]))
    if click_xy is not None:
        column, row = (int(np.clip(v, 0, n - 1)) for v, n in zip(click_xy, mask.shape[::-1], strict=True))
        chosen = int(labels[row, column]) or chosen
    left, top, width, height = (int(v) for v in stats[chosen, :4])
    box: tuple[float, float, float, float] = (left, top, left + width, top + height)
    if whole is not None and click_xy is not None:
        whole_width, whole_height = whole[2] - whole[0], whole[3] - whole[1]
        if height < whole_height * small_share or width < whole_width * small_share:
            half = small_half * max(whole_width, whole_height)
            x, y = click_xy
            box = (x - half, y - half, x + half, y + half)
    return grown_window(box, expand, minimum, limit)


def grown_window(box: tuple[float, float, float, float], expand: float, minimum: int, limit: tuple[int, int]) -> Window:
    """``box`` grown about its centre, at least ``minimum`` cells a side, moved into ``limit`` (rows, columns)."""
    x0, y0, x1, y1 = box
    rows, columns = limit

    def span(low: float, high: float, end: int) -> tuple[int, int]:
        length = min(max((high - low) * expand, minimum), end)
        start = min(max((low + high - length) / 2, 0.0), end - length)
        return int(np.floor(start)), min(end, int(np.ceil(start + length)))

    (left, right), (top, bottom) = span(x0, x1, columns), span(y0, y1, rows)
    return Window(left, top, right, bottom)


def keeps_previous(selector: Selector, error_count: int, previous_count: int | None, threshold: float) -> bool:
    """Dynamic selector: whether the local result goes onto the previous final mask instead of the new global one.

    When the refiner sees clearly *more* errors in the base's new mask than in its last one, the base has wandered.
    """
    if selector in ("always", "never"):
        return selector == "always"
    has_wandered = previous_count is not None and error_count / max(previous_count, 1) > threshold
    return has_wandered == (selector == "above")


def sample_window(source: Tensor, boxes_xyxy: Tensor, size: GridSize, *, nearest: bool = False) -> Tensor:
    """Bilinear samples at the centres of a grid over each box (RoIAlign with one sample a bin).

    ``source`` is (B, C, h, w), boxes (B, 4) count its cells; ``nearest`` takes the nearest cell instead (labels).
    """
    _, _, height, width = source.shape
    rows, columns = (size, size) if isinstance(size, int) else size
    across, down = (
        (torch.arange(count, device=source.device, dtype=torch.float32) + 0.5) / count for count in (columns, rows)
    )
    x0, y0, x1, y1 = boxes_xyxy.to(source.device, torch.float32).unbind(1)
    xs = (x0[:, None] + across * (x1 - x0)[:, None]) * (2 / width) - 1
    ys = (y0[:, None] + down * (y1 - y0)[:, None]) * (2 / height) - 1
    grid = torch.stack([xs[:, None, :].expand(-1, rows, -1), ys[:, :, None].expand(-1, -1, columns)], dim=-1)
    mode = "nearest" if nearest else "bilinear"
    # In float32 throughout: bfloat16 cannot tell neighbouring cells apart, and torch's CPU kernel overflows in it.
    sampled = F.grid_sample(source.float(), grid, mode=mode, padding_mode="border", align_corners=False)
    return sampled.to(source.dtype)


def sample_pixels(pixels: Tensor, box_xyxy: tuple[float, float, float, float], size: GridSize) -> Tensor:
    """A window of an image (1, 3, H, W) as float (1, 3, rows, columns); averaged first when it shrinks."""
    x0, y0, x1, y1 = box_xyxy
    height, width = pixels.shape[-2:]
    rows, columns = (size, size) if isinstance(size, int) else size
    factor = max(1, int(min((x1 - x0) / columns, (y1 - y0) / rows)))
    left, top = (max(0, int(v) // factor * factor - factor) for v in (x0, y0))
    right = min(width, int(np.ceil(x1)) + 2 * factor)
    bottom = min(height, int(np.ceil(y1)) + 2 * factor)
    part = pixels[..., top:bottom, left:right].float()
    if factor > 1:
        part = F.avg_pool2d(part, factor, ceil_mode=True, count_include_pad=False)
    inside = torch.tensor([[x0 - left, y0 - top, x1 - left, y1 - top]]) / factor
    return sample_window(part, inside, size)


def covered_cells(frame: Frame, stride: int) -> tuple[int, int]:
    """Rows and columns of low-res cells that the image touches; the rest of the frame is padding."""
    return -(-frame.resized.height // stride), -(-frame.resized.width // stride)


def inside(logits: Tensor, limit: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask of logits (h, w) without what reaches into the padding beyond ``limit`` (rows, columns)."""
    mask: NDArray[np.bool_] = (logits > 0).cpu().numpy()
    mask[limit[0] :] = False
    mask[:, limit[1] :] = False
    return mask


def crop_image(features: ImageFeatures, box_xyxy: tuple[float, float, float, float], size: GridSize) -> Tensor:
    """What the image's own pixels show in a rectangle of the model frame: float (1, 3, rows, columns) in [-1, 1]."""
    scale_x = features.pixels.shape[-1] / features.frame.resized.width
    scale_y = features.pixels.shape[-2] / features.frame.resized.height
    x0, y0, x1, y1 = box_xyxy
    return to_unit(sample_pixels(features.pixels, (x0 * scale_x, y0 * scale_y, x1 * scale_x, y1 * scale_y), size))


def map_frame_over(box_xyxy: tuple[float, float, float, float], size: GridSize, frame: Frame) -> MapFrame:
    """Where prompts lie on a grid that covers ``box_xyxy`` of the model frame ``frame``."""
    rows, columns = (size, size) if isinstance(size, int) else size
    x0, y0, x1, y1 = box_xyxy
    return MapFrame(
        rows,
        columns,
        scale_xy=(columns / (x1 - x0), rows / (y1 - y0)),
        origin_xy=(x0, y0),
        pixel_centre_xy=frame.pixel_centre_xy,
    )


def paste(canvas: Tensor, window: Window, patch: Tensor) -> Tensor:
    """A copy of ``canvas`` (1, 1, h, w) with ``patch`` (1, 1, g, g) resized into ``window``; the rest bit for bit."""
    rows, columns = window.slices
    size = (window.y1 - window.y0, window.x1 - window.x0)
    shrinking = size[0] < patch.shape[-2] or size[1] < patch.shape[-1]
    out = canvas.clone()
    out[..., rows, columns] = F.interpolate(
        patch.to(canvas.dtype), size=size, mode="bilinear", align_corners=False, antialias=shrinking
    )
    return out


def pointed_at(prompts: PromptBatch) -> list[Point]:
    """Model-frame positions said to be inside; empty where a box, outline or mask spoke of the object as a whole."""
    said = prompts.prompts
    if prompts.mask is not None or any(isinstance(p, Box | Polygon) for p in said.items):
        return []
    strokes = [point for scribble in said.scribbles if scribble.positive for point in scribble.points]
    return [(click.x, click.y) for click in said.clicks if click.positive] + strokes


def stray_cells(mask: NDArray[np.bool_], points_xy: list[Point]) -> NDArray[np.bool_] | None:
    """Cells of 8-connected parts without any of ``points_xy`` (in cells), and their rim; None when there are none.

    Who clicks on an object means the part that was clicked; specks elsewhere are the model's doubts. A part that is
    meant as well needs a click of its own, which is less work than removing every speck. A point also holds the parts
    that touch its neighbouring cells. Where no part holds a point, all stay.
    """
    kept = _held(mask, points_xy)
    stray = mask & ~kept
    if not kept.any() or not stray.any():
        return None
    rim = cv2.dilate(stray.astype(np.uint8), np.ones((3, 3), dtype=np.uint8)) > 0
    return np.asarray(rim & ~kept, dtype=np.bool_)


def _held(mask: NDArray[np.bool_], points_xy: list[Point]) -> NDArray[np.bool_]:
    """The 8-connected parts of ``mask`` that a point lies in or next to."""
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    height, width = mask.shape
    near = np.zeros(mask.shape, dtype=np.uint8)
    if points_xy:
        columns, rows = np.array(points_xy, dtype=np.float64).T.astype(np.int64)
        near[rows.clip(0, height - 1), columns.clip(0, width - 1)] = 1
    held = np.unique(np.asarray(labels)[cv2.dilate(near, np.ones((3, 3), dtype=np.uint8)) > 0])
    return np.asarray(np.isin(labels, held[held > 0]), dtype=np.bool_)


def sunk(logits: Tensor, stray: Tensor) -> Tensor:
    """A copy of ``logits`` that is nowhere above zero where ``stray`` is."""
    return logits.where(~stray, -logits.abs())
