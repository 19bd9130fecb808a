"""Labels as files to download: which format is which, and what the file is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from samref.errors import LabelError
from samref.labels.annotations import Project
from samref.labels.formats.bundle import export_bundle
from samref.labels.formats.coco import write_coco
from samref.labels.formats.png import IndexKind, export_index_mask
from samref.labels.names import safe_stems


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
    """The labels of ``project`` as a file of that format.

    Raises:
        LabelError: there is no such format, or it cannot hold these labels.
    """
    wanted = FORMATS.get(name)
    if wanted is None:
        raise LabelError(f"There is no export format {name[:40]!r}; use one of {', '.join(FORMATS)}.")
    data = wanted.write(project)
    stem = safe_stems(project.images)[project.images[0].digest] if len(project.images) == 1 else "samref"
    return Export(stem + wanted.ending, wanted.media_type, data)
