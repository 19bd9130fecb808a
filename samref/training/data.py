"""Images to train on, from whatever a folder holds: a public data set, folders of masks, or the team's own labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from samref.datasets import LAYOUTS, ImageRecord, Skipped, list_data_sets
from samref.datasets.records import KeptMasks
from samref.errors import DataError
from samref.labels.accepted import accepted_projects
from samref.labels.folder import DATABASE_NAME, image_file

PROJECT = "project"
"""Layout of the folder in which ``samref serve`` keeps images and accepted annotations."""


@dataclass(frozen=True, slots=True)
class Found:
    """What there is to train on, and what had to be left out."""

    records: tuple[ImageRecord, ...]
    skipped: Skipped

    @property
    def summary(self) -> str:
        """One line for the person who started the training."""
        names = sorted({record.dataset for record in self.records})
        left_out = self.skipped.to_sentences()
        rest = f"; left out: {', '.join(left_out)}" if left_out else ""
        return f"{len(self.records)} images of {', '.join(names)}{rest}."


def find_training_images(data: Path, layout: str = "auto", split: str | None = None) -> Found:
    """The images in ``data``, nothing decoded.

    Args:
        data: one data set, a folder of data sets, or the folder of a samref project.
        layout: a name in :data:`~samref.datasets.LAYOUTS`, "project", or "auto" to recognise it.
        split: part of the data set; None takes the one named "train" where there are parts.

    Raises:
        DataError: nothing there that is known, or no images in it.
        LabelError: the project's database is missing.
        StorageError: the project's database cannot be read.
    """
    if layout not in ("auto", PROJECT, *LAYOUTS):
        raise DataError(f"There is no layout {layout!r}. There are: auto, {PROJECT}, {', '.join(LAYOUTS)}.")
    if layout == PROJECT or (layout == "auto" and (data / DATABASE_NAME).is_file()):
        return _find_project(data)
    listings = list_data_sets(data, layout, split or "train")
    skipped = sum((listing.skipped for listing in listings), Skipped())
    records = tuple(record for listing in listings for record in listing.records)
    if not records:
        raise DataError(f"{data} holds no image to train on.")
    return Found(records, skipped)


def _find_project(folder: Path) -> Found:
    """Accepted annotations of all workspaces; an image that is in several is there several times."""
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
                records.append(ImageRecord(PROJECT, name, path, KeptMasks(path, objects), PROJECT))
    if not records:
        raise DataError(f"The project in {folder} has no accepted annotation yet. Accept some objects first.")
    return Found(tuple(records), Skipped(empty_objects=empty, images_without_objects=bare, images_not_found=lost))
