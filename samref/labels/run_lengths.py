"""Run lengths from outside: nothing reaches pycocotools' C code before its lengths add up to the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from samref.core.masks import Mask, Rle
from samref.errors import LabelError

__all__ = ["MAX_PIXELS", "crop_of", "rle_from_counts", "rle_from_runs"]

MAX_PIXELS = 1_000_000_000
"""Most pixels a stored or imported mask may claim, and its longest side: more than any image ever accepted had, so
that no log is unreadable. Run lengths must also fit pycocotools' 32 bits."""

_BITS = 5  # of a length in each character of a compressed string; the sixth says that another character follows
_MAX_CHARACTERS = 7  # that one length can take: 35 bits and more never occur in an image of MAX_PIXELS


def rle_from_counts(height: int, width: int, counts: str) -> Rle:
    """A mask from COCO's compressed string, checked and brought to its one canonical spelling.

    Raises:
        LabelError: the string is no run-length code, or its lengths do not add up to ``height * width``.
    """
    return _rle_from_array(height, width, _parse(counts))


def crop_of(rle: Rle) -> tuple[Mask, int, int]:
    """The pixels within the bounding box of a mask, and the left and top edge of that box.

    Decodes only the columns of the box: for a small object in a large image a hundred times faster than the whole.
    """
    left, top, width, height = rle.box_xywh
    ends = np.concatenate(([0], np.cumsum(_parse(rle.counts)))).clip(left * rle.height, (left + width) * rle.height)
    lengths = np.diff(ends)
    columns = np.repeat((np.arange(lengths.size) & 1).astype(np.bool_), lengths).reshape(width, rle.height)
    crop: Mask = columns.T[top : top + height]
    return crop, left, top


def _parse(counts: str) -> NDArray[np.int64]:
    """The run lengths that a compressed string stands for."""
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


def rle_from_runs(height: int, width: int, runs: Sequence[Any]) -> Rle:
    """A mask from COCO's uncompressed list of run lengths.

    Raises:
        LabelError: an entry is no whole number, or the lengths do not add up to ``height * width``.
    """
    if not all(type(run) is int and 0 <= run <= MAX_PIXELS for run in runs):
        raise LabelError("The run lengths of a mask must be whole numbers that are not negative.")
    return _rle_from_array(height, width, np.array(runs, dtype=np.int64))


def _rle_from_array(height: int, width: int, runs: NDArray[np.int64]) -> Rle:
    if height <= 0 or width <= 0 or height * width > MAX_PIXELS:
        raise LabelError(f"A mask cannot be {width} x {height} pixels.")
    pixels = height * width
    if runs.size == 0 or runs.min() < 0 or runs.max() > pixels or int(runs.sum()) != pixels:
        raise LabelError(f"The run lengths of a mask do not add up to its {width} x {height} pixels.")
    counts: bytes = coco_mask.frPyObjects({"size": [height, width], "counts": _canonical(runs)}, height, width)[
        "counts"
    ]
    return Rle(height, width, counts.decode("ascii"))


def _canonical(runs: NDArray[np.int64]) -> list[int]:
    """The same pixels without runs of length zero (but for a first one, where the object begins at once)."""
    colours = np.arange(runs.size) & 1
    colours, runs = colours[runs > 0], runs[runs > 0]
    first = np.flatnonzero(np.concatenate(([True], colours[1:] != colours[:-1])))
    merged: list[int] = np.add.reduceat(runs, first).tolist()
    return [0, *merged] if colours[0] == 1 else merged
