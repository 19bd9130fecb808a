"""Pictures with known objects, read from a folder.

A data set is a folder with ``images/`` and ``masks/``. For the picture ``images/cat.jpg`` the objects are in either

- ``masks/cat.png``: one channel, value = object number, 0 = background, 255 = ignore; or
- ``masks/cat__1.png``, ``masks/cat__2.png``, ...: one object each, above 128 = object, 128 = ignore, below = background
  (a file with no value above 1 is read as 0/1).

A folder of such folders is several data sets, measured apart and averaged with equal weight.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from samref.core.images import DecodedImage, decode_image, decode_label_image
from samref.core.masks import Mask
from samref.errors import DataError, ImageError

__all__ = [
    "IGNORE_ID",
    "ObjectMask",
    "Picture",
    "Skipped",
    "find_pictures",
    "load_objects",
    "read_image",
    "sample_objects",
]

IGNORE_ID = 255
"""Value of a numbered mask that is neither object nor background."""

IGNORE_BINARY = 128
"""The same in a mask of one object, as in the GrabCut data set; higher is object."""

SUFFIXES = frozenset({".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture and the objects in it that are to be measured.

    Attributes:
        dataset: name of its folder.
        image_path: the picture.
        mask_path: the numbered mask, or None where every object has its own file.
        object_paths: those files.
        keys: names of its objects, in order: numbers of the numbered mask, or the ends of the file names.
    """

    dataset: str
    image_path: Path
    mask_path: Path | None
    object_paths: tuple[Path, ...]
    keys: tuple[str, ...] = ()

    def sample_id(self, key: str) -> str:
        """``dataset/stem#key``: names one object in every report."""
        return f"{self.dataset}/{self.image_path.stem}#{key}"


@dataclass(frozen=True, slots=True)
class ObjectMask:
    """One object of a picture: bool (H, W) ``gt`` and ``ignore`` (None where no pixel is ignored)."""

    key: str
    gt: Mask
    ignore: Mask | None


@dataclass(frozen=True, slots=True)
class Skipped:
    """What was found and cannot be measured."""

    empty_objects: int = 0
    pictures_without_objects: int = 0
    masks_without_picture: int = 0


def find_pictures(data: Path) -> tuple[list[Picture], Skipped]:
    """All pictures under ``data`` that have objects, by data set and name, and what was left out.

    Every mask is read once, so that the number of objects is known before the measurement starts.

    Raises:
        DataError: not a data set folder, a picture without mask, a mask that cannot be read or is ambiguous.
    """
    if not data.is_dir():
        raise DataError(f"There is no folder {data}.")
    found: list[Picture] = []
    empty = bare = orphans = 0
    for folder in _dataset_folders(data):
        pictures, lonely = _pair(folder)
        orphans += lonely
        for picture in pictures:
            keys, without_pixels = _list_keys(picture)
            empty += without_pixels
            if keys:
                found.append(Picture(folder.name, picture.image_path, picture.mask_path, picture.object_paths, keys))
            else:
                bare += 1
    if not found:
        raise DataError(f"{data} holds no picture with an object in its mask.")
    return found, Skipped(empty, bare, orphans)


def sample_objects(pictures: Sequence[Picture], limit_per_dataset: int | None, seed: int) -> list[Picture]:
    """The same pictures with at most ``limit_per_dataset`` objects of each data set, drawn at random but always alike.

    The draw of one data set depends on its own name, its own objects and ``seed`` only.
    """
    if limit_per_dataset is None:
        return list(pictures)
    kept: list[Picture] = []
    for dataset in dict.fromkeys(picture.dataset for picture in pictures):
        own = [picture for picture in pictures if picture.dataset == dataset]
        objects = [(index, key) for index, picture in enumerate(own) for key in picture.keys]
        rng = np.random.default_rng([seed, zlib.crc32(dataset.encode("utf-8"))])
        drawn = rng.permutation(len(objects))[:limit_per_dataset]
        chosen = {objects[number] for number in drawn.tolist()}
        for index, picture in enumerate(own):
            keys = tuple(key for key in picture.keys if (index, key) in chosen)
            if keys:
                kept.append(
                    Picture(dataset, picture.image_path, picture.mask_path, picture.object_paths, keys),
                )
    return kept


def read_image(picture: Picture) -> DecodedImage:
    """The decoded picture.

    Raises:
        DataError: it cannot be opened; the message names the file.
    """
    try:
        return decode_image(_read_bytes(picture.image_path))
    except ImageError as error:
        raise DataError(f"{picture.image_path}: {error}") from error


