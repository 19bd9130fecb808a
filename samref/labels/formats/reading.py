"""What all readers of label files share: nothing in a file is trusted, nothing is resized, all is read or nothing.

A reader goes through its file and hands each object to a :class:`Collector`, which finds the image, makes the class,
and leaves out what is here already: an object of the same class and the same pixels, or one that an earlier import of
the same content brought in and that somebody has changed since. So a file that is imported twice changes nothing, and
undoes nobody's work. Objects that samref wrote itself carry their own id, and come back as they were.

Two things are not wrong, and are left out and told: entries for images that are not open here, and objects without a
pixel. A box without a mask is no object yet: it is given back, to be turned into a mask.

XML is read by the standard library's expat, driven directly: a document type declaration is refused, so there are no
entities to expand or to fetch. Of zip files nothing is unpacked onto a disk; entries are read in memory, no further
than their limit, whatever size they claim.
"""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import math
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn
from xml.etree import ElementTree as ET
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samref.core.geometry import ImageSize
from samref.core.masks import Mask, Rle, mask_box
from samref.core.polygons import MAX_RING, PolygonWithHoles, Ring, polygons_to_mask
from samref.core.prompts import Box, Prompts
from samref.errors import ImportFormatError, LabelError
from samref.files import counted
from samref.labels.annotations import (
    Annotation,
    ImageRecord,
    Project,
    file_names,
    safe_paths,
    tidy_file_name,
    tidy_path,
)
from samref.labels.classes import LabelClass, class_named, new_class

NO_MODEL = ""
"""Stands for the model of an annotation that came without one; it has no score either."""

SCORED_MODEL = "imported"
"""Stands for the model of an annotation that came with a score."""

MAX_JSON_BYTES = 64 * 2**20
MAX_XML_BYTES = 32 * 2**20
MAX_ZIP_BYTES = 1 * 2**30
"""Of a file that is read whole from a disk; pages send less."""

MAX_TEXT_BYTES = 8 * 2**20
MAX_PNG_BYTES = 64 * 2**20
MAX_ENTRIES = 100_000  # images, categories or annotations in one file
MAX_BOXES = 20_000  # given back by one import
MAX_PARSED_BYTES = 700_000_000  # memory that the values of a JSON file may take

_MAX_ZIP_ENTRIES = 100_000
_MAX_UNPACKED_BYTES = 1_000_000_000  # of all that is read of one zip file
_MAX_ELEMENTS = 500_000  # of an XML file
_MAX_DEPTH = 32
_ROWS = 256  # of an index mask looked at together
_MAX_PIXELS = 3_000_000_000  # that the masks of one import may have in their boxes: about ten seconds

_LIST_BYTES, _OBJECT_BYTES, _VALUE_BYTES = 110, 230, 45  # measured: what json makes of "[]", "{}" and a number
_UNREADABLE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError, EOFError, OSError, ValueError)
_RING_COST, _SIDE_COST = 1_000, 20  # of filling a ring and of each pixel along it, in pixels of a window
_BLANK = re.compile(r"[ \t\n\r]*")


# ---- what comes out


@dataclass(frozen=True, slots=True)
class FoundBox:
    """A box without a mask, to be turned into one."""

    digest: str
    class_id: int
    box: Box


