"""COCO instance annotations, written and read.

*Written*: a polygon has ``iscrowd`` 0 and no hole; an object with a hole, or without a pixel, is written as RLE, also
with ``iscrowd`` 0 (pycocotools and the tools built on it read that; ``iscrowd`` 1 would make them skip the object). On
request everything is RLE, or holes are filled. ``area`` and ``bbox`` come from the mask, not from the outline. Corners
lie between pixels, as COCO means them, and run along pixel edges: pycocotools then reads back exactly the pixels of the
mask; simplified outlines have fewer corners and are off by so much. What COCO has no field for stands under the key
``samref``, which other programs ignore: of an image its digest, of a category its colour, of an annotation its id,
prompts, model, score, seconds, clicks, author and time; of the file which images are not in it because their labels
could not be read.

*Read*: polygons, compressed and uncompressed run lengths become masks as pycocotools rasterises them; ``iscrowd`` makes
no difference. Images are found by the digest samref wrote, else by file name. Categories become the classes of the same
name, or new ones. An annotation with a ``bbox`` only is a box to be turned into a mask. A wrong entry raises a sentence
that names it; see :mod:`samref.labels.formats.reading`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic_core import CoreSchema, PydanticCustomError, SchemaValidator
from pydantic_core import core_schema as cs

from samref.core.polygons import check_segmentation, mask_of_checked
from samref.errors import ImportFormatError, LabelError
from samref.labels.annotations import Annotation, ImageRecord, Project, file_names, tidy_file_name
from samref.labels.classes import LabelClass
from samref.labels.formats.outlines import flat, outline_iou, outline_of
from samref.labels.formats.reading import MAX_ENTRIES, Collector, LabelImport, parse_json
from samref.labels.formats.source import FileNames, Files, Options, Report, Source, json_bytes
from samref.labels.serialization import NUMBER, WHOLE, annotation_from_plain, read, text, to_plain, whole

MAX_COST = 100_000_000  # of all segmentations of a file, in pixels of outline: about ten seconds

_STANDARD = ("mask", "class_id")  # parts of an annotation that COCO has a field for


def _id(value: Any) -> int | str:
    """COCO's ids are numbers; some programs write text."""
    if isinstance(value, str):
        if len(value) > 200:
            raise PydanticCustomError("id", "a whole number, or text of 200 characters at most")
        return value
    return whole(value)


def _object_with(optional: Mapping[str, CoreSchema] | None = None, **required: CoreSchema) -> CoreSchema:
    """A JSON object with at least these keys."""
    keys = {name: cs.typed_dict_field(schema) for name, schema in required.items()}
    keys |= {name: cs.typed_dict_field(schema, required=False) for name, schema in (optional or {}).items()}
    return cs.typed_dict_schema(keys)


_ID = cs.no_info_plain_validator_function(_id)
_ENTRIES = cs.list_schema(cs.any_schema(), max_length=MAX_ENTRIES)
_FILE = SchemaValidator(_object_with(images=_ENTRIES, categories=_ENTRIES, annotations=_ENTRIES))
_IMAGE = SchemaValidator(_object_with({"samref": _object_with({"digest": text()})}, id=_ID, file_name=text()))
_SIZED = SchemaValidator(_object_with(height=WHOLE, width=WHOLE))
_CATEGORY = SchemaValidator(_object_with({"samref": _object_with({"colour": text(7)})}, id=_ID, name=text()))
_PLACED = SchemaValidator(_object_with(image_id=_ID))
_OBJECT = SchemaValidator(_object_with({"score": NUMBER, "samref": cs.dict_schema()}, category_id=_ID))
_BOX = SchemaValidator(_object_with(bbox=cs.tuple_schema([NUMBER, NUMBER, NUMBER, NUMBER])))


# ---- writing


def export_coco(project: Project, *, polygons: bool) -> dict[str, Any]:
    """The project as COCO's dictionary; images keep their order, annotations theirs (later ones lie on top).

    ``polygons`` writes polygons where there is no hole; without it there are run lengths throughout.
    """
    data: dict[str, Any] = json.loads(write_coco(project, polygons=polygons))
    return data


def write_coco(project: Project, *, polygons: bool) -> bytes:
    """:func:`export_coco` as the bytes of a JSON file."""
    options = Options(shape="polygons" if polygons else "masks")
    return b"".join(coco_parts(Source.from_project(project), options, Report("coco")))


