"""Masks, their one run-length code (COCO's, through pycocotools), and how far two of them agree.

Run lengths from outside come in through :meth:`Rle.from_counts` and :meth:`Rle.from_runs`: nothing reaches
pycocotools' C code before its lengths add up to the image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from samref.core.geometry import ImageSize
from samref.errors import LabelError

Mask: TypeAlias = NDArray[np.bool_]
"""bool (H, W), image frame; True is the object."""

BOUNDARY_RATIO = 0.02
"""Width of the boundary band over the image diagonal (Cheng et al., Boundary IoU, CVPR 2021)."""

MAX_RLE_PIXELS = 1_000_000_000
"""Most pixels a stored or imported mask may claim, and its longest side: more than any image ever accepted had, so
that no log is unreadable. Run lengths must also fit pycocotools' 32 bits."""

_BITS = 5  # of a length in each character of a compressed string; the sixth says that another character follows
_MAX_CHARACTERS = 7  # that one length can take: 35 bits and more never occur in an image of MAX_RLE_PIXELS

_Runs: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rle:
    """A mask as COCO's compressed run lengths: column-major, background first. The stored, sent and exported form."""

    height: int
    width: int
    counts: str

    @classmethod
    def from_mask(cls, mask: Mask) -> Rle:
        """Encode a bool mask (H, W)."""
        coded = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
        return cls(mask.shape[0], mask.shape[1], coded["counts"].decode("ascii"))

    @classmethod
    def from_window(cls, columns: Mask, left: int, top: int, size: ImageSize) -> Rle:
        """Encode a mask of ``size`` whose object lies in a window; the same string as :meth:`from_mask` gives.

        Args:
            columns: bool (width, height), the window transposed, contiguous.
            left: its first column in the image.
            top: its first row in the image.
            size: of the image.
        """
        width, height = columns.shape
        changes = np.zeros((width, height + 1), dtype=np.bool_)
        if columns.size:
            np.not_equal(columns[:, 1:], columns[:, :-1], out=changes[:, 1:-1])
            changes[:, 0], changes[:, -1] = columns[:, 0], columns[:, -1]
        column, row = np.divmod(np.flatnonzero(changes), height + 1)
        edges = (column + left) * size.height + (row + top)  # start, end, start, end, ... in column-major order
        return _rle_of_spans(edges[0::2], edges[1::2], size.height, size.width)

    @classmethod
    def from_counts(cls, height: int, width: int, counts: str) -> Rle:
        """A mask from COCO's compressed string, checked and brought to its one canonical spelling.

        Raises:
            LabelError: the string is no run-length code, or its lengths do not add up to ``height * width``.
        """
        return _rle_of_runs(_parse(counts), height, width)

    @classmethod
    def from_runs(cls, height: int, width: int, runs: Sequence[Any]) -> Rle:
        """A mask from COCO's uncompressed list of run lengths, checked.

        Raises:
            LabelError: an entry is no whole number, or the lengths do not add up to ``height * width``.
        """
        if not all(type(run) is int and 0 <= run <= MAX_RLE_PIXELS for run in runs):
            raise LabelError("The run lengths of a mask must be whole numbers that are not negative.")
        return _rle_of_runs(np.array(runs, dtype=np.int64), height, width)

    @classmethod
    def empty(cls, height: int, width: int) -> Rle:
        """A mask without a single pixel."""
        return cls.from_mask(np.zeros((height, width), dtype=np.bool_))

    def to_mask(self) -> Mask:
        """Decode to bool (H, W)."""
        return _pixels(_parse(self.counts), self.height, self.width)

    def union(self, *others: Rle) -> Rle:
        """The pixels of this mask and of masks of the same size."""
        return union_of((self, *others))

    def intersection(self, other: Rle) -> Rle:
        """The pixels that both masks have."""
        return _of_coco(coco_mask.merge([self.to_coco(), other.to_coco()], intersect=True))

    def minus(self, other: Rle) -> Rle:
        """The pixels of this mask that the other, of the same size, does not have."""
        runs = _parse(other.counts)
        outside = runs[1:] if runs[0] == 0 else np.concatenate(([0], runs))
        if outside.size == 0:
            return Rle.empty(self.height, self.width)
        return self.intersection(_encoded(outside, self.height, self.width))

    def components(self, most: int) -> list[Rle]:
        """The parts that hang together (also by a corner), largest first; no more than ``most`` of them."""
        crop, left, top = self.to_crop()
        if crop.size == 0:
            return []
        count, parts, stats, _ = cv2.connectedComponentsWithStats(crop.astype(np.uint8), connectivity=8)
        areas = stats[1:, cv2.CC_STAT_AREA]
        size = ImageSize(self.height, self.width)
        found = []
        for number in 1 + np.argsort(-areas, kind="stable")[: min(most, count - 1)]:
            x, y, width, height = stats[number, :4]
            part = parts[y : y + height, x : x + width] == number
            found.append(Rle.from_window(np.ascontiguousarray(part.T), left + int(x), top + int(y), size))
        return found

    def to_coco(self) -> dict[str, Any]:
        """As pycocotools and COCO files write it: ``{"size": [height, width], "counts": ...}``."""
        return {"size": [self.height, self.width], "counts": self.counts}

    @property
    def area(self) -> int:
        """Number of object pixels."""
        return int(coco_mask.area(self.to_coco()))

    @property
    def box_xywh(self) -> tuple[int, int, int, int]:
        """Bounding box (x, y, width, height); all zero for an empty mask."""
        x, y, width, height = coco_mask.toBbox(self.to_coco())
        return int(x), int(y), int(width), int(height)

    def cropped(self) -> Rle:
        """The part in the bounding box :attr:`box_xywh`.

        Works on the run lengths alone: for a small object in an image of 12 megapixels that is a millisecond, where
        decoding, cutting and encoding pixels would take a hundred.
        """
        left, top, width, height = self.box_xywh
        starts, stops = _spans(_parse(self.counts))
        if height < self.height:  # then no run goes on into the next column
            column, row = np.divmod(starts, self.height)
            moved = (column - left) * height + (row - top)
            return _rle_of_spans(moved, moved + (stops - starts), height, width)
        return _rle_of_spans(starts - left * height, stops - left * height, height, width)

    def to_crop(self) -> tuple[Mask, int, int]:
        """The pixels in the bounding box, bool (h, w), and the left and top edge of that box."""
        left, top, width, height = self.box_xywh
        ends = np.concatenate(([0], np.cumsum(_parse(self.counts))))
        lengths = np.diff(ends.clip(left * self.height, (left + width) * self.height))  # within the box's columns
        return _pixels(lengths, self.height, width)[top : top + height], left, top


