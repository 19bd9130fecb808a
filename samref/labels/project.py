"""A project as a value: classes, and images with their annotations. Every change makes a new project.

The order of ``ImageRecord.annotations`` is the order of overlap: a later annotation lies on top of an earlier one.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from samref.core.geometry import ImageSize
from samref.core.masks import Rle
from samref.core.prompts import Prompts
from samref.errors import LabelError
from samref.labels.classes import (
    MAX_NAME,
    LabelClass,
    check_name_is_free,
    check_removable,
    default_classes,
    find_class,
    tidy_name,
)

__all__ = [
    "Annotation",
    "ImageRecord",
    "LabelClass",
    "Project",
    "add_class",
    "add_image",
    "change_class",
    "default_classes",
    "delete_annotation",
    "find_annotation",
    "find_image",
    "new_annotation_id",
    "remove_class",
    "rename_class",
    "upsert",
    "upsert_annotation",
]

MAX_FILE_NAME = 200
MAX_ID = 64

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Annotation:
    """A finished object and where it came from.

    Attributes:
        id: unique within its image; an annotation with the same id takes the place of the older one.
        mask: the object's pixels, of the image's size.
        prompts: what the person said; empty for an annotation that was imported without them.
        model: name of the model that drew the mask.
        score: the model's own IoU estimate; 1 where the mask was imported without one.
        created_at: moment of acceptance, UTC.
        author: name the person gave, possibly empty.
        seconds: active time spent on the object.
        clicks: number of prompts given, undone ones included.
        visible: whether the canvas shows it; hidden annotations are exported all the same.
    """

    id: str
    class_id: int
    mask: Rle
    prompts: Prompts
    model: str
    score: float
    created_at: datetime
    author: str
    seconds: float
    clicks: int
    visible: bool = True

    def __post_init__(self) -> None:
        if not 0 < len(self.id) <= MAX_ID:
            raise LabelError(f"The id of an annotation must have 1 to {MAX_ID} characters.")
        if not math.isfinite(self.score) or not math.isfinite(self.seconds) or self.seconds < 0 or self.clicks < 0:
            raise LabelError(
                "The score, seconds and clicks of an annotation must be finite, the last two not negative."
            )
        if self.created_at.tzinfo is None or self.created_at.utcoffset() != UTC.utcoffset(None):
            raise LabelError("The time of an annotation must be given in UTC.")
        if len(self.author) > MAX_NAME or len(self.model) > MAX_NAME:
            raise LabelError(f"The author and the model of an annotation may have {MAX_NAME} characters at most.")


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """An image of the project: the digest of its file, the name it came with, and its annotations, lowest first."""

    digest: str
    file_name: str
    size: ImageSize
    annotations: tuple[Annotation, ...] = ()

    def __post_init__(self) -> None:
        if not _DIGEST.fullmatch(self.digest):
            raise LabelError("The digest of an image must be 64 hexadecimal digits.")
        if not 0 < len(self.file_name) <= MAX_FILE_NAME:
            raise LabelError(f"The file name of an image must have 1 to {MAX_FILE_NAME} characters.")


@dataclass(frozen=True, slots=True)
class Project:
    """All that an export needs.

    Attributes:
        classes: of all its images.
        images: in the order in which they came.
        left_out: a sentence for each image that is not here because its log is damaged; exports repeat them.
    """

    classes: tuple[LabelClass, ...] = ()
    images: tuple[ImageRecord, ...] = ()
    left_out: tuple[str, ...] = ()


def new_annotation_id() -> str:
    """An id that no other annotation has."""
    return uuid.uuid4().hex


# ---- classes


def add_class(project: Project, label_class: LabelClass) -> Project:
    """The project with one more class.

    Raises:
        LabelError: its number or name is taken, or there are too many classes.
    """
    if any(c.id == label_class.id for c in project.classes):
        raise LabelError(f"There is a class number {label_class.id} already.")
    check_name_is_free(project.classes, label_class)
    return replace(project, classes=(*project.classes, label_class))


def change_class(project: Project, label_class: LabelClass) -> Project:
    """The project with the class of that number replaced.

    Raises:
        LabelError: there is no class of that number, or another one has the name.
    """
    find_class(project.classes, label_class.id)
    check_name_is_free(project.classes, label_class)
    return replace(project, classes=tuple(label_class if c.id == label_class.id else c for c in project.classes))


def rename_class(project: Project, class_id: int, name: str) -> Project:
    """The project with a class renamed.

    Raises:
        LabelError: no such class, or the name cannot be used.
    """
    return change_class(project, replace(find_class(project.classes, class_id), name=tidy_name(name)))


def remove_class(project: Project, class_id: int) -> Project:
    """The project without a class that no annotation uses.

    Raises:
        LabelError: no such class, annotations use it, or it is the last one.
    """
    label_class = find_class(project.classes, class_id)
    used = sum(a.class_id == class_id for image in project.images for a in image.annotations)
    check_removable(project.classes, label_class, used)
    return replace(project, classes=tuple(c for c in project.classes if c.id != class_id))


# ---- images and annotations


def find_image(project: Project, digest: str) -> ImageRecord:
    """The image with that digest.

    Raises:
        LabelError: the project does not hold it.
    """
    for image in project.images:
        if image.digest == digest:
            return image
    raise LabelError("This project does not hold that image; open it first.")


def add_image(project: Project, image: ImageRecord) -> Project:
    """The project with one more image; one with the same digest is replaced."""
    others = tuple(i for i in project.images if i.digest != image.digest)
    if len(others) == len(project.images):
        return replace(project, images=(*others, image))
    return _with_image(project, image)


def find_annotation(annotations: Sequence[Annotation], annotation_id: str) -> Annotation:
    """The annotation with that id.

    Raises:
        LabelError: there is none; it may have been deleted.
    """
    for annotation in annotations:
        if annotation.id == annotation_id:
            return annotation
    raise LabelError("That object is not there any more; it may have been deleted.")


def upsert(annotations: tuple[Annotation, ...], *new: Annotation) -> tuple[Annotation, ...]:
    """Annotations with others put in: each in the place of the one with its id, else on top of all."""
    by_id = {annotation.id: annotation for annotation in annotations}
    by_id.update((annotation.id, annotation) for annotation in new)
    return tuple(by_id.values())


def upsert_annotation(project: Project, digest: str, annotation: Annotation) -> Project:
    """The project with an annotation added to an image, or replaced where one with its id is there.

    Raises:
        LabelError: no such image or class, or the mask is of another size.
    """
    image = find_image(project, digest)
    find_class(project.classes, annotation.class_id)
    mask, size = annotation.mask, image.size
    if (mask.height, mask.width) != (size.height, size.width):
        raise LabelError(
            f"The mask is {mask.width} x {mask.height} pixels, the image {image.file_name!r} "
            f"{size.width} x {size.height}."
        )
    return _with_image(project, replace(image, annotations=upsert(image.annotations, annotation)))


def delete_annotation(project: Project, digest: str, annotation_id: str) -> Project:
    """The project without one annotation.

    Raises:
        LabelError: no such image or annotation.
    """
    image = find_image(project, digest)
    find_annotation(image.annotations, annotation_id)
    kept = tuple(a for a in image.annotations if a.id != annotation_id)
    return _with_image(project, replace(image, annotations=kept))


def _with_image(project: Project, image: ImageRecord) -> Project:
    return replace(project, images=tuple(image if i.digest == image.digest else i for i in project.images))
