"""Boxes around objects, read from COCO and YOLO files: what is to become a mask.

*COCO*: ``images``, ``categories`` and ``annotations``; of an annotation its ``bbox`` counts, and where it has none the
box of its segmentation. *YOLO*: one text file an image, one line an object: class number, then middle and size of the
box, or the corners of an outline, as shares of the image; a score behind a box is left out of account. The names of the
classes stand in a ``data.yaml`` or ``classes.txt`` beside them.

Nothing in a file is trusted, and nothing is resized or moved to make it fit: a box that leaves its image by more than
:data:`TOLERANCE` pixels is refused by name, as is an image of another size.
"""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import yaml
from pydantic_core import SchemaValidator, from_json
from pydantic_core import core_schema as cs

from samref.core.geometry import ImageSize
from samref.core.polygons import check_segmentation, mask_of_checked
from samref.core.prompts import Box
from samref.errors import ImportFormatError, LabelError
from samref.files import counted
from samref.labels.annotations import ImageRecord, Project, tidy_file_name
from samref.labels.classes import LabelClass, class_named, new_class
from samref.labels.events import ProposedBox
from samref.labels.serialization import NUMBER, WHOLE, read, text

MAX_BOXES = 100_000
"""Boxes one file, or one folder of files, may hold."""

MAX_BYTES = 32 * 2**20
"""Largest file of boxes: a hundred thousand take half of it."""

MAX_NAMES_BYTES = 2**20
"""Largest file with names of classes."""

TOLERANCE = 1.0
"""Pixels by which a box may leave its image, for the rounding of other programs; it is cut there."""

LEAST_SIDE = 1.0
"""A box narrower than this has no area."""

NAMES_FILES = ("data.yaml", "data.yml", "classes.txt", "obj.names")
"""Where YOLO keeps the names of classes, the first found first."""

_ENTRIES = cs.list_schema(cs.any_schema(), max_length=MAX_BOXES)


def _object(**keys: cs.CoreSchema) -> SchemaValidator:
    return SchemaValidator(cs.typed_dict_schema({name: cs.typed_dict_field(schema) for name, schema in keys.items()}))


_COCO_ID = cs.union_schema([WHOLE, text(200)])
_FILE = _object(images=_ENTRIES, categories=_ENTRIES, annotations=_ENTRIES)
_IMAGE = _object(id=_COCO_ID, file_name=text(4096))
_SIZED = _object(height=WHOLE, width=WHOLE)
_CATEGORY = _object(id=_COCO_ID, name=text(200))
_OBJECT = _object(image_id=_COCO_ID, category_id=_COCO_ID)
_BBOX = _object(bbox=cs.tuple_schema([NUMBER, NUMBER, NUMBER, NUMBER]))


@dataclass(frozen=True, slots=True)
class NamedBox:
    """One box as it was written; ``label`` says which one it is ("annotation 7", "line 3")."""

    label: str
    class_name: str
    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True, slots=True)
class ImageBoxes:
    """The boxes of one image.

    Attributes:
        name: the image's file name as it was written, folders included; for YOLO without its suffix.
        boxes: in the order of the file.
        size: of the image, where the file tells it.
        are_shares: whether the boxes are shares of the image, not pixels.
    """

    name: str
    boxes: tuple[NamedBox, ...]
    size: ImageSize | None = None
    are_shares: bool = False

    def placed(self, size: ImageSize) -> tuple[tuple[str, Box], ...]:
        """The class name and the box, in pixels of an image of ``size``, of each.

        Raises:
            ImportFormatError: the image had another size, or a box lies outside it or has no area.
        """
        if self.size is not None and self.size != size:
            raise ImportFormatError(
                f"The image {self.name!r} is {self.size.width} x {self.size.height} pixels in the file of boxes and "
                f"{size.width} x {size.height} here. Use the file that the boxes were drawn on."
            )
        return tuple((each.class_name, self._placed(each, size)) for each in self.boxes)

    def _placed(self, each: NamedBox, size: ImageSize) -> Box:
        wide, high = (size.width, size.height) if self.are_shares else (1, 1)
        x0, x1, y0, y1 = each.x0 * wide, each.x1 * wide, each.y0 * high, each.y1 * high
        outside = max(-x0, -y0, x1 - size.width, y1 - size.height)
        if not math.isfinite(outside) or outside > TOLERANCE:
            raise ImportFormatError(
                f"The box of {each.label} ({x0:.6g}, {y0:.6g}, {x1:.6g}, {y1:.6g}) leaves the image {self.name!r}, "
                f"which is {size.width} x {size.height} pixels. Correct or remove it."
            )
        box = Box(max(0.0, x0), max(0.0, y0), min(float(size.width), x1), min(float(size.height), y1))
        if box.x1 - box.x0 < LEAST_SIDE or box.y1 - box.y0 < LEAST_SIDE:
            raise ImportFormatError(
                f"The box of {each.label} in the image {self.name!r} is less than a pixel wide or high. Remove it."
            )
        return box


