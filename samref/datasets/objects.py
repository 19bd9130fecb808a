"""The objects to measure: every mask of a data set looked at once, and what cannot be measured counted.

How a data set lies in its folder is the business of :mod:`samref.datasets`. A folder of such folders is
several data sets, measured apart and averaged with equal weight.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from samref.core.images import DecodedImage
from samref.datasets import ImageRecord, ObjectMask, Skipped, list_data_sets
from samref.datasets.catalogue import AUTO
from samref.datasets.records import IGNORE_ID, KeptMasks
from samref.errors import DataError

__all__ = [
    "IGNORE_ID",
    "ImageRecord",
    "ObjectMask",
    "Skipped",
    "find_images",
    "load_objects",
    "read_image",
    "sample_objects",
]


def find_images(data: Path, layout: str = AUTO, split: str | None = None) -> tuple[list[ImageRecord], Skipped]:
    """All images under ``data`` that have objects, by data set and name, and what was left out.

    Every mask is read once, so that the number of objects is known before the measurement starts; it is kept as run
    lengths and not read again. Of the images only the heads are read, so that a size that does not fit is found now.

    Args:
        data: one data set, or a folder of data sets.
        layout: see :func:`samref.datasets.images_of`.
        split: likewise; None: the part that is measured.

    Raises:
        DataError: not a data set folder, an image without mask, a mask that cannot be read or is ambiguous.
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


def read_image(record: ImageRecord) -> DecodedImage:
    """The decoded image.

    Raises:
        DataError: it cannot be opened; the message names the file.
    """
    return record.read_image()


def load_objects(record: ImageRecord, image: DecodedImage) -> list[ObjectMask]:
    """The objects named by ``image.keys``.

    Raises:
        DataError: a mask cannot be read or is not of the image's size.
    """
    return record.read_objects(image)


def _look_at(record: ImageRecord) -> tuple[ImageRecord, Skipped]:
    """The image with the objects that can be measured, read once and kept, and the count of the others."""
    objects = record.look_at()
    empty = [one for one in objects if not one.gt.any()]
    hidden = [one for one in objects if one.gt.any() and not one.is_seen]
    left_out = {one.key for one in (*empty, *hidden)}
    measured = [one for one in objects if one.key not in left_out]
    counted = Skipped(empty_objects=len(empty), ignored_objects=len(hidden), images_without_objects=int(not measured))
    if not measured:
        return replace(record, keys=()), counted
    kept = KeptMasks.of(record.masks.path_of(measured[0].key), measured)
    return replace(record, masks=kept, keys=tuple(one.key for one in measured)), counted
