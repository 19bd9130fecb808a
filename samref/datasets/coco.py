"""Annotations in JSON: COCO's and LVIS's objects, and COCO panoptic, for measuring and for training.

COCO::

    annotations/instances_val2017.json
    val2017/000000000139.jpg            or images/val2017/..., or images/...

LVIS v1, whose images are COCO's (its val images lie in both folders of COCO; ``coco_url`` says where)::

    lvis_v1_val.json or annotations / lvis_v1_val.json
    train2017 / ..., val2017 / ... or images / train2017 / ..., images / val2017 / ...

An object is one annotation; objects may overlap. Regions marked ``iscrowd`` are nobody's object: their pixels are
ignored where no object of the image covers them. Polygons are rasterised by pycocotools when they are asked for;
until then coordinates are kept as packed numbers, because lists of them take five times the memory.

COCO panoptic, things and stuff, every pixel in one segment at most; what FocSAM trains on. The annotation file names
the segments of each image, and a PNG beside it tells whose each pixel is::

    annotations/panoptic_val2017.json
    annotations/panoptic_val2017/000000000139.png   or panoptic_val2017/...; R + 256 G + 65536 B is the segment's id
    val2017/000000000139.jpg                        or images/val2017/..., or images/...

Every segment that the annotation file names is an object, stuff and crowds too; all else, VOID included, is background.
A folder that has instances as well is taken for ``coco`` unless ``coco-panoptic`` is named.

Of the train parts of LVIS and panoptic the images are left out that FocSAM leaves out (:data:`UNFIT`).

Source: papers.md §3.5 and §4.3, code (FocSAM).
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

import numpy as np

from samref.core.geometry import ImageSize
from samref.core.images import decode_image
from samref.core.masks import Mask
from samref.core.polygons import read_segmentation
from samref.datasets.records import (
    ImageRecord,
    Layout,
    Listing,
    MaskSource,
    ObjectMask,
    Skipped,
    decode_file,
    read_bytes,
)
from samref.errors import DataError, LabelError

Shape: TypeAlias = tuple["array[float]", ...] | Mapping[str, Any] | None
"""A segmentation at rest: polygons x, y, x, y, ... as packed doubles, or run lengths as the file has them."""

UNFIT = frozenset(
    (
        *(16449, 25885, 46633, 91492, 96923, 160298, 182607, 262189, 274233, 278697, 298840),
        *(382333, 396166, 429995, 458540, 474147, 505637, 513111, 530894, 539390, 563076),
    )
)
"""Images of train2017 that FocSAM leaves out, of LVIS and of COCO panoptic alike (its list of invalid names)."""

CORNERS = 3
"""Fewest corners of a polygon; fewer enclose nothing and are left out, as everywhere in the field."""


@dataclass(frozen=True, slots=True)
class JsonMasks(MaskSource):
    """The annotations of one image, in the annotation file ``path``: their ids with their shapes.

    ``size`` is the image's as the file says, ``image_name`` is for messages.
    """

    image_name: str
    size: ImageSize
    objects: tuple[tuple[str, Shape], ...]
    crowds: tuple[tuple[str, Shape], ...] = ()

    def read(self) -> list[ObjectMask]:
        masks = [(key, self._mask(key, shape)) for key, shape in self.objects]
        ignore: Mask | None = None
        if self.crowds:
            ignore = np.logical_or.reduce([self._mask(key, shape) for key, shape in self.crowds])
            for _, mask in masks:
                ignore &= ~mask
        if ignore is not None and not ignore.any():
            ignore = None
        return [ObjectMask(key, mask, ignore) for key, mask in masks]

    def _mask(self, key: str, shape: Shape) -> Mask:
        plain = [polygon.tolist() for polygon in shape] if isinstance(shape, tuple) else shape
        try:
            rle = read_segmentation(plain, self.size, self.image_name)
        except LabelError as error:
            raise DataError(f"{self.path}, annotation {key}: {error}") from error
        return np.zeros((self.size.height, self.size.width), dtype=np.bool_) if rle is None else rle.to_mask()


@dataclass(frozen=True, slots=True)
class PanopticMasks(MaskSource):
    """A PNG whose colours are segment ids, and the ids that count."""

    segments: tuple[int, ...]

    def read(self) -> list[ObjectMask]:
        rgb = decode_file(self.path, decode_image).rgb.astype(np.int32)
        ids = rgb[..., 0] + 256 * rgb[..., 1] + 65_536 * rgb[..., 2]
        return [ObjectMask(str(segment), ids == segment, None) for segment in self.segments]


# ---- annotation files


def _read_lists(path: Path) -> tuple[list[Any], list[Any]]:
    """The lists "images" and "annotations" of an annotation file."""
    try:
        content = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no JSON file, or breaks off. Copy or download it again.") from error
    for name in ("images", "annotations"):
        if not isinstance(content, dict) or not isinstance(content.get(name), list):
            raise DataError(f"{path} has no list {name!r}. Is it an instances file?")
    return content["images"], content["annotations"]


def _field_of(path: Path, entry: Any, name: str, kinds: tuple[type, ...], what: str) -> Any:
    """What an entry ``what`` of an annotation file says under ``name``."""
    value = entry.get(name) if isinstance(entry, dict) else None
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise DataError(f"{path}, {what}: it has no proper {name!r}.")
    return value


def inside(root: Path, name: str, source: Path) -> PurePosixPath:
    """A file name from an annotation file, refused where it leads out of the data set."""
    relative = PurePosixPath(name.replace("\\", "/"))
    if not name or relative.is_absolute() or ".." in relative.parts:
        raise DataError(f"{source} names the image {name[:100]!r}, which does not lie in {root}.")
    return relative


def _first_there(root: Path, folders: Sequence[str], name: PurePosixPath) -> Path:
    """The first of ``root/folder/name`` that is a file, else the first of them."""
    places = [root / folder / name for folder in folders]
    return next((place for place in places if place.is_file()), places[0])


def _images_by_id(path: Path, images: Sequence[Any]) -> dict[Any, Any]:
    return {_field_of(path, image, "id", (int, str), f"image number {n}"): image for n, image in enumerate(images, 1)}


def _annotation_file(folder: Path, kind: str, split: str, *places: str) -> tuple[Path, str]:
    """``<kind>_<split>.json`` in one of the places, or the one with a year after it; and split with year."""
    exact = [folder / place / f"{kind}_{split}.json" for place in places]
    dated = [path for place in places for path in sorted((folder / place).glob(f"{kind}_{split}20[0-9][0-9].json"))]
    if len(dated) > 1 and not any(path.is_file() for path in exact):
        names = " or ".join(path.stem.removeprefix(f"{kind}_") for path in dated)
        raise DataError(f"{folder} has several {kind} parts called {split}. Say which: {names}.")
    found = next((path for path in (*exact, *dated) if path.is_file()), None)
    if found is None:
        raise DataError(f"There is no {folder / 'annotations'}/{kind}_{split}.json, with or without a year.")
    return found, found.stem.removeprefix(f"{kind}_")


def _image_file(folder: Path, part: str, name: str, source: Path) -> Path:
    """Where COCO's image of that name lies, or would lie."""
    return _first_there(folder, (part, f"images/{part}", "images", ""), inside(folder, name, source))