@dataclass(frozen=True, slots=True)
class BoxFile:
    """What was read.

    Attributes:
        images: those with a box, each once.
        class_names: in the order of the file, those without a box included.
    """

    images: tuple[ImageBoxes, ...]
    class_names: tuple[str, ...]

    @property
    def count(self) -> int:
        """Number of boxes."""
        return sum(len(each.boxes) for each in self.images)


def read_boxes(data: bytes) -> BoxFile:
    """The boxes of a COCO file, or of a zip file with YOLO's text files.

    Raises:
        ImportFormatError: it is neither, holds no box or too many, or an entry is wrong; the sentence names it.
    """
    if not data:
        raise ImportFormatError("The file of boxes is empty. Choose a COCO file, or a zip file of YOLO labels.")
    if len(data) > MAX_BYTES:
        raise ImportFormatError(f"The file is larger than {MAX_BYTES >> 20} MiB. Split it and import the parts.")
    return read_yolo_zip(data) if data.startswith(b"PK") else read_coco_boxes(data)


# ---- COCO


def read_coco_boxes(data: bytes) -> BoxFile:
    """The boxes of a COCO file; see :func:`read_boxes`."""
    try:
        plain = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise ImportFormatError(
            "The file is neither JSON nor a zip file. Give a COCO file with boxes, or a zip file of YOLO labels."
        ) from error
    try:
        entries = read(_FILE, plain)
    except LabelError as error:
        raise ImportFormatError(
            f"The file is no COCO file: it must hold images, categories and annotations. {error}"
        ) from error
    names: dict[int | str, str] = {}
    for place, entry in enumerate(entries["categories"], start=1):
        found = _checked(_CATEGORY, entry, "category", place)
        names[found["id"]] = found["name"]
    images: dict[int | str, tuple[str, ImageSize | None]] = {}
    for place, entry in enumerate(entries["images"], start=1):
        found = _checked(_IMAGE, entry, "image", place)
        size = None
        if "width" in entry or "height" in entry:
            sized = _checked(_SIZED, entry, "image", place)
            size = ImageSize(sized["height"], sized["width"])
        images[found["id"]] = (found["file_name"], size)
    boxes: dict[int | str, list[NamedBox]] = {}
    for place, entry in enumerate(entries["annotations"], start=1):
        found = _checked(_OBJECT, entry, "annotation", place)
        image_id, category_id = found["image_id"], found["category_id"]
        if image_id not in images or category_id not in names:
            key, lists = ("image_id", "images") if image_id not in images else ("category_id", "categories")
            raise ImportFormatError(
                f"The file, annotation {_label(entry, place)}: its {key} {found[key]!r} is not among the {lists}."
            )
        corners = _coco_corners(entry, images[image_id][1], place)
        label = f"annotation {_label(entry, place)}"
        boxes.setdefault(image_id, []).append(NamedBox(label, names[category_id], *corners))
    return _checked_file(
        [ImageBoxes(images[image_id][0], tuple(found), images[image_id][1]) for image_id, found in boxes.items()],
        names.values(),
    )


def _coco_corners(entry: Mapping[str, Any], size: ImageSize | None, place: int) -> tuple[float, float, float, float]:
    if entry.get("bbox") is None and entry.get("segmentation") and size is not None:
        try:
            check_segmentation(entry["segmentation"], size, "")
            mask = mask_of_checked(entry["segmentation"], size)
        except LabelError as error:
            raise ImportFormatError(f"The file, annotation {_label(entry, place)}: {error}") from error
        if mask is not None:
            x, y, width, height = mask.box_xywh
            return x, y, x + width, y + height
    x, y, width, height = _checked(_BBOX, entry, "annotation", place)["bbox"]
    return x, y, x + width, y + height


def _checked(schema: SchemaValidator, entry: Any, kind: str, place: int) -> dict[str, Any]:
    try:
        found: dict[str, Any] = read(schema, entry)
    except LabelError as error:
        raise ImportFormatError(f"The file, {kind} {_label(entry, place)}: {error}") from error
    return found