@dataclass(frozen=True, slots=True)
class LabelImport:
    """What a file holds for a project.

    Attributes:
        new_classes: classes to add, numbered to fit the project's.
        annotations: by digest of the image, in the order of the file.
        boxes: boxes without a mask.
        unknown_images: file names of images with annotations that the project does not hold.
        skipped: a sentence for each object that was left out.
        unchanged: how many objects were here already.
    """

    new_classes: tuple[LabelClass, ...]
    annotations: Mapping[str, tuple[Annotation, ...]]
    boxes: tuple[FoundBox, ...]
    unknown_images: tuple[str, ...]
    skipped: tuple[str, ...]
    unchanged: int = 0

    @property
    def count(self) -> int:
        """Number of annotations."""
        return sum(len(items) for items in self.annotations.values())

    @property
    def message(self) -> str:
        """What the person is told."""
        text = f"{counted(self.count, 'object')} in {counted(len(self.annotations), 'image')} imported."
        if self.unchanged:
            was = "was" if self.unchanged == 1 else "were"
            text += f" {counted(self.unchanged, 'object')} {was} here already."
        if self.boxes:
            have = "has" if len(self.boxes) == 1 else "have"
            text += f" {counted(len(self.boxes), 'box').replace('boxs', 'boxes')} {have} no mask yet."
        if self.unknown_images:
            names = ", ".join(self.unknown_images[:3]) + (", …" if len(self.unknown_images) > 3 else "")
            text += f" Not in this workspace: {names}."
        if self.skipped:
            text += f" {counted(len(self.skipped), 'object')} left out: {self.skipped[0]}"
        return text


