"""What the programs that exports are for make of them. Runs in an environment of its own, which knows no samref.

``python read_back.py READER FOLDER OUT`` writes what the reader found in a folder as JSON: ``[[image, label, height,
width, pixels], …]``, the pixels packed eight to a byte, in hexadecimal. ``install.sh`` makes the environment.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import sys
import types
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from PIL import Image

Found = Iterator[tuple[str, str, Any]]  # name of the image without suffix, label, mask (H, W)


def faster_coco_eval(folder: Path) -> Found:
    """COCO by faster-coco-eval, which has C++ of its own."""
    from faster_coco_eval import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(next(folder.rglob("instances.json"))))
    for entry in coco.loadAnns(coco.getAnnIds()):
        name = coco.loadImgs([entry["image_id"]])[0]["file_name"]
        yield Path(name).stem, coco.loadCats([entry["category_id"]])[0]["name"], coco.annToMask(entry)


def supervision_coco(folder: Path) -> Found:
    """COCO by supervision."""
    import supervision

    found = supervision.DetectionDataset.from_coco(
        str(folder / "images"), str(folder / "annotations" / "instances.json"), force_masks=True
    )
    yield from _supervision(found)


def supervision_yolo(folder: Path) -> Found:
    """YOLO by supervision."""
    import supervision

    found = supervision.DetectionDataset.from_yolo(
        str(folder / "images" / "train"), str(folder / "labels" / "train"), str(folder / "data.yaml"), force_masks=True
    )
    yield from _supervision(found)


def _supervision(dataset: Any) -> Found:
    for path, _, detections in dataset:
        for mask, label in zip(
            detections.mask if detections.mask is not None else [], detections.class_id, strict=True
        ):
            yield Path(path).stem, dataset.classes[label], mask


def labelformat_yolo(folder: Path) -> Found:
    """YOLO by labelformat, its polygons filled by pycocotools."""
    from labelformat.formats.yolov8 import YOLOv8InstanceSegmentationInput
    from pycocotools import mask as coco_mask

    for entry in YOLOv8InstanceSegmentationInput(folder / "data.yaml", "train").get_labels():
        for found in entry.objects:
            height, width = entry.image.height, entry.image.width
            polygons = [[c for point in polygon for c in point] for polygon in found.segmentation.polygons]
            mask = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, height, width)))
            yield Path(entry.image.filename).stem, found.category.name, mask


def datumaro(kind: str) -> Callable[[Path], Found]:
    """Any format by datumaro, of that name there."""

    def read(folder: Path) -> Found:
        import datumaro as dm
        from datumaro.components.annotation import AnnotationType
        from pycocotools import mask as coco_mask

        if kind == "coco_instances":  # it knows a file by this name only
            path = folder / "annotations" / "instances.json"
            path.rename(path.with_name("instances_default.json"))
        dataset = dm.Dataset.import_from(str(folder), kind)
        labels = dataset.categories()[AnnotationType.label]
        for item in dataset:
            height, width = item.media.size if item.media is not None else item.attributes["size"]
            groups: dict[tuple[int, int], Any] = {}
            for place, each in enumerate(item.annotations, start=1):
                if each.type == AnnotationType.mask:
                    mask = np.asarray(each.image).astype(bool)
                elif each.type == AnnotationType.polygon:
                    coded = coco_mask.frPyObjects([each.points], height, width)
                    mask = coco_mask.decode(coco_mask.merge(coded)).astype(bool)
                else:
                    continue
                key = (each.group or -place, each.label)
                groups[key] = groups[key] | mask if key in groups else mask
            for (_, label), mask in groups.items():
                yield Path(item.id).name, labels[label].name, mask

    return read


def cvat_sdk(folder: Path) -> Found:
    """Masks of CVAT's XML by the decoder of CVAT's own SDK, which has the box behind the run lengths."""
    masks = _module("cvat_sdk/masks.py")
    for image in ET.parse(folder / "annotations.xml").getroot().iter("image"):
        width, height = int(image.attrib["width"]), int(image.attrib["height"])
        for shape in image.iter("mask"):
            left, top, w, h = (int(shape.attrib[key]) for key in ("left", "top", "width", "height"))
            points = [float(run) for run in shape.attrib["rle"].split(",")] + [left, top, left + w - 1, top + h - 1]
            mask = masks.decode_mask(points, image_width=width, image_height=height)
            yield Path(image.attrib["name"]).stem, shape.attrib["label"], mask


def labelme(folder: Path) -> Found:
    """labelme's own loader and drawing, without its window."""
    package = types.ModuleType("labelme")
    package.__path__ = [str(_place("labelme"))]
    package.__version__ = metadata.version("labelme")  # type: ignore[attr-defined]
    utils = types.ModuleType("labelme.utils")
    utils.__path__ = [str(_place("labelme/utils"))]
    window = types.ModuleType("PyQt5")
    window.QtGui = None  # type: ignore[attr-defined]
    sys.modules.update({"labelme": package, "labelme.utils": utils, "PyQt5": window})
    package.utils = utils  # type: ignore[attr-defined]
    image = importlib.import_module("labelme.utils.image")
    utils.img_b64_to_arr = image.img_b64_to_arr  # type: ignore[attr-defined]
    label_file = importlib.import_module("labelme._label_file")
    shape_module = importlib.import_module("labelme.utils.shape")
    for path in sorted(folder.rglob("*.json")):
        if path.name == "report.json":
            continue
        said = json.loads(path.read_text(encoding="utf-8"))
        shapes = [label_file._load_shape_json_obj(shape) for shape in said["shapes"]]
        sides = (said["imageHeight"], said["imageWidth"])
        names = sorted({shape["label"] for shape in shapes})
        values = {name: place for place, name in enumerate(names, start=1)}
        groups: dict[Any, list[Any]] = {}
        for place, shape in enumerate(shapes):
            groups.setdefault(shape["group_id"] or f"alone {place}", []).append(shape)
        for of_one in groups.values():
            classes, _ = shape_module.shapes_to_label(sides, of_one, values)
            yield path.stem, of_one[0]["label"], classes > 0


