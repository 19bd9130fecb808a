"""Index masks: one PNG for an image, in which the value of a pixel says what lies there.

*class*: the number of the class, 1 to 254. *instance*: the place of the object in the list, from 1. 0 is background
and 255, "ignore" to most readers, is never used. Where objects overlap, the later one in the list lies on top; an
object that others cover wholly has no pixel in the mask, but it stands in the legend (and in a COCO file). Hidden
objects are written like all others.

Both are 8-bit PNGs with a palette, readable as plain numbers (``numpy.asarray(PIL.Image.open(path))``). An instance
mask of more than 254 objects is a 16-bit grey PNG, since 8 bits would begin anew at 256; it skips the value 255 too.
"""

from __future__ import annotations

import colorsys
import io
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samref.errors import LabelError
from samref.labels.annotations import ImageRecord, Project
from samref.labels.classes import MAX_CLASSES, find_class

IndexKind: TypeAlias = Literal["class", "instance"]

IGNORE = 255
"""Never used as a value here; borders and undecided pixels in the masks of others."""

_IGNORE_COLOUR = (224, 224, 192)
_GOLDEN_ANGLE = 0.61803398875  # of a full turn: each new hue falls into the widest gap that the others have left
_COUNTED_PIXELS = 1_000_000
_MAX_INSTANCES = 65_534  # what 16 bits hold without 0 and 255


def instance_value(place: int) -> int:
    """The pixel value of the ``place``-th object (from 0) in an instance mask."""
    value = place + 1
    return value if value < IGNORE else value + 1


def index_mask(record: ImageRecord, kind: IndexKind) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The values as an array (H, W): uint8, or uint16 where 8 bits do not suffice."""
    count = len(record.annotations)
    if kind == "instance" and count > _MAX_INSTANCES:
        raise LabelError(f"{record.file_name!r} has {count} objects; an instance mask can hold {_MAX_INSTANCES}.")
    wide = kind == "instance" and count >= IGNORE
    values: NDArray[Any] = np.zeros((record.size.height, record.size.width), dtype=np.uint16 if wide else np.uint8)
    for place, annotation in enumerate(record.annotations):
        crop, left, top = annotation.mask.to_crop()
        window = values[top : top + crop.shape[0], left : left + crop.shape[1]]
        window[crop] = annotation.class_id if kind == "class" else instance_value(place)
    return values


def export_index_mask(record: ImageRecord, project: Project, kind: IndexKind = "class") -> bytes:
    """The index mask of one image as a PNG file."""
    values = index_mask(record, kind)
    image = Image.fromarray(values)
    if values.dtype == np.uint8:
        image.putpalette(_class_palette(project) if kind == "class" else _instance_palette())
    file = io.BytesIO()
    image.save(file, format="PNG", optimize=False)
    return file.getvalue()


def legend(record: ImageRecord, project: Project, kind: IndexKind) -> dict[str, Any]:
    """What the values of an index mask mean, as plain JSON values.

    ``pixels`` of an object are those that can be seen in the mask, ``area`` is all of it.
    """
    head = {"image": record.file_name, "digest": record.digest, "kind": kind, "background": 0, "ignore": IGNORE}
    if kind == "class":
        classes = [{"value": c.id, "class": c.name, "colour": c.colour} for c in project.classes]
        return {**head, "bits": 8, "values": classes}
    values = index_mask(record, kind)
    seen = _counted(values, len(record.annotations) + 2)
    objects = [
        {
            "value": instance_value(place),
            "id": annotation.id,
            "class_id": annotation.class_id,
            "class": find_class(project.classes, annotation.class_id).name,
            "score": annotation.score,
            "area": annotation.mask.area,
            "pixels": int(seen[instance_value(place)]),
        }
        for place, annotation in enumerate(record.annotations)
    ]
    return {**head, "bits": values.dtype.itemsize * 8, "values": objects}


def _counted(values: NDArray[Any], length: int) -> NDArray[np.int64]:
    """How many pixels have each value below ``length``; in strips, since counting needs eight bytes for each pixel."""
    seen = np.zeros(length, dtype=np.int64)
    rows = max(1, _COUNTED_PIXELS // values.shape[1])
    for top in range(0, values.shape[0], rows):
        seen += np.bincount(values[top : top + rows].ravel(), minlength=length)
    return seen


def _class_palette(project: Project) -> bytes:
    palette = np.zeros((256, 3), dtype=np.uint8)
    for label_class in project.classes:
        palette[label_class.id] = list(bytes.fromhex(label_class.colour[1:]))
    palette[IGNORE] = _IGNORE_COLOUR
    return palette.tobytes()


def _instance_palette() -> bytes:
    palette = np.zeros((256, 3), dtype=np.uint8)
    for value in range(1, MAX_CLASSES + 1):
        rgb = colorsys.hsv_to_rgb(value * _GOLDEN_ANGLE % 1.0, 0.85 - 0.3 * (value % 2), 1.0 - 0.15 * (value % 3))
        palette[value] = [round(255 * channel) for channel in rgb]
    palette[IGNORE] = _IGNORE_COLOUR
    return palette.tobytes()
