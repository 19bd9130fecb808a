"""The forms in which data sets store masks as images, each as a :class:`~samref.datasets.records.MaskSource`."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from samref.core.images import decode_grey_mask, decode_label_image
from samref.core.masks import Mask
from samref.datasets.records import IGNORE_ID, ObjectMask, OneFile, decode_file, read_bytes
from samref.errors import DataError

IGNORE_BINARY = 128
"""Value of an uncertain pixel in a mask of one object, as in the GrabCut data set; higher is object."""

_COUNTED = 65_535
"""Largest number for which counting is quicker than sorting."""

GreyRule: TypeAlias = Literal["trimap", "channel", "bright", "any", "one"]
"""Which brightness is the object: "trimap" above 128, and 128 is ignored; "channel" the same of a file that must have
one channel; "bright" 128 and above; "any" above 0; "one" exactly 1, and 255 is ignored. In a file without a value above
1, 1 is the object whatever the rule."""


@dataclass(frozen=True, slots=True)
class NumberedMask(OneFile):
    """One channel, or a palette, whose value is the object's number; 0 is background and 255 ignored."""

    def read(self) -> list[ObjectMask]:
        return split_numbers(decode_file(self.path, decode_label_image))


@dataclass(frozen=True, slots=True)
class BinaryMask(OneFile):
    """A plain black-and-white mask, 0 and 255: what is white is the image's only object.

    A file without black says nothing about an object and is ignored altogether.
    """

    def read(self) -> list[ObjectMask]:
        white = decode_file(self.path, decode_label_image) == IGNORE_ID
        return [ObjectMask("1", white, white if white.all() else None)]


@dataclass(frozen=True, slots=True)
class GreyMasks:
    """A black-and-white image per object (key, file); colours, palettes and 16 bits are understood."""

    files: tuple[tuple[str, Path], ...]
    rule: GreyRule

    def path_of(self, key: str, /) -> Path:
        return dict(self.files)[key]

    def read(self) -> list[ObjectMask]:
        return [ObjectMask(key, *self._split(path)) for key, path in self.files]

    def _split(self, path: Path) -> tuple[Mask, Mask | None]:
        grey: NDArray[np.integer[Any]]
        grey = decode_file(path, decode_label_image if self.rule == "channel" else decode_grey_mask)
        if self.rule == "any" or grey.max(initial=0) <= 1:
            return grey > 0, None
        if self.rule == "one":
            return grey == 1, _or_none(grey == IGNORE_ID)
        if self.rule == "bright":
            return grey >= IGNORE_BINARY, None
        return grey > IGNORE_BINARY, _or_none(grey == IGNORE_BINARY)


@dataclass(frozen=True, slots=True)
class SbdMask(OneFile):
    """A MATLAB file of the Semantic Boundaries Dataset: ``GTinst.Segmentation`` holds the number of the object."""

    def read(self) -> list[ObjectMask]:
        values: Any = _read_matlab(self.path)
        try:
            numbers = np.asarray(values["GTinst"]["Segmentation"][0, 0])
            valid = numbers.ndim == 2 and numbers.size > 0 and np.issubdtype(numbers.dtype, np.integer)
        except (KeyError, IndexError, ValueError, TypeError):
            valid = False
        if not valid:
            raise DataError(f"{self.path} has no GTinst.Segmentation with a number per pixel. Is it from SBD's inst?")
        return split_numbers(numbers.astype(np.int32))


def split_numbers(values: NDArray[np.int32]) -> list[ObjectMask]:
    """The objects of a map of numbers (H, W), by number; 0 is background, 255 ignored.

    Where there is no number, what is ignored is given as an object that is ignored altogether, so that it is counted.
    """
    ignore = _or_none(values == IGNORE_ID)
    small = values.size > 0 and values.min() >= 0 and values.max() <= _COUNTED
    present = np.flatnonzero(np.bincount(values.ravel())) if small else np.unique(values)
    numbers = [number for number in present.tolist() if number not in (0, IGNORE_ID)]
    if not numbers and ignore is not None:
        return [ObjectMask(str(IGNORE_ID), ignore, ignore)]
    return [ObjectMask(str(number), values == number, ignore) for number in numbers]


def holds_numbers(path: Path) -> bool:
    """Whether a mask of one channel has a value besides 0 and 255."""
    values = decode_file(path, decode_label_image)
    return bool(((values != 0) & (values != IGNORE_ID)).any())


def _or_none(ignore: Mask) -> Mask | None:
    return ignore if ignore.any() else None


def _read_matlab(path: Path) -> Any:
    try:
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError
    except ModuleNotFoundError as error:
        raise DataError(
            "SBD's masks are MATLAB files, which need scipy. Install it with: pip install 'samref[evaluate]'"
        ) from error
    data = read_bytes(path)
    try:
        return loadmat(io.BytesIO(data), variable_names=["GTinst"])
    except (MatReadError, ValueError, TypeError, KeyError, IndexError, OSError, EOFError, NotImplementedError) as error:
        raise DataError(f"{path} is no MATLAB file that can be read, or is damaged. Copy it again.") from error
