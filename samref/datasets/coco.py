"""Instance annotations in JSON: COCO and LVIS v1, for measuring and for training.

COCO::

    annotations/instances_val2017.json
    val2017/000000000139.jpg            or images/val2017/..., or images/...

LVIS v1, whose images are COCO's (its val images lie in both folders of COCO; ``coco_url`` says where)::

    lvis_v1_val.json or annotations / lvis_v1_val.json
    train2017 / ..., val2017 / ... or images / train2017 / ..., images / val2017 / ...

An object is one annotation; objects may overlap. Regions marked ``iscrowd`` are nobody's object: their pixels are
ignored where no object of the image covers them. Polygons are rasterised by pycocotools when they are asked for;
until then coordinates are kept as packed numbers, because lists of them take five times the memory. Of LVIS's train
part the images are left out that FocSAM leaves out (:data:`UNFIT`).

Source: papers.md §3.5 and §4.3.
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
from samref.core.masks import Mask
from samref.core.polygons import read_segmentation
from samref.datasets.layout import Layout, Listing
from samref.datasets.records import ImageRecord, ObjectMask, Skipped, read_bytes
from samref.errors import DataError, LabelError

__all__ = ["COCO", "LVIS", "UNFIT", "JsonMasks", "field_of", "first_there", "inside", "read_lists"]

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
class JsonMasks:
    """The annotations of one image.

    Attributes:
        path: the annotation file.
        image_name: the image's, for messages.
        size: of the image, as the file says.
        objects: annotation ids with their shapes.
        crowds: likewise, of regions to ignore.
    """

    path: Path
    image_name: str
    size: ImageSize
    objects: tuple[tuple[str, Shape], ...]
    crowds: tuple[tuple[str, Shape], ...] = ()

    def read(self) -> list[ObjectMask]:
        masks = [(key, self._mask(key, shape)) for key, shape in self.objects]
        ignore = self._ignored([mask for _, mask in masks])
        return [ObjectMask(key, mask, ignore) for key, mask in masks]

    def path_of(self, _key: str, /) -> Path:
        return self.path

    def _ignored(self, masks: list[Mask]) -> Mask | None:
        if not self.crowds:
            return None
        ignore: Mask = np.logical_or.reduce([self._mask(key, shape) for key, shape in self.crowds])
        for mask in masks:
            ignore &= ~mask
        return ignore if ignore.any() else None

    def _mask(self, key: str, shape: Shape) -> Mask:
        plain = [polygon.tolist() for polygon in shape] if isinstance(shape, tuple) else shape
        try:
            rle = read_segmentation(plain, self.size, self.image_name)
        except LabelError as error:
            raise DataError(f"{self.path}, annotation {key}: {error}") from error
        return np.zeros((self.size.height, self.size.width), dtype=np.bool_) if rle is None else rle.to_mask()


class _Reading:
    """One annotation file on its way to images."""

    def __init__(
        self,
        path: Path,
        dataset: str,
        layout: str,
        find_image: Callable[[Mapping[str, Any]], Path],
        left_out: frozenset[int] = frozenset(),
    ) -> None:
        """``left_out``: ids of images that are not given."""
        self.path, self.dataset, self.layout = path, dataset, layout
        self.find_image = find_image
        self.left_out = left_out

    def read(self) -> Listing:
        images, annotations = read_lists(self.path)
        objects: dict[Any, list[tuple[str, Shape]]] = {}
        crowds: dict[Any, list[tuple[str, Shape]]] = {}
        known = {
            field_of(self.path, image, "id", (int, str), f"image number {n}") for n, image in enumerate(images, start=1)
        }
        for number, annotation in enumerate(annotations, start=1):
            what = f"annotation {annotation.get('id', f'number {number}') if isinstance(annotation, dict) else number}"
            key = str(field_of(self.path, annotation, "id", (int, str), what))
            image_id = field_of(self.path, annotation, "image_id", (int, str), what)
            if image_id not in known:
                raise DataError(f"{self.path}, {what}: its image_id {image_id!r} is not among the images.")
            group = crowds if annotation.get("iscrowd") else objects
            group.setdefault(image_id, []).append((key, self._pack(annotation.get("segmentation"), what)))
        return self._list(images, objects, crowds)

    def _list(
        self,
        images: list[Any],
        objects: Mapping[Any, list[tuple[str, Shape]]],
        crowds: Mapping[Any, list[tuple[str, Shape]]],
    ) -> Listing:
        records = []
        names: set[str] = set()
        absent: list[Path] = []
        bare = excluded = 0
        for image in images:
            what = f"image {image['id']}"
            if image["id"] in self.left_out:
                excluded += 1
                continue
            size = ImageSize(
                field_of(self.path, image, "height", (int,), what), field_of(self.path, image, "width", (int,), what)
            )
            if size.height < 1 or size.width < 1:
                raise DataError(f"{self.path}, {what}: an image cannot be {size.width} x {size.height} pixels.")
            if image["id"] not in objects:
                bare += 1
                continue
            path = self.find_image(image)
            if not path.is_file():
                absent.append(path)
                continue
            shapes, regions = tuple(objects[image["id"]]), tuple(crowds.get(image["id"], ()))
            masks = JsonMasks(self.path, path.name, size, shapes, regions)
            name = path.stem if path.stem not in names else f"{image['id']}/{path.stem}"
            names.add(name)
            records.append(ImageRecord(self.dataset, name, path, masks, self.layout))
        if absent and not records:
            raise DataError(f"None of the images that {self.path} names is there; the first is {absent[0]}.")
        counted = Skipped(
            images_without_objects=bare,
            images_not_found=len(absent),
            crowd_regions=sum(map(len, crowds.values())),
            excluded_images=excluded,
        )
        return Listing(tuple(records), counted)

    def _pack(self, segmentation: Any, what: str) -> Shape:
        if segmentation is None or isinstance(segmentation, dict):
            return segmentation
        try:
            return tuple(packed for polygon in segmentation if len(packed := array("d", polygon)) >= 2 * CORNERS)
        except TypeError as error:
            raise DataError(f"{self.path}, {what}: its segmentation is neither polygons nor run lengths.") from error


def read_lists(path: Path) -> tuple[list[Any], list[Any]]:
    """The lists "images" and "annotations" of an annotation file.

    Raises:
        DataError: it is damaged, or has no such lists.
    """
    try:
        content = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no JSON file, or breaks off. Copy or download it again.") from error
    parts = [content.get(name) if isinstance(content, dict) else None for name in ("images", "annotations")]
    for name, part in zip(("images", "annotations"), parts, strict=True):
        if not isinstance(part, list):
            raise DataError(f"{path} has no list {name!r}. Is it an instances file?")
    return parts[0] or [], parts[1] or []


def field_of(path: Path, entry: Any, name: str, kinds: tuple[type, ...], what: str) -> Any:
    """What an entry ``what`` of an annotation file says under ``name``.

    Raises:
        DataError: nothing, or of another kind.
    """
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


def first_there(root: Path, folders: Sequence[str], name: PurePosixPath) -> Path:
    """The first of ``root/folder/name`` that is a file, else the first of them."""
    places = [root / folder / name for folder in folders]
    return next((place for place in places if place.is_file()), places[0])


def _coco_file(folder: Path, split: str) -> Path | None:
    """``instances_<split>.json``, or the one with a year after it."""
    exact = folder / "annotations" / f"instances_{split}.json"
    if exact.is_file():
        return exact
    dated = sorted(folder.glob(f"annotations/instances_{split}20[0-9][0-9].json"))
    if len(dated) > 1:
        names = " or ".join(path.stem.removeprefix("instances_") for path in dated)
        raise DataError(f"{folder / 'annotations'} has several parts called {split}. Say which: {names}.")
    return dated[0] if dated else None


def _list_coco(folder: Path, split: str) -> Listing:
    path = _coco_file(folder, split)
    if path is None:
        raise DataError(f"There is no {folder / 'annotations'}/instances_{split}.json, with or without a year.")
    part = path.stem.removeprefix("instances_")

    def find_image(image: Mapping[str, Any]) -> Path:
        name = inside(folder, str(image.get("file_name") or ""), path)
        return first_there(folder, (part, f"images/{part}", "images", ""), name)

    return _Reading(path, folder.name, "coco", find_image).read()


def _lvis_file(folder: Path, split: str) -> Path:
    name = f"lvis_v1_{split}.json"
    return next((p for p in (folder / name, folder / "annotations" / name) if p.is_file()), folder / name)


def _list_lvis(folder: Path, split: str) -> Listing:
    path = _lvis_file(folder, split)
    if not path.is_file():
        raise DataError(f"There is no {path}, nor in {folder / 'annotations'}.")

    def find_image(image: Mapping[str, Any]) -> Path:
        url = str(image.get("coco_url") or image.get("file_name") or "")
        name = inside(folder, "/".join(url.split("/")[-2:]), path)
        return first_there(folder, ("", "images"), name)

    return _Reading(path, folder.name, "lvis", find_image, UNFIT if split == "train" else frozenset()).read()


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
