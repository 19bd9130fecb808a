"""labelme's JSON: one file for an image, beside it.

*Written* (as labelme 5 and 6 read it): outlines as ``polygon``, parts of one object joined by a ``group_id``; an object
with a hole, which a polygon cannot say, as ``mask``: a PNG of its box in base64, and the box by its first and last
pixel. On request everything is a ``mask``. ``imagePath`` is the image's name, as it lies beside the file.

*Read*: ``polygon``, ``mask``, ``rectangle`` (a box without a mask), ``circle``. Pixels of a polygon are inside where
their middle is; labelme itself also counts those under the line.
"""

from __future__ import annotations

import base64
import binascii
import io
import math
from typing import Any

import numpy as np
from PIL import Image
from pydantic_core import SchemaValidator
from pydantic_core import core_schema as cs

from samref.core.masks import Mask, Rle, union_of
from samref.errors import ImportFormatError, LabelError
from samref.labels.annotations import Annotation, ImageRecord
from samref.labels.classes import LabelClass
from samref.labels.formats.outlines import outline_iou, outline_of
from samref.labels.formats.reading import (
    MAX_ENTRIES,
    MAX_JSON_BYTES,
    Collector,
    LabelImport,
    ZipEntries,
    open_png,
    parse_json,
    rle_of_crop,
    short_path,
)
from samref.labels.formats.source import FileNames, Files, Options, Report, Source, json_bytes
from samref.labels.serialization import NUMBER, WHOLE, read, text

VERSION = "5.5.0"
"""Of labelme, whose files these are."""

IMAGES = "labelme/"

_CIRCLE_CORNERS = 128
_CORNERS = cs.list_schema(cs.tuple_schema([NUMBER, NUMBER]), max_length=100_000)
_SHAPE = SchemaValidator(
    cs.typed_dict_schema(
        {
            "label": cs.typed_dict_field(text()),
            "points": cs.typed_dict_field(_CORNERS),
            "shape_type": cs.typed_dict_field(text(), required=False),
            "group_id": cs.typed_dict_field(cs.nullable_schema(WHOLE), required=False),
            "mask": cs.typed_dict_field(cs.nullable_schema(text()), required=False),
        }
    )
)
_FILE = SchemaValidator(
    cs.typed_dict_schema(
        {
            "shapes": cs.typed_dict_field(cs.list_schema(cs.any_schema(), max_length=MAX_ENTRIES)),
            "imagePath": cs.typed_dict_field(text()),
            "imageHeight": cs.typed_dict_field(WHOLE),
            "imageWidth": cs.typed_dict_field(WHOLE),
        }
    )
)


def labelme_files(source: Source, options: Options, report: Report) -> Files:
    """A file for each image."""
    names = FileNames.of(source.images)
    for record in source.read():
        name = names[record.digest]
        shapes: list[dict[str, Any]] = []
        for place, annotation in enumerate(record.annotations, start=1):
            label = source.class_name(annotation.class_id)
            shapes += [{"label": label, **shape} for shape in _shapes(record, annotation, place, options, report)]
        plain: dict[str, Any] = {
            "version": VERSION,
            "flags": {},
            "shapes": shapes,
            "imagePath": name.image.rpartition("/")[2],
            "imageData": None,
            "imageHeight": record.size.height,
            "imageWidth": record.size.width,
        }
        yield f"{IMAGES}{name.stem}.json", [json_bytes(plain)]


def _shapes(
    record: ImageRecord, annotation: Annotation, place: int, options: Options, report: Report
) -> list[dict[str, Any]]:
    mask = annotation.mask
    if mask.area == 0:
        report.note(record, annotation, 0.0, "no outline")
        return []
    rest: dict[str, Any] = {"group_id": None, "flags": {}, "description": annotation.note}
    outline = outline_of(mask, options.tolerance) if options.shape == "polygons" else None
    if outline is None or (outline.has_holes and not options.fill_holes):
        report.note(record, annotation)
        crop, left, top = mask.to_crop()
        points = [[left, top], [left + crop.shape[1] - 1, top + crop.shape[0] - 1]]
        return [{"points": points, "shape_type": "mask", "mask": _png(crop), **rest}]
    filled = outline.without_holes()
    iou = outline_iou(mask, filled) if options.tolerance > 0 or outline.has_holes else 1.0
    report.note(record, annotation, iou, "hole filled" if outline.has_holes else "simplified", filled.points)
    group = {"group_id": place} if len(filled.parts) > 1 else {}
    return [
        {"points": [list(corner) for corner in part.outer], "shape_type": "polygon", "mask": None, **rest, **group}
        for part in filled.parts
    ]


