"""Where FocSAM looks: the box of the coarse mask, grown, as cells of the image embedding.

Source: papers.md §3.2, read in the authors' code.
"""

from __future__ import annotations

import torch
from torch import Tensor

from samref.core.geometry import ImageSize

__all__ = ["active_cells", "expanded_boxes", "object_boxes"]


def object_boxes(inside: Tensor) -> Tensor:
    """The smallest boxes around masks; the whole frame for an empty one.

    Args:
        inside: bool (..., H, W).

    Returns:
        int64 (..., 4): left, top, right, bottom, the last two exclusive.
    """
    height, width = inside.shape[-2:]

    def span(hit: Tensor, length: int) -> tuple[Tensor, Tensor]:
        first = hit.int().argmax(-1)
        last = length - hit.flip(-1).int().argmax(-1)
        return first, last  # 0 and `length` where nothing is hit

    left, right = span(inside.any(-2), width)
    top, bottom = span(inside.any(-1), height)
    return torch.stack((left, top, right, bottom), dim=-1)


def expanded_boxes(boxes: Tensor, ratio_height: float, ratio_width: float, frame: ImageSize) -> Tensor:
    """Boxes grown about their middles, rounded half to even in float32 and clipped to the frame.

    Args:
        boxes: int64 (..., 4), left, top, right, bottom.
        ratio_height: factor of the height.
        ratio_width: factor of the width.
        frame: to clip to.

    Returns:
        int64 (..., 4).
    """
    left, top, right, bottom = boxes.unbind(-1)

    def grow(low: Tensor, high: Tensor, ratio: float, length: int) -> tuple[Tensor, Tensor]:
        middle = (low + high).float() / 2
        grown_low, grown_high = (middle - ratio * (middle - end.float()) for end in (low, high))
        return grown_low.round().clamp_min(0), grown_high.round().clamp_max(length)

    left, right = grow(left, right, ratio_width, frame.width)
    top, bottom = grow(top, bottom, ratio_height, frame.height)
    return torch.stack((left, top, right, bottom), dim=-1).long()


def active_cells(boxes: Tensor, frame: ImageSize, grid: ImageSize) -> Tensor:
    """Cells of a grid over the frame that boxes touch: what adaptive max pooling makes of the filled boxes.

    Args:
        boxes: int64 (B, 4), left, top, right, bottom, in pixels of ``frame``.
        frame: size that the boxes are counted in.
        grid: number of cells.

    Returns:
        bool (B, 1, h, w).
    """

    def touched(low: Tensor, high: Tensor, cells: int, length: int) -> Tensor:
        index = torch.arange(cells, device=boxes.device)
        begin, end = index * length // cells, -(-(index + 1) * length // cells)
        return (begin < high[:, None]) & (end > low[:, None])  # B cells

    left, top, right, bottom = boxes.unbind(-1)
    rows, columns = touched(top, bottom, grid.height, frame.height), touched(left, right, grid.width, frame.width)
    return (rows[:, :, None] & columns[:, None, :])[:, None]  # B 1 h w
