"""Index masks: one PNG for an image, in which the value of a pixel says what lies there.

*class*: the number of the class, 1 to 254, in an 8-bit PNG with a palette. *instance*: the place of the object in the
list, from 1, in a 16-bit grey PNG, since 8 bits would begin anew at 256. 0 is background and 255, "ignore" to most
readers, is never used. Where objects overlap, the later one in the list lies on top; an object that others cover wholly
has no pixel in the mask, but it stands in the legend (and in a COCO file). Hidden objects are written like all others.
Both are readable as plain numbers (``numpy.asarray(PIL.Image.open(path))``).

The legend says what the values mean. It is in the PNG itself, as JSON in the text chunk ``samref-legend``, so that a
mask alone can be read; in a zip file ``legend.json`` repeats all of them.

    masks/class/<image>.png        class index mask of each image
    masks/instance/<image>.png     instance index mask of each image
    legend.json                    which image belongs to which mask, and what its values mean

*Read*: objects by the legend; of a class mask all pixels of a class are one object.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydantic_core import SchemaValidator
from pydantic_core import core_schema as cs

from samref.errors import ImportFormatError, LabelError
from samref.labels.annotations import MAX_ID, ImageRecord, Project, safe_paths
from samref.labels.classes import find_class
from samref.labels.formats.reading import (
    MAX_ENTRIES,
    MAX_JSON_BYTES,
    MAX_PNG_BYTES,
    Collector,
    LabelImport,
    ZipEntries,
    open_png,
    parse_json,
    read_png,
    rle_of_crop,
    short_path,
    value_crops,
)
from samref.labels.formats.source import Files, Options, Report, Source
from samref.labels.serialization import WHOLE, read, text

IndexKind: TypeAlias = Literal["class", "instance"]

IGNORE = 255
"""Never used as a value here; borders and undecided pixels in the masks of others."""

LEGEND = "samref-legend"
"""The text chunk of a mask that holds its legend."""

_IGNORE_COLOUR = (224, 224, 192)
_KINDS: tuple[IndexKind, ...] = ("class", "instance")
_COUNTED_PIXELS = 1_000_000
_MAX_INSTANCES = 65_534  # what 16 bits hold without 0 and 255


def instance_value(place: int) -> int:
    """The pixel value of the ``place``-th object (from 0) in an instance mask."""
    value = place + 1
    return value if value < IGNORE else value + 1


def index_mask(record: ImageRecord, kind: IndexKind) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The values as an array (H, W): uint8 for classes, uint16 for objects."""
    count = len(record.annotations)
    if kind == "instance" and count > _MAX_INSTANCES:
        raise LabelError(f"{record.file_name!r} has {count} objects; an instance mask can hold {_MAX_INSTANCES}.")
    dtype = np.uint16 if kind == "instance" else np.uint8
    values: NDArray[Any] = np.zeros((record.size.height, record.size.width), dtype=dtype)
    for place, annotation in enumerate(record.annotations):
        crop, left, top = annotation.mask.to_crop()
        window = values[top : top + crop.shape[0], left : left + crop.shape[1]]
        window[crop] = annotation.class_id if kind == "class" else instance_value(place)
    return values


def export_index_mask(record: ImageRecord, project: Project | Source, kind: IndexKind = "class") -> bytes:
    """The index mask of one image as a PNG file, its legend inside."""
    return _png(index_mask(record, kind), legend(record, project, kind), project)


def png_files(source: Source, options: Options, report: Report) -> Files:  # noqa: ARG001 - as all formats
    """Both masks of each image, and their legends."""
    stems = safe_paths(source.images)
    legends = []
    for record in source.read():
        for kind in _KINDS:
            told = legend(record, source, kind)
            path = f"masks/{kind}/{stems[record.digest]}.png"
            legends.append(json.dumps({"file": path, **told}, ensure_ascii=False, allow_nan=False, indent=1))
            yield path, [_png(index_mask(record, kind), told, source)]
            if kind == "instance":
                for annotation, item in zip(record.annotations, told["values"], strict=True):
                    iou = item["pixels"] / item["area"] if item["area"] else 0.0
                    report.note(record, annotation, iou, "covered by others" if item["area"] else "no outline")
    yield "legend.json", [('{"masks": [\n' + ",\n".join(legends) + "\n]}\n").encode("utf-8")]