def refuse_none_there(path: Path, records: Sequence[ImageRecord], absent: Sequence[Path]) -> None:
    """Refuse an annotation file none of whose images is on this machine."""
    if absent and not records:
        raise DataError(f"None of the images that {path} names is there; the first is {absent[0]}.")


# ---- one object an annotation: COCO and LVIS


def _pack(path: Path, segmentation: Any, what: str) -> Shape:
    if segmentation is None or isinstance(segmentation, dict):
        return segmentation
    try:
        return tuple(packed for polygon in segmentation if len(packed := array("d", polygon)) >= 2 * CORNERS)
    except TypeError as error:
        raise DataError(f"{path}, {what}: its segmentation is neither polygons nor run lengths.") from error


def _list_objects(
    path: Path,
    dataset: str,
    layout: str,
    find_image: Callable[[Mapping[str, Any]], Path],
    left_out: frozenset[int] = frozenset(),
) -> Listing:
    """The images of an annotation file, without those whose ids are ``left_out``."""
    listed, annotations = _read_lists(path)
    images = _images_by_id(path, listed)
    objects: dict[Any, list[tuple[str, Shape]]] = {}
    crowds: dict[Any, list[tuple[str, Shape]]] = {}
    for number, annotation in enumerate(annotations, start=1):
        what = f"annotation {annotation.get('id', f'number {number}') if isinstance(annotation, dict) else number}"
        key = str(_field_of(path, annotation, "id", (int, str), what))
        image_id = _field_of(path, annotation, "image_id", (int, str), what)
        if image_id not in images:
            raise DataError(f"{path}, {what}: its image_id {image_id!r} is not among the images.")
        group = crowds if annotation.get("iscrowd") else objects
        group.setdefault(image_id, []).append((key, _pack(path, annotation.get("segmentation"), what)))
    records: list[ImageRecord] = []
    names: set[str] = set()
    absent: list[Path] = []
    bare = excluded = 0
    for image in listed:
        image_id = image["id"]
        if image_id in left_out:
            excluded += 1
            continue
        size = _size_of(path, image)
        if image_id not in objects:
            bare += 1
            continue
        file = find_image(image)
        if not file.is_file():
            absent.append(file)
            continue
        masks = JsonMasks(path, file.name, size, tuple(objects[image_id]), tuple(crowds.get(image_id, ())))
        name = file.stem if file.stem not in names else f"{image_id}/{file.stem}"
        names.add(name)
        records.append(ImageRecord(dataset, name, file, masks, layout))
    refuse_none_there(path, records, absent)
    counted = Skipped(
        images_without_objects=bare,
        images_not_found=len(absent),
        crowd_regions=sum(map(len, crowds.values())),
        excluded_images=excluded,
    )
    return Listing(tuple(records), counted)


