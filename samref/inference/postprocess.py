"""From logits in the model frame to a mask of the image, without computing pixels whose sign is known.

What a mask *is*: the logits, resized bilinearly to the padded model frame, cut to the part that the image covers,
resized bilinearly to the image's size, and there above 0 (where the frame has a canvas: to the canvas's size, of
which the image is the top left part). A patch with more detail is resized bilinearly to its own rectangle of the
image and replaces what lies under it.

How it is computed: a bilinear value lies between the four values around it. Where the four agree in sign, so does
every pixel between them; only pixels near the outline need arithmetic. For an image of 12 megapixels these are some
hundred thousand of twelve million.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from samref.core.geometry import Frame
from samref.core.masks import Mask, MaskWindow, Rle, encode_object, mask_box
from samref.models.interface import Patch

_CHUNK = 1 << 20
"""Pixels interpolated at a time: bounds the memory a very ragged outline can ask for to some tens of megabytes."""


def mask_from_logits(logits: Tensor, frame: Frame, patch: Patch | None = None) -> Rle:
    """The mask of the image that ``logits`` stand for; see :func:`windowed_mask`."""
    return windowed_mask(logits, frame, patch)[0]


def windowed_mask(logits: Tensor, frame: Frame, patch: Patch | None = None) -> tuple[Rle, MaskWindow]:
    """The mask of the image that ``logits`` stand for, whole and cut to its box.

    Args:
        logits: (1, 1, h, w) of any float type, covering ``frame.padded``.
        frame: how the image lies in the model frame.
        patch: replaces the pixels whose middle lies in its box.
    """
    padded = logits.detach().float().cpu()
    if tuple(padded.shape[-2:]) != (frame.padded.height, frame.padded.width):
        size = (frame.padded.height, frame.padded.width)
        padded = F.interpolate(padded, size=size, mode="bilinear", align_corners=False)
    grid = padded[0, 0, : frame.resized.height, : frame.resized.width].numpy()
    canvas = _above_zero(
        grid,
        _Axis.over(0.0, float(frame.covered.height), frame.resized.height, frame.image.height),
        _Axis.over(0.0, float(frame.covered.width), frame.resized.width, frame.image.width),
    )
    if patch is not None:
        canvas = _paste(canvas, _render_patch(patch, frame))
    return encode_object(canvas.columns, canvas.left, canvas.top, frame.image)


@dataclass(frozen=True, slots=True)
class _Canvas:
    """A window of the mask, transposed: ``columns`` is bool (width, height), because run lengths go by columns."""

    columns: Mask
    left: int
    top: int

    @property
    def right(self) -> int:
        return self.left + int(self.columns.shape[0])

    @property
    def bottom(self) -> int:
        return self.top + int(self.columns.shape[1])


@dataclass(frozen=True, slots=True)
class _Axis:
    """Where the pixels of one axis lie between the cells of a grid; pixels between the same two cells are one *run*.

    Attributes:
        start: first pixel.
        lower, upper: (runs,) cells on both sides of a run's pixels; equal at the rim.
        first: (runs,) first pixel of a run, counted from ``start``.
        count: (runs,) its pixels, at least one.
        weight: (pixels,) share of the upper cell, 0..1.
    """

    start: int
    lower: NDArray[np.intp]
    upper: NDArray[np.intp]
    first: NDArray[np.intp]
    count: NDArray[np.intp]
    weight: NDArray[np.float64]

    @classmethod
    def over(cls, begin: float, end: float, cells: int, length: int) -> _Axis:
        """``cells`` grid cells spread over ``begin``..``end``; the pixels of ``0..length`` with their middle in there.

        Corners are not aligned and the rim is repeated, as in ``torch.nn.functional.interpolate``.
        """
        start = max(0, math.ceil(begin - 0.5))
        stop = max(start, min(length, math.ceil(end - 0.5)))
        middle = np.arange(start, stop, dtype=np.float64) + 0.5
        position = ((middle - begin) * (cells / (end - begin)) - 0.5).clip(0, cells - 1)
        pixel_lower = np.floor(position).astype(np.intp)
        lower, first, count = np.unique(pixel_lower, return_index=True, return_counts=True)
        return cls(start, lower, np.minimum(lower + 1, cells - 1), first, count, position - pixel_lower)

    def __len__(self) -> int:
        return len(self.weight)

    def runs(self, begin: int, end: int) -> _Axis:
        """The part from run ``begin`` to before run ``end``."""
        pixels = slice(int(self.first[begin]), int(self.first[end - 1] + self.count[end - 1]))
        first = self.first[begin:end] - pixels.start
        count = self.count[begin:end]
        return _Axis(
            self.start + pixels.start, self.lower[begin:end], self.upper[begin:end], first, count, self.weight[pixels]
        )


def _above_zero(grid: NDArray[np.float32], rows: _Axis, columns: _Axis) -> _Canvas:
    """Pixels whose bilinear value is above 0, cut to the box of those that can be."""
    if len(rows) == 0 or len(columns) == 0:
        return _Canvas(np.zeros((0, 0), dtype=np.bool_), 0, 0)
    positive = np.ascontiguousarray((grid > 0).T)  # w h: columns first, see _Canvas
    left, right = positive[columns.lower], positive[columns.upper]
    some, every = left | right, left & right
    some = some[:, rows.lower] | some[:, rows.upper]  # one cell per run of columns and run of rows
    every = every[:, rows.lower] & every[:, rows.upper]
    box = mask_box(some)
    if box is None:
        return _Canvas(np.zeros((0, 0), dtype=np.bool_), 0, 0)
    first_row, first_column, last_row, last_column = box  # of the transposed array
    window = np.s_[first_column:last_column, first_row:last_row]
    rows, columns = rows.runs(first_row, last_row), columns.runs(first_column, last_column)
    some, every = some[window], every[window]
    mask: Mask = np.repeat(np.repeat(every, rows.count, axis=1), columns.count, axis=0)
    _interpolate(mask, grid, rows, columns, np.flatnonzero(some & ~every))
    return _Canvas(mask, columns.start, rows.start)


def _interpolate(
    mask: Mask, grid: NDArray[np.float32], rows: _Axis, columns: _Axis, open_cells: NDArray[np.intp]
) -> None:
    """Set the pixels of ``mask`` (W, H) in those cells whose four corners differ in sign."""
    pixels = mask.reshape(-1)
    across, down = np.arange(columns.count.max()), np.arange(rows.count.max())
    step = max(1, _CHUNK // (len(across) * len(down)))
    for begin in range(0, len(open_cells), step):
        column, row = np.divmod(open_cells[begin : begin + step], len(rows.lower))
        # Runs differ in length: beyond its end a short one repeats its last pixel, which gives the same value again.
        x = columns.first[column, None] + np.minimum(across, columns.count[column, None] - 1)  # cells across
        y = rows.first[row, None] + np.minimum(down, rows.count[row, None] - 1)  # cells down
        left, right = columns.lower[column], columns.upper[column]
        top, bottom = rows.lower[row], rows.upper[row]
        share = columns.weight[x]
        above = grid[top, left, None] * (1 - share) + grid[top, right, None] * share
        below = grid[bottom, left, None] * (1 - share) + grid[bottom, right, None] * share
        share = rows.weight[y][:, None, :]
        value = above[:, :, None] * (1 - share) + below[:, :, None] * share  # cells across down
        pixels[x[:, :, None] * mask.shape[1] + y[:, None, :]] = value > 0


def _render_patch(patch: Patch, frame: Frame) -> _Canvas:
    """The patch as a full rectangle of the image (pixels outside the object are False in it)."""
    x0, y0, x1, y1 = patch.box_xyxy
    left, top = frame.to_image(x0, y0)
    right, bottom = frame.to_image(x1, y1)
    grid = patch.logits.detach().float().cpu()[0, 0].numpy()
    rows = _Axis.over(top, bottom, grid.shape[0], frame.image.height)
    columns = _Axis.over(left, right, grid.shape[1], frame.image.width)
    full = np.zeros((len(columns), len(rows)), dtype=np.bool_)
    part = _above_zero(grid, rows, columns)
    if part.columns.size:
        full[
            part.left - columns.start : part.right - columns.start, part.top - rows.start : part.bottom - rows.start
        ] = part.columns
    return _Canvas(full, columns.start, rows.start)


def _paste(canvas: _Canvas, patch: _Canvas) -> _Canvas:
    """``patch`` over ``canvas``, which grows where it must."""
    if patch.columns.size == 0:
        return canvas
    if canvas.columns.size == 0:
        return patch
    left, top = min(canvas.left, patch.left), min(canvas.top, patch.top)
    right, bottom = max(canvas.right, patch.right), max(canvas.bottom, patch.bottom)
    target = canvas.columns
    if (right - left, bottom - top) != target.shape:
        target = np.zeros((right - left, bottom - top), dtype=np.bool_)
        target[canvas.left - left : canvas.right - left, canvas.top - top : canvas.bottom - top] = canvas.columns
    target[patch.left - left : patch.right - left, patch.top - top : patch.bottom - top] = patch.columns
    return _Canvas(target, left, top)
