"""RITM's merged COCO and LVIS, on which RITM, SimpleClick and SegNext train.

The images of a part, a pickle about all of them, and one for each::

    train/hannotation.pickle            for each image, which object is part of which, and how many things there are
    train/images/000000000009.jpg
    train/masks/000000000009.pickle     PNG files whose values number the objects, and each object's file and number

Objects are given that are part of no other. After the things come regions of stuff, whose keys begin with ``stuff-``.

Pickles are programs; these are read without running any (:mod:`samref.datasets.plain_pickle`).

Source: code (RITM). The authors' sampler counts the parts as further objects where it asks whether there are any.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samref.core.images import decode_label_image
from samref.datasets.coco import inside
from samref.datasets.layout import Layout, Listing
from samref.datasets.plain_pickle import ByteArray, read_plain
from samref.datasets.records import ImageRecord, ObjectMask, Skipped
from samref.errors import DataError, ImageError

__all__ = ["COCO_LVIS", "STUFF", "CocoLvisMasks"]

STUFF = "stuff-"
"""Keys of regions that are no things begin so."""

ANNOTATIONS = "hannotation.pickle"


@dataclass(frozen=True, slots=True)
class CocoLvisMasks:
    """The objects of one image.

    Attributes:
        path: the pickle.
        roots: numbers of the things that are part of no other.
        things: how many things there are, parts among them; those beyond are stuff.
    """

    path: Path
    roots: tuple[int, ...]
    things: int

    def read(self) -> list[ObjectMask]:
        content = read_plain(self.path)
        if not isinstance(content, tuple | list) or len(content) != 2 or not all(isinstance(c, list) for c in content):
            raise self._odd("it does not hold two lists, of layers and of objects")
        layers = [self._decode(layer) for layer in content[0]]
        places: list[Any] = content[1]
        stuff = range(self.things, len(places))
        named = [(str(n), n) for n in self.roots] + [(f"{STUFF}{n}", n) for n in stuff]
        return [ObjectMask(key, self._mask(layers, places, number), None) for key, number in named]

    def path_of(self, _key: str, /) -> Path:
        return self.path

    def _decode(self, layer: Any) -> NDArray[np.int32]:
        if not isinstance(layer, ByteArray):
            raise self._odd("a layer is no file in an array of bytes")
        try:
            return decode_label_image(layer.values.tobytes())
        except ImageError as error:
            raise DataError(f"{self.path}: {error}") from error

    def _mask(self, layers: list[NDArray[np.int32]], places: list[Any], number: int) -> NDArray[np.bool_]:
        try:
            layer, value = places[number]
            if layer < 0:
                raise IndexError
            mask: NDArray[np.bool_] = layers[layer] == value
        except (IndexError, TypeError, ValueError) as error:
            raise self._odd(f"object {number} is in none of its {len(layers)} layers") from error
        return mask

    def _odd(self, what: str) -> DataError:
        return DataError(f"{self.path} is none of RITM's mask files: {what}.")


def _list_images(folder: Path, split: str) -> Listing:
    place = folder / split
    path = place / ANNOTATIONS
    if not path.is_file():
        raise DataError(f"There is no {path}.")
    content = read_plain(path)
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise DataError(f"{path} does not tell of images by their names. Is it RITM's {ANNOTATIONS}?")
    records = []
    absent: list[Path] = []
    for name, told in sorted(content.items()):
        roots, things = _objects_of(path, name, told)
        image = place / "images" / inside(place, f"{name}.jpg", path)
        if not image.is_file():
            absent.append(image)
            continue
        masks = CocoLvisMasks(place / "masks" / f"{name}.pickle", roots, things)
        records.append(ImageRecord(folder.name, name, image, masks, COCO_LVIS.name))
    if absent and not records:
        raise DataError(f"None of the images that {path} names is there; the first is {absent[0]}.")
    return Listing(tuple(records), Skipped(images_not_found=len(absent)))


def _objects_of(path: Path, name: str, told: Any) -> tuple[tuple[int, ...], int]:
    """Numbers of the things that are part of no other, and how many things there are."""
    try:
        things, hierarchy = told["num_instance_masks"], told["hierarchy"]
        roots = tuple(number for number, node in hierarchy.items() if node is None or node["parent"] is None)
        valid = type(things) is int and all(type(number) is int and 0 <= number < things for number in roots)
    except (AttributeError, KeyError, TypeError) as error:
        raise DataError(f"{path} does not say which objects the image {name[:60]!r} has.") from error
    if not valid:
        raise DataError(f"{path} numbers the objects of the image {name[:60]!r} beyond their count.")
    return roots, things


COCO_LVIS = Layout(
    name="coco-lvis",
    expects=f"train/{ANNOTATIONS} with train/images/NAME.jpg and train/masks/NAME.pickle",
    splits=("val", "train"),
    fits=lambda folder: any((folder / split / ANNOTATIONS).is_file() for split in ("val", "train")),
    list_images=_list_images,
)
