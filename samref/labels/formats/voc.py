"""Pascal VOC: index masks of classes and of objects as palette PNGs, boxes as XML, and a list of images.

    labelmap.txt                    name:r,g,b:: of each value, from 0, which is the background
    SegmentationClass/<stem>.png    the value of the class of each pixel
    SegmentationObject/<stem>.png   the place of the object in the list, from 1
    Annotations/<stem>.xml          class and box of each object; pixels are counted from 1 and the last one is in it
    ImageSets/Segmentation/trainval.txt, ImageSets/Main/trainval.txt
    JPEGImages/<stem>.jpg           where images are wanted

*Written*: classes have the values 1, 2, … in the order of the workspace, and VOC's own colours. Where objects overlap,
the later one in the list lies on top; what it covers is lost and reported. 255 means undecided: with ``border``, pixels
at most two away from the edge of an object. A mask holds 254 objects.

*Read*: an object is what has one value in SegmentationObject, of the class that most of its pixels have in
SegmentationClass; without SegmentationObject all pixels of a class are one object. Without masks there are boxes. Masks
in colours, as CVAT writes them, are read by the colours of ``labelmap.txt``.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samref.core.masks import mask_iou
from samref.errors import ImportFormatError, LabelError
from samref.labels.annotations import ImageRecord
from samref.labels.classes import MAX_CLASSES, LabelClass
from samref.labels.formats.reading import (
    MAX_PNG_BYTES,
    MAX_TEXT_BYTES,
    Collector,
    LabelImport,
    ZipEntries,
    parse_xml,
    read_png,
    read_text,
    rle_of_crop,
    short_path,
    value_crops,
)
from samref.labels.formats.source import FileNames, Files, Options, Report, Source

IMAGES = "JPEGImages/"
UNDECIDED = 255

_BORDER = 2  # pixels on each side of an edge, about as in the original data set
_MAX_OBJECTS = 254
_CLASSES_2012 = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip

_Values = NDArray[np.uint8]


def voc_files(source: Source, options: Options, report: Report) -> Files:
    """The files of a VOC data set but for its images."""
    names, index = FileNames.of(source.images), source.class_index()
    palette = voc_colours()
    stems = []
    for record in source.read():
        stem = names[record.digest].stem
        stems.append(stem)
        classes, objects = _index_masks(record, index, options, report)
        yield f"SegmentationClass/{stem}.png", [_png(classes, palette)]
        yield f"SegmentationObject/{stem}.png", [_png(objects, palette)]
        yield f"Annotations/{stem}.xml", [_boxes(record, names[record.digest], source)]
    listed = "".join(f"{stem}\n" for stem in stems).encode("utf-8")
    for kind in ("Segmentation", "Main"):
        yield f"ImageSets/{kind}/trainval.txt", [listed]
    lines = ["# label:color_rgb:parts:actions", "background:0,0,0::"]
    for place, label_class in enumerate(source.classes, start=1):
        name = label_class.name.replace(":", "_")
        lines.append(f"{name}:{','.join(str(c) for c in palette[place])}::")
    yield "labelmap.txt", ["".join(f"{line}\n" for line in lines).encode("utf-8")]


def voc_colours() -> _Values:
    """The colours (256, 3) that VOC gives to values: the bits of a value, dealt out to red, green and blue."""
    values = np.arange(256)
    colours = np.zeros((256, 3), dtype=np.uint8)
    for shift in range(7, -1, -1):
        for channel in range(3):
            colours[:, channel] |= (((values >> channel) & 1) << shift).astype(np.uint8)
        values = values >> 3
    return colours


def _index_masks(
    record: ImageRecord, index: Mapping[int, int], options: Options, report: Report
) -> tuple[_Values, _Values]:
    if len(record.annotations) > _MAX_OBJECTS:
        raise LabelError(
            f"{record.file_name!r} has {len(record.annotations)} objects; a mask of Pascal VOC holds {_MAX_OBJECTS}. "
            "Choose PNG masks or COCO instead."
        )
    classes = np.zeros((record.size.height, record.size.width), dtype=np.uint8)
    objects = np.zeros_like(classes)
    crops = [annotation.mask.to_crop() for annotation in record.annotations]
    for value, (annotation, (crop, left, top)) in enumerate(zip(record.annotations, crops, strict=True), start=1):
        window = np.s_[top : top + crop.shape[0], left : left + crop.shape[1]]
        classes[window][crop] = index[annotation.class_id] + 1
        objects[window][crop] = value
    if options.border:
        edge = _edges(objects)
        classes[edge] = objects[edge] = UNDECIDED
    for value, (annotation, (crop, left, top)) in enumerate(zip(record.annotations, crops, strict=True), start=1):
        seen = objects[top : top + crop.shape[0], left : left + crop.shape[1]] == value
        iou = mask_iou(seen, crop) if crop.any() else 0.0
        report.note(record, annotation, iou, "border" if options.border else "covered by others")
    return classes, objects


def _edges(values: _Values) -> NDArray[np.bool_]:
    """Pixels at most :data:`_BORDER` away from one of another value."""
    kernel = np.ones((2 * _BORDER + 1, 2 * _BORDER + 1), dtype=np.uint8)
    found: NDArray[np.bool_] = cv2.dilate(values, kernel) != cv2.erode(values, kernel)
    return found


def _png(values: _Values, palette: _Values) -> bytes:
    image = Image.fromarray(values)
    image.putpalette(palette.tobytes())
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()


def _boxes(record: ImageRecord, name: FileNames, source: Source) -> bytes:
    root = ET.Element("annotation")
    ET.SubElement(root, "folder").text = IMAGES.rstrip("/")
    ET.SubElement(root, "filename").text = name.image
    ET.SubElement(ET.SubElement(root, "source"), "database").text = "samref"
    size = ET.SubElement(root, "size")
    for tag, value in (("width", record.size.width), ("height", record.size.height), ("depth", 3)):
        ET.SubElement(size, tag).text = str(value)
    ET.SubElement(root, "segmented").text = "1"
    for annotation in record.annotations:
        x, y, width, height = annotation.mask.box_xywh
        found = ET.SubElement(root, "object")
        ET.SubElement(found, "name").text = source.class_name(annotation.class_id)
        for tag, text in (("pose", "Unspecified"), ("truncated", "0"), ("difficult", "0"), ("occluded", "0")):
            ET.SubElement(found, tag).text = text
        box = ET.SubElement(found, "bndbox")
        for tag, value in (("xmin", x + 1), ("ymin", y + 1), ("xmax", x + width), ("ymax", y + height)):
            ET.SubElement(box, tag).text = str(value)
    ET.indent(root)
    data: bytes = ET.tostring(root, "utf-8")
    return data + b"\n"


# ---- reading


def read_voc(entries: ZipEntries, collector: Collector) -> LabelImport:
    """Read the masks in a zip file, and the boxes of images without one."""
    names, colours = _labels(entries)
    objects = {_stem(path, "SegmentationObject"): path for path in entries.paths(".png", "SegmentationObject")}
    classes = {_stem(path, "SegmentationClass"): path for path in entries.paths(".png", "SegmentationClass")}
    boxes = {_stem(path, "Annotations"): path for path in entries.paths(".xml", "Annotations")}
    among = frozenset(classes.keys() | boxes.keys())
    for stem, path in classes.items():
        try:
            record = collector.image(stem, among=among)
            if record is None:
                collector.note_unknown(stem)
                continue
            collector.spend(record.size.pixels)
            values = _class_values(entries.read(path, MAX_PNG_BYTES), record, colours)
            parts = entries.read(objects[stem], MAX_PNG_BYTES) if stem in objects else None
            _read_masks(values, parts, record, names, collector)
        except LabelError as error:
            raise ImportFormatError(f"The file {short_path(path)!r}: {error}") from error
    for stem, path in boxes.items():
        if stem not in classes:
            try:
                read_voc_boxes(parse_xml(entries.read(path, MAX_TEXT_BYTES)), collector, among, stem)
            except LabelError as error:
                raise ImportFormatError(f"The file {short_path(path)!r}: {error}") from error
    return collector.result()


def _stem(path: str, folder: str) -> str:
    """The path of a file below a folder of the data set, without its suffix."""
    return f"/{path}".rpartition(f"/{folder}/")[2].rpartition(".")[0]


def _labels(entries: ZipEntries) -> tuple[dict[int, str], dict[tuple[int, int, int], int]]:
    """The name of each value, and the value of each colour."""
    for path in entries.paths("labelmap.txt"):
        names: dict[int, str] = {}
        colours: dict[tuple[int, int, int], int] = {}
        lines = read_text(entries.read(path, MAX_TEXT_BYTES)).splitlines()
        found = [line for line in lines if line.strip() and not line.startswith("#")]
        if len(found) > MAX_CLASSES + 2:
            raise ImportFormatError(f"The file {short_path(path)!r} has more than {MAX_CLASSES} classes.")
        for value, line in enumerate(found):
            name, _, rest = line.partition(":")
            names[value] = name.strip()
            numbers = rest.partition(":")[0].split(",")
            if len(numbers) == 3 and all(n.strip().isdigit() and len(n) < 5 for n in numbers):
                red, green, blue = (int(n) for n in numbers)
                colours[red, green, blue] = value
        return names, colours
    names = dict(enumerate(("background", *_CLASSES_2012)))
    return names, {(int(r), int(g), int(b)): value for value, (r, g, b) in enumerate(voc_colours()[:21])}


def _class_values(data: bytes, record: ImageRecord, colours: Mapping[tuple[int, int, int], int]) -> _Values:
    image = read_png(data, record)
    if image.mode in ("P", "L", "1"):
        return np.asarray(image, dtype=np.uint8)
    rgb = np.asarray(image.convert("RGB")).astype(np.uint32)
    codes = rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]
    values = np.zeros(codes.shape, dtype=np.uint8)
    for code in np.unique(codes).tolist():
        colour = (code >> 16, code >> 8 & 255, code & 255)
        if colour in colours:
            values[codes == code] = colours[colour]
        elif colour != (224, 224, 192):  # VOC's colour of 255
            raise LabelError(f"Its colour {colour} is not in labelmap.txt.")
    return values


def _object_values(data: bytes, record: ImageRecord) -> NDArray[Any]:
    image = read_png(data, record)
    if image.mode in ("P", "L", "1"):
        return np.asarray(image)
    rgb = np.asarray(image.convert("RGB")).astype(np.uint32)
    codes = rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]
    codes[codes == (224 << 16 | 224 << 8 | 192)] = 0
    return codes


def _read_masks(
    classes: _Values, parts: bytes | None, record: ImageRecord, names: Mapping[int, str], collector: Collector
) -> None:
    objects: NDArray[Any] = classes if parts is None else _object_values(parts, record)
    for value, (crop, left, top) in value_crops(objects):
        if value == UNDECIDED and objects.dtype == np.uint8:
            continue
        window = classes[top : top + crop.shape[0], left : left + crop.shape[1]][crop]
        counts = np.bincount(window, minlength=256)
        counts[[0, UNDECIDED]] = 0
        if not counts.any():
            collector.skip(f"An object of {record.file_name!r} has no class and was left out.")
            continue
        collector.add(record, _named(int(counts.argmax()), names, collector), rle_of_crop(crop, left, top, record.size))


def _named(value: int, names: Mapping[int, str], collector: Collector) -> LabelClass:
    if value not in names:
        raise LabelError(f"Its class {value} is not among the names; add labelmap.txt.")
    return collector.label_class(names[value])


def read_voc_boxes(
    root: ET.Element, collector: Collector, among: frozenset[str] = frozenset(), stem: str | None = None
) -> None:
    """Read the boxes of one image, which is called as its file where that has a name."""
    name = stem or root.findtext("filename") or ""
    found = root.findall("object")
    record = collector.image(name, among=among)
    if record is None:
        if found:
            collector.note_unknown(name)
        return
    sides = [root.findtext(f"size/{key}") or "" for key in ("width", "height")]
    if all(side.isdigit() and len(side) < 10 for side in sides):
        collector.check_size(record, int(sides[0]), int(sides[1]))
    for place, entry in enumerate(found, start=1):
        try:
            corners = [float(entry.findtext(f"bndbox/{key}") or "none") for key in ("xmin", "ymin", "xmax", "ymax")]
        except ValueError as error:
            raise LabelError(f"object {place}: A box must have four finite numbers and an area.") from error
        x0, y0, x1, y1 = corners
        label_class = collector.label_class(entry.findtext("name") or "")
        collector.add_box(record, label_class, x0 - 1, y0 - 1, x1, y1)
