"""Every format: what is written is what is read, or the report says what was lost."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace

import pytest

from samref.labels.annotations import Project
from samref.labels.formats import FORMATS, build_export, import_labels
from samref.labels.formats.source import Options

READABLE = [name for name in FORMATS if name not in ("csv", "png-class", "png-instance")]
EXACT = ["coco-polygon", "coco-rle", "labelme", "label-studio", "cvat", "zip"]


def written(project: Project, name: str, options: Options = Options()) -> tuple[bytes, str]:  # noqa: B008
    made = build_export(project, name, options)
    return made.data, made.file_name


def bare(project: Project) -> Project:
    """The same images without objects."""
    return replace(project, images=tuple(replace(image, annotations=()) for image in project.images))


def contents(annotations: object) -> list[tuple[int, str]]:
    return sorted((a.class_id, a.mask.counts) for a in annotations)  # type: ignore[attr-defined]


def files_in(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("shape", ["polygons", "masks"])
def test_exact_formats_come_back_with_the_same_classes_and_pixels(project: Project, name: str, shape: str) -> None:
    data, file_name = written(project, name, Options(shape="masks" if shape == "masks" else "polygons"))
    found = import_labels(data, file_name, bare(project))
    assert not found.skipped
    assert found.new_classes == ()
    for image in project.images:
        assert contents(found.annotations[image.digest]) == contents(image.annotations)
