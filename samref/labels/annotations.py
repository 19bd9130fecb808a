"""Annotations as values, and the project that holds them: classes, and images with their annotations.

The order of ``ImageRecord.annotations`` is the order of overlap: a later annotation lies on top of an earlier one.
"""

from __future__ import annotations

import math
import re
import unicodedata
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from samref.core.geometry import ImageSize
from samref.core.hand import HandWork
from samref.core.masks import Rle
from samref.core.prompts import Prompts
from samref.errors import LabelError
from samref.labels.classes import MAX_NAME, LabelClass

MAX_FILE_NAME = 200
"""Characters of one name; a path of several may have :data:`MAX_PATH`."""

MAX_PATH = 400
MAX_FOLDERS = 16
MAX_ID = 64
MAX_NOTE = 2_000
MAX_ATTRIBUTES = 50
MAX_VALUE = 500

NOT_REVIEWED = (("reviewed", "no"),)
"""Attributes of an annotation that no person has looked at yet; whoever has sets the value "yes"."""

DIGEST = re.compile(r"[0-9a-f]{64}")


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
        clicks: number of prompts and strokes it took.
        visible: whether the canvas shows it; hidden annotations are exported all the same.
        by_hand: its pixels that were set by hand, which no answer of a model changes.
        note: what a person wrote about it.
        attributes: names and values, in the order given.
        locked: it is left alone until it is unlocked.
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
    by_hand: HandWork | None = None
    note: str = ""
    attributes: tuple[tuple[str, str], ...] = ()
    locked: bool = False

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
        if len(self.note) > MAX_NOTE:
            raise LabelError(f"A note may have {MAX_NOTE} characters at most.")
        names = [name for name, _ in self.attributes]
        if len(names) > MAX_ATTRIBUTES or len(set(names)) < len(names):
            raise LabelError(f"An object may have {MAX_ATTRIBUTES} attributes, each name once.")
        if any(not 0 < len(name) <= MAX_NAME or len(value) > MAX_VALUE for name, value in self.attributes):
            raise LabelError(f"The name of an attribute has 1 to {MAX_NAME} characters, its value {MAX_VALUE} at most.")

    @property
    def has_score(self) -> bool:
        """Whether a model said how sure it is; it did not where the object was imported or drawn by hand."""
        return bool(self.model)


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """An image of the project: the digest of its file, the name it came with, and its annotations, lowest first.

    ``file_name`` is a relative path with ``/`` between its parts where the image came from a folder: see
    :func:`tidy_path`.
    """

    digest: str
    file_name: str
    size: ImageSize
    annotations: tuple[Annotation, ...] = ()

    def __post_init__(self) -> None:
        if not DIGEST.fullmatch(self.digest):
            raise LabelError("The digest of an image must be 64 hexadecimal digits.")
        if not 0 < len(self.file_name) <= MAX_PATH:
            raise LabelError(f"The file name of an image must have 1 to {MAX_PATH} characters.")


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
    """The annotation with that id."""
    for annotation in annotations:
        if annotation.id == annotation_id:
            return annotation
    raise LabelError("That object is not there any more; it may have been deleted.")


def upsert(annotations: tuple[Annotation, ...], *new: Annotation) -> tuple[Annotation, ...]:
    """Annotations with others put in: each in the place of the one with its id, else on top of all."""
    by_id = {annotation.id: annotation for annotation in annotations}
    by_id.update((annotation.id, annotation) for annotation in new)
    return tuple(by_id.values())


# ---- file names as people and browsers give them, made fit to be shown, compared and written

_FALLBACK = "image"
_MAX_STEM_BYTES = 120  # with a number, a suffix and a folder well below every file system's limit of 255
_DRIVE = re.compile(r"[A-Za-z]:")
_RESERVED = frozenset('<>:"/\\|?*')
_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))})


def tidy_file_name(name: str) -> str:
    """The last part of a file name as it came, on one line, of 1 to 200 characters; never ``.`` or ``..``."""
    name = unicodedata.normalize("NFC", name.replace("\\", "/")).rpartition("/")[2]
    name = "".join(c for c in name if unicodedata.category(c)[0] != "C").strip()[:MAX_FILE_NAME].strip()
    return _FALLBACK if not name.strip(".") else name


def tidy_path(name: str) -> str:
    """A file name with its folders as it came, made relative: ``sub/cat.jpg``.

    Parts are tidied one by one (:func:`tidy_file_name`); empty ones, ``.``, ``..`` and drives are left out, so that it
    names nothing outside the folder it is read in. Where there are too many or too long ones, the outermost go.
    """
    *folders, last = name.replace("\\", "/").split("/")
    path = tidy_file_name(last)
    kept = [tidy_file_name(folder) for folder in folders if folder.strip(". ") and not _DRIVE.fullmatch(folder.strip())]
    for folder in reversed(kept[-MAX_FOLDERS:]):
        longer = f"{folder}/{path}"
        if len(longer) > MAX_PATH:
            break
        path = longer
    return path


def safe_stem(name: str) -> str:
    """A file name without folder and suffix, fit for every file system; cannot lead out of a folder."""
    name = tidy_file_name(name)
    stem, _ = _split(name)
    stem = "".join("_" if c in _RESERVED else c for c in stem)
    stem = stem.encode("utf-8")[:_MAX_STEM_BYTES].decode("utf-8", "ignore").strip(" .")
    return f"_{stem}" if stem.partition(".")[0].casefold() in _DEVICES else stem or _FALLBACK


def file_names(images: Iterable[ImageRecord]) -> dict[str, str]:
    """A file name for each digest: the image's own, with ``-2``, ``-3``, … before the suffix where it is taken.

    Folders are kept; see :func:`tidy_path`.
    """
    split = ((image.digest, tidy_path(image.file_name).rpartition(".")) for image in images)
    return _unique(
        (digest, stem, dot + suffix) if stem else (digest, dot + suffix, "") for digest, (stem, dot, suffix) in split
    )


def safe_stems(images: Iterable[ImageRecord]) -> dict[str, str]:
    """A stem for the files made from each digest: see :func:`safe_stem`; capital letters make no difference."""
    return _unique((image.digest, safe_stem(image.file_name), "") for image in images)


def safe_paths(images: Iterable[ImageRecord]) -> dict[str, str]:
    """As :func:`safe_stems`, in the folders that the images came in."""
    parts = []
    for image in images:
        *folders, name = tidy_path(image.file_name).split("/")
        path = "/".join([*(safe_stem(f"{folder}.") for folder in folders), safe_stem(name)])
        parts.append((image.digest, path, ""))
    return _unique(parts)


def _split(name: str) -> tuple[str, str]:
    stem, dot, suffix = name.rpartition(".")
    return (stem, dot + suffix) if stem else (name, "")


def _unique(parts: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    names: dict[str, str] = {}
    taken: set[str] = set()
    tried: dict[str, int] = {}  # how far the numbering of a name has come: a thousand equal names take no million tries
    for digest, stem, suffix in parts:
        name = stem + suffix
        key = name.casefold()
        while name.casefold() in taken:
            tried[key] = tried.get(key, 1) + 1
            name = f"{stem}-{tried[key]}{suffix}"
        taken.add(name.casefold())
        names[digest] = name
    return names
