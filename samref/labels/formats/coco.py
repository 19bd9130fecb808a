"""COCO instance annotations: written here, read in :mod:`samref.labels.formats.coco_reading`.

A polygon has ``iscrowd`` 0 and no hole; an object with a hole, or without a pixel, is written as RLE, also with
``iscrowd`` 0 (pycocotools and the tools built on it read that; ``iscrowd`` 1 would make them skip the object). On
request everything is RLE. ``area`` and ``bbox`` come from the mask, not from the outline.

Corners lie between pixels, as COCO means them, and with tolerance 0 run along pixel edges: pycocotools then reads back
exactly the pixels of the mask. With a tolerance outlines are shorter and the pixels near them may differ.

What COCO has no field for stands under the key ``samref``, which other programs ignore: of an image its digest, of a
category its colour, of an annotation its id, prompts, model, score, seconds, clicks, author and time; of the file which
images are not in it because their labels could not be read.
"""

from __future__ import annotations

import json
from typing import Any

from samref.core.masks import Rle
from samref.core.polygons import mask_to_polygons
from samref.labels.formats.coco_reading import CocoImport, import_coco
from samref.labels.names import file_names
from samref.labels.plain import annotation_to_dict
from samref.labels.project import Annotation, Project

__all__ = ["CocoImport", "export_coco", "import_coco", "write_coco"]

_STANDARD = ("mask", "class_id")  # parts of an annotation that COCO has a field for


def export_coco(project: Project, *, polygons: bool, tolerance: float = 0.0) -> dict[str, Any]:
    """The project as COCO's dictionary of images, categories and annotations.

    Args:
        project: what to write; images keep their order, annotations theirs (later ones lie on top).
        polygons: polygons where there is no hole; False for run lengths throughout.
        tolerance: how far, in pixels, a polygon may lie from the true outline; 0 is exact.
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
            entries.append(head | _annotation(annotation, polygons, tolerance))
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


def write_coco(project: Project, *, polygons: bool, tolerance: float = 0.0) -> bytes:
    """:func:`export_coco` as the bytes of a JSON file."""
    data = export_coco(project, polygons=polygons, tolerance=tolerance)
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")


def _annotation(annotation: Annotation, polygons: bool, tolerance: float) -> dict[str, Any]:
    mask = annotation.mask
    provenance = annotation_to_dict(annotation)
    return {
        "category_id": annotation.class_id,
        "segmentation": (_polygons(mask, tolerance) if polygons else None) or mask.to_coco(),
        "area": mask.area,
        "bbox": list(mask.box_xywh),
        "iscrowd": 0,
        "samref": {key: value for key, value in provenance.items() if key not in _STANDARD},
    }


def _polygons(mask: Rle, tolerance: float) -> list[list[float]] | None:
    """The outlines of the parts of a mask as flat lists x, y, x, y, …; None where polygons cannot say it."""
    if mask.area == 0:
        return None
    crop, left, top = mask.to_crop()
    parts = mask_to_polygons(crop, tolerance)
    if any(part.holes for part in parts):
        return None
    return [[_short(c) for x, y in part.outer for c in (x + left, y + top)] for part in parts]


def _short(value: float) -> float:
    """Whole numbers without their ".0": a third of the file."""
    return int(value) if value.is_integer() else value