class Collector:
    """Gathers what one file holds for a project, which stays as it is."""

    def __init__(self, project: Project) -> None:
        self.project, self.now = project, datetime.now(UTC)
        self._new_classes: list[LabelClass] = []
        self._found: dict[str, dict[str, Annotation]] = {}
        self._boxes: list[FoundBox] = []
        self._unknown: dict[str, None] = {}
        self._skipped: list[str] = []
        self._unchanged = 0
        self._pixels = 0
        self._names = _ImageNames(project.images)
        self._here: dict[str, tuple[set[str], Counter[tuple[int, str]]]] = {}  # ids and contents by image
        self._seen: Counter[tuple[str, str, str]] = Counter()

    # ---- images and classes

    def image(self, name: str, *, digest: str | None = None, among: frozenset[str] = frozenset()) -> ImageRecord | None:
        """The image of that digest, else of that file name, with or without its suffix; None where there is none.

        Args:
            name: as the file has it; folders are cut off.
            digest: of the image file, where the label file says it.
            among: all names of the file, which tell whether samref numbered images that share a name.
        """
        return self._names.find(name, digest, among)

    def note_unknown(self, name: str) -> None:
        """Note an image with labels that is not open here."""
        self._unknown[tidy_file_name(name)] = None

    @staticmethod
    def check_size(record: ImageRecord, width: int, height: int) -> None:
        """Refuse labels of another size."""
        if (width, height) != (record.size.width, record.size.height):
            raise LabelError(
                f"The image {record.file_name!r} is {width} x {height} pixels there and {record.size.width} x "
                f"{record.size.height} here. Label the same file; masks are never resized."
            )

    def label_class(self, name: str, colour: str | None = None) -> LabelClass:
        """The class of that name, made where there is none."""
        classes = (*self.project.classes, *self._new_classes)
        label_class = class_named(classes, name)
        if label_class is None:
            label_class = new_class(classes, name, colour)
            self._new_classes.append(label_class)
        return label_class

    def numbered_class(self, place: int, names: Mapping[int, str] | None) -> LabelClass:
        """The class at that place, from 0, of a file's list of names; of the project's own where it has none."""
        if names is not None:
            if place not in names:
                raise LabelError(f"Its class {place} is not among the names.")
            return self.label_class(names[place])
        if not 0 <= place < len(self.project.classes):
            raise LabelError(f"Its class {place} has no name; add data.yaml with the names of the classes.")
        return self.project.classes[place]

    # ---- objects

    def add(
        self, record: ImageRecord, label_class: LabelClass, mask: Rle | None, *, score: float | None = None
    ) -> None:
        """Take in an object that another program wrote."""
        if mask is None or mask.area == 0:
            self.skip(f"An object of {record.file_name!r} covers no pixel and was left out.")
            return
        if record.digest not in self._here:
            contents = Counter((a.class_id, a.mask.counts) for a in record.annotations)
            self._here[record.digest] = {a.id for a in record.annotations}, contents
        ids, here = self._here[record.digest]
        content = (label_class.id, mask.counts)
        name = label_class.name.casefold()
        number = self._seen[record.digest, name, mask.counts]
        self._seen[record.digest, name, mask.counts] += 1
        annotation_id = content_id(record.digest, name, mask, number)
        if annotation_id in ids or here[content] > 0:  # under that id it may have been changed since: that stays
            here[content] -= here[content] > 0
            self._unchanged += 1
            return
        self._put(
            record,
            Annotation(
                annotation_id,
                label_class.id,
                mask,
                Prompts(),
                NO_MODEL if score is None else SCORED_MODEL,
                1.0 if score is None else score,
                self.now,
                author="",
                seconds=0.0,
                clicks=0,
            ),
        )

    def add_own(self, record: ImageRecord, annotation: Annotation, *, is_exact: bool) -> None:
        """Take in an object that samref wrote: it comes back as it was.

        What was simplified on the way out does not take the place of the exact object that is still here.
        """
        if is_exact or not self.keep(record, annotation.id):
            self._put(record, annotation)

    def keep(self, record: ImageRecord, annotation_id: str) -> bool:
        """Whether an image has the object of that id, which then stays as it is."""
        is_here = any(annotation.id == annotation_id for annotation in record.annotations)
        self._unchanged += is_here
        return is_here

    def add_box(self, record: ImageRecord, label_class: LabelClass, x0: float, y0: float, x1: float, y1: float) -> None:
        """Take in a box without a mask, cut to the image."""
        width, height = float(record.size.width), float(record.size.height)
        if not (np.isfinite([x0, y0, x1, y1]).all() and x0 < x1 and y0 < y1):
            raise LabelError("A box must have four finite numbers and an area.")
        box = Box(max(0.0, x0), max(0.0, y0), min(width, x1), min(height, y1))
        if box.x0 >= box.x1 or box.y0 >= box.y1:
            self.skip(f"A box lies outside the image {record.file_name!r} and was left out.")
        elif len(self._boxes) == MAX_BOXES:
            raise LabelError(f"There are more than {MAX_BOXES} boxes without a mask. Split the file.")
        else:
            self._boxes.append(FoundBox(record.digest, label_class.id, box))

    def skip(self, sentence: str) -> None:
        """Note an object that is left out."""
        self._skipped.append(sentence)

    def spend(self, pixels: int) -> None:
        """Refuse a file whose masks would take too long, before the slow part."""
        self._pixels += pixels
        if self._pixels > _MAX_PIXELS:
            raise ImportFormatError(
                f"The masks in the file have more than {_MAX_PIXELS // 10**9} billion pixels altogether. "
                "Split it and import the parts."
            )

    def filled(self, record: ImageRecord, ring: Ring) -> Rle:
        """The pixels of an image whose middle lies inside a ring, which comes from outside."""
        size = record.size
        sides = (size.width, size.height)
        if any(not -side <= value <= 2 * side for corner in ring for value, side in zip(corner, sides, strict=True)):
            raise LabelError("A corner of a polygon is no number or lies far outside the image.")
        length = sum(max(abs(x - u), abs(y - v)) for (x, y), (u, v) in zip(ring, ring[1:] + ring[:1], strict=True))
        if length > MAX_RING:
            raise LabelError(f"The outline of one of its polygons is {length:.0f} pixels long; at most {MAX_RING}.")
        left, right = (_clipped(edge(x for x, _ in ring), size.width) for edge in (min, max))
        top, bottom = (_clipped(edge(y for _, y in ring), size.height) for edge in (min, max))
        window = ImageSize(min(size.height, bottom + 1) - top, min(size.width, right + 1) - left)
        self.spend(_RING_COST + _SIDE_COST * int(length) + window.pixels)
        moved = PolygonWithHoles(tuple((x - left, y - top) for x, y in ring))
        return rle_of_crop(polygons_to_mask([moved], window), left, top, size)

    def _put(self, record: ImageRecord, annotation: Annotation) -> None:
        on_image = self._found.setdefault(record.digest, {})
        if annotation.id in on_image:
            raise LabelError(f"Its samref id {annotation.id!r} occurs twice in this image.")
        on_image[annotation.id] = annotation

    def result(self) -> LabelImport:
        """What was gathered.

        Raises:
            ImportFormatError: all of it is about images that are not open here.
        """
        nothing = not self._found and not self._skipped and not self._unchanged and not self._boxes
        if self._unknown and nothing:
            names = ", ".join(repr(name) for name in list(self._unknown)[:3]) + (
                ", …" if len(self._unknown) > 3 else ""
            )
            raise ImportFormatError(f"The file is about images that are not open here: {names}. Open them first.")
        return LabelImport(
            tuple(self._new_classes),
            {digest: tuple(items.values()) for digest, items in self._found.items()},
            tuple(self._boxes),
            tuple(self._unknown),
            tuple(self._skipped),
            self._unchanged,
        )