@dataclass(frozen=True, slots=True)
class MaskWindow:
    """A mask cut to its bounding box: what travels to a page."""

    box_xywh: tuple[int, int, int, int]  # of the object in the image; all zero for an empty mask
    mask: Rle  # of that box's size

    @classmethod
    def from_rle(cls, mask: Rle) -> MaskWindow:
        """Cut a mask of the whole image."""
        box = mask.box_xywh
        return cls(box, mask.cropped()) if box[2] and box[3] else _NO_WINDOW


_NO_WINDOW = MaskWindow((0, 0, 0, 0), Rle(0, 0, ""))


def encode_object(columns: Mask, left: int, top: int, size: ImageSize) -> tuple[Rle, MaskWindow]:
    """The mask of an image and its window, of pixels given as for :meth:`Rle.from_window`."""
    object_box = mask_box(columns) if columns.size else None
    if object_box is None:
        return Rle.empty(size.height, size.width), _NO_WINDOW
    first_row, first_column, last_row, last_column = object_box  # of the transposed array
    tight = np.ascontiguousarray(columns[first_column:last_column, first_row:last_row])
    width, height = tight.shape
    left, top = left + first_column, top + first_row
    window = MaskWindow((left, top, width, height), Rle.from_window(tight, 0, 0, ImageSize(height, width)))
    return Rle.from_window(tight, left, top, size), window


def _of_coco(coded: dict[str, Any]) -> Rle:
    height, width = coded["size"]
    return Rle(height, width, coded["counts"].decode("ascii"))