def _size_of(path: Path, image: Any) -> ImageSize:
    what = f"image {image['id']}"
    height, width = (_field_of(path, image, name, (int,), what) for name in ("height", "width"))
    if height < 1 or width < 1:
        raise DataError(f"{path}, {what}: an image cannot be {width} x {height} pixels.")
    return ImageSize(height, width)


def _list_coco(folder: Path, split: str) -> Listing:
    path, part = _annotation_file(folder, "instances", split, "annotations")

    def find_image(image: Mapping[str, Any]) -> Path:
        return _image_file(folder, part, str(image.get("file_name") or ""), path)

    return _list_objects(path, folder.name, "coco", find_image)


def _list_lvis(folder: Path, split: str) -> Listing:
    name = f"lvis_v1_{split}.json"
    path = _first_there(folder, ("", "annotations"), PurePosixPath(name))
    if not path.is_file():
        raise DataError(f"There is no {path}, nor in {folder / 'annotations'}.")

    def find_image(image: Mapping[str, Any]) -> Path:
        url = str(image.get("coco_url") or image.get("file_name") or "")
        return _first_there(folder, ("", "images"), inside(folder, "/".join(url.split("/")[-2:]), path))

    return _list_objects(path, folder.name, "lvis", find_image, UNFIT if split == "train" else frozenset())


COCO = Layout(
    name="coco",
    expects="annotations/instances_val2017.json with val2017/NAME.jpg",
    splits=("val", "train", "test", "default", "val2017", "train2017", "val2014", "train2014"),
    fits=lambda folder: any(folder.glob("annotations/instances_*.json")),
    list_images=_list_coco,
)

LVIS = Layout(
    name="lvis",
    expects="lvis_v1_val.json with train2017/NAME.jpg and val2017/NAME.jpg",
    splits=("val", "train"),
    fits=lambda folder: any(folder.glob("lvis_v1_*.json")) or any(folder.glob("annotations/lvis_v1_*.json")),
    list_images=_list_lvis,
)


# ---- things and stuff: COCO panoptic


def _list_panoptic(folder: Path, split: str) -> Listing:
    path, part = _annotation_file(folder, "panoptic", split, "annotations", "")
    images, annotations = _read_lists(path)
    names = _images_by_id(path, images)
    records: list[ImageRecord] = []
    absent: list[Path] = []
    seen: set[Any] = set()
    bare = excluded = 0
    for number, annotation in enumerate(annotations, start=1):
        what = f"annotation number {number}"
        image_id = _field_of(path, annotation, "image_id", (int, str), what)
        if image_id not in names:
            raise DataError(f"{path}, {what}: its image_id {image_id!r} is not among the images.")
        if image_id in seen:
            raise DataError(f"{path}, {what}: its image {image_id!r} has an annotation already.")
        seen.add(image_id)
        if part.startswith("train") and image_id in UNFIT:
            excluded += 1
            continue
        infos = _field_of(path, annotation, "segments_info", (list,), what)
        segments = dict.fromkeys(_field_of(path, info, "id", (int,), f"{what}, a segment") for info in infos)
        if not segments:
            bare += 1
            continue
        name = _field_of(path, names[image_id], "file_name", (str,), f"image {image_id}")
        image = _image_file(folder, part, name, path)
        if not image.is_file():
            absent.append(image)
            continue
        png = inside(folder, _field_of(path, annotation, "file_name", (str,), what), path)
        masks = _first_there(folder, (f"annotations/{path.stem}", path.stem), png)
        if not masks.is_file():
            raise DataError(f"{masks} is missing; {path} names it. Unpack {path.stem}.zip there.")
        source = PanopticMasks(masks, tuple(segments))
        records.append(ImageRecord(folder.name, image.stem, image, source, COCO_PANOPTIC.name))
    refuse_none_there(path, records, absent)
    counted = Skipped(
        images_without_objects=bare + len(names) - len(seen),
        images_not_found=len(absent),
        excluded_images=excluded,
    )
    return Listing(tuple(records), counted)


COCO_PANOPTIC = Layout(
    name="coco-panoptic",
    expects="annotations/panoptic_val2017.json and annotations/panoptic_val2017/NAME.png with val2017/NAME.jpg",
    splits=("val", "train", "val2017", "train2017"),
    fits=lambda folder: any(folder.glob("annotations/panoptic_*.json")) or any(folder.glob("panoptic_*.json")),
    list_images=_list_panoptic,
)
