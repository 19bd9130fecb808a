"""COCO panoptic: things and stuff, every pixel in one segment at most; what FocSAM trains on.

The annotation file names the segments of each image, and a PNG beside it tells whose each pixel is::

    annotations/panoptic_val2017.json
    annotations/panoptic_val2017/000000000139.png   or panoptic_val2017/...; R + 256 G + 65536 B is the segment's id
    val2017/000000000139.jpg                        or images/val2017/..., or images/...

Every segment that the annotation file names is an object, stuff and crowds too; all else, VOID included, is background.
Of the train part the images are left out that FocSAM leaves out.

A folder that has instances as well is taken for ``coco`` unless this layout is named.

Source: papers.md §3.5, code (FocSAM).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from samref.core.images import decode_image
from samref.datasets.coco import UNFIT, field_of, first_there, inside, read_lists
from samref.datasets.layout import Layout, Listing
from samref.datasets.records import ImageRecord, ObjectMask, Skipped, read_bytes
from samref.errors import DataError, ImageError

__all__ = ["COCO_PANOPTIC", "PanopticMasks"]


@dataclass(frozen=True, slots=True)
class PanopticMasks:
    """A PNG whose colours are segment ids, and the ids that count."""

    path: Path
    segments: tuple[int, ...]

    def read(self) -> list[ObjectMask]:
        try:
            rgb = decode_image(read_bytes(self.path)).rgb.astype(np.int32)
        except ImageError as error:
            raise DataError(f"{self.path}: {error}") from error
        ids = rgb[..., 0] + 256 * rgb[..., 1] + 65_536 * rgb[..., 2]
        return [ObjectMask(str(segment), ids == segment, None) for segment in self.segments]

    def path_of(self, _key: str, /) -> Path:
        return self.path


def _find_file(folder: Path, split: str) -> Path | None:
    places = (folder / "annotations", folder)
    exact = [place / f"panoptic_{split}.json" for place in places]
    dated = [path for place in places for path in sorted(place.glob(f"panoptic_{split}20[0-9][0-9].json"))]
    if len(dated) > 1 and not any(path.is_file() for path in exact):
        names = " or ".join(path.stem.removeprefix("panoptic_") for path in dated)
        raise DataError(f"{folder} has several panoptic parts called {split}. Say which: {names}.")
    return next((path for path in (*exact, *dated) if path.is_file()), None)


def _segments_of(path: Path, annotation: Mapping[str, Any], what: str) -> tuple[int, ...]:
    infos = field_of(path, annotation, "segments_info", (list,), what)
    return tuple(dict.fromkeys(field_of(path, info, "id", (int,), f"{what}, a segment") for info in infos))


def _list_images(folder: Path, split: str) -> Listing:
    path = _find_file(folder, split)
    if path is None:
        raise DataError(f"There is no {folder / 'annotations'}/panoptic_{split}.json, with or without a year.")
    part = path.stem.removeprefix("panoptic_")
    images, annotations = read_lists(path)
    names = {
        field_of(path, image, "id", (int, str), f"image number {number}"): image
        for number, image in enumerate(images, start=1)
    }
    records: list[ImageRecord] = []
    absent: list[Path] = []
    seen: set[Any] = set()
    bare = excluded = 0
    for number, annotation in enumerate(annotations, start=1):
        what = f"annotation number {number}"
        image_id = field_of(path, annotation, "image_id", (int, str), what)
        if image_id not in names:
            raise DataError(f"{path}, {what}: its image_id {image_id!r} is not among the images.")
        if image_id in seen:
            raise DataError(f"{path}, {what}: its image {image_id!r} has an annotation already.")
        seen.add(image_id)
        if part.startswith("train") and image_id in UNFIT:
            excluded += 1
            continue
        segments = _segments_of(path, annotation, what)
        if not segments:
            bare += 1
            continue
        name = inside(folder, field_of(path, names[image_id], "file_name", (str,), f"image {image_id}"), path)
        image = first_there(folder, (part, f"images/{part}", "images", ""), name)
        if not image.is_file():
            absent.append(image)
            continue
        png = inside(folder, field_of(path, annotation, "file_name", (str,), what), path)
        masks = first_there(folder, (f"annotations/{path.stem}", path.stem), png)
        if not masks.is_file():
            raise DataError(f"{masks} is missing; {path} names it. Unpack {path.stem}.zip there.")
        records.append(ImageRecord(folder.name, image.stem, image, PanopticMasks(masks, segments), COCO_PANOPTIC.name))
    if absent and not records:
        raise DataError(f"None of the images that {path} names is there; the first is {absent[0]}.")
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
    list_images=_list_images,
)