def _parse(counts: str) -> _Runs:
    """The run lengths that a compressed string stands for, background first."""
    try:
        codes = np.frombuffer(counts.encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    except UnicodeEncodeError as error:
        raise LabelError("The run lengths of a mask hold characters that do not belong there.") from error
    if codes.size == 0 or codes.min() < 0 or codes.max() > 63:
        raise LabelError("The run lengths of a mask hold characters that do not belong there.")
    ends = np.flatnonzero((codes & 0x20) == 0)
    if ends.size == 0 or ends[-1] != codes.size - 1:
        raise LabelError("The run lengths of a mask break off in the middle of a number.")
    starts = np.concatenate(([0], ends[:-1] + 1))
    if (ends - starts).max() >= _MAX_CHARACTERS:
        raise LabelError("The run lengths of a mask hold a number that is too large.")
    shifts = _BITS * (np.arange(codes.size) - np.repeat(starts, ends - starts + 1))
    values = np.add.reduceat((codes & 0x1F) << shifts, starts)
    negative = (codes[ends] & 0x10) != 0
    values -= np.where(negative, np.int64(1) << _BITS * (ends - starts + 1), 0)
    # From the fourth on, a length is written as its difference to the one two places before.
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def _rle_of_runs(runs: _Runs, height: int, width: int) -> Rle:
    """Run lengths that nobody has checked, background first."""
    if height <= 0 or width <= 0 or height * width > MAX_RLE_PIXELS:
        raise LabelError(f"A mask cannot be {width} x {height} pixels.")
    pixels = height * width
    if runs.size == 0 or runs.min() < 0 or runs.max() > pixels or int(runs.sum()) != pixels:
        raise LabelError(f"The run lengths of a mask do not add up to its {width} x {height} pixels.")
    if runs[1:].all():
        return _encoded(runs, height, width)
    starts, stops = _spans(runs)
    is_filled = starts < stops
    return _rle_of_spans(starts[is_filled], stops[is_filled], height, width)


def _pixels(runs: _Runs, height: int, width: int) -> Mask:
    """Run lengths of a mask (H, W), background first, as pixels: a tenth of the time that pycocotools takes."""
    pixels: Mask = np.repeat((np.arange(runs.size) & 1).astype(np.bool_), runs).reshape(width, height).T
    return pixels


def _spans(runs: _Runs) -> tuple[_Runs, _Runs]:
    """Where the object's runs begin and end, counted in pixels column by column."""
    ends = np.cumsum(runs)
    return ends[0:-1:2], ends[1::2]


def _rle_of_spans(starts: _Runs, stops: _Runs, height: int, width: int) -> Rle:
    """A mask from its object's runs, none empty: their first pixels and those behind their last, column by column."""
    goes_on = starts[1:] == stops[:-1]  # from the bottom of a column on at the top of the next one
    if goes_on.any():
        starts, stops = starts[np.append(True, ~goes_on)], stops[np.append(~goes_on, True)]
    runs = np.diff(np.column_stack([starts, stops]).ravel(), prepend=0, append=height * width)
    return _encoded(runs[:-1] if runs.size > 1 and runs[-1] == 0 else runs, height, width)


def _encoded(runs: _Runs, height: int, width: int) -> Rle:
    """The one place that writes run lengths: background first, and none but the first empty."""
    coded = coco_mask.frPyObjects({"size": [height, width], "counts": runs.tolist()}, height, width)
    return Rle(height, width, coded["counts"].decode("ascii"))


def mask_box(mask: Mask) -> tuple[int, int, int, int] | None:
    """Bounding box (x0, y0, x1, y1) with exclusive ends, or None for an empty mask."""
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return None
    columns = np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def mask_iou(pred: Mask, gt: Mask, ignore: Mask | None = None) -> float:
    """Intersection over union outside ``ignore``, in float32 precision; NaN when both are empty (papers: 0/0)."""
    if ignore is not None:
        pred, gt = pred & ~ignore, gt & ~ignore
    union = np.count_nonzero(pred | gt)
    if union == 0:
        return float("nan")
    return float(np.float32(np.count_nonzero(pred & gt)) / np.float32(union))


def union_of(masks: Sequence[Rle]) -> Rle:
    """The pixels of any of the masks of one image; there is at least one."""
    return masks[0] if len(masks) == 1 else union_of_coded([mask.to_coco() for mask in masks])


def union_of_coded(parts: list[dict[str, Any]]) -> Rle:
    """As :func:`union_of`, of masks as pycocotools codes them."""
    while len(parts) > 1:  # in pairs: one after another would read the whole so far again for each
        parts = [coco_mask.merge(parts[place : place + 2]) for place in range(0, len(parts), 2)]
    height, width = parts[0]["size"]
    return Rle.from_counts(height, width, parts[0]["counts"].decode("ascii"))


def rle_iou(one: Rle, other: Rle) -> float:
    """Intersection over union of two masks of the same size, from their run lengths; NaN when both are empty."""
    union = one.union(other).area
    return one.intersection(other).area / union if union else float("nan")


def boundary_iou(pred: Mask, gt: Mask, ignore: Mask | None = None, dilation_ratio: float = BOUNDARY_RATIO) -> float:
    """IoU of the two inner boundary bands, in float32 precision; NaN when both are empty.

    The band of a mask is what an erosion by ``max(1, round(dilation_ratio * diagonal))`` pixels takes away; the
    image border counts as background.

    Source: Cheng et al., "Boundary IoU", CVPR 2021, and their published code. Deviation: under ``ignore`` the
    prediction is taken to be right, and those pixels are counted in neither band (the original has no ignore).
    """
    if ignore is not None:
        pred = np.where(ignore, gt, pred)
    box = mask_box(pred | gt)
    if box is None:
        return float("nan")
    width = max(1, round(dilation_ratio * math.hypot(*gt.shape)))
    x0, y0, x1, y1 = box
    window = np.s_[y0:y1, x0:x1]
    skip = None if ignore is None else ignore[window]
    return mask_iou(_inner_band(pred[window], width), _inner_band(gt[window], width), skip)


def _inner_band(mask: Mask, width: int) -> Mask:
    """Pixels of ``mask`` at most ``width`` (chessboard) away from its outside, beyond the array included."""
    kernel = np.ones((2 * width + 1, 2 * width + 1), dtype=np.uint8)
    pixels = np.ascontiguousarray(mask).view(np.uint8)
    core = cv2.erode(pixels, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    band: Mask = mask & (core == 0)
    return band
