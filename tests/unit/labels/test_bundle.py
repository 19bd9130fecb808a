"""The zip of a project."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from samref.labels.annotations import ImageRecord, Project
from samref.labels.formats import export_bundle
from samref.labels.formats.coco import write_coco
from samref.labels.formats.png import export_index_mask


def unpacked(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_zip_holds_coco_masks_and_legend(project: Project) -> None:
    files = unpacked(export_bundle(project))
    assert sorted(files) == [
        "annotations/instances.json",
        "legend.json",
        "masks/class/cat-2.png",
        "masks/class/cat.png",
        "masks/instance/cat-2.png",
        "masks/instance/cat.png",
        "report.json",
    ]
    assert files["annotations/instances.json"] == write_coco(project, polygons=True)
    assert files["masks/instance/cat.png"] == export_index_mask(project.images[0], project, "instance")


def test_the_legend_names_file_image_and_meaning_of_each_mask(project: Project) -> None:
    files = unpacked(export_bundle(project))
    for entry in json.loads(files["legend.json"])["masks"]:
        values = np.asarray(Image.open(io.BytesIO(files[entry["file"]])))
        (image,) = (i for i in project.images if i.digest == entry["digest"])
        assert values.shape == (image.size.height, image.size.width)
        assert set(np.unique(values)) <= {0} | {item["value"] for item in entry["values"]}


def test_the_same_project_gives_the_same_bytes(project: Project) -> None:
    assert export_bundle(project) == export_bundle(project)


HOSTILE = [
    "../../etc/passwd", "..\\..\\boot.ini", "/root/.ssh/id", "C:\\x.png", "..", ".", "...", "a/../..", "nul.png",
    "COM1", "a\x00b.png", "a\nb.png", "con.tar.gz", " . ", "x" * 200, "é" * 190 + ".png", "a:b*c?.png", ".hidden",
    "Cat.JPG", "cat.jpg", "cat-2.jpg", "cat.png", "\u202egnp.exe",
]  # fmt: skip


def test_names_of_images_cannot_lead_out_of_the_folder_nor_meet(project: Project, tmp_path: Path) -> None:
    size = project.images[1].size
    images = tuple(ImageRecord(f"{n:064x}", name, size) for n, name in enumerate(HOSTILE))
    data = export_bundle(replace(project, images=images))
    names = list(unpacked(data))
    assert len(names) == len({name.casefold() for name in names}) == 3 + 2 * len(HOSTILE)
    for name in names:
        path = PurePosixPath(name)
        assert not path.is_absolute()
        assert not {".", ".."} & set(path.parts)
        assert not set(name) & set('<>:"\\|?*\x00\n\u202e')
        assert len(path.name.encode()) < 200
        assert not path.name.startswith(".")
        assert path.stem.partition(".")[0].casefold() not in {"nul", "con", "com1"}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        archive.extractall(tmp_path)
    assert sum(path.is_file() for path in tmp_path.rglob("*")) == len(names)


def test_names_in_the_coco_file_are_unique_and_lead_nowhere(project: Project) -> None:
    size = project.images[1].size
    images = tuple(ImageRecord(f"{n:064x}", name, size) for n, name in enumerate(HOSTILE))
    names = [i["file_name"] for i in json.loads(write_coco(Project(project.classes, images), polygons=True))["images"]]
    assert len({name.casefold() for name in names}) == len(HOSTILE)
    assert not any(set(name) & set("\\\x00\n") or {"", ".", ".."} & set(name.split("/")) for name in names)
    assert {"cat-2.jpg", "a:b*c?.png"} <= set(names)
