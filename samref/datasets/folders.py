"""The project's own forms: a pair of folders ``images/`` and ``masks/``, and the folder in which a server keeps labels.

For the image ``images/cat.jpg`` the objects are in either

- ``masks/cat.png``: one channel, value = object number, 0 = background, 255 = ignore. Where no such mask of the folder
  has a value besides 0 and 255, they are plain black-and-white masks: 255 = the image's one object. One mask with a
  number is enough to make 255 mean ignore in all of them; one that has 255 only is then counted as ignored; or
- ``masks/cat__1.png``, ``masks/cat__2.png``, ...: one object each, above 128 = object, 128 = ignore, below = background
  (a file with no value above 1 is read as 0/1).

Of a server's folder the accepted annotations of all workspaces are the objects; an image that is in several workspaces
is there several times.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from samref.core.images import decode_grey_mask, decode_label_image
from samref.core.masks import Mask
from samref.datasets.records import (
    IGNORE_ID,
    ImageRecord,
    KeptMasks,
    Layout,
    Listing,
    MaskSource,
    ObjectMask,
    Skipped,
    decode_file,
    list_files,
)
from samref.errors import DataError
from samref.labels.folder import DATABASE_NAME, image_file

IGNORE_BINARY = 128
"""Value of an uncertain pixel in a mask of one object, as in the GrabCut data set; higher is object."""

_COUNTED = 65_535
"""Largest number for which counting is quicker than sorting."""

GreyRule: TypeAlias = Literal["trimap", "channel", "bright", "any", "one"]
"""Which brightness is the object: "trimap" above 128, and 128 is ignored; "channel" the same of a file that must have
one channel; "bright" 128 and above; "any" above 0; "one" exactly 1, and 255 is ignored. In a file without a value above
1, 1 is the object whatever the rule."""


@dataclass(frozen=True, slots=True)
class NumberedMask(MaskSource):
    """One channel, or a palette, whose value is the object's number; 0 is background and 255 ignored."""

    def read(self) -> list[ObjectMask]:
        return split_numbers(decode_file(self.path, decode_label_image))


@dataclass(frozen=True, slots=True)
class BinaryMask(MaskSource):
    """A plain black-and-white mask, 0 and 255: what is white is the image's only object.

    A file without black says nothing about an object and is ignored altogether.
    """

    def read(self) -> list[ObjectMask]:
        white = decode_file(self.path, decode_label_image) == IGNORE_ID
        return [ObjectMask("1", white, white if white.all() else None)]


@dataclass(frozen=True, slots=True)
class GreyMasks(MaskSource):
    """A black-and-white image per object (key, file name) in the folder ``path``.

    Colours, palettes and 16 bits are understood.
    """

    files: tuple[tuple[str, str], ...]
    rule: GreyRule

    def path_of(self, key: str, /) -> Path:
        return self.path / dict(self.files)[key]

    def read(self) -> list[ObjectMask]:
        return [ObjectMask(key, *self._split(self.path / name)) for key, name in self.files]

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


# ---- the layouts


def images_by_stem(paths: list[Path]) -> dict[str, Path]:
    """The images by their names without suffix."""
    found: dict[str, Path] = {}
    for path in paths:
        if path.stem in found:
            raise DataError(f"{path} and {found[path.stem].name} have the same name. Rename or remove one of them.")
        found[path.stem] = path
    return found


def _list_folders(folder: Path, _split: str) -> Listing:
    images = images_by_stem(list_files(folder / "images"))
    numbered: dict[str, Path] = {}
    single: dict[str, list[Path]] = {}
    orphans = 0
    for path in list_files(folder / "masks", frozenset({".png"})):
        stem = path.stem.rpartition("__")[0]
        if path.stem in images:
            numbered[path.stem] = path
        elif stem in images:
            single.setdefault(stem, []).append(path)
        else:
            orphans += 1
    plain = bool(numbered) and not any(holds_numbers(path) for path in numbered.values())

    def masks_of(image: Path) -> MaskSource:
        stem = image.stem
        if stem in numbered and stem in single:
            raise DataError(
                f"{image} has both {numbered[stem].name} and {single[stem][0].name} in {folder / 'masks'}. "
                "Keep either the numbered mask or the masks of single objects."
            )
        if stem in numbered:
            return BinaryMask(numbered[stem]) if plain else NumberedMask(numbered[stem])
        if stem in single:
            files = tuple((path.stem.rpartition("__")[2], path.name) for path in single[stem])
            return GreyMasks(folder / "masks", files, "channel")
        raise DataError(
            f"{image} has no mask. Put {stem}.png (one number per object, or black and white) or "
            f"{stem}__1.png, {stem}__2.png, ... (one object each) into {folder / 'masks'}."
        )

    found = [ImageRecord(folder.name, stem, path, masks_of(path), FOLDERS.name) for stem, path in images.items()]
    return Listing(tuple(found), Skipped(masks_without_image=orphans))


def _list_project(folder: Path, _split: str) -> Listing:
    from samref.labels.store import accepted_projects  # brings the database along, which other layouts do not need

    records: list[ImageRecord] = []
    bare = empty = lost = 0
    for number, project in accepted_projects(folder).items():
        for image in project.images:
            path = image_file(folder, image.digest)
            objects = tuple((a.id, a.mask, None) for a in image.annotations if a.mask.area)
            empty += len(image.annotations) - len(objects)
            if not objects:
                bare += 1
            elif not path.is_file():
                lost += 1
            else:
                name = f"{number}/{image.digest[:12]}"
                records.append(ImageRecord(PROJECT.name, name, path, KeptMasks(path, objects), PROJECT.name))
    if not records:
        raise DataError(f"The project in {folder} has no accepted annotation yet. Accept some objects first.")
    return Listing(tuple(records), Skipped(empty, images_without_objects=bare, images_not_found=lost))


FOLDERS = Layout(
    name="folders",
    expects="images/NAME.jpg with masks/NAME.png (numbers, or black and white) or masks/NAME__1.png, ... (one each)",
    splits=(),
    fits=lambda folder: (folder / "images").is_dir() and (folder / "masks").is_dir(),
    list_images=_list_folders,
)

PROJECT = Layout(
    name="project",
    expects=f"{DATABASE_NAME}, the database of the folder in which `samref serve` keeps images and labels",
    splits=(),
    fits=lambda folder: (folder / DATABASE_NAME).is_file(),
    list_images=_list_project,
)
