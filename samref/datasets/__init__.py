"""Images with known objects, read from whatever a folder holds: for evaluation and for training alike.

>>> from samref.datasets import images_of
>>> for record in images_of(Path("datasets/SBD"), "auto", "train"):  # doctest: +SKIP
...     image = record.read_image()  # DecodedImage: rgb uint8 (H, W, 3), size, digest
...     for one in record.read_objects(image):  # ObjectMask: key, gt bool (H, W), ignore bool (H, W) or None
...         ...
...     labels = record.load().label_map()  # uint8 (H, W): 0 background, 1..254 objects, 255 ignored

Public data sets, our own ``images/`` and ``masks/`` folders and the folder of a labelling server are entries of one
table, :data:`LAYOUTS`; each is described where it is read. Listing decodes nothing; :func:`find_images` looks at every
mask once, to know how many objects can be measured.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from samref.datasets.benchmarks import BERKELEY, COD10K, DAVIS, GRABCUT, HQSEG, MVTEC, PASCAL_VOC, SBD
from samref.datasets.coco import COCO, COCO_PANOPTIC, LVIS
from samref.datasets.coco_lvis import COCO_LVIS
from samref.datasets.folders import FOLDERS, PROJECT
from samref.datasets.records import ImageRecord, KeptMasks, LabelledImage, Layout, Listing, ObjectMask, Skipped
from samref.errors import DataError

__all__ = [
    "AUTO",
    "LAYOUTS",
    "ImageRecord",
    "KeptMasks",
    "LabelledImage",
    "Layout",
    "Listing",
    "ObjectMask",
    "Skipped",
    "find_images",
    "images_of",
    "layout_of",
    "list_data_sets",
    "sample_objects",
]

AUTO = "auto"
"""Recognise the layout by the names in the folder."""

_SIDE_BY_SIDE = (GRABCUT, BERKELEY, DAVIS, SBD, PASCAL_VOC, COD10K, MVTEC, HQSEG)
_BY_ANNOTATION_FILE = (COCO_LVIS, COCO, LVIS, COCO_PANOPTIC)
LAYOUTS: Mapping[str, Layout] = {one.name: one for one in (*_SIDE_BY_SIDE, *_BY_ANNOTATION_FILE, PROJECT, FOLDERS)}
"""In the order in which they are tried: the more particular ones first."""


def images_of(folder: Path, layout: str = AUTO, split: str | None = None) -> list[ImageRecord]:
    """The images of a data set, or of a folder of data sets, in a fixed order; nothing is decoded.

    Images may turn out to have no object at all (``load().masks == ()``): only decoding tells.

    Args:
        folder: one data set, or a folder whose folders are data sets (each may have a layout of its own).
        layout: a name in :data:`LAYOUTS`, or "auto".
        split: "train", "val", "test", ... as the layout has them (:attr:`Layout.splits`); None: the one that is
            measured, **not** the one to train on. A folder without such parts (``folders``) is given whole.
    """
    return [record for listing in list_data_sets(folder, layout, split) for record in listing.records]


def list_data_sets(folder: Path, layout: str = AUTO, split: str | None = None) -> list[Listing]:
    """As :func:`images_of`, one listing per data set, with the count of what was left out."""
    return [_list_one(place, found, split) for place, found in _locate(folder, layout)]


def layout_of(folder: Path) -> Layout | None:
    """The layout that a folder looks like, by the names in it; None where it looks like none."""
    return next((layout for layout in LAYOUTS.values() if layout.recognises(folder)), None)


def find_images(data: Path, layout: str = AUTO, split: str | None = None) -> tuple[list[ImageRecord], Skipped]:
    """As :func:`images_of`, those that have objects, with their ``keys``; and what was left out.

    Every mask is read once, so that the number of objects is known before the measurement starts; it is kept as run
    lengths and not read again. Of the images only the heads are read, so that a size that does not fit is found now.
    """
    found: list[ImageRecord] = []
    skipped = Skipped()
    for listing in list_data_sets(data, layout, split):
        skipped += listing.skipped
        for record in listing.records:
            looked_at, left_out = _look_at(record)
            skipped += left_out
            if looked_at.keys:
                found.append(looked_at)
    if not found:
        raise DataError(f"{data} holds no image with an object in its mask.")
    return found, skipped


def sample_objects(records: Sequence[ImageRecord], limit_per_dataset: int | None, seed: int) -> list[ImageRecord]:
    """The same images with at most ``limit_per_dataset`` objects of each data set, drawn at random but always alike.

    The draw of one data set depends on its own name, its own objects and ``seed`` only. The images must know their
    objects, as those of :func:`find_images` do.
    """
    if limit_per_dataset is None:
        return list(records)
    kept: list[ImageRecord] = []
    for dataset in dict.fromkeys(record.dataset for record in records):
        own = [record for record in records if record.dataset == dataset]
        objects = [(index, key) for index, record in enumerate(own) for key in record.keys or ()]
        rng = np.random.default_rng([seed, zlib.crc32(dataset.encode("utf-8"))])
        drawn = rng.permutation(len(objects))[:limit_per_dataset]
        chosen = {objects[number] for number in drawn.tolist()}
        for index, record in enumerate(own):
            keys = tuple(key for key in record.keys or () if (index, key) in chosen)
            if keys:
                kept.append(replace(record, keys=keys))
    return kept


def _locate(folder: Path, name: str) -> list[tuple[Path, Layout]]:
    """Data set folders with their layouts: the folder itself, or those in it."""
    if name != AUTO and name not in LAYOUTS:
        raise DataError(f"There is no layout {name!r}. There are: {AUTO}, {', '.join(LAYOUTS)}.")
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.")
    folder = folder.resolve()
    for places in ([folder], [child for child in sorted(folder.iterdir()) if child.is_dir()]):
        if name in (AUTO, FOLDERS.name):
            for place in places:
                _refuse_half(place)
        if name == AUTO:
            found = [(place, layout) for place in places if (layout := layout_of(place)) is not None]
        else:
            found = [(place, LAYOUTS[name]) for place in places if LAYOUTS[name].fits(place)]
        if found:
            return found
    if name != AUTO:
        expected = LAYOUTS[name].expects
        raise DataError(f"{folder} does not look like {name}. Expected there, or one folder further in: {expected}.")
    raise DataError(
        f"{folder} holds neither the folders images and masks nor folders that do, nor any other layout that is known "
        f"({', '.join(LAYOUTS)})."
    )


def _refuse_half(folder: Path) -> None:
    """A folder with images and no masks, or the other way round, that is of no other layout."""
    images, masks = (folder / "images").is_dir(), (folder / "masks").is_dir()
    if images != masks and layout_of(folder) is None:
        have, lack = ("images", "masks") if images else ("masks", "images")
        raise DataError(f"{folder} has a folder {have} but no folder {lack}. Put both side by side.")


def _list_one(folder: Path, layout: Layout, split: str | None) -> Listing:
    listing = layout.list_images(folder, layout.choose_split(split))
    if not listing.records:
        raise DataError(f"{folder} holds no image with an object. The layout {layout.name} expects {layout.expects}.")
    return listing


def _look_at(record: ImageRecord) -> tuple[ImageRecord, Skipped]:
    """The image with the objects that can be measured, read once and kept, and the count of the others."""
    objects = record.look_at()
    empty = sum(not one.gt.any() for one in objects)
    measured = [one for one in objects if one.is_seen]
    hidden = len(objects) - empty - len(measured)
    counted = Skipped(empty_objects=empty, ignored_objects=hidden, images_without_objects=int(not measured))
    if not measured:
        return replace(record, keys=()), counted
    kept = KeptMasks.of(record.masks.path_of(measured[0].key), measured)
    return replace(record, masks=kept, keys=tuple(one.key for one in measured)), counted
