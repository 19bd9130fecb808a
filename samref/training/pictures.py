"""Pictures to train on, from whatever a folder holds: a public data set, folders of masks, or the team's own labels."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from samref.errors import DataError
from samref.evaluation.readers import LAYOUTS, Skipped, list_data_sets
from samref.evaluation.readers import Picture as LabelledPicture
from samref.evaluation.readers.pictures import KeptMasks
from samref.labels.accepted import accepted_projects
from samref.labels.folder import DATABASE_NAME, picture_file
from samref.training.dataset import Picture, SceneBatches, find_pictures
from samref.training.recipes import Recipe
from samref.training.scenes import SceneFeed

__all__ = ["PROJECT", "Found", "find_training_pictures", "scene_feed"]

PROJECT = "project"
"""Layout of the folder in which ``samref serve`` keeps pictures and accepted annotations."""

KEPT_IN_MEMORY = 400
"""Decoded pictures kept for scenes; a 640 x 480 one is 1.2 MB."""


@dataclass(frozen=True, slots=True)
class Found:
    """What there is to train on, and what had to be left out."""

    pictures: tuple[LabelledPicture, ...]
    skipped: Skipped

    @property
    def summary(self) -> str:
        """One line for the person who started the training."""
        names = sorted({picture.dataset for picture in self.pictures})
        left_out = self.skipped.to_sentences()
        rest = f"; left out: {', '.join(left_out)}" if left_out else ""
        return f"{len(self.pictures)} pictures of {', '.join(names)}{rest}."


def find_training_pictures(data: Path, layout: str = "auto", split: str | None = None) -> Found:
    """The pictures in ``data``, nothing decoded.

    Args:
        data: one data set, a folder of data sets, or the folder of a samref project.
        layout: a name in :data:`~samref.evaluation.readers.LAYOUTS`, "project", or "auto" to recognise it.
        split: part of the data set; None takes the one named "train" where there are parts.

    Raises:
        DataError: nothing there that is known, or no pictures in it.
        LabelError: the project's database is missing.
        StorageError: the project's database cannot be read.
    """
    if layout not in ("auto", PROJECT, *LAYOUTS):
        raise DataError(f"There is no layout {layout!r}. There are: auto, {PROJECT}, {', '.join(LAYOUTS)}.")
    if layout == PROJECT or (layout == "auto" and (data / DATABASE_NAME).is_file()):
        return _find_project(data)
    listings = list_data_sets(data, layout, split or "train")
    skipped = sum((listing.skipped for listing in listings), Skipped())
    pictures = tuple(picture for listing in listings for picture in listing.pictures)
    if not pictures:
        raise DataError(f"{data} holds no picture to train on.")
    return Found(pictures, skipped)


def _find_project(folder: Path) -> Found:
    """Accepted annotations of all workspaces; a picture that is in several is there several times."""
    pictures: list[LabelledPicture] = []
    bare = empty = lost = 0
    for number, project in accepted_projects(folder).items():
        for image in project.images:
            path = picture_file(folder, image.digest)
            objects = tuple((a.id, a.mask, None) for a in image.annotations if a.mask.area)
            empty += len(image.annotations) - len(objects)
            if not objects:
                bare += 1
            elif not path.is_file():
                lost += 1
            else:
                name = f"{number}/{image.digest[:12]}"
                pictures.append(LabelledPicture(PROJECT, name, path, KeptMasks(path, objects), PROJECT))
    if not pictures:
        raise DataError(f"The project in {folder} has no accepted annotation yet. Accept some objects first.")
    return Found(tuple(pictures), Skipped(empty_objects=empty, pictures_without_objects=bare, pictures_not_found=lost))


# ---- for the recipes of the embedded model, which learn from scenes


def scene_feed(data: Path, recipe: Recipe, layout: str = "auto", split: str | None = None) -> tuple[SceneFeed, str]:
    """Scenes of ``data`` and a line about it.

    Folders NAME/images and NAME/masks with numbered masks are read as they always were, so that a run begun on them
    goes on to the same numbers; everything else comes through the readers.

    Raises:
        DataError: as :func:`find_training_pictures`.
    """
    if layout == "auto" and any(data.glob("*/images")) and not (data / DATABASE_NAME).is_file():
        found = find_pictures(data)
        count = sum(len(pictures) for pictures in found.values())
        return SceneFeed.of(found, recipe), f"{count} pictures of {', '.join(found)}."
    readable = find_training_pictures(data, layout, split)
    by_name: dict[str, list[LabelledPicture]] = {}
    for picture in readable.pictures:
        by_name.setdefault(picture.dataset, []).append(picture)
    return SceneFeed(ReadScenes(by_name, recipe), recipe), readable.summary


class ReadScenes(SceneBatches):
    """Scenes of pictures that a reader knows how to decode; the latest ones stay decoded."""

    def __init__(self, pictures: dict[str, list[LabelledPicture]], recipe: Recipe) -> None:
        keyed: dict[str, list[Picture]] = {}
        self._readers: dict[Path, LabelledPicture] = {}
        for name, listed in pictures.items():
            keyed[name] = []
            for index, picture in enumerate(listed):
                key = Path(name) / str(index)
                self._readers[key] = picture
                keyed[name].append(Picture(key, key))
        super().__init__(
            keyed,
            recipe.shapes,
            recipe.objects,
            seed=recipe.seed,
            favoured=dict(recipe.favoured),
            pasted=recipe.pasted,
        )
        self._recent: OrderedDict[Path, tuple[NDArray[np.uint8], NDArray[np.uint8]]] = OrderedDict()

    def _load(self, picture: Picture) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        key = picture.image
        if key not in self._recent:
            labelled = self._readers[key].load()
            self._recent[key] = (labelled.rgb, labelled.label_map())
            if len(self._recent) > KEPT_IN_MEMORY:
                self._recent.popitem(last=False)
        self._recent.move_to_end(key)
        return self._recent[key]