def content_id(digest: str, class_name: str, mask: Rle, number: int) -> str:
    """The id of an imported object: the same for the same content, whatever file it comes in.

    ``number`` tells objects of one class with the same pixels apart. The ids of other programs are not part of it: many
    number their objects anew in every file.
    """
    said = json.dumps([digest, class_name.casefold(), mask.height, mask.width, mask.counts, number])
    return hashlib.sha256(said.encode("utf-8")).hexdigest()[:32]


class _ImageNames:
    """The images of a project by what files may call them: with folders or without, with a suffix or without."""

    def __init__(self, images: tuple[ImageRecord, ...]) -> None:
        self._by_digest = {image.digest: image for image in images}
        self._by_path: dict[str, list[ImageRecord]] = {}
        self._by_tail: dict[str, list[ImageRecord]] = {}
        for image in images:
            paths = {tidy_path(image.file_name), next(iter(safe_paths([image]).values()))}
            for table, names in (
                (self._by_path, paths),
                (self._by_tail, {tidy_file_name(path) for path in paths}),
            ):
                for name in {spelt for path in names for spelt in (path, _stem(path))}:
                    table.setdefault(name, []).append(image)
        # What samref calls images in its exports, where that is not their own name.
        self._given: dict[str, ImageRecord] = {}
        for exported in (file_names(images), safe_paths(images)):
            for digest, name in exported.items():
                self._given.setdefault(name, self._by_digest[digest])
                self._given.setdefault(_stem(name), self._by_digest[digest])
        known = self._by_path.keys() | self._by_tail.keys()
        self._numbered = {name: image for name, image in self._given.items() if name not in known}

    def find(self, name: str, digest: str | None, among: frozenset[str]) -> ImageRecord | None:
        if digest in self._by_digest:
            return self._by_digest[digest]
        spellings = [spelt for path in _tails(tidy_path(name)) for spelt in (path, _stem(path))]
        for table in (self._by_path, self._by_tail):  # a whole path says more than a name
            for spelling in spellings:
                found = table.get(spelling, [])
                if len(found) == 1:
                    return found[0]
                if found:
                    return self._among_several(spelling, found, among)
                if spelling in self._numbered:
                    return self._numbered[spelling]
        return None

    def _among_several(self, name: str, found: list[ImageRecord], among: frozenset[str]) -> ImageRecord:
        spelt = {spelling for each in among for path in _tails(tidy_path(each)) for spelling in (path, _stem(path))}
        if spelt & self._numbered.keys() and name in self._given:  # samref numbered them, so the first has its own name
            return self._given[name]
        raise LabelError(f"There are {len(found)} images named {name!r} here; it could be any of them.")


def _tails(path: str) -> list[str]:
    """A path, and what is left of it as its outer folders go one by one."""
    parts = path.split("/")
    return ["/".join(parts[place:]) for place in range(len(parts))]


