"""Labels as files to download, and files to import: which format is which, and what the file is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from samref.errors import LabelError
from samref.labels.formats.bundle import export_bundle
from samref.labels.formats.coco import write_coco
from samref.labels.formats.png import IndexKind, export_index_mask
from samref.labels.names import safe_stems
from samref.labels.project import Project

__all__ = ["FORMATS", "Export", "Imported", "build_export"]


@dataclass(frozen=True, slots=True)
class Export:
    """A file to download."""

    file_name: str
    media_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a file to import.

    Attributes:
        annotations: how many were added or replaced.
        images: in how many images.
        unknown_images: file names of images the workspace does not hold.
        skipped: a sentence for each object that was left out.
    """

    annotations: int
    images: int
    unknown_images: tuple[str, ...]
    skipped: tuple[str, ...]

    @property
    def message(self) -> str:
        """What the person is told."""
        text = f"{_counted(self.annotations, 'object')} in {_counted(self.images, 'image')} imported."
        if self.unknown_images:
            names = ", ".join(self.unknown_images[:3]) + (", …" if len(self.unknown_images) > 3 else "")
            text += f" Not in this workspace: {names}."
        if self.skipped:
            text += f" {_counted(len(self.skipped), 'object')} left out: {self.skipped[0]}"
        return text


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _coco(project: Project, *, polygons: bool) -> Export:
    suffix = "polygons" if polygons else "rle"
    name = f"{_stem(project)}-coco-{suffix}.json"
    return Export(name, "application/json", write_coco(project, polygons=polygons))


def _index_mask(project: Project, kind: IndexKind) -> Export:
    if len(project.images) != 1:
        raise LabelError("An index mask belongs to one image. Open the image, or download everything as a zip file.")
    name = f"{_stem(project)}-{kind}.png"
    return Export(name, "image/png", export_index_mask(project.images[0], project, kind))


def _bundle(project: Project) -> Export:
    return Export(f"{_stem(project)}.zip", "application/zip", export_bundle(project))


def _stem(project: Project) -> str:
    if len(project.images) != 1:
        return "samref"
    image = project.images[0]
    return safe_stems(project.images)[image.digest]


FORMATS: Mapping[str, Callable[[Project], Export]] = MappingProxyType(
    {
        "coco-polygon": lambda project: _coco(project, polygons=True),
        "coco-rle": lambda project: _coco(project, polygons=False),
        "png-class": lambda project: _index_mask(project, "class"),
        "png-instance": lambda project: _index_mask(project, "instance"),
        "zip": _bundle,
    }
)
"""Exporters by the name that the page asks for."""


def build_export(project: Project, kind: str) -> Export:
    """The labels of ``project`` as a file of that kind.

    Raises:
        LabelError: there is no such format, or it cannot hold these labels.
    """
    exporter = FORMATS.get(kind)
    if exporter is None:
        raise LabelError(f"There is no export format {kind[:40]!r}; use one of {', '.join(FORMATS)}.")
    return exporter(project)