def load_objects(picture: Picture, image: DecodedImage) -> list[ObjectMask]:
    """The objects named by ``picture.keys``.

    Raises:
        DataError: a mask cannot be read or is not of the picture's size.
    """
    if picture.mask_path is not None:
        values = _read_mask(picture.mask_path)
        _check_size(picture.mask_path, values, picture.image_path, image)
        ignore = _or_none(values == IGNORE_ID)
        return [ObjectMask(key, values == int(key), ignore) for key in picture.keys]
    objects = []
    for path in picture.object_paths:
        key = _object_key(path)
        if key in picture.keys:
            values = _read_mask(path)
            _check_size(path, values, picture.image_path, image)
            objects.append(ObjectMask(key, _binary_object(values), _or_none(values == IGNORE_BINARY)))
    return objects


def _dataset_folders(data: Path) -> list[Path]:
    if _is_dataset(data):
        return [data.resolve()]
    folders = [folder for folder in sorted(data.iterdir()) if folder.is_dir() and _is_dataset(folder)]
    if not folders:
        raise DataError(f"{data} holds neither the folders images and masks nor folders that do.")
    return folders


def _is_dataset(folder: Path) -> bool:
    images, masks = (folder / "images").is_dir(), (folder / "masks").is_dir()
    if images != masks:
        have, lack = ("images", "masks") if images else ("masks", "images")
        raise DataError(f"{folder} has a folder {have} but no folder {lack}. Put both side by side.")
    return images


def _pair(folder: Path) -> tuple[list[Picture], int]:
    """Pictures of one data set with their mask files, and the number of masks that belong to none."""
    pictures: dict[str, Path] = {}
    for path in _files(folder / "images", SUFFIXES):
        if path.stem in pictures:
            raise DataError(f"{path} and {pictures[path.stem].name} have the same name. Rename or remove one of them.")
        pictures[path.stem] = path
    numbered: dict[str, Path] = {}
    single: dict[str, list[Path]] = {}
    orphans = 0
    for path in _files(folder / "masks", frozenset({".png"})):
        stem = path.stem.rpartition("__")[0]
        if path.stem in pictures:
            numbered[path.stem] = path
        elif stem in pictures:
            single.setdefault(stem, []).append(path)
        else:
            orphans += 1
    paired = []
    for stem, image_path in pictures.items():
        if stem in numbered and stem in single:
            raise DataError(
                f"{image_path} has both {numbered[stem].name} and {single[stem][0].name} in {folder / 'masks'}. "
                "Keep either the numbered mask or the masks of single objects."
            )
        if stem not in numbered and stem not in single:
            raise DataError(
                f"{image_path} has no mask. Put {stem}.png (one number per object) or "
                f"{stem}__1.png, {stem}__2.png, ... (one object each) into {folder / 'masks'}."
            )
        paired.append(Picture(folder.name, image_path, numbered.get(stem), tuple(single.get(stem, ()))))
    return paired, orphans


def _files(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    return [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
    ]


def _list_keys(picture: Picture) -> tuple[tuple[str, ...], int]:
    """Names of the objects that have pixels, and the number of those that have none."""
    if picture.mask_path is not None:
        values = np.unique(_read_mask(picture.mask_path)).tolist()
        return tuple(str(value) for value in values if value not in (0, IGNORE_ID)), 0
    keys = [_object_key(path) for path in picture.object_paths if _binary_object(_read_mask(path)).any()]
    return tuple(keys), len(picture.object_paths) - len(keys)


def _object_key(path: Path) -> str:
    return path.stem.rpartition("__")[2]


def _binary_object(values: NDArray[np.int32]) -> Mask:
    threshold = IGNORE_BINARY if values.max() > 1 else 0
    mask: Mask = values > threshold
    return mask


def _or_none(ignore: Mask) -> Mask | None:
    return ignore if ignore.any() else None


def _read_mask(path: Path) -> NDArray[np.int32]:
    try:
        return decode_label_image(_read_bytes(path))
    except ImageError as error:
        raise DataError(f"{path}: {error}") from error


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error


def _check_size(mask_path: Path, values: NDArray[np.int32], image_path: Path, image: DecodedImage) -> None:
    if values.shape != (image.size.height, image.size.width):
        raise DataError(
            f"{mask_path} is {values.shape[1]} x {values.shape[0]} pixels, but {image_path.name} is "
            f"{image.size.width} x {image.size.height} (upright). A mask must be of its picture's own size."
        )