def coco_files(source: Source, options: Options, report: Report) -> Files:
    """The one file of a COCO export."""
    yield "annotations/instances.json", coco_parts(source, options, report)


def coco_parts(source: Source, options: Options, report: Report) -> Iterator[bytes]:
    """The JSON file, an image at a time: annotations first, since which images are in it is known at the end."""
    if options.images:
        names = {digest: name.image for digest, name in FileNames.of(source.images).items()}
    else:
        names = file_names(source.images)
    ids = {image.digest: number for number, image in enumerate(source.images, start=1)}
    images: list[dict[str, Any]] = []
    count = 0
    yield b'{"annotations":['
    for record in source.read():
        image_id = ids[record.digest]
        images.append(
            {
                "id": image_id,
                "file_name": names[record.digest],
                "height": record.size.height,
                "width": record.size.width,
                "samref": {"digest": record.digest, "file_name": record.file_name},
            }
        )
        entries = []
        for annotation in record.annotations:
            count += 1
            entries.append({"id": count, "image_id": image_id} | _annotation(record, annotation, options, report))
        if entries:
            yield (b"," if count > len(entries) else b"") + json_bytes(entries)[1:-1]
    damaged = {"samref": {"left_out": list(source.left_out.values())}} if source.left_out else {}
    rest = {
        "info": {"description": "labels made with samref", "version": "1.0", **damaged},
        "licenses": [],
        "images": images,
        "categories": [
            {"id": c.id, "name": c.name, "supercategory": "", "samref": {"colour": c.colour}} for c in source.classes
        ],
    }
    yield b"]," + json_bytes(rest)[1:]


def _annotation(record: ImageRecord, annotation: Annotation, options: Options, report: Report) -> dict[str, Any]:
    mask = annotation.mask
    segmentation, iou = _segmentation(record, annotation, options, report)
    own = {key: value for key, value in to_plain(annotation).items() if key not in _STANDARD}
    return {
        "category_id": annotation.class_id,
        "segmentation": segmentation,
        "area": mask.area,
        "bbox": list(mask.box_xywh),
        "iscrowd": 0,
        **({"attributes": dict(annotation.attributes)} if annotation.attributes else {}),
        "samref": own if iou == 1.0 else {**own, "iou": iou},
    }


def _segmentation(record: ImageRecord, annotation: Annotation, options: Options, report: Report) -> tuple[Any, float]:
    """The outlines of the parts of a mask as flat lists x, y, x, y, …, and how far they agree with it.

    Run lengths where outlines cannot say it.
    """
    mask = annotation.mask
    outline = outline_of(mask, options.tolerance) if options.shape == "polygons" else None
    if outline is None or not outline.parts or (outline.has_holes and not options.fill_holes):
        report.note(record, annotation)
        return mask.to_coco(), 1.0
    iou = 1.0
    if options.tolerance > 0 or outline.has_holes:
        filled = outline.without_holes()
        iou = outline_iou(mask, filled, as_coco=True)
    report.note(record, annotation, iou, "hole filled" if outline.has_holes else "simplified", outline.points)
    return [flat(part.outer) for part in outline.parts], iou


# ---- reading


def import_coco(data: bytes, project: Project) -> LabelImport:
    """Read a COCO file for the images and classes of ``project``, which stays as it is.

    Raises:
        ImportFormatError: the file is no COCO file, an entry is wrong, an image has another size, or none is known.
    """
    return read_coco(parse_json(data), Collector(project))


def read_coco(data: Any, collector: Collector) -> LabelImport:
    """Read the values of a COCO file."""
    return _Reading(collector).read(data)