def label_studio(folder: Path) -> Found:
    """Label Studio's own decoder of brush strokes."""
    brush = _module("label_studio_sdk/converter/brush.py")
    for task in json.loads((folder / "tasks.json").read_text(encoding="utf-8")):
        for result in task["annotations"][0]["result"]:
            if result["type"] != "brushlabels":
                continue
            values = brush.decode_rle(result["value"]["rle"])
            mask = np.reshape(values, (result["original_height"], result["original_width"], 4))[:, :, 3] > 0
            yield Path(unquote(task["data"]["image"])).stem, result["value"]["brushlabels"][0], mask


def label_studio_writes(folder: Path) -> Found:
    """Not a reader: has Label Studio encode the masks of a folder, for samref to read."""
    brush = _module("label_studio_sdk/converter/brush.py")
    for path in sorted(folder.glob("*.png")):
        mask = np.asarray(Image.open(path)) > 0
        coded = brush.mask2rle(mask.astype(np.uint8) * 255)
        path.with_suffix(".rle.json").write_text(json.dumps([int(n) for n in coded]), encoding="utf-8")
        yield path.stem, "written", mask


def _place(name: str) -> Path:
    """A file of an installed package."""
    return next(Path(folder) / name for folder in sys.path if (Path(folder) / name).exists())


def _module(name: str) -> Any:
    """One file of a package, without the rest of it, which asks for more than is installed."""
    spec = importlib.util.spec_from_file_location(Path(name).stem, _place(name))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


READERS: dict[str, Callable[[Path], Found]] = {
    "faster-coco-eval": faster_coco_eval,
    "supervision coco": supervision_coco,
    "datumaro coco": datumaro("coco_instances"),
    "supervision yolo": supervision_yolo,
    "labelformat yolo": labelformat_yolo,
    "datumaro voc": datumaro("voc_segmentation"),
    "datumaro cvat": datumaro("cvat"),
    "cvat-sdk": cvat_sdk,
    "labelme": labelme,
    "label-studio-sdk": label_studio,
    "label-studio-sdk writes": label_studio_writes,
}


def main() -> None:
    """Run one reader."""
    reader, folder, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    found = []
    for name, label, mask in READERS[reader](folder):
        pixels = np.asarray(mask).astype(bool)
        found.append([name, label, *pixels.shape, np.packbits(pixels).tobytes().hex()])
    out.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