def _label(entry: Any, place: int) -> str:
    value = entry.get("id") if isinstance(entry, Mapping) else None
    return f"{value!r:.40}" if isinstance(value, int | str) else f"number {place}"


# ---- YOLO


def read_yolo_zip(data: bytes) -> BoxFile:
    """The boxes of YOLO's text files in a zip file; see :func:`read_boxes`. Nothing is unpacked onto the disk."""
    texts: dict[str, str] = {}
    names: tuple[str, ...] | None = None
    left = MAX_BYTES
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for entry in archive.infolist():
                path = PurePosixPath(entry.filename)
                if entry.is_dir() or path.name.startswith(".") or "__MACOSX" in path.parts:
                    continue
                is_names = path.name.lower() in NAMES_FILES
                if not is_names and path.suffix.lower() != ".txt":
                    continue
                left -= entry.file_size
                if left < 0:
                    raise ImportFormatError(
                        f"The labels in the zip file take more than {MAX_BYTES >> 20} MiB. Split it and import the "
                        "parts."
                    )
                with archive.open(entry) as file:
                    content = file.read(entry.file_size)
                if is_names:
                    names = names or class_names_from(path.name, content)
                else:
                    texts[str(path.with_suffix(""))] = _decoded(content, path.name)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise ImportFormatError("The zip file is damaged or protected by a password. Make it once more.") from error
    return read_yolo(texts, names or ())


def read_yolo(texts: Mapping[str, str], class_names: Sequence[str]) -> BoxFile:
    """The boxes of YOLO's text files.

    Args:
        texts: what stands in each, by the name of its image without suffix.
        class_names: by number; a number beyond them is called "class 7".
    """
    images: list[ImageBoxes] = []
    used: dict[str, None] = {}
    for name, content in texts.items():
        boxes: list[NamedBox] = []
        for number, line in enumerate(content.splitlines(), start=1):
            if not line.strip():
                continue
            class_number, corners = _yolo_line(line, name, number)
            class_name = class_names[class_number] if class_number < len(class_names) else f"class {class_number}"
            used[class_name] = None
            boxes.append(NamedBox(f"line {number}", class_name, *corners))
        if boxes:
            images.append(ImageBoxes(name, tuple(boxes), are_shares=True))
    return _checked_file(images, [*class_names, *used])