def _png(crop: Mask) -> str:
    file = io.BytesIO()
    Image.fromarray(crop).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")


# ---- reading


def read_labelme_zip(entries: ZipEntries, collector: Collector) -> LabelImport:
    """Read all labelme files in a zip file."""
    names = frozenset(entries.paths(".json"))
    for path in entries.paths(".json"):
        values = parse_json(entries.read(path, MAX_JSON_BYTES), "labelme")
        if not isinstance(values, dict) or "shapes" not in values:
            continue
        try:
            read_labelme(values, collector, names, folder=path.rpartition("/")[0])
        except LabelError as error:
            raise ImportFormatError(f"The file {short_path(path)!r}: {error}") from error
    return collector.result()


def read_labelme(values: Any, collector: Collector, among: frozenset[str] = frozenset(), folder: str = "") -> None:
    """Read the values of one labelme file, which lies in a folder."""
    found = read(_FILE, values)
    record = collector.image(f"{folder}/{found['imagePath']}", among=among)
    if record is None:
        collector.note_unknown(found["imagePath"])
        return
    collector.check_size(record, found["imageWidth"], found["imageHeight"])
    groups: dict[tuple[int, str], list[Rle]] = {}
    for place, entry in enumerate(found["shapes"], start=1):
        try:
            shape = read(_SHAPE, entry)
            label_class = collector.label_class(shape["label"])
            mask = _read_shape(shape, record, label_class, collector)
            if mask is None:
                continue
            if shape.get("group_id") is None:
                collector.add(record, label_class, mask)
            else:
                groups.setdefault((shape["group_id"], label_class.name), []).append(mask)
        except LabelError as error:
            raise LabelError(f"shape {place}: {error}") from error
    for (_, name), masks in groups.items():
        collector.add(record, collector.label_class(name), union_of(masks))


def _read_shape(
    shape: dict[str, Any], record: ImageRecord, label_class: LabelClass, collector: Collector
) -> Rle | None:
    kind, points = shape.get("shape_type") or "polygon", shape["points"]
    match kind:
        case "polygon" | "linestrip" if len(points) >= 3:
            return collector.filled(record, tuple(points))
        case "mask" if len(points) == 2 and shape.get("mask"):
            return _read_mask(shape, record, collector)
        case "rectangle" if len(points) == 2:
            (x0, y0), (x1, y1) = points
            collector.add_box(record, label_class, min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
        case "circle" if len(points) == 2:
            (x, y), radius = points[0], math.dist(*points)
            turns = np.linspace(0, 2 * math.pi, _CIRCLE_CORNERS, endpoint=False).tolist()
            return collector.filled(record, tuple((x + radius * math.cos(a), y + radius * math.sin(a)) for a in turns))
        case _:
            collector.skip(f"A {kind[:20]} of {record.file_name!r} has no area and was left out.")
    return None


def _read_mask(shape: dict[str, Any], record: ImageRecord, collector: Collector) -> Rle:
    (x0, y0), (x1, y1) = shape["points"]
    left, top, right, bottom = round(x0), round(y0), round(x1), round(y1)
    if not (0 <= left <= right < record.size.width and 0 <= top <= bottom < record.size.height):
        raise LabelError("The box of its mask lies outside the image.")
    width, height = right - left + 1, bottom - top + 1
    collector.spend(width * height)
    try:
        data = base64.b64decode(shape["mask"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise LabelError("Its mask is not written in base64.") from error
    image = open_png(data, pixels=width * height)
    if image.size != (width, height):
        raise LabelError(f"Its mask is {image.width} x {image.height} pixels and its box {width} x {height}.")
    crop: Mask = np.asarray(image.convert("L")) > 0
    return rle_of_crop(crop, left, top, record.size)
