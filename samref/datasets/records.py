"""What every reader gives: images that know where their masks are, and the table entry that describes a layout.

Listing a data set decodes nothing but what its layout forces it to; :meth:`ImageRecord.load` decodes one image and its
masks.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from samref.core.geometry import ImageSize
from samref.core.images import DecodedImage, decode_image, upright_size
from samref.core.masks import Mask, Rle
from samref.errors import DataError, ImageError

_T = TypeVar("_T")

IGNORE_ID = 255
"""Value of a label map that is neither object nor background."""

MAX_LABEL = 254
"""Objects a label map of one byte can tell apart."""

IMAGE_SUFFIXES = frozenset({".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True, slots=True)
class ObjectMask:
    """One object of an image: bool (H, W) ``gt`` and ``ignore`` (None where no pixel is ignored)."""

    key: str
    gt: Mask
    ignore: Mask | None

    @property
    def is_seen(self) -> bool:
        """Whether it has a pixel that is not ignored."""
        return bool((self.gt if self.ignore is None else self.gt & ~self.ignore).any())


@dataclass(frozen=True, slots=True)
class MaskSource(ABC):
    """Where the masks of one image come from: the file ``path``. A value: it can be sent to another process."""

    path: Path

    def path_of(self, _key: str, /) -> Path:
        """The file that holds an object, to name it in a message."""
        return self.path

    @abstractmethod
    def read(self) -> list[ObjectMask]:
        """Every object, those without a pixel included, in a fixed order; their keys differ."""


@dataclass(frozen=True, slots=True)
class KeptMasks(MaskSource):
    """Masks that were read already, kept as run lengths (key, gt, ignore): opens no file."""

    objects: tuple[tuple[str, Rle, Rle | None], ...]

    @classmethod
    def of(cls, path: Path, objects: Sequence[ObjectMask]) -> KeptMasks:
        """The masks of ``path``."""
        regions = {id(one.ignore): one.ignore for one in objects if one.ignore is not None}  # most images have one
        coded = {key: Rle.from_mask(region) for key, region in regions.items()}
        return cls(path, tuple((one.key, Rle.from_mask(one.gt), coded.get(id(one.ignore))) for one in objects))

    def read(self) -> list[ObjectMask]:
        regions = {ignore: ignore.to_mask() for _, _, ignore in self.objects if ignore is not None}
        return [
            ObjectMask(key, gt.to_mask(), None if ignore is None else regions[ignore])
            for key, gt, ignore in self.objects
        ]


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One image decoded, with its objects: what training asks for.

    Attributes:
        rgb: uint8 (H, W, 3), upright; shared, so never write into it.
        masks: bool (H, W) each, at least one pixel each; they may overlap.
        ids: the name of each, unique within the image.
        ignore: bool (H, W), pixels that belong to no object and are not known to be background; None: there are none.
    """

    rgb: NDArray[np.uint8]
    masks: tuple[Mask, ...]
    ids: tuple[str, ...]
    ignore: Mask | None

    def label_map(self) -> NDArray[np.uint8]:
        """uint8 (H, W): 0 background, 1, 2, ... the objects in order, 255 ignored.

        Where objects overlap, the smaller one is on top. A byte holds 254 objects: of more than that the largest have
        a number and the others are ignored, so that a number is ``index + 1`` where there are at most 254.
        """
        labels = np.zeros(self.rgb.shape[:2], dtype=np.uint8)
        if self.ignore is not None:
            labels[self.ignore] = IGNORE_ID
        areas = [int(np.count_nonzero(mask)) for mask in self.masks]
        largest_first = sorted(range(len(self.masks)), key=lambda index: -areas[index])
        numbered = sorted(largest_first[:MAX_LABEL])
        numbers = {index: number for number, index in enumerate(numbered, start=1)}
        for index in largest_first:
            labels[self.masks[index]] = numbers.get(index, IGNORE_ID)
        return labels


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image of a data set, nothing decoded; a small value that can be sent to another process.

    Attributes:
        dataset: name of its data set: the folder's.
        name: of the image within it, unique there; the file's stem, with folders before it where stems repeat.
        layout: name of the layout it was read by.
        keys: names of the objects to measure, in order; None: all that :attr:`masks` holds, not yet looked up.
    """

    dataset: str
    name: str
    image_path: Path
    masks: MaskSource
    layout: str
    keys: tuple[str, ...] | None = None

    def sample_id(self, key: str) -> str:
        """``dataset/name#key``: names one object in every report."""
        return f"{self.dataset}/{self.name}#{key}"

    def read_image(self) -> DecodedImage:
        """The decoded image."""
        return decode_file(self.image_path, decode_image)

    def read_objects(self, image: DecodedImage) -> list[ObjectMask]:
        """The objects named by ``keys`` (all of them where that is None), those without a pixel included."""
        objects = self._checked(self.masks.read(), image.size)
        return objects if self.keys is None else [one for one in objects if one.key in set(self.keys)]

    def look_at(self) -> list[ObjectMask]:
        """All its objects, and the head of its file: the pixels of the image are not decoded."""
        return self._checked(self.masks.read(), decode_file(self.image_path, upright_size))

    def load(self) -> LabelledImage:
        """The image and its objects, decoded; objects without a pixel that counts are left out."""
        image = self.read_image()
        found = self.read_objects(image)
        objects = [one for one in found if one.is_seen]
        ignore: Mask | None = None
        for region in {id(one.ignore): one.ignore for one in found if one.ignore is not None}.values():
            ignore = region.copy() if ignore is None else ignore | region
        if ignore is not None:
            for one in objects:
                ignore &= ~one.gt
        return LabelledImage(image.rgb, tuple(one.gt for one in objects), tuple(one.key for one in objects), ignore)

    def _checked(self, objects: list[ObjectMask], size: ImageSize) -> list[ObjectMask]:
        for one in objects:
            if one.gt.shape != (size.height, size.width):
                height, width = one.gt.shape
                raise DataError(
                    f"{self.masks.path_of(one.key)} is {width} x {height} pixels, but {self.image_path.name} is "
                    f"{size.width} x {size.height} (upright). A mask must be of its image's own size."
                )
        return objects


