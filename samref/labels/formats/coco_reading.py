"""COCO instance annotations: reading them. Nothing in the file is trusted, and nothing is resized to make it fit.

Polygons, compressed and uncompressed run lengths become masks as pycocotools rasterises them; ``iscrowd`` makes no
difference. Images are found by the digest samref wrote, else by file name. Categories become the classes of the same
name, or new ones. All is read or nothing: a wrong entry raises a sentence that names it. Two things are not wrong, and
are left out and told: entries for images the project does not hold, and objects without a pixel or an outline.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

from samref.core.polygons import check_segmentation, mask_of_checked
from samref.core.prompts import Prompts
from samref.errors import ImportFormatError, LabelError
from samref.labels.classes import class_named, new_class
from samref.labels.names import tidy_file_name
from samref.labels.plain import annotation_from_dict, read_int, read_list, read_mapping, read_number, read_text
from samref.labels.project import Annotation, ImageRecord, LabelClass, Project, new_annotation_id

__all__ = ["IMPORTED_MODEL", "CocoImport", "import_coco"]

IMPORTED_MODEL = "imported"
"""Stands for the model of an annotation that came without one."""

MAX_BYTES = 64 * 2**20
MAX_ENTRIES = 100_000  # images, categories or annotations in one file
MAX_COST = 100_000_000  # of all segmentations of a file, in pixels of outline: about ten seconds
MAX_PARSED_BYTES = 700_000_000  # memory that the values of a file may take

_LIST_BYTES, _OBJECT_BYTES, _VALUE_BYTES = 110, 230, 45  # measured: what json makes of "[]", "{}" and a number
_BLANK = re.compile(r"[ \t\n\r]*")


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


def import_coco(
    data: bytes,
    project: Project,
    *,
    source: str = "The file",
    author: str = "",
    now: datetime | None = None,
    new_id: Callable[[], str] = new_annotation_id,
) -> CocoImport:
    """Read a COCO file for the images and classes of ``project``, which stays as it is.

    Args:
        data: the bytes of the file.
        project: whose images the annotations belong to.
        source: name of the file, for messages.
        author: of annotations that do not name theirs.
        now: time of annotations that do not tell theirs; the present unless given.
        new_id: makes the ids of annotations that have none of samref's.

    Raises:
        ImportFormatError: the file is no COCO file, an entry is wrong, an image has another size, or none is known.
    """
    reading = _Reading(source, project, author, now or datetime.now(UTC), new_id)
    return reading.read(_parse(data, source))


def _parse(data: bytes, source: str) -> Any:
    if len(data) > MAX_BYTES:
        raise ImportFormatError(f"{source} is larger than {MAX_BYTES >> 20} MB. Split it and import the parts.")
    values = data.count(b","), data.count(b"["), data.count(b"{")
    if (
        sum(n * each for n, each in zip(values, (_VALUE_BYTES, _LIST_BYTES, _OBJECT_BYTES), strict=True))
        > MAX_PARSED_BYTES
    ):
        raise ImportFormatError(
            f"{source} holds some {sum(values) / 1e6:.0f} million values, more than can be read at once. "
            "Split it and import the parts."
        )
    try:
        return _parse_text(data.decode(json.detect_encoding(data)))
    except (ValueError, RecursionError) as error:
        raise ImportFormatError(f"{source} is not JSON; export it as COCO instances once more.") from error


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

    def __init__(self, source: str, project: Project, author: str, now: datetime, new_id: Callable[[], str]) -> None:
        self.source, self.project, self.author, self.now, self.new_id = source, project, author, now, new_id
        self.new_classes: list[LabelClass] = []
        self.skipped: list[str] = []

    def read(self, data: Any) -> CocoImport:
        try:
            entries = {key: read_list(data, key, MAX_ENTRIES) for key in ("images", "categories", "annotations")}
        except LabelError as error:
            raise ImportFormatError(
                f"{self.source} is no COCO instances file: it must hold images, categories and annotations. {error}"
            ) from error
        categories = self._categories(entries["categories"])
        records, unknown = self._images(entries["images"])
        self._check_costs(entries["annotations"], records)
        found: dict[str, dict[str, Annotation]] = {}
        missing: dict[str, None] = {}
        for place, entry in enumerate(entries["annotations"], start=1):
            try:
                image_id = _id(entry, "image_id")
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
                raise ImportFormatError(f"{self.source}, annotation {_label(entry, place)}: {error}") from error
        if missing and not found and not self.skipped:
            names = ", ".join(repr(name) for name in list(missing)[:3]) + (", …" if len(missing) > 3 else "")
            raise ImportFormatError(f"{self.source} is about images that are not open here: {names}. Open them first.")
        by_digest = {digest: tuple(items.values()) for digest, items in found.items()}
        return CocoImport(tuple(self.new_classes), by_digest, tuple(missing), tuple(self.skipped))

    def _check_costs(self, entries: Sequence[Any], records: Mapping[int | str, ImageRecord]) -> None:
        """Refuse the file before the slow part if that would take too long."""
        cost = 0.0
        for place, entry in enumerate(entries, start=1):
            try:
                record = records.get(_id(entry, "image_id"))
                if record is not None:
                    cost += check_segmentation(entry.get("segmentation"), record.size, record.file_name)
            except LabelError as error:
                raise ImportFormatError(f"{self.source}, annotation {_label(entry, place)}: {error}") from error
        if cost > MAX_COST:
            raise ImportFormatError(
                f"The outlines in {self.source[:1].lower() + self.source[1:]} are too long altogether: "
                f"{cost / 1e6:.0f} million pixels, and {MAX_COST // 1_000_000} million can be imported at once. "
                "Split it and import the parts."
            )

    def _categories(self, entries: Sequence[Any]) -> dict[int | str, LabelClass]:
        categories: dict[int | str, LabelClass] = {}
        for place, entry in enumerate(entries, start=1):
            try:
                category_id = _id(entry, "id")
                if category_id in categories:
                    raise LabelError("Its id occurs twice.")
                name = read_text(entry, "name", None)
                classes = (*self.project.classes, *self.new_classes)
                label_class = class_named(classes, name)
                if label_class is None:
                    label_class = new_class(classes, name, _own_colour(entry))
                    self.new_classes.append(label_class)
                categories[category_id] = label_class
            except LabelError as error:
                raise ImportFormatError(f"{self.source}, category {_label(entry, place)}: {error}") from error
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
                image_id = _id(entry, "id")
                if image_id in records or image_id in unknown:
                    raise LabelError("Its id occurs twice.")
                name = tidy_file_name(read_text(entry, "file_name", None))
                own = _own(entry)
                match = by_digest.get(read_text(own, "digest", None)) if "digest" in own else None
                same_name = by_name.get(name, [])
                if match is None and len(same_name) > 1:
                    raise LabelError(f"There are {len(same_name)} images named {name!r} here; it could be any of them.")
                if match is None and not same_name:
                    unknown[image_id] = name
                    continue
                records[image_id] = match or same_name[0]
                size = records[image_id].size
                height, width = read_int(entry, "height"), read_int(entry, "width")
                if (height, width) != (size.height, size.width):
                    raise LabelError(
                        f"The image {name!r} is {width} x {height} pixels there and {size.width} x {size.height} "
                        "here. Label the same file; masks are never resized."
                    )
            except LabelError as error:
                raise ImportFormatError(f"{self.source}, image {_label(entry, place)}: {error}") from error
        return records, unknown

    def _annotation(
        self, entry: Any, record: ImageRecord, categories: Mapping[int | str, LabelClass]
    ) -> Annotation | None:
        category_id = _id(entry, "category_id")
        if category_id not in categories:
            raise LabelError(f"Its category_id {category_id!r} is not among the categories.")
        segmentation = read_mapping(entry).get("segmentation")
        mask = mask_of_checked(segmentation, record.size)
        if mask is None or mask.area == 0:
            what = "has no outline" if mask is None else "covers no pixel"
            self.skipped.append(f"An object of {record.file_name!r} (id {_label(entry, 0)}) {what} and was left out.")
            return None
        own = _own(entry)
        class_id = categories[category_id].id
        if own:
            return annotation_from_dict({**own, "class_id": class_id, "mask": mask.to_coco()})
        score = read_number(entry, "score") if "score" in entry else 1.0
        return Annotation(
            self.new_id(),
            class_id,
            mask,
            Prompts(),
            IMPORTED_MODEL,
            score,
            self.now,
            self.author,
            seconds=0.0,
            clicks=0,
        )


def _id(entry: Any, key: str) -> int | str:
    """The id at ``key``; COCO's are numbers, some programs write text."""
    value = read_mapping(entry).get(key)
    return value if isinstance(value, str) and len(value) <= 200 else read_int(entry, key)


def _label(entry: Any, place: int) -> str:
    """How a message names an entry: by its id, else by its place in the list."""
    value = entry.get("id") if isinstance(entry, Mapping) else None
    return f"{value!r:.40}" if isinstance(value, int | str) else f"number {place}"


def _own(entry: Any) -> Mapping[str, Any]:
    """What samref itself wrote into an entry; empty where another program wrote it."""
    own = read_mapping(entry).get("samref", {})
    return read_mapping(own)


def _own_colour(entry: Any) -> str | None:
    own = _own(entry)
    return read_text(own, "colour", 7) if "colour" in own else None
