"""The objects to measure: every mask of a data set looked at once, and what cannot be measured counted.

How a data set lies in its folder is the business of :mod:`samref.evaluation.readers`. A folder of such folders is
several data sets, measured apart and averaged with equal weight.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from samref.core.images import DecodedImage
from samref.errors import DataError
from samref.evaluation.readers import ObjectMask, Picture, Skipped, list_data_sets
from samref.evaluation.readers.catalogue import AUTO
from samref.evaluation.readers.pictures import IGNORE_ID, KeptMasks

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


def find_pictures(data: Path, layout: str = AUTO, split: str | None = None) -> tuple[list[Picture], Skipped]:
    """All pictures under ``data`` that have objects, by data set and name, and what was left out.

    Every mask is read once, so that the number of objects is known before the measurement starts; it is kept as run
    lengths and not read again. Of the pictures only the heads are read, so that a size that does not fit is found now.

    Args:
        data: one data set, or a folder of data sets.
        layout: see :func:`samref.evaluation.readers.pictures_of`.
        split: likewise; None: the part that is measured.

    Raises:
        DataError: not a data set folder, a picture without mask, a mask that cannot be read or is ambiguous.
    """
    found: list[Picture] = []
    skipped = Skipped()
    for listing in list_data_sets(data, layout, split):
        skipped += listing.skipped
        for picture in listing.pictures:
            looked_at, left_out = _look_at(picture)
            skipped += left_out
            if looked_at.keys:
                found.append(looked_at)
    if not found:
        raise DataError(f"{data} holds no picture with an object in its mask.")
    return found, skipped


def sample_objects(pictures: Sequence[Picture], limit_per_dataset: int | None, seed: int) -> list[Picture]:
    """The same pictures with at most ``limit_per_dataset`` objects of each data set, drawn at random but always alike.

    The draw of one data set depends on its own name, its own objects and ``seed`` only. The pictures must know their
    objects, as those of :func:`find_pictures` do.
    """
    if limit_per_dataset is None:
        return list(pictures)
    kept: list[Picture] = []
    for dataset in dict.fromkeys(picture.dataset for picture in pictures):
        own = [picture for picture in pictures if picture.dataset == dataset]
        objects = [(index, key) for index, picture in enumerate(own) for key in picture.keys or ()]
        rng = np.random.default_rng([seed, zlib.crc32(dataset.encode("utf-8"))])
        drawn = rng.permutation(len(objects))[:limit_per_dataset]
        chosen = {objects[number] for number in drawn.tolist()}
        for index, picture in enumerate(own):
            keys = tuple(key for key in picture.keys or () if (index, key) in chosen)
            if keys:
                kept.append(replace(picture, keys=keys))
    return kept


def read_image(picture: Picture) -> DecodedImage:
    """The decoded picture.

    Raises:
        DataError: it cannot be opened; the message names the file.
    """
    return picture.read_image()


def load_objects(picture: Picture, image: DecodedImage) -> list[ObjectMask]:
    """The objects named by ``picture.keys``.

    Raises:
        DataError: a mask cannot be read or is not of the picture's size.
    """
    return picture.read_objects(image)


def _look_at(picture: Picture) -> tuple[Picture, Skipped]:
    """The picture with the objects that can be measured, read once and kept, and the count of the others."""
    objects = picture.look_at()
    empty = [one for one in objects if not one.gt.any()]
    hidden = [one for one in objects if one.gt.any() and not one.is_seen]
    left_out = {one.key for one in (*empty, *hidden)}
    measured = [one for one in objects if one.key not in left_out]
    counted = Skipped(empty_objects=len(empty), ignored_objects=len(hidden), pictures_without_objects=int(not measured))
    if not measured:
        return replace(picture, keys=()), counted
    kept = KeptMasks.of(picture.masks.path_of(measured[0].key), measured)
    return replace(picture, masks=kept, keys=tuple(one.key for one in measured)), counted
