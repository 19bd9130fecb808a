"""Annotations as values, and the project that holds them: classes, and images with their annotations.

The order of ``ImageRecord.annotations`` is the order of overlap: a later annotation lies on top of an earlier one.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from samref.core.geometry import ImageSize
from samref.core.masks import Rle
from samref.core.prompts import Prompts
from samref.errors import LabelError
from samref.labels.classes import MAX_NAME, LabelClass

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
