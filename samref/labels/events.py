"""What a person can do to an image or to the classes of a workspace, as values.

:mod:`samref.labels.log` says what they mean, :mod:`samref.labels.event_json` how they are written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from samref.core.masks import Rle
from samref.core.prompts import Prompt
from samref.labels.classes import LabelClass
from samref.labels.project import Annotation

__all__ = [
    "AnnotationsImported",
    "ClassAdded",
    "ClassChanged",
    "ClassEvent",
    "ClassRemoved",
    "Cleared",
    "Committed",
    "Deleted",
    "EditStarted",
    "Event",
    "ImageOpened",
    "MaskGiven",
    "ModelChanged",
    "Prompted",
    "Reclassed",
    "Redone",
    "Undone",
    "VisibilityChanged",
]


@dataclass(frozen=True, slots=True)
class ImageOpened:
    """An image was put into the workspace."""

    digest: str
    file_name: str
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Prompted:
    """One more prompt for the draft, answered by ``model``.

    Attributes:
        basis: from which earlier step's memory the model answered: how many steps the draft had then. Prompts that
            came in quick succession share a basis; only the newest of them was answered. None: the step before.
    """

    prompt: Prompt
    model: str
    basis: int | None = None


@dataclass(frozen=True, slots=True)
class MaskGiven:
    """The draft starts over from a rough mask."""

    mask: Rle


@dataclass(frozen=True, slots=True)
class Undone:
    """One step of the draft back."""


@dataclass(frozen=True, slots=True)
class Redone:
    """One step of the draft forward."""


@dataclass(frozen=True, slots=True)
class Cleared:
    """The draft was given up; an annotation that was being edited stays as it was."""


@dataclass(frozen=True, slots=True)
class Committed:
    """The draft was accepted as ``annotation``."""

    annotation: Annotation


@dataclass(frozen=True, slots=True)
class EditStarted:
    """A draft was started from an annotation."""

    annotation_id: str


@dataclass(frozen=True, slots=True)
class Deleted:
    """An annotation was deleted."""

    annotation_id: str


@dataclass(frozen=True, slots=True)
class VisibilityChanged:
    """An annotation was hidden or shown."""

    annotation_id: str
    visible: bool


@dataclass(frozen=True, slots=True)
class Reclassed:
    """An annotation got another class."""

    annotation_id: str
    class_id: int


@dataclass(frozen=True, slots=True)
class ModelChanged:
    """Another model answers from now on."""

    model: str


@dataclass(frozen=True, slots=True)
class ClassAdded:
    """The workspace has one more class."""

    label_class: LabelClass


@dataclass(frozen=True, slots=True)
class ClassChanged:
    """A class got another name or colour."""

    label_class: LabelClass


@dataclass(frozen=True, slots=True)
class ClassRemoved:
    """A class that no annotation used was removed."""

    class_id: int


@dataclass(frozen=True, slots=True)
class AnnotationsImported:
    """Annotations came in from a file; each takes the place of the one with its id."""

    annotations: tuple[Annotation, ...]


ClassEvent: TypeAlias = ClassAdded | ClassChanged | ClassRemoved
Event: TypeAlias = (
    ImageOpened
    | Prompted
    | MaskGiven
    | Undone
    | Redone
    | Cleared
    | Committed
    | EditStarted
    | Deleted
    | VisibilityChanged
    | Reclassed
    | ModelChanged
    | AnnotationsImported
    | ClassEvent
)
