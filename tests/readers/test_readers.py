"""Exports as the programs they are for read them; each in an environment of its own (see ``install.sh``).

Skipped where that environment is not installed: ``make readers`` installs it and runs these tests. SAMREF_READERS names
its folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from samref.core.geometry import ImageSize
from samref.core.masks import Mask, Rle, mask_iou
from samref.core.prompts import Prompts
from samref.labels.annotations import Annotation, ImageRecord, Project
from samref.labels.classes import LabelClass
from samref.labels.formats import write_export
from samref.labels.formats.label_studio import decode_brush, encode_brush
from samref.labels.formats.source import Options, Report, Source

FOLDER = Path(os.environ.get("SAMREF_READERS", Path.home() / ".cache" / "samref" / "readers"))
PYTHON = FOLDER / "bin" / "python"

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="the readers are not installed: make readers")

CLASSES = (LabelClass(1, "cat", "#e6194b"), LabelClass(2, "Größe", "#3cb44b"), LabelClass(4, "a dog", "#4363d8"))


@dataclass(frozen=True, eq=False)
class Read:
    image: str
    label: str
    mask: Mask


def blob(size: ImageSize, seed: int) -> Mask:
    """A ragged object of one part without holes."""
    noise = np.random.default_rng(seed).normal(size=(size.height, size.width)).astype(np.float32)
    mask = (cv2.GaussianBlur(noise, (0, 0), 9) > 0.01).astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    part = (labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))).astype(np.uint8)
    contours, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled: Mask = cv2.drawContours(np.zeros_like(part), contours, -1, 1, cv2.FILLED).astype(np.bool_)
    return filled


def made(name: str, mask: Mask, class_id: int) -> Annotation:
    at = datetime(2026, 11, 21, tzinfo=UTC)
    return Annotation(name, class_id, Rle.from_mask(mask), Prompts(), "tiny", 0.9, at, "", 1.0, 1)


@pytest.fixture(scope="module")
def project() -> Project:
    """Two images: ragged objects that touch and overlap; a ring, and an object of two parts."""
    size = ImageSize(240, 301)
    ragged = [made(f"b{n}", blob(size, n), CLASSES[n % 3].id) for n in range(4)]
    ring = np.zeros((64, 100), dtype=np.bool_)
    ring[8:50, 10:60] = True
    ring[20:30, 22:40] = False
    parts = np.zeros_like(ring)
    parts[0:9, 70:100] = True
    parts[40:64, 80:88] = True
    second = (made("ring", ring, 2), made("parts", parts, 4))
    first = ImageRecord("a" * 64, "first one.png", size, tuple(ragged))
    return Project(CLASSES, (first, ImageRecord("b" * 64, "zwei.png", ImageSize(64, 100), second)))


Export = Callable[..., tuple[Path, Report]]


@pytest.fixture
def export(project: Project, tmp_path: Path) -> Export:
    """Write an export with its images and unpack it."""

    def image_bytes(digest: str) -> bytes:
        image = next(image for image in project.images if image.digest == digest)
        path = tmp_path / "image.png"
        Image.new("RGB", (image.size.width, image.size.height), "grey").save(path)
        return path.read_bytes()

    def write(name: str, options: Options) -> tuple[Path, Report]:
        source = Source(project.classes, project.images, lambda: iter(project.images), image_bytes)
        packed, folder = tmp_path / "export.zip", tmp_path / "export"
        with packed.open("wb") as file:
            report = write_export(source, name, options, file).report
        with zipfile.ZipFile(packed) as archive:
            archive.extractall(folder)
        return folder, report

    return write


def read_back(reader: str, folder: Path) -> list[Read]:
    """What a reader finds in a folder."""
    out = folder / "read.json"
    script = Path(__file__).with_name("read_back.py")
    done = subprocess.run(
        [PYTHON, script, reader, folder, out], capture_output=True, text=True, cwd=folder, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = []
    for image, label, height, width, pixels in json.loads(out.read_text()):
        bits = np.frombuffer(bytes.fromhex(pixels), dtype=np.uint8)
        found.append(Read(image, label, np.unpackbits(bits, count=height * width).reshape(height, width).astype(bool)))
    return found


def agreement(project: Project, found: list[Read]) -> dict[str, float]:
    """The IoU of each object with the one of its class and image that a reader found for it; each is used once."""
    names = {c.id: c.name for c in project.classes}
    left = list(found)
    ious = {}
    for image in project.images:
        for annotation in image.annotations:
            stem, label = image.file_name.rpartition(".")[0], names[annotation.class_id]
            fits = [one for one in left if (one.image, one.label) == (stem, label)]
            scored = [(mask_iou(one.mask, annotation.mask.to_mask()), place) for place, one in enumerate(fits)]
            assert scored, (stem, label, [(one.image, one.label) for one in left])
            iou, place = max(scored)
            left.remove(fits[place])
            ious[annotation.id] = iou
    return ious


POLYGONS, MASKS = Options(images=True), Options(shape="masks", images=True)


@pytest.mark.parametrize(
    ("reader", "name", "options"),
    [
        ("faster-coco-eval", "coco-polygon", POLYGONS),
        ("faster-coco-eval", "coco-rle", POLYGONS),
        ("datumaro coco", "coco-polygon", POLYGONS),
        ("datumaro coco", "coco-rle", POLYGONS),
        ("supervision coco", "coco-rle", POLYGONS),
        ("datumaro cvat", "cvat", POLYGONS),
        ("datumaro cvat", "cvat", MASKS),
        ("cvat-sdk", "cvat", MASKS),
        ("labelme", "labelme", MASKS),
        ("label-studio-sdk", "label-studio", MASKS),
    ],
)
def test_the_reader_finds_exactly_the_pixels(
    project: Project, export: Export, reader: str, name: str, options: Options
) -> None:
    folder, report = export(name, options)
    found = read_back(reader, folder)
    assert len(found) == report.objects == 6
    assert report.lossy == 0
    assert set(agreement(project, found).values()) == {1.0}


@pytest.mark.parametrize("reader", ["datumaro voc"])
def test_voc_masks_lose_what_others_cover_and_the_report_says_how_much(
    project: Project, export: Export, reader: str
) -> None:
    folder, report = export("voc", Options(images=True))
    ious = agreement(project, read_back(reader, folder))
    said = {item["object"]: item["iou"] for item in report.details}
    assert said.keys() == {name for name, iou in ious.items() if iou < 1}
    assert said == pytest.approx({name: iou for name, iou in ious.items() if iou < 1}, abs=1e-3)


LOST_BY_DRAWING = 0.10
"""How much less than the report says a reader may find that also paints the pixels under the outline."""


@pytest.mark.parametrize(
    ("reader", "name", "options"),
    [
        ("labelme", "labelme", POLYGONS),
        ("supervision coco", "coco-polygon", POLYGONS),
        ("supervision yolo", "yolo-seg", POLYGONS),
        ("labelformat yolo", "yolo-seg", POLYGONS),
    ],
)
def test_readers_that_draw_outlines_in_their_own_way_find_nearly_the_pixels(
    project: Project, export: Export, reader: str, name: str, options: Options
) -> None:
    folder, report = export(name, options)
    said = {item["object"]: item["iou"] for item in report.details}
    ious = agreement(project, read_back(reader, folder))
    print(reader, name, {key: round(iou, 4) for key, iou in ious.items()}, "reported", said)
    del ious["parts"]  # YOLO's readers take its parts for two objects: the report says so
    for key, iou in ious.items():
        assert iou > said.get(key, 1.0) - LOST_BY_DRAWING


def test_yolo_labels_filled_by_pycocotools_have_the_pixels_that_the_report_says(
    project: Project, export: Export
) -> None:
    folder, report = export("yolo-seg", Options(images=True))
    ious = agreement(project, read_back("labelformat yolo", folder))
    said = {item["object"]: item["iou"] for item in report.details}
    del ious["parts"]
    assert ious == pytest.approx({name: said.get(name, 1.0) for name in ious}, abs=0.01)
    assert report.split == 1


def test_label_studio_and_samref_write_strokes_that_the_other_reads(project: Project, tmp_path: Path) -> None:
    masks = {a.id: a.mask for image in project.images for a in image.annotations}
    for name, mask in masks.items():
        Image.fromarray(mask.to_mask().astype(np.uint8) * 255).save(tmp_path / f"{name}.png")
    read_back("label-studio-sdk writes", tmp_path)
    for name, mask in masks.items():
        written = json.loads((tmp_path / f"{name}.rle.json").read_text())
        assert decode_brush(written, ImageSize(mask.height, mask.width)) == mask
        assert decode_brush(encode_brush(mask), ImageSize(mask.height, mask.width)) == mask
