"""COCO instance annotations, written and read.

*Written*: a polygon has ``iscrowd`` 0 and no hole; an object with a hole, or without a pixel, is written as RLE, also
with ``iscrowd`` 0 (pycocotools and the tools built on it read that; ``iscrowd`` 1 would make them skip the object). On
request everything is RLE. ``area`` and ``bbox`` come from the mask, not from the outline. Corners lie between pixels,
as COCO means them, and run along pixel edges: pycocotools then reads back exactly the pixels of the mask. What COCO has
no field for stands under the key ``samref``, which other programs ignore: of an image its digest, of a category its
colour, of an annotation its id, prompts, model, score, seconds, clicks, author and time; of the file which images are
not in it because their labels could not be read.

*Read*: nothing in the file is trusted, and nothing is resized to make it fit. Polygons, compressed and uncompressed run
lengths become masks as pycocotools rasterises them; ``iscrowd`` makes no difference. Images are found by the digest
samref wrote, else by file name. Categories become the classes of the same name, or new ones. All is read or nothing: a
wrong entry raises a sentence that names it. Two things are not wrong, and are left out and told: entries for images the
project does not hold, and objects without a pixel or an outline.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

from pydantic_core import CoreSchema, PydanticCustomError, SchemaValidator
from pydantic_core import core_schema as cs

from samref.core.masks import Rle
from samref.core.polygons import check_segmentation, mask_of_checked, mask_to_polygons
from samref.core.prompts import Prompts
from samref.errors import ImportFormatError, LabelError
from samref.files import counted
from samref.labels.annotations import (
    IMPORTED_MODEL,
    Annotation,
    ImageRecord,
    Project,
    file_names,
    new_annotation_id,
    tidy_file_name,
)
from samref.labels.classes import LabelClass, class_named, new_class
from samref.labels.serialization import NUMBER, WHOLE, annotation_from_plain, read, text, to_plain, whole

MAX_BYTES = 64 * 2**20
MAX_ENTRIES = 100_000  # images, categories or annotations in one file
MAX_COST = 100_000_000  # of all segmentations of a file, in pixels of outline: about ten seconds
MAX_PARSED_BYTES = 700_000_000  # memory that the values of a file may take

_LIST_BYTES, _OBJECT_BYTES, _VALUE_BYTES = 110, 230, 45  # measured: what json makes of "[]", "{}" and a number
_BLANK = re.compile(r"[ \t\n\r]*")

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


# ---- writing


def export_coco(project: Project, *, polygons: bool) -> dict[str, Any]:
    """The project as COCO's dictionary; images keep their order, annotations theirs (later ones lie on top).

    ``polygons`` writes polygons where there is no hole; without it there are run lengths throughout.
    """
    names = file_names(project.images)
    images: list[dict[str, Any]] = []
    entries: list[dict[str, Any]] = []
    for image_id, image in enumerate(project.images, start=1):
        images.append(
            {
                "id": image_id,
                "file_name": names[image.digest],
                "height": image.size.height,
                "width": image.size.width,
                "samref": {"digest": image.digest, "file_name": image.file_name},
            }
        )
        for annotation in image.annotations:
            head = {"id": len(entries) + 1, "image_id": image_id}
            entries.append(head | _annotation(annotation, polygons))
    damaged = {"samref": {"left_out": list(project.left_out)}} if project.left_out else {}
    return {
        "info": {"description": "labels made with samref", "version": "1.0", **damaged},
        "licenses": [],
        "images": images,
        "categories": [
            {"id": c.id, "name": c.name, "supercategory": "", "samref": {"colour": c.colour}} for c in project.classes
        ],
        "annotations": entries,
    }


def write_coco(project: Project, *, polygons: bool) -> bytes:
    """:func:`export_coco` as the bytes of a JSON file."""
    data = export_coco(project, polygons=polygons)
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")


def _annotation(annotation: Annotation, polygons: bool) -> dict[str, Any]:
    mask = annotation.mask
    provenance = to_plain(annotation)
    return {
        "category_id": annotation.class_id,
        "segmentation": (_polygons(mask) if polygons else None) or mask.to_coco(),
        "area": mask.area,
        "bbox": list(mask.box_xywh),
        "iscrowd": 0,
        "samref": {key: value for key, value in provenance.items() if key not in _STANDARD},
    }


def _polygons(mask: Rle) -> list[list[float]] | None:
    """The outlines of the parts of a mask as flat lists x, y, x, y, …; None where polygons cannot say it."""
    if mask.area == 0:
        return None
    crop, left, top = mask.to_crop()
    parts = mask_to_polygons(crop)
    if any(part.holes for part in parts):
        return None
    return [[_short(c) for x, y in part.outer for c in (x + left, y + top)] for part in parts]


def _short(value: float) -> float:
    """Whole numbers without their ".0": a third of the file."""
    return int(value) if value.is_integer() else value


# ---- reading


@dataclass(frozen=True, slots=True)
class CocoImport:
    """What a file holds for a project.

    Attributes:
        new_classes: classes to add, numbered to fit the project's.
        annotations: by digest of the image, in the order of the file.
        unknown_images: file names of images with annotations that the project does not hold.
        skipped: a sentence for each object that was left out.
    """

    new_classes: tuple[LabelClass, ...]
    annotations: Mapping[str, tuple[Annotation, ...]]
    unknown_images: tuple[str, ...]
    skipped: tuple[str, ...]

    @property
    def count(self) -> int:
        """Number of annotations."""
        return sum(len(items) for items in self.annotations.values())

    @property
    def message(self) -> str:
        """What the person is told."""
        text = f"{counted(self.count, 'object')} in {counted(len(self.annotations), 'image')} imported."
        if self.unknown_images:
            names = ", ".join(self.unknown_images[:3]) + (", …" if len(self.unknown_images) > 3 else "")
            text += f" Not in this workspace: {names}."
        if self.skipped:
            text += f" {counted(len(self.skipped), 'object')} left out: {self.skipped[0]}"
        return text


def import_coco(data: bytes, project: Project) -> CocoImport:
    """Read a COCO file for the images and classes of ``project``, which stays as it is.

    Raises:
        ImportFormatError: the file is no COCO file, an entry is wrong, an image has another size, or none is known.
    """
    return _Reading(project).read(_parse(data))


def _parse(data: bytes) -> Any:
    if len(data) > MAX_BYTES:
        raise ImportFormatError(f"The file is larger than {MAX_BYTES >> 20} MB. Split it and import the parts.")
    values = data.count(b","), data.count(b"["), data.count(b"{")
    if (
        sum(n * each for n, each in zip(values, (_VALUE_BYTES, _LIST_BYTES, _OBJECT_BYTES), strict=True))
        > MAX_PARSED_BYTES
    ):
        raise ImportFormatError(
            f"The file holds some {sum(values) / 1e6:.0f} million values, more than can be read at once. "
            "Split it and import the parts."
        )
    try:
        return _parse_text(data.decode(json.detect_encoding(data)))
    except (ValueError, RecursionError) as error:
        raise ImportFormatError("The file is not JSON; export it as COCO instances once more.") from error


def _parse_text(text: str) -> Any:
    """What ``json.loads`` gives, entry by entry: a large object at once would stop all other threads."""
    scan = json.JSONDecoder(parse_constant=_refuse_constant).raw_decode
    text = text.removeprefix("\ufeff")
    if not text.startswith("{", _after_blanks(text, 0)):
        return json.loads(text, parse_constant=_refuse_constant)
    found: dict[str, Any] = {}
    at, is_first = _expect(text, _after_blanks(text, 0), "{"), True
    while not text.startswith("}", at):
        at = at if is_first else _expect(text, at, ",")
        key, at = scan(text, at)
        if not isinstance(key, str):
            raise ValueError("a key is no text")
        at = _expect(text, _after_blanks(text, at), ":")
        found[key], at = _parse_list(text, at, scan) if text.startswith("[", at) else scan(text, at)
        at, is_first = _after_blanks(text, at), False
    if _expect(text, at, "}") != len(text):
        raise ValueError("something follows the object")
    return found


def _parse_list(text: str, at: int, scan: Callable[[str, int], tuple[Any, int]]) -> tuple[list[Any], int]:
    values: list[Any] = []
    at = _expect(text, at, "[")
    while not text.startswith("]", at):
        at = _expect(text, at, ",") if values else at
        value, at = scan(text, at)
        values.append(value)
        at = _after_blanks(text, at)
    return values, at + 1


def _expect(text: str, at: int, character: str) -> int:
    """The place behind ``character`` and the blanks that follow it."""
    if not text.startswith(character, at):
        raise ValueError(f"{character} is missing")
    return _after_blanks(text, at + 1)


def _after_blanks(text: str, at: int) -> int:
    blanks = _BLANK.match(text, at)
    return at if blanks is None else blanks.end()


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


class _Reading:
    """One file being read."""

    def __init__(self, project: Project) -> None:
        self.project, self.now = project, datetime.now(UTC)
        self.new_classes: list[LabelClass] = []
        self.skipped: list[str] = []

    def read(self, data: Any) -> CocoImport:
        try:
            entries = read(_FILE, data)
        except LabelError as error:
            raise ImportFormatError(
                f"The file is no COCO instances file: it must hold images, categories and annotations. {error}"
            ) from error
        categories = self._categories(entries["categories"])
        records, unknown = self._images(entries["images"])
        self._check_costs(entries["annotations"], records)
        found: dict[str, dict[str, Annotation]] = {}
        missing: dict[str, None] = {}
        for place, entry in enumerate(entries["annotations"], start=1):
            try:
                image_id = read(_PLACED, entry)["image_id"]
                if image_id in unknown:
                    missing[unknown[image_id]] = None
                    continue
                if image_id not in records:
                    raise LabelError(f"Its image_id {image_id!r} is not among the images.")
                record = records[image_id]
                annotation = self._annotation(entry, record, categories)
                if annotation is None:
                    continue
                on_image = found.setdefault(record.digest, {})
                if annotation.id in on_image:
                    raise LabelError(f"Its samref id {annotation.id!r} occurs twice in this image.")
                on_image[annotation.id] = annotation
            except LabelError as error:
                raise ImportFormatError(f"The file, annotation {_label(entry, place)}: {error}") from error
        if missing and not found and not self.skipped:
            names = ", ".join(repr(name) for name in list(missing)[:3]) + (", …" if len(missing) > 3 else "")
            raise ImportFormatError(f"The file is about images that are not open here: {names}. Open them first.")
        by_digest = {digest: tuple(items.values()) for digest, items in found.items()}
        return CocoImport(tuple(self.new_classes), by_digest, tuple(missing), tuple(self.skipped))

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
                category_id, name = found["id"], found["name"]
                if category_id in categories:
                    raise LabelError("Its id occurs twice.")
                classes = (*self.project.classes, *self.new_classes)
                label_class = class_named(classes, name)
                if label_class is None:
                    label_class = new_class(classes, name, found.get("samref", {}).get("colour"))
                    self.new_classes.append(label_class)
                categories[category_id] = label_class
            except LabelError as error:
                raise ImportFormatError(f"The file, category {_label(entry, place)}: {error}") from error
        return categories

    def _images(self, entries: Sequence[Any]) -> tuple[dict[int | str, ImageRecord], dict[int | str, str]]:
        """The project's image for each image id, and the names of those it does not hold."""
        records: dict[int | str, ImageRecord] = {}
        unknown: dict[int | str, str] = {}
        by_digest = {record.digest: record for record in self.project.images}
        by_name: dict[str, list[ImageRecord]] = {}
        for record in self.project.images:
            by_name.setdefault(tidy_file_name(record.file_name), []).append(record)
        for place, entry in enumerate(entries, start=1):
            try:
                found = read(_IMAGE, entry)
                image_id, name = found["id"], tidy_file_name(found["file_name"])
                if image_id in records or image_id in unknown:
                    raise LabelError("Its id occurs twice.")
                match = by_digest.get(found.get("samref", {}).get("digest"))
                same_name = by_name.get(name, [])
                if match is None and len(same_name) > 1:
                    raise LabelError(f"There are {len(same_name)} images named {name!r} here; it could be any of them.")
                if match is None and not same_name:
                    unknown[image_id] = name
                    continue
                records[image_id] = match or same_name[0]
                size = records[image_id].size
                height, width = read(_SIZED, entry).values()
                if (height, width) != (size.height, size.width):
                    raise LabelError(
                        f"The image {name!r} is {width} x {height} pixels there and {size.width} x {size.height} "
                        "here. Label the same file; masks are never resized."
                    )
            except LabelError as error:
                raise ImportFormatError(f"The file, image {_label(entry, place)}: {error}") from error
        return records, unknown

    def _annotation(
        self, entry: Any, record: ImageRecord, categories: Mapping[int | str, LabelClass]
    ) -> Annotation | None:
        found = read(_OBJECT, entry)
        category_id = found["category_id"]
        if category_id not in categories:
            raise LabelError(f"Its category_id {category_id!r} is not among the categories.")
        mask = mask_of_checked(entry.get("segmentation"), record.size)
        if mask is None or mask.area == 0:
            what = "has no outline" if mask is None else "covers no pixel"
            self.skipped.append(f"An object of {record.file_name!r} (id {_label(entry, 0)}) {what} and was left out.")
            return None
        class_id = categories[category_id].id
        if found.get("samref"):
            return annotation_from_plain({**found["samref"], "class_id": class_id, "mask": mask.to_coco()})
        return Annotation(
            new_annotation_id(),
            class_id,
            mask,
            Prompts(),
            IMPORTED_MODEL,
            found.get("score", 1.0),
            self.now,
            author="",
            seconds=0.0,
            clicks=0,
        )


def _label(entry: Any, place: int) -> str:
    """How a message names an entry: by its id, else by its place in the list."""
    value = entry.get("id") if isinstance(entry, Mapping) else None
    return f"{value!r:.40}" if isinstance(value, int | str) else f"number {place}"
