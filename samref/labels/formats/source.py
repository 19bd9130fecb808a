"""What goes into an export and what comes out of it: the labels in one pass, the person's choices, what was lost.

An export never holds more than one image's objects at a time. A format is a function that goes through the images of a
:class:`Source` and gives files, each as its path and its bytes in parts; what it cannot say is noted in a
:class:`Report`.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any, Literal, TypeAlias

from samref.files import counted
from samref.labels.annotations import Annotation, ImageRecord, Project, safe_paths, tidy_file_name, tidy_path
from samref.labels.classes import LabelClass

MAX_TOLERANCE = 50.0
"""Pixels that a simplified outline may be off."""

_LISTED = 1_000  # objects and images that a report names; it counts all

Files: TypeAlias = Iterator[tuple[str, Iterable[bytes]]]
"""Paths in an export and their bytes in parts; the parts of one are to be taken before the next path is asked for."""

Reason: TypeAlias = Literal["simplified", "hole filled", "covered by others", "border", "no outline"]


@dataclass(frozen=True, slots=True)
class Options:
    """What a person chose for an export; formats ignore what does not concern them.

    Attributes:
        shape: outlines, or pixels.
        tolerance: pixels that an outline may be off; 0 follows the edges of the pixels.
        fill_holes: an object with a hole becomes an outline without it, not run lengths.
        border: pixels beside the edge of an object get the value 255, "undecided".
        images: the image files, too.
    """

    shape: Literal["polygons", "masks"] = "polygons"
    tolerance: float = 0.0
    fill_holes: bool = False
    border: bool = False
    images: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """The labels to be written.

    Attributes:
        classes: of the workspace.
        images: all images in scope, without their annotations.
        read: one pass over the images with their annotations, each time anew.
        image_bytes: the file of an image by its digest; None where files cannot be had.
        left_out: a sentence by digest for each image whose labels cannot be read; complete after a pass.
        drafts: the digests of images with an unfinished draft; complete after a pass.
    """

    classes: tuple[LabelClass, ...]
    images: tuple[ImageRecord, ...]
    read: Callable[[], Iterator[ImageRecord]]
    image_bytes: Callable[[str], bytes] | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    drafts: set[str] = field(default_factory=set)

    @classmethod
    def from_project(cls, project: Project) -> Source:
        """The labels of a project that is in memory already."""
        heads = tuple(replace(image, annotations=()) for image in project.images)
        left_out = dict(enumerate(project.left_out))
        return cls(project.classes, heads, lambda: iter(project.images), None, {str(n): s for n, s in left_out.items()})

    def class_index(self) -> dict[int, int]:
        """The place of each class, from 0, by its number: what formats with lists of names count."""
        return {label_class.id: place for place, label_class in enumerate(self.classes)}

    def class_name(self, class_id: int) -> str:
        """The name of a class."""
        return next((c.name for c in self.classes if c.id == class_id), f"class {class_id}")


@dataclass(frozen=True, slots=True)
class FileNames:
    """What the files of an image are called: unique, fit for every file system, the same in every format.

    Both are paths below the folder of their kind: images that came in folders stay in them.
    """

    stem: str
    image: str  # the stem with the image's own suffix

    @staticmethod
    def of(images: Iterable[ImageRecord]) -> dict[str, FileNames]:
        """The names of each image by its digest."""
        images = tuple(images)
        stems = safe_paths(images)
        return {i.digest: FileNames(stems[i.digest], stems[i.digest] + _suffix(i.file_name)) for i in images}


def _suffix(name: str) -> str:
    suffix = PurePath(tidy_file_name(name)).suffix
    return suffix if 1 < len(suffix) <= 6 and suffix[1:].isascii() and suffix[1:].isalnum() else ""


@dataclass(slots=True)
class Report:
    """What an export holds, and what its format could not say.

    An object *loses pixels* where the pixels that a reader of the file gets are not those of its mask; ``iou`` says how
    far the two agree.
    """

    format: str
    images: int = 0
    objects: int = 0
    points: int = 0  # corners of all outlines
    ious: float = 0.0  # their sum over all objects
    lossy: int = 0
    worst_iou: float = 1.0
    split: int = 0  # objects that a reader takes for several
    turned: int = 0  # images turned by a note in their file (EXIF)
    renamed: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    details: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    drafts: list[str] = field(default_factory=list)

    def note(
        self,
        record: ImageRecord,
        annotation: Annotation,
        iou: float = 1.0,
        reason: Reason | None = None,
        points: int = 0,
    ) -> None:
        """Count one object, and what it lost."""
        self.objects += 1
        self.points += points
        self.ious += iou
        if iou >= 1.0:
            return
        self.lossy += 1
        self.worst_iou = min(self.worst_iou, iou)
        if reason is not None:
            self.reasons[reason] += 1
        if len(self.details) < _LISTED:
            named = {"image": record.file_name, "object": annotation.id, "iou": round(iou, 4)}
            self.details.append(named | ({} if reason is None else {"why": reason}))

    def note_split(self) -> None:
        """Count an object that a reader takes for several."""
        self.split += 1

    def finish(self, source: Source) -> None:
        """Note what is known of the images after the last pass."""
        self.images = len(source.images) - len(source.left_out.keys() & {i.digest for i in source.images})
        self.left_out = list(source.left_out.values())
        self.drafts = [image.file_name for image in source.images if image.digest in source.drafts]
        names = FileNames.of(source.images)
        shared = Counter(tidy_path(image.file_name).casefold() for image in source.images)
        self.renamed = sum(
            shared[tidy_path(i.file_name).casefold()] > 1 and names[i.digest].image != tidy_path(i.file_name)
            for i in source.images
        )

    @property
    def sentences(self) -> tuple[str, ...]:
        """What a person should know, most important first."""
        said = []
        if self.drafts:
            have, it = ("has", "it is") if len(self.drafts) == 1 else ("have", "they are")
            what = "an unfinished draft" if len(self.drafts) == 1 else "unfinished drafts"
            said.append(f"{counted(len(self.drafts), 'image')} {have} {what}; {it} not exported.")
        if self.lossy:
            lose = "loses" if self.lossy == 1 else "lose"
            why = ", ".join(f"{count} {reason}" for reason, count in self.reasons.most_common())
            said.append(
                f"{self.lossy} of {counted(self.objects, 'object')} {lose} pixels: worst IoU "
                f"{in_words(self.worst_iou)}{f' ({why})' if why else ''}."
            )
        if self.split:
            become = "becomes" if self.split == 1 else "become"
            said.append(f"{counted(self.split, 'object')} of several parts {become} several objects.")
        if self.renamed:
            get = "gets a number behind its name" if self.renamed == 1 else "get a number behind their names"
            said.append(f"{counted(self.renamed, 'image')} {get}, because others have the same name.")
        if self.turned:
            are = "is" if self.turned == 1 else "are"
            said.append(
                f"{counted(self.turned, 'image file')} {are} turned by an EXIF note; labels fit the upright image."
            )
        if self.left_out:
            are = "is" if len(self.left_out) == 1 else "are"
            said.append(f"{counted(len(self.left_out), 'image')} {are} left out: {self.left_out[0]}")
        return tuple(said)

    def to_json(self) -> bytes:
        """The file ``report.json``."""
        plain = {
            "format": self.format,
            "images": self.images,
            "objects": self.objects,
            "corners": self.points,
            "objects_that_lose_pixels": self.lossy,
            "worst_iou": round(self.worst_iou, 4),
            "mean_iou": round(self.ious / self.objects, 6) if self.objects else None,
            "objects_split": self.split,
            "images_renamed": self.renamed,
            "images_turned_by_exif": self.turned,
            "images_with_unfinished_draft": self.drafts[:_LISTED],
            "images_left_out": self.left_out[:_LISTED],
            "sentences": list(self.sentences),
            "losses": self.details,
        }
        return json.dumps(plain, ensure_ascii=False, allow_nan=False, indent=1).encode("utf-8")


def in_words(iou: float) -> str:
    """An IoU with two digits, never rounded up to 1."""
    return f"{math.floor(iou * 100) / 100:.2f}"


def json_bytes(value: Any) -> bytes:
    """Plain values as compact JSON."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")