class _Reading:
    """One file being read."""

    def __init__(self, collector: Collector) -> None:
        self.collector = collector

    def read(self, data: Any) -> LabelImport:
        try:
            entries = read(_FILE, data)
        except LabelError as error:
            raise ImportFormatError(
                f"The file is no COCO instances file: it must hold images, categories and annotations. {error}"
            ) from error
        categories = self._categories(entries["categories"])
        records, unknown = self._images(entries["images"])
        self._check_costs(entries["annotations"], records)
        for place, entry in enumerate(entries["annotations"], start=1):
            try:
                image_id = read(_PLACED, entry)["image_id"]
                if image_id in unknown:
                    self.collector.note_unknown(unknown[image_id])
                    continue
                if image_id not in records:
                    raise LabelError(f"Its image_id {image_id!r} is not among the images.")
                self._annotation(entry, records[image_id], categories)
            except LabelError as error:
                raise ImportFormatError(f"The file, annotation {_label(entry, place)}: {error}") from error
        return self.collector.result()

    def _check_costs(self, entries: Sequence[Any], records: Mapping[int | str, ImageRecord]) -> None:
        """Refuse the file before the slow part if that would take too long."""
        cost = 0.0
        for place, entry in enumerate(entries, start=1):
            try:
                record = records.get(read(_PLACED, entry)["image_id"])
                if record is not None:
                    cost += check_segmentation(entry.get("segmentation"), record.size, record.file_name)
            except LabelError as error:
                raise ImportFormatError(f"The file, annotation {_label(entry, place)}: {error}") from error
        if cost > MAX_COST:
            raise ImportFormatError(
                "The outlines in the file are too long altogether: "
                f"{cost / 1e6:.0f} million pixels, and {MAX_COST // 1_000_000} million can be imported at once. "
                "Split it and import the parts."
            )

    def _categories(self, entries: Sequence[Any]) -> dict[int | str, LabelClass]:
        categories: dict[int | str, LabelClass] = {}
        for place, entry in enumerate(entries, start=1):
            try:
                found = read(_CATEGORY, entry)
                if found["id"] in categories:
                    raise LabelError("Its id occurs twice.")
                colour = found.get("samref", {}).get("colour")
                categories[found["id"]] = self.collector.label_class(found["name"], colour)
            except LabelError as error:
                raise ImportFormatError(f"The file, category {_label(entry, place)}: {error}") from error
        return categories

    def _images(self, entries: Sequence[Any]) -> tuple[dict[int | str, ImageRecord], dict[int | str, str]]:
        """The project's image for each image id, and the names of those it does not hold."""
        records: dict[int | str, ImageRecord] = {}
        unknown: dict[int | str, str] = {}
        names = frozenset(e["file_name"] for e in entries if isinstance(e, dict) and type(e.get("file_name")) is str)
        for place, entry in enumerate(entries, start=1):
            try:
                found = read(_IMAGE, entry)
                image_id, name = found["id"], tidy_file_name(found["file_name"])
                if image_id in records or image_id in unknown:
                    raise LabelError("Its id occurs twice.")
                digest = found.get("samref", {}).get("digest")
                record = self.collector.image(name, digest=digest, among=names)
                if record is None:
                    unknown[image_id] = name
                    continue
                records[image_id] = record
                sides = read(_SIZED, entry)
                self.collector.check_size(record, sides["width"], sides["height"])
            except LabelError as error:
                raise ImportFormatError(f"The file, image {_label(entry, place)}: {error}") from error
        return records, unknown

    def _annotation(self, entry: Any, record: ImageRecord, categories: Mapping[int | str, LabelClass]) -> None:
        found = read(_OBJECT, entry)
        category_id = found["category_id"]
        if category_id not in categories:
            raise LabelError(f"Its category_id {category_id!r} is not among the categories.")
        label_class = categories[category_id]
        mask = mask_of_checked(entry.get("segmentation"), record.size)
        if mask is None and entry.get("bbox"):
            x, y, width, height = read(_BOX, entry)["bbox"]
            self.collector.add_box(record, label_class, x, y, x + width, y + height)
        elif mask is None or mask.area == 0:
            what = "has no outline" if mask is None else "covers no pixel"
            self.collector.skip(f"An object of {record.file_name!r} (id {_label(entry, 0)}) {what} and was left out.")
        elif found.get("samref"):
            plain = {**found["samref"], "class_id": label_class.id, "mask": mask.to_coco()}
            self.collector.add_own(record, annotation_from_plain(plain), is_exact="iou" not in found["samref"])
        else:
            self.collector.add(record, label_class, mask, score=found.get("score"))


def _label(entry: Any, place: int) -> str:
    """How a message names an entry: by its id, else by its place in the list."""
    value = entry.get("id") if isinstance(entry, Mapping) else None
    return f"{value!r:.40}" if isinstance(value, int | str) else f"number {place}"
