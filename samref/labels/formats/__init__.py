"""Labels as files to download: which format is which, what the file is called, and all of them in one zip file.

    annotations/instances.json       COCO, see :mod:`samref.labels.formats.coco`
    masks/class/<image>.png        class index mask of each image, see :mod:`samref.labels.formats.png`
    masks/instance/<image>.png     instance index mask of each image
    legend.json                      which image belongs to which mask, and what its values mean
    LEFT-OUT.txt                     only where images are not in it because their labels could not be read

The images are not in it, unless :func:`add_images` puts them there as ``images/<file name>``. Names of files come
from the names of the images, made safe for every file system and unique; they cannot lead out of the folder one
unpacks to. The same project gives the same bytes.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

from samref.errors import LabelError, StorageError
from samref.labels.annotations import Project, file_names, safe_stems
from samref.labels.formats.coco import write_coco
from samref.labels.formats.png import IndexKind, export_index_mask, legend

_KINDS: tuple[IndexKind, ...] = ("class", "instance")
_TIME = (1980, 1, 1, 0, 0, 0)  # of every entry: the earliest a zip file can hold


@dataclass(frozen=True, slots=True)
class Export:
    """A file to download."""

    file_name: str
    media_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Format:
    """How labels are written; ``ending`` follows the name of the one image, or of samref."""

    write: Callable[[Project], bytes]
    media_type: str
    ending: str


def _index_mask(project: Project, kind: IndexKind) -> bytes:
    if len(project.images) != 1:
        raise LabelError("An index mask belongs to one image. Open the image, or download everything as a zip file.")
    return export_index_mask(project.images[0], project, kind)


def export_bundle(project: Project) -> bytes:
    """The bytes of the zip file."""
    stems = safe_stems(project.images)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        _add(archive, "annotations/instances.json", write_coco(project, polygons=True))
        legends = []
        for image in project.images:
            for kind in _KINDS:
                path = f"masks/{kind}/{stems[image.digest]}.png"
                _add(archive, path, export_index_mask(image, project, kind), is_compressed=True)
                legends.append({"file": path, **legend(image, project, kind)})
        text = json.dumps({"masks": legends}, ensure_ascii=False, allow_nan=False, indent=1)
        _add(archive, "legend.json", text.encode("utf-8"))
        if project.left_out:
            _add(archive, "LEFT-OUT.txt", "".join(f"{line}\n" for line in project.left_out).encode("utf-8"))
    return file.getvalue()


def add_images(path: Path, project: Project, read: Callable[[str], bytes]) -> list[str]:
    """Add the image files to a zip file of ``project``, by the names that its COCO file has for them.

    ``read`` gives the bytes of an image by its digest. Gives a sentence for each image whose file cannot be read.
    """
    names = file_names(project.images)
    faults = []
    with zipfile.ZipFile(path, "a") as archive:
        for image in project.images:
            try:
                data = read(image.digest)
            except StorageError as error:
                faults.append(f"{image.file_name} ({image.digest}): {error}")
                continue
            _add(archive, f"images/{names[image.digest]}", data, is_compressed=True)
    return faults


def _add(archive: zipfile.ZipFile, path: str, data: bytes, *, is_compressed: bool = False) -> None:
    """Put in a file, as it is where it is compressed already: once more costs time and gains nothing."""
    entry = zipfile.ZipInfo(path, _TIME)
    entry.compress_type = zipfile.ZIP_STORED if is_compressed else zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, data)


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "coco-polygon": Format(partial(write_coco, polygons=True), "application/json", "-coco-polygons.json"),
        "coco-rle": Format(partial(write_coco, polygons=False), "application/json", "-coco-rle.json"),
        "png-class": Format(partial(_index_mask, kind="class"), "image/png", "-class.png"),
        "png-instance": Format(partial(_index_mask, kind="instance"), "image/png", "-instance.png"),
        "zip": Format(export_bundle, "application/zip", ".zip"),
    }
)
"""By the name that the page asks for."""


def build_export(project: Project, name: str) -> Export:
    """The labels of ``project`` as a file of that format."""
    wanted = FORMATS.get(name)
    if wanted is None:
        raise LabelError(f"There is no export format {name[:40]!r}; use one of {', '.join(FORMATS)}.")
    data = wanted.write(project)
    stem = safe_stems(project.images)[project.images[0].digest] if len(project.images) == 1 else "samref"
    return Export(stem + wanted.ending, wanted.media_type, data)