@dataclass(frozen=True, slots=True)
class Skipped:
    """What was found and cannot be measured, counted."""

    empty_objects: int = 0
    images_without_objects: int = 0
    masks_without_image: int = 0
    ignored_objects: int = 0
    images_not_found: int = 0
    crowd_regions: int = 0  # COCO's iscrowd: ignored instead of asked for
    excluded_images: int = 0  # not camouflaged, defects not to be seen, ...

    def __add__(self, other: Skipped) -> Skipped:
        return Skipped(*map(operator.add, astuple(self), astuple(other)))

    def to_sentences(self) -> list[str]:
        """What is not zero, in words: ``["3 objects without a pixel"]``."""
        return [f"{count} {words}" for count, words in zip(astuple(self), _SKIPPED_IN_WORDS, strict=True) if count]


_SKIPPED_IN_WORDS = (
    "objects without a pixel",
    "images without an object",
    "masks without an image",
    "objects that are ignored altogether",
    "images that are named but not there",
    "crowds",
    "images that the field leaves out",
)


@dataclass(frozen=True, slots=True)
class Listing:
    """The images of one data set, and what could be seen to be missing without decoding a mask."""

    records: tuple[ImageRecord, ...]
    skipped: Skipped = field(default_factory=Skipped)


@dataclass(frozen=True, slots=True)
class Layout:
    """How the files of one data set lie in its folder, and how to list them.

    Attributes:
        name: as ``--layout`` takes it.
        expects: the files it looks for, for messages.
        splits: names of its parts, the one to measure first; empty: it has no parts, and any name means all of it.
        fits: whether a folder has what it needs, from names alone.
        list_images: the images of a folder and one split, in a fixed order.
        claims: whether a folder of unknown layout is taken for it; None: whenever it fits.
    """

    name: str
    expects: str
    splits: tuple[str, ...]
    fits: Callable[[Path], bool]
    list_images: Callable[[Path, str], Listing]
    claims: Callable[[Path], bool] | None = None

    def recognises(self, folder: Path) -> bool:
        """Whether a folder of unknown layout is taken for this one."""
        return (self.claims or self.fits)(folder)

    def choose_split(self, split: str | None) -> str:
        """``split``, or the one to measure where that is None."""
        if not self.splits:
            return split or "all"
        if split is None:
            return self.splits[0]
        if split not in self.splits:
            raise DataError(f"The layout {self.name} has no part {split!r}. It has: {', '.join(self.splits)}.")
        return split


def list_files(folder: Path, suffixes: frozenset[str] = IMAGE_SUFFIXES) -> list[Path]:
    """The files directly in ``folder`` with one of these suffixes, by name; hidden ones are left out."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"There is no folder {folder}.") from error
    return [p for p in entries if p.suffix.lower() in suffixes and not p.name.startswith(".") and p.is_file()]


def read_names(path: Path) -> list[str]:
    """The first word of each line of a split file (some have a label after it), in its order."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise DataError(f"The list of images {path} is missing.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The list of images {path} cannot be read. Copy or download it again.") from error
    names = [line.split()[0] for line in lines if line.strip()]
    if not names:
        raise DataError(f"The list of images {path} is empty.")
    return list(dict.fromkeys(names))


def read_bytes(path: Path) -> bytes:
    """The whole file."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error


def decode_file(path: Path, decode: Callable[[bytes], _T]) -> _T:
    """What ``decode`` makes of the file."""
    try:
        return decode(read_bytes(path))
    except ImageError as error:
        raise DataError(f"{path}: {error}") from error
