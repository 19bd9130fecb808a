"""YOLO segmentation labels: one text file for an image, one line for each part of an object.

    data.yaml                 names of the classes, and where images and labels lie
    images/train/<stem>.jpg   where images are wanted
    labels/train/<stem>.txt   class x y x y …, each 0 to 1 of the image's width or height

*Written*: classes are counted from 0 in the order of the workspace. A line has no holes, and one line is one object to
every reader: holes are filled, and an object of several parts becomes several; both are reported. An image without
objects gets an empty file, which says just that.

*Read*: lines of five numbers are boxes, longer ones outlines; pixels are inside where their middle is. Names come from
``data.yaml`` or ``classes.txt``; without either a number is the place of a class in the workspace.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from samref.errors import ImportFormatError, LabelError
from samref.labels.annotations import ImageRecord
from samref.labels.classes import MAX_CLASSES
from samref.labels.formats.outlines import outline_iou, outline_of
from samref.labels.formats.reading import (
    MAX_ENTRIES,
    MAX_TEXT_BYTES,
    Collector,
    LabelImport,
    ZipEntries,
    read_text,
    short_path,
)
from samref.labels.formats.source import FileNames, Files, Options, Reason, Report, Source, json_bytes

IMAGES = "images/train/"

_LISTS = ("classes.txt", "train.txt", "val.txt", "test.txt")  # text files that are no labels
_DIGITS = 7  # of a coordinate: a two-hundredth of a pixel in the longest side there is
_MAX_YAML_BYTES = 256 * 1024
_MAX_CORNERS = 100_000  # of one line


def yolo_files(source: Source, options: Options, report: Report) -> Files:
    """The files of a YOLO data set but for its images."""
    names, index = FileNames.of(source.images), source.class_index()
    for record in source.read():
        text = "".join(_lines(record, index, options, report))
        yield f"labels/train/{names[record.digest].stem}.txt", [text.encode("ascii")]
    listed = "".join(f"  {index[c.id]}: {json_bytes(c.name).decode('utf-8')}\n" for c in source.classes)
    text = f"path: .\ntrain: images/train\nval: images/train\nnames:\n{listed}"
    yield "data.yaml", [text.encode("utf-8")]


def _lines(record: ImageRecord, index: Mapping[int, int], options: Options, report: Report) -> Iterator[str]:
    for annotation in record.annotations:
        outline = outline_of(annotation.mask, options.tolerance)
        filled = outline.without_holes()
        iou = outline_iou(annotation.mask, filled) if options.tolerance > 0 or outline.has_holes else 1.0
        if not outline.parts:
            iou = 0.0
        reason: Reason = "hole filled" if outline.has_holes else "simplified" if outline.parts else "no outline"
        report.note(record, annotation, iou, reason, filled.points)
        if len(outline.parts) > 1:
            report.note_split()
        for part in outline.parts:
            corners = " ".join(
                f"{_short(x / record.size.width)} {_short(y / record.size.height)}" for x, y in part.outer
            )
            yield f"{index[annotation.class_id]} {corners}\n"


def _short(value: float) -> str:
    return f"{min(1.0, max(0.0, value)):.{_DIGITS}f}".rstrip("0").rstrip(".")


# ---- reading


def read_yolo(entries: ZipEntries, collector: Collector) -> LabelImport:
    """Read the labels in a zip file."""
    names = _names(entries)
    paths = [path for path in entries.paths(".txt") if path.split("/")[-1] not in _LISTS]
    in_labels = [p for p in paths if "labels" in p.split("/")[:-1]] or paths
    for path in in_labels:
        data = entries.read(path, MAX_TEXT_BYTES)
        try:
            read_yolo_text(data, path, names, collector, frozenset(in_labels))
        except LabelError as error:
            raise ImportFormatError(f"The file {short_path(path)!r}: {error}") from error
    return collector.result()


def read_yolo_text(
    data: bytes,
    file_name: str,
    names: Mapping[int, str] | None,
    collector: Collector,
    among: frozenset[str] = frozenset(),
) -> None:
    """Read the labels of one image."""
    lines = [line for line in read_text(data).splitlines() if line.strip()]
    if len(lines) > MAX_ENTRIES:
        raise LabelError(f"It has more than {MAX_ENTRIES} lines.")
    record = collector.image(file_name, among=among)
    if record is None:
        if lines:
            collector.note_unknown(file_name)
        return
    for number, line in enumerate(lines, start=1):
        try:
            _read_line(line, record, names, collector)
        except LabelError as error:
            raise LabelError(f"line {number}: {error}") from error


def _read_line(line: str, record: ImageRecord, names: Mapping[int, str] | None, collector: Collector) -> None:
    words = line.split(maxsplit=2 * _MAX_CORNERS + 2)
    if len(words) > 2 * _MAX_CORNERS + 1:
        raise LabelError(f"It has more than {_MAX_CORNERS} corners.")
    try:
        place, values = int(words[0]), [float(word) for word in words[1:]]
    except ValueError as error:
        raise LabelError("It must be the number of a class and coordinates.") from error
    if not all(math.isfinite(value) and -1 <= value <= 2 for value in values):
        raise LabelError("Coordinates must be parts of the image's width and height, 0 to 1.")
    label_class = collector.numbered_class(place, names)
    width, height = record.size.width, record.size.height
    if len(values) == 4:
        x, y, w, h = values
        corners = (x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height
        collector.add_box(record, label_class, *corners)
        return
    if len(values) < 6 or len(values) % 2:
        raise LabelError("It must have four numbers for a box, or at least three corners.")
    ring = tuple((x * width, y * height) for x, y in zip(values[0::2], values[1::2], strict=True))
    collector.add(record, label_class, collector.filled(record, ring))


def _names(entries: ZipEntries) -> dict[int, str] | None:
    """The names of the classes by their numbers; None where the zip file does not say."""
    for path in (*entries.paths("data.yaml"), *entries.paths(".yaml"), *entries.paths(".yml")):
        names = _names_of_yaml(entries.read(path, _MAX_YAML_BYTES), path)
        if names is not None:
            return names
    for ending in ("classes.txt", "obj.names"):
        for path in entries.paths(ending):
            lines = read_text(entries.read(path, _MAX_YAML_BYTES)).splitlines()
            return {place: line.strip() for place, line in enumerate(lines) if line.strip()}
    return None


def _names_of_yaml(data: bytes, path: str) -> dict[int, str] | None:
    try:
        values: Any = yaml.safe_load(data)
    except (yaml.YAMLError, UnicodeError, ValueError, RecursionError) as error:
        raise ImportFormatError(f"The file {short_path(path)!r} is not YAML; write it once more.") from error
    names = values.get("names") if isinstance(values, dict) else None
    if names is None:
        return None
    items = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(items, dict) or not all(
        type(k) is int and isinstance(v, str | int) and not isinstance(v, bool) for k, v in items.items()
    ):
        raise ImportFormatError(f"The file {short_path(path)!r}: its names must be a list of names.")
    if len(items) > MAX_CLASSES:
        raise ImportFormatError(
            f"The file {short_path(path)!r} has {len(items)} names; a project can have {MAX_CLASSES} classes."
        )
    return {place: str(name) for place, name in items.items()}
