"""Events as plain JSON values, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from samref.core.masks import MAX_RLE_PIXELS
from samref.core.prompts import MAX_PROMPTS, prompt_to_dict
from samref.errors import LabelError
from samref.labels.classes import MAX_NAME
from samref.labels.events import (
    AnnotationsImported,
    ClassAdded,
    ClassChanged,
    ClassRemoved,
    Cleared,
    Committed,
    Deleted,
    EditStarted,
    Event,
    ImageOpened,
    MaskGiven,
    ModelChanged,
    Prompted,
    Reclassed,
    Redone,
    Undone,
    VisibilityChanged,
)
from samref.labels.plain import (
    annotation_from_dict,
    annotation_to_dict,
    class_from_dict,
    class_to_dict,
    read_bool,
    read_int,
    read_list,
    read_prompt,
    read_text,
    rle_from_dict,
    rle_to_dict,
)
from samref.labels.project import MAX_FILE_NAME, MAX_ID

__all__ = ["event_from_dict", "event_to_dict"]

MAX_IMPORTED = 100_000
"""Annotations one import event may carry."""


def event_to_dict(event: Event) -> dict[str, Any]:
    """An event as plain JSON values: ``{"type": "prompted", "prompt": {…}, "model": "tiny"}`` and the like."""
    return {"type": _NAMES[type(event)], **_body(event)}


def _body(event: Event) -> dict[str, Any]:  # noqa: C901 - one line for each kind of event
    match event:
        case ImageOpened(digest, file_name, height, width):
            return {"digest": digest, "file_name": file_name, "height": height, "width": width}
        case Prompted(prompt, model, basis):
            answered = {} if basis is None else {"basis": basis}
            return {"prompt": prompt_to_dict(prompt), "model": model, **answered}
        case MaskGiven(mask):
            return {"mask": rle_to_dict(mask)}
        case Undone() | Redone() | Cleared():
            return {}
        case Committed(annotation):
            return {"annotation": annotation_to_dict(annotation)}
        case EditStarted(annotation_id) | Deleted(annotation_id):
            return {"annotation_id": annotation_id}
        case VisibilityChanged(annotation_id, visible):
            return {"annotation_id": annotation_id, "visible": visible}
        case Reclassed(annotation_id, class_id):
            return {"annotation_id": annotation_id, "class_id": class_id}
        case ModelChanged(model):
            return {"model": model}
        case ClassAdded(label_class) | ClassChanged(label_class):
            return {"class": class_to_dict(label_class)}
        case ClassRemoved(class_id):
            return {"class_id": class_id}
        case AnnotationsImported(annotations):
            return {"annotations": [annotation_to_dict(annotation) for annotation in annotations]}


_READERS: Mapping[str, Callable[[Any], Event]] = {
    "image_opened": lambda data: ImageOpened(
        read_text(data, "digest", MAX_ID),
        read_text(data, "file_name", MAX_FILE_NAME),
        _side(data, "height"),
        _side(data, "width"),
    ),
    "prompted": lambda data: Prompted(
        read_prompt(data.get("prompt")), read_text(data, "model", MAX_NAME), _basis(data)
    ),
    "mask_given": lambda data: MaskGiven(rle_from_dict(data.get("mask"))),
    "undone": lambda _: Undone(),
    "redone": lambda _: Redone(),
    "cleared": lambda _: Cleared(),
    "committed": lambda data: Committed(annotation_from_dict(data.get("annotation"))),
    "edit_started": lambda data: EditStarted(read_text(data, "annotation_id", MAX_ID)),
    "deleted": lambda data: Deleted(read_text(data, "annotation_id", MAX_ID)),
    "visibility_changed": lambda data: VisibilityChanged(
        read_text(data, "annotation_id", MAX_ID), read_bool(data, "visible")
    ),
    "reclassed": lambda data: Reclassed(read_text(data, "annotation_id", MAX_ID), read_int(data, "class_id")),
    "model_changed": lambda data: ModelChanged(read_text(data, "model", MAX_NAME)),
    "class_added": lambda data: ClassAdded(class_from_dict(data.get("class"))),
    "class_changed": lambda data: ClassChanged(class_from_dict(data.get("class"))),
    "class_removed": lambda data: ClassRemoved(read_int(data, "class_id")),
    "annotations_imported": lambda data: AnnotationsImported(
        tuple(annotation_from_dict(item) for item in read_list(data, "annotations", MAX_IMPORTED))
    ),
}

_NAMES: Mapping[type[Event], str] = {
    ImageOpened: "image_opened",
    Prompted: "prompted",
    MaskGiven: "mask_given",
    Undone: "undone",
    Redone: "redone",
    Cleared: "cleared",
    Committed: "committed",
    EditStarted: "edit_started",
    Deleted: "deleted",
    VisibilityChanged: "visibility_changed",
    Reclassed: "reclassed",
    ModelChanged: "model_changed",
    ClassAdded: "class_added",
    ClassChanged: "class_changed",
    ClassRemoved: "class_removed",
    AnnotationsImported: "annotations_imported",
}


def _side(data: Any, key: str) -> int:
    value = read_int(data, key)
    if not 0 < value <= MAX_RLE_PIXELS:
        raise LabelError(f"The value {key!r} must be 1 to {MAX_RLE_PIXELS} pixels.")
    return value


def _basis(data: Any) -> int | None:
    if data.get("basis") is None:
        return None
    basis = read_int(data, "basis")
    if not 0 <= basis <= MAX_PROMPTS:
        raise LabelError(f"The value 'basis' must be 0 to {MAX_PROMPTS}.")
    return basis


def event_from_dict(data: Any) -> Event:
    """The inverse of :func:`event_to_dict`; nothing in ``data`` is trusted.

    Raises:
        LabelError: unknown type, missing or unusable value.
    """
    kind = read_text(data, "type", MAX_ID)
    if kind not in _READERS:
        raise LabelError(f"There is no event of type {kind!r}.")
    return _READERS[kind](data)