def _yolo_line(line: str, name: str, number: int) -> tuple[int, tuple[float, float, float, float]]:
    words = line.split()
    try:
        class_number, values = int(words[0]), [float(word) for word in words[1:]]
        if class_number < 0 or not all(map(math.isfinite, values)):
            raise ValueError(line)
    except ValueError as error:
        raise ImportFormatError(
            f"Line {number} of the labels of {name!r} is no YOLO label: {line[:60]!r}. It must be a class number and "
            "four shares of the image."
        ) from error
    if len(values) in (4, 5):
        x, y, width, height = values[:4]
        return class_number, (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    if len(values) >= 6 and len(values) % 2 == 0:  # an outline
        xs, ys = values[0::2], values[1::2]
        return class_number, (min(xs), min(ys), max(xs), max(ys))
    raise ImportFormatError(
        f"Line {number} of the labels of {name!r} has {len(values)} numbers behind the class; a box has four, "
        "an outline at least six, two a corner."
    )


def class_names_from(file_name: str, content: bytes) -> tuple[str, ...]:
    """The names of classes by number, from a ``data.yaml`` or a list with a name on each line.

    Raises:
        ImportFormatError: it cannot be read.
    """
    if len(content) > MAX_NAMES_BYTES:
        raise ImportFormatError(f"{file_name} is larger than {MAX_NAMES_BYTES >> 20} MiB; it should list class names.")
    plain = _decoded(content, file_name)
    if not file_name.lower().endswith((".yaml", ".yml")):
        return tuple(line.strip() for line in plain.splitlines() if line.strip())
    try:
        found = yaml.safe_load(plain)
        names = found["names"]
        if isinstance(names, dict):
            numbered = {int(number): name for number, name in names.items()}
            if any(not 0 <= number < MAX_BOXES for number in numbered):
                raise ValueError("a class number")
            names = [numbered.get(number, f"class {number}") for number in range(max(numbered, default=-1) + 1)]
        return tuple(str(name) for name in names)
    except (yaml.YAMLError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ImportFormatError(f"{file_name} lists no class names: it needs 'names: [cat, dog]'.") from error


def _decoded(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ImportFormatError(f"{name!r} is no UTF-8 text. Save it as UTF-8 and import it again.") from error


def _checked_file(images: Sequence[ImageBoxes], class_names: Iterable[str]) -> BoxFile:
    found = BoxFile(tuple(images), tuple(dict.fromkeys(class_names)))
    if found.count > MAX_BOXES:
        raise ImportFormatError(
            f"These are {found.count:,} boxes; {MAX_BOXES:,} can be taken at once. Split the file and import the parts."
        )
    if found.count == 0:
        raise ImportFormatError("There is no box in this file. Export the annotations with their boxes.")
    return found


# ---- boxes for the images of a project


@dataclass(frozen=True, slots=True)
class BoxImport:
    """What a file holds for a project.

    Attributes:
        new_classes: classes to add, numbered to fit the project's.
        boxes: by digest of the image, in the order of the file.
        unknown_images: file names of images with boxes that the project does not hold.
    """

    new_classes: tuple[LabelClass, ...]
    boxes: Mapping[str, tuple[ProposedBox, ...]]
    unknown_images: tuple[str, ...]

    @property
    def count(self) -> int:
        """Number of boxes."""
        return sum(len(each) for each in self.boxes.values())

    @property
    def message(self) -> str:
        """What the person is told."""
        said = f"{counted(self.count, 'box')} in {counted(len(self.boxes), 'image')} read."
        if self.unknown_images:
            said += f" Not in this workspace: {_some(self.unknown_images)}."
        return said


def import_boxes(data: bytes, project: Project) -> BoxImport:
    """Read a file of boxes for the images and classes of ``project``, which stays as it is.

    A box gets its id from its image, class and place, so that the same file read twice gives the same boxes.

    Raises:
        ImportFormatError: the file or an entry cannot be used, or none of its images is known.
    """
    found = read_boxes(data)
    classes: dict[str, LabelClass] = {}
    new_classes: list[LabelClass] = []
    boxes: dict[str, dict[str, ProposedBox]] = {}
    unknown: list[str] = []
    find = ImageFinder(project.images)
    for image in found.images:
        record = find(image)
        if record is None:
            unknown.append(image.name)
            continue
        on_image = boxes.setdefault(record.digest, {})
        for class_name, box in image.placed(record.size):
            if class_name not in classes:
                everything = (*project.classes, *new_classes)
                label_class = class_named(everything, class_name)
                if label_class is None:
                    label_class = new_class(everything, class_name)
                    new_classes.append(label_class)
                classes[class_name] = label_class
            proposed = propose(record.digest, classes[class_name].id, box)
            on_image[proposed.id] = proposed
    if not boxes:
        raise ImportFormatError(f"The boxes are of images that are not open here: {_some(unknown)}. Open them first.")
    by_digest = {digest: tuple(on_image.values()) for digest, on_image in boxes.items()}
    return BoxImport(tuple(new_classes), by_digest, tuple(unknown))


def propose(digest: str, class_id: int, box: Box) -> ProposedBox:
    """A box of the image of that digest; the same one has the same id each time."""
    words = f"{digest} {class_id} {box.x0:.3f} {box.y0:.3f} {box.x1:.3f} {box.y1:.3f}"
    return ProposedBox(hashlib.sha256(words.encode("ascii")).hexdigest()[:32], class_id, box)


class ImageFinder:
    """Finds the image that a file of boxes means, by its file name; for YOLO without the suffix."""

    def __init__(self, images: Iterable[ImageRecord]) -> None:
        self._by_name: dict[str, list[ImageRecord]] = {}
        self._by_stem: dict[str, list[ImageRecord]] = {}
        for image in images:
            name = tidy_file_name(image.file_name)
            self._by_name.setdefault(name, []).append(image)
            self._by_stem.setdefault(name.rpartition(".")[0] or name, []).append(image)

    def __call__(self, image: ImageBoxes) -> ImageRecord | None:
        """The image, or None where there is none of that name.

        Raises:
            ImportFormatError: it could be any of several.
        """
        found = (self._by_stem if image.are_shares else self._by_name).get(tidy_file_name(image.name), [])
        if len(found) > 1:
            raise ImportFormatError(
                f"There are {len(found)} images named {tidy_file_name(image.name)!r} here; the boxes could be of any "
                "of them. Give the images names of their own."
            )
        return found[0] if found else None


def _some(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