def _stem(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and stem and "/" not in suffix and not stem.endswith("/") else name


# ---- JSON


def parse_json(data: bytes, what: str = "COCO instances") -> Any:
    """The values of a JSON file.

    Raises:
        ImportFormatError: it is none, or too large.
    """
    if len(data) > MAX_JSON_BYTES:
        raise ImportFormatError(f"The file is larger than {MAX_JSON_BYTES >> 20} MB. Split it and import the parts.")
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
        raise ImportFormatError(f"The file is not JSON; export it as {what} once more.") from error


def _parse_text(text: str) -> Any:
    """What ``json.loads`` gives, entry by entry: a large object at once would stop all other threads."""
    scan = json.JSONDecoder(parse_constant=_refuse_constant).raw_decode
    text = text.removeprefix("\ufeff")
    start = _after_blanks(text, 0)
    if text.startswith("[", start):
        values, at = _parse_list(text, start, scan)
        if _after_blanks(text, at) != len(text):
            raise ValueError("something follows the list")
        return values
    if not text.startswith("{", start):
        return json.loads(text, parse_constant=_refuse_constant)
    found: dict[str, Any] = {}
    at, is_first = _expect(text, start, "{"), True
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


# ---- XML


class _RefusedXmlError(ValueError):
    """What a label file has no need of."""


def parse_xml(data: bytes) -> ET.Element:
    """The root of an XML file.

    Raises:
        ImportFormatError: it is none, too large, or declares a document type.
    """
    if len(data) > MAX_XML_BYTES:
        raise ImportFormatError(f"The file is larger than {MAX_XML_BYTES >> 20} MB. Split it and import the parts.")
    builder = ET.TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    depth = count = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth, count
        depth, count = depth + 1, count + 1
        if depth > _MAX_DEPTH or count > _MAX_ELEMENTS:
            raise _RefusedXmlError
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def refuse(*_: object) -> NoReturn:
        raise _RefusedXmlError

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, builder.data
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    try:
        parser.Parse(data, True)
        return builder.close()
    except _RefusedXmlError as error:
        raise ImportFormatError(
            f"The file has a document type, or more than {_MAX_ELEMENTS} elements or {_MAX_DEPTH} levels. "
            "Export it as plain XML, in parts if it is large."
        ) from error
    except (expat.ExpatError, ValueError, AssertionError) as error:
        raise ImportFormatError("The file is not XML; export it once more.") from error


# ---- zip


class ZipEntries:
    """The files in a zip file by their paths, which are only ever compared."""

    def __init__(self, data: bytes) -> None:
        """Look at the list of files.

        Raises:
            ImportFormatError: it is no zip file, or has too many files.
        """
        if data.count(b"PK\x01\x02") > _MAX_ZIP_ENTRIES:
            raise ImportFormatError(f"The zip file holds more than {_MAX_ZIP_ENTRIES} files. Import it in parts.")
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
            raise ImportFormatError("The zip file is damaged; make it once more.") from error
        self._left = _MAX_UNPACKED_BYTES
        self._entries = {
            info.filename.replace("\\", "/"): info for info in self._archive.infolist() if not info.is_dir()
        }

    def __contains__(self, path: str) -> bool:
        return path in self._entries

    def paths(self, ending: str = "", folder: str | None = None) -> Iterator[str]:
        """Paths that end so, in a folder of that name, in order."""
        for path in sorted(self._entries):
            parts = path.split("/")
            if "__MACOSX" in parts or parts[-1].startswith("._"):
                continue
            if path.lower().endswith(ending) and (folder is None or folder in parts[:-1]):
                yield path

    def read(self, path: str, limit: int) -> bytes:
        """The content of one file, refused when there is more than ``limit``."""
        try:
            with self._archive.open(self._entries[path]) as file:
                data = file.read(min(limit, self._left) + 1)
        except (
            zipfile.BadZipFile,
            zlib.error,
            NotImplementedError,
            RuntimeError,
            EOFError,
            OSError,
            ValueError,
        ) as error:
            raise ImportFormatError(
                f"The file {short_path(path)!r} in the zip file cannot be read; make the zip file once more."
            ) from error
        if len(data) > limit or len(data) > self._left:
            raise ImportFormatError(
                f"The file {short_path(path)!r} in the zip file is too large once unpacked. Import it in parts."
            )
        self._left -= len(data)
        return data


def short_path(path: str) -> str:
    """A path as a message shows it."""
    shown = "".join(c if c.isprintable() else "?" for c in path)
    return shown if len(shown) <= 80 else "…" + shown[-79:]


def read_text(data: bytes) -> str:
    """A text file.

    Raises:
        LabelError: it is not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LabelError("It is not text in UTF-8.") from error


# ---- pixels


def _clipped(value: float, side: int) -> int:
    """The pixel that a coordinate lies in, moved into the image."""
    return min(max(math.floor(value), 0), side - 1)


def read_png(data: bytes, record: ImageRecord) -> Image.Image:
    """The PNG of an image's index mask, of the size of that image.

    Raises:
        LabelError: it is no PNG, damaged, or of another size.
    """
    image = open_png(data)
    Collector.check_size(record, *image.size)
    return _loaded(image)


def open_png(data: bytes, *, pixels: int | None = None) -> Image.Image:
    """A PNG of which only the head was read; with ``pixels``, all of it if it has no more than so many."""
    try:
        image = Image.open(io.BytesIO(data), formats=["PNG"])
    except Exception as error:  # whatever Pillow makes of hostile bytes
        raise LabelError("It is no PNG image.") from error
    if pixels is None:
        return image
    if image.width * image.height > pixels:
        raise LabelError(
            f"Its image has {image.width} x {image.height} pixels, too many for the place it is meant for."
        )
    return _loaded(image)


def _loaded(image: Image.Image) -> Image.Image:
    try:
        image.load()
    except Exception as error:
        raise LabelError("Its PNG image is damaged.") from error
    return image


def rle_of_mask(mask: Mask) -> Rle:
    """A mask as run lengths, encoded in its box only."""
    height, width = mask.shape
    box = mask_box(mask)
    if box is None:
        return Rle.empty(height, width)
    x0, y0, x1, y1 = box
    return rle_of_crop(mask[y0:y1, x0:x1], x0, y0, ImageSize(height, width))


def rle_of_crop(crop: Mask, left: int, top: int, size: ImageSize) -> Rle:
    """A mask of an image, of the pixels (h, w) of a window that lies inside it."""
    return Rle.from_window(np.ascontiguousarray(crop.T), left, top, size)


def value_crops(values: NDArray[Any]) -> Iterator[tuple[int, tuple[Mask, int, int]]]:
    """Each value but 0 of an index mask (H, W), with its pixels in their box and the left and top edge of that.

    Raises:
        LabelError: there are too many values.
    """
    kinds = _kinds(values)
    if kinds.size > MAX_ENTRIES:
        raise LabelError(f"It has more than {MAX_ENTRIES} objects.")
    spans = []
    for lines in (values, values.T):
        span = np.stack([np.full(kinds.size, -1), np.full(kinds.size, -1)], axis=1)
        for number, line in enumerate(lines):
            found = np.searchsorted(kinds, np.unique(line))
            is_new = span[found, 0] < 0
            span[found[is_new], 0] = number
            span[found, 1] = number
        spans.append(span.tolist())
    for place, value in enumerate(kinds.tolist()):
        if value != 0:
            (top, bottom), (left, right) = spans[0][place], spans[1][place]
            yield value, (values[top : bottom + 1, left : right + 1] == value, left, top)


def _kinds(values: NDArray[Any]) -> NDArray[Any]:
    """The values that occur, in order; row by row, since sorting all at once takes eight bytes for each pixel."""
    found: NDArray[Any] = np.unique(values[:0])
    for top in range(0, values.shape[0], _ROWS):
        found = np.union1d(found, np.unique(values[top : top + _ROWS]))
    return found