def _png(values: NDArray[Any], told: Mapping[str, Any], project: Project | Source) -> bytes:
    image = Image.fromarray(values)
    if values.dtype == np.uint8:
        image.putpalette(_class_palette(project))
    inside = PngInfo()
    inside.add_itxt(LEGEND, json.dumps(told, ensure_ascii=False, allow_nan=False), zip=True)
    file = io.BytesIO()
    image.save(file, format="PNG", optimize=False, pnginfo=inside)
    return file.getvalue()


def legend(record: ImageRecord, project: Project | Source, kind: IndexKind) -> dict[str, Any]:
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


def _class_palette(project: Project | Source) -> bytes:
    palette = np.zeros((256, 3), dtype=np.uint8)
    for label_class in project.classes:
        palette[label_class.id] = list(bytes.fromhex(label_class.colour[1:]))
    palette[IGNORE] = _IGNORE_COLOUR
    return palette.tobytes()


# ---- reading

_VALUE = SchemaValidator(
    cs.typed_dict_schema(
        {
            "value": cs.typed_dict_field(WHOLE),
            "class": cs.typed_dict_field(text()),
            "id": cs.typed_dict_field(text(MAX_ID), required=False),
            "colour": cs.typed_dict_field(text(7), required=False),
        }
    )
)
_LEGEND = SchemaValidator(
    cs.typed_dict_schema(
        {
            "image": cs.typed_dict_field(text()),
            "kind": cs.typed_dict_field(cs.literal_schema(["class", "instance"])),
            "values": cs.typed_dict_field(cs.list_schema(cs.any_schema(), max_length=MAX_ENTRIES)),
            "digest": cs.typed_dict_field(text(64), required=False),
            "file": cs.typed_dict_field(text(), required=False),
        }
    )
)
_LEGENDS = SchemaValidator(
    cs.typed_dict_schema({"masks": cs.typed_dict_field(cs.list_schema(cs.any_schema(), max_length=MAX_ENTRIES))})
)


def read_masks_zip(entries: ZipEntries, collector: Collector) -> LabelImport:
    """Read the masks that a ``legend.json`` in a zip file names; those of objects where there are both."""
    for path in entries.paths("legend.json"):
        try:
            found = read(_LEGENDS, parse_json(entries.read(path, MAX_JSON_BYTES), "PNG masks"))
            legends = [read(_LEGEND, each) for each in found["masks"]]
        except LabelError as error:
            raise ImportFormatError(f"The file {short_path(path)!r}: {error}") from error
        has_objects = {told.get("digest", told["image"]) for told in legends if told["kind"] == "instance"}
        folder = path[: -len("legend.json")]
        for told in legends:
            if told["kind"] == "class" and told.get("digest", told["image"]) in has_objects:
                continue
            mask = folder + told.get("file", "")
            if mask not in entries:
                raise ImportFormatError(f"The file {short_path(mask)!r} that legend.json names is missing.")
            try:
                _read_mask(entries.read(mask, MAX_PNG_BYTES), told, collector)
            except LabelError as error:
                raise ImportFormatError(f"The file {short_path(mask)!r}: {error}") from error
    return collector.result()


def read_single_mask(data: bytes, collector: Collector) -> LabelImport:
    """Read a mask that holds its legend."""
    said = open_png(data).info.get(LEGEND)  # Pillow bounds how much text it unpacks
    if not isinstance(said, str):
        raise ImportFormatError(
            "The PNG file has no legend, so nothing says what its values mean. Import a zip file with legend.json, "
            "or one of Pascal VOC."
        )
    try:
        _read_mask(data, read(_LEGEND, parse_json(said.encode("utf-8"), "PNG masks")), collector)
    except LabelError as error:
        raise ImportFormatError(f"The file: {error}") from error
    return collector.result()


def _read_mask(data: bytes, told: Mapping[str, Any], collector: Collector) -> None:
    record = collector.image(told["image"], digest=told.get("digest"))
    if record is None:
        collector.note_unknown(told["image"])
        return
    meanings = {item["value"]: item for item in (read(_VALUE, each) for each in told["values"])}
    collector.spend(record.size.pixels)
    image = read_png(data, record)
    if image.mode not in ("P", "L", "1", "I;16", "I"):
        raise LabelError("Its pixels are colours, not numbers.")
    for value, (crop, left, top) in value_crops(np.asarray(image)):
        if value == IGNORE:
            continue
        if value not in meanings:
            raise LabelError(f"The legend does not say what its value {value} means.")
        item = meanings[value]
        if told["kind"] == "instance" and collector.keep(record, item.get("id", "")):
            continue
        label_class = collector.label_class(item["class"], item.get("colour"))
        collector.add(record, label_class, rle_of_crop(crop, left, top, record.size))
