"""CVAT's XML 1.1 for images: polygons, or masks as run lengths.

*Written*: outlines as ``polygon``, parts of one object joined by a ``group_id``; an object with a hole, which a polygon
cannot say, as ``mask``. On request everything is a ``mask``: run lengths of its box, row by row, background first.
``z_order`` is the order of overlap.

*Read*: ``polygon``, ``mask``, and ``box`` (a box without a mask). Pixels of a polygon are inside where their middle is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from xml.etree import ElementTree as ET

import numpy as np

from samref.core.masks import Mask, Rle, union_of
from samref.errors import ImportFormatError, LabelError
from samref.labels.annotations import Annotation, ImageRecord
from samref.labels.formats.outlines import outline_iou, outline_of
from samref.labels.formats.reading import MAX_ENTRIES, Collector, LabelImport, parse_xml, rle_of_crop
from samref.labels.formats.source import FileNames, Files, Options, Report, Source

_MAX_NUMBERS = 2_000_000  # in one shape


def cvat_files(source: Source, options: Options, report: Report) -> Files:
    """The one file of a CVAT export."""
    yield "annotations.xml", _parts(source, options, report)


def _parts(source: Source, options: Options, report: Report) -> Iterator[bytes]:
    labels = ET.Element("labels")
    for label_class in source.classes:
        label = ET.SubElement(labels, "label")
        for tag, text in (("name", label_class.name), ("color", label_class.colour), ("type", "any")):
            ET.SubElement(label, tag).text = _allowed(text)
        ET.SubElement(label, "attributes")
    task = ET.Element("task")
    ET.SubElement(task, "name").text = "samref"
    ET.SubElement(task, "size").text = str(len(source.images))
    task.append(labels)
    meta = ET.Element("meta")
    meta.append(task)
    yield b'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n' + ET.tostring(
        meta, "utf-8"
    )
    names = FileNames.of(source.images)
    for number, record in enumerate(source.read()):
        image = ET.Element(
            "image",
            id=str(number),
            name=names[record.digest].image,
            width=str(record.size.width),
            height=str(record.size.height),
        )
        for place, annotation in enumerate(record.annotations, start=1):
            name = _allowed(source.class_name(annotation.class_id))
            for shape in _shapes(record, annotation, place, options, report):
                shape.attrib = {"label": name, "source": "semi-auto", "occluded": "0", **shape.attrib}
                shape.set("z_order", str(place))
                image.append(shape)
        yield b"\n" + ET.tostring(image, "utf-8")
    yield b"\n</annotations>\n"


def _allowed(text: str) -> str:
    """Text without the characters that XML cannot hold."""
    return "".join(c if c >= " " and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff" else "?" for c in text)


def _shapes(
    record: ImageRecord, annotation: Annotation, place: int, options: Options, report: Report
) -> Iterable[ET.Element]:
    mask = annotation.mask
    if mask.area == 0:
        report.note(record, annotation, 0.0, "no outline")
        return []
    outline = outline_of(mask, options.tolerance) if options.shape == "polygons" else None
    if outline is None or (outline.has_holes and not options.fill_holes):
        report.note(record, annotation)
        crop, left, top = mask.to_crop()
        sides = {"left": str(left), "top": str(top), "width": str(crop.shape[1]), "height": str(crop.shape[0])}
        return [ET.Element("mask", {"rle": ", ".join(map(str, row_runs(crop))), **sides})]
    filled = outline.without_holes()
    iou = outline_iou(mask, filled) if options.tolerance > 0 or outline.has_holes else 1.0
    report.note(record, annotation, iou, "hole filled" if outline.has_holes else "simplified", filled.points)
    group = {"group_id": str(place)} if len(filled.parts) > 1 else {}
    return [
        ET.Element("polygon", {"points": ";".join(f"{x:.2f},{y:.2f}" for x, y in part.outer), **group})
        for part in filled.parts
    ]


def row_runs(mask: Mask) -> list[int]:
    """Run lengths of a mask (h, w) row by row, background first."""
    pixels = np.ascontiguousarray(mask).ravel()
    edges = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    runs: list[int] = np.diff(np.concatenate(([0], edges, [pixels.size]))).tolist()
    return [0, *runs] if pixels[0] else runs


# ---- reading


def read_cvat(data: bytes, collector: Collector) -> LabelImport:
    """Read a CVAT file.

    Raises:
        ImportFormatError: it is none, or an entry is wrong.
    """
    return read_cvat_tree(parse_xml(data), collector)


def read_cvat_tree(root: ET.Element, collector: Collector) -> LabelImport:
    """Read the elements of a CVAT file."""
    images = root.findall("image")
    if len(images) > MAX_ENTRIES:
        raise ImportFormatError(f"The file has more than {MAX_ENTRIES} images. Split it and import the parts.")
    names = frozenset(image.get("name", "") for image in images)
    for place, image in enumerate(images, start=1):
        try:
            _read_image(image, names, collector)
        except LabelError as error:
            raise ImportFormatError(f"The file, image {image.get('name', '')[:80] or place!r}: {error}") from error
    return collector.result()


def _read_image(image: ET.Element, names: frozenset[str], collector: Collector) -> None:
    shapes = [shape for shape in image if shape.tag in ("polygon", "mask", "box", "ellipse", "polyline", "points")]
    record = collector.image(_said(image, "name"), among=names)
    if record is None:
        if shapes:
            collector.note_unknown(_said(image, "name"))
        return
    collector.check_size(record, _whole(image, "width"), _whole(image, "height"))
    groups: dict[tuple[str, str], list[Rle]] = {}
    for place, shape in enumerate(shapes, start=1):
        try:
            label_class = collector.label_class(_said(shape, "label"))
            group = shape.get("group_id", "0")
            match shape.tag:
                case "polygon":
                    mask = collector.filled(record, _corners(shape))
                    if group not in ("", "0"):
                        groups.setdefault((group, label_class.name), []).append(mask)
                        continue
                    collector.add(record, label_class, mask)
                case "mask":
                    collector.add(record, label_class, _read_mask(shape, record, collector))
                case "box":
                    x0, y0, x1, y1 = (_number(_said(shape, key)) for key in ("xtl", "ytl", "xbr", "ybr"))
                    collector.add_box(record, label_class, x0, y0, x1, y1)
                case other:
                    collector.skip(f"A shape {other!r} of {record.file_name!r} has no area and was left out.")
        except LabelError as error:
            raise LabelError(f"shape {place}: {error}") from error
    for (_, name), masks in groups.items():
        collector.add(record, collector.label_class(name), union_of(masks))


def _read_mask(shape: ET.Element, record: ImageRecord, collector: Collector) -> Rle:
    left, top, width, height = (_whole(shape, key) for key in ("left", "top", "width", "height"))
    if left < 0 or top < 0 or width < 1 or height < 1:
        raise LabelError("The box of its mask lies outside the image.")
    if left + width > record.size.width or top + height > record.size.height:
        raise LabelError("The box of its mask lies outside the image.")
    collector.spend(width * height)
    words = _said(shape, "rle").split(",", maxsplit=_MAX_NUMBERS)
    if len(words) > _MAX_NUMBERS:
        raise LabelError(f"Its mask has more than {_MAX_NUMBERS} run lengths.")
    try:
        runs = np.array([int(word) for word in words], dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise LabelError("The run lengths of a mask must be whole numbers that are not negative.") from error
    if runs.min() < 0 or runs.max() > width * height or int(runs.sum()) != width * height:
        raise LabelError(f"The run lengths of a mask do not add up to its {width} x {height} pixels.")
    crop: Mask = np.repeat((np.arange(runs.size) & 1).astype(np.bool_), runs).reshape(height, width)
    return rle_of_crop(crop, left, top, record.size)


def _corners(shape: ET.Element) -> tuple[tuple[float, float], ...]:
    points = _said(shape, "points").split(";", maxsplit=_MAX_NUMBERS)
    corners = []
    for point in points:
        x, comma, y = point.partition(",")
        if not comma:
            raise LabelError("A corner must be written as x,y.")
        corners.append((_number(x), _number(y)))
    if not 3 <= len(corners) < _MAX_NUMBERS:
        raise LabelError("A polygon must have at least three corners.")
    return tuple(corners)


def _said(element: ET.Element, key: str) -> str:
    value = element.get(key)
    if value is None:
        raise LabelError(f"The value {key!r} is missing.")
    return value


def _whole(element: ET.Element, key: str) -> int:
    value = _number(_said(element, key))
    if not value.is_integer():
        raise LabelError(f"The value {key!r} must be a whole number.")
    return int(value)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise LabelError("A coordinate is no number.") from error
    if not abs(value) < 1e9:
        raise LabelError("A coordinate is no number or lies far outside the image.")
    return value
