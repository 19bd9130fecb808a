"""Labels as files, out and in: the table of formats, one zip file or one file of each, and what a file is.

The images are not in an export unless they are asked for. Names of files come from the names of the images, made safe
for every file system and unique; they cannot lead out of the folder one unpacks to. The same project gives the same
bytes. A zip file holds ``report.json`` (see :class:`~samref.labels.formats.source.Report`), and ``LEFT-OUT.txt`` where
images are not in it because their labels could not be read.

The format ``zip`` is everything that nothing is lost in:

    annotations/instances.json       COCO, see :mod:`samref.labels.formats.coco`
    masks/…, legend.json             index masks, see :mod:`samref.labels.formats.png`
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePath
from types import MappingProxyType
from typing import BinaryIO

from PIL import Image

from samref.errors import ImageError, ImportFormatError, LabelError, StorageError
from samref.labels.annotations import Project, safe_stems
from samref.labels.formats import coco, cvat, label_studio, labelme, png, table, voc, yolo
from samref.labels.formats.reading import (
    MAX_JSON_BYTES,
    MAX_XML_BYTES,
    Collector,
    LabelImport,
    ZipEntries,
    parse_json,
    parse_xml,
)
from samref.labels.formats.source import FileNames, Files, Options, Report, Source

DEFAULT = Options()
"""Nothing is simplified."""

_TIME = (1980, 1, 1, 0, 0, 0)  # of every entry: the earliest a zip file can hold
_ORIENTATION = 0x0112  # the EXIF note that says how an image is turned


@dataclass(frozen=True, slots=True)
class Format:
    """How labels are written.

    Attributes:
        files: what is in it; a single file where the format is just that.
        media_type: of the download.
        ending: follows the name of the one image, or of samref.
        images: folder of the images in a zip file.
        is_single: whether it is one file, which needs no zip file around it.
        has_outlines: whether outlines can be simplified.
    """

    files: Callable[[Source, Options, Report], Files]
    media_type: str
    ending: str
    images: str = "images/"
    is_single: bool = False
    has_outlines: bool = False


@dataclass(frozen=True, slots=True)
class Export:
    """What a download is called and is, and what its format could not say."""

    file_name: str
    media_type: str
    report: Report


@dataclass(frozen=True, slots=True)
class FileOfLabels:
    """A whole export in memory."""

    file_name: str
    media_type: str
    data: bytes


def _everything(source: Source, options: Options, report: Report) -> Files:
    yield from coco.coco_files(source, options, report)
    yield from png.png_files(source, options, Report(report.format))  # COCO has what overlaps hide


def _index_mask(source: Source, options: Options, report: Report, kind: png.IndexKind) -> Files:  # noqa: ARG001
    if len(source.images) != 1:
        raise LabelError("An index mask belongs to one image. Open the image, or download everything as a zip file.")
    for record in source.read():
        for annotation in record.annotations:
            report.note(record, annotation)
        yield "mask.png", [png.export_index_mask(record, source, kind)]


def _with_shape(options: Options, shape: str) -> Options:
    return replace(options, shape="masks" if shape == "masks" else "polygons")


def _coco(source: Source, options: Options, report: Report, shape: str) -> Files:
    return coco.coco_files(source, _with_shape(options, shape), report)


_ZIP, _JSON, _PNG = "application/zip", "application/json", "image/png"

FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "coco-polygon": Format(
            partial(_coco, shape="polygons"), _JSON, "-coco-polygons.json", is_single=True, has_outlines=True
        ),
        "coco-rle": Format(partial(_coco, shape="masks"), _JSON, "-coco-rle.json", is_single=True),
        "yolo-seg": Format(yolo.yolo_files, _ZIP, "-yolo-seg.zip", yolo.IMAGES, has_outlines=True),
        "voc": Format(voc.voc_files, _ZIP, "-voc.zip", voc.IMAGES),
        "labelme": Format(labelme.labelme_files, _ZIP, "-labelme.zip", labelme.IMAGES, has_outlines=True),
        "label-studio": Format(label_studio.label_studio_files, _ZIP, "-label-studio.zip", has_outlines=True),
        "cvat": Format(cvat.cvat_files, "application/xml", "-cvat.xml", is_single=True, has_outlines=True),
        "png": Format(png.png_files, _ZIP, "-masks.zip"),
        "png-class": Format(partial(_index_mask, kind="class"), _PNG, "-class.png", is_single=True),
        "png-instance": Format(partial(_index_mask, kind="instance"), _PNG, "-instance.png", is_single=True),
        "csv": Format(table.table_files, "text/csv", "-objects.csv", is_single=True),
        "zip": Format(_everything, _ZIP, ".zip"),
    }
)
"""By the name that the page asks for."""


def find_format(name: str) -> Format:
    """The format of that name."""
    if name not in FORMATS:
        raise LabelError(f"There is no export format {name[:40]!r}; use one of {', '.join(FORMATS)}.")
    return FORMATS[name]


def write_export(source: Source, name: str, options: Options, file: BinaryIO) -> Export:
    """Write the labels of ``source`` in that format into ``file``, an image at a time."""
    wanted = find_format(name)
    report = Report(name)
    stem = safe_stems(source.images)[source.images[0].digest] if len(source.images) == 1 else "samref"
    if wanted.is_single and not options.images:
        for _, parts in wanted.files(source, options, report):
            file.writelines(parts)
        report.finish(source)
        return Export(stem + wanted.ending, wanted.media_type, report)
    ending = wanted.ending if wanted.media_type == _ZIP else wanted.ending.rpartition(".")[0] + ".zip"
    with zipfile.ZipFile(file, "w") as archive:
        for path, parts in wanted.files(source, options, report):
            _add(archive, path, parts)
        if options.images:
            _add_images(archive, source, wanted, report)
        report.finish(source)
        _add(archive, "report.json", [report.to_json()])
        if report.left_out:
            _add(archive, "LEFT-OUT.txt", ["".join(f"{line}\n" for line in report.left_out).encode("utf-8")])
    return Export(stem + ending, _ZIP, report)


def preview_export(source: Source, name: str, options: Options) -> Report:
    """What an export would lose; nothing is written."""
    report = Report(name)
    for _, parts in find_format(name).files(source, replace(options, images=False), report):
        for _ in parts:
            pass
    report.finish(source)
    return report


def build_export(project: Project, name: str, options: Options = DEFAULT) -> FileOfLabels:
    """The labels of a project in memory as a file of that format."""
    file = io.BytesIO()
    made = write_export(Source.from_project(project), name, options, file)
    return FileOfLabels(made.file_name, made.media_type, file.getvalue())


def export_bundle(project: Project) -> bytes:
    """The bytes of the zip file with everything."""
    return build_export(project, "zip").data


def _add_images(archive: zipfile.ZipFile, source: Source, wanted: Format, report: Report) -> None:
    if source.image_bytes is None:
        raise LabelError("The image files cannot be had here; export the labels without them.")
    names = FileNames.of(source.images)
    for image in source.images:
        if image.digest in source.left_out:
            continue
        try:
            data = source.image_bytes(image.digest)
        except StorageError as error:
            source.left_out[image.digest] = f"{image.file_name} ({image.digest}): {error}"
            continue
        report.turned += _is_turned(data)
        _add(archive, wanted.images + names[image.digest].image, [data], is_compressed=True)


def _is_turned(data: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.getexif().get(_ORIENTATION, 1) not in (0, 1)
    except (OSError, ValueError, SyntaxError, ImageError):  # it was decoded when it came; its note cannot be read
        return False


def _add(archive: zipfile.ZipFile, path: str, parts: Iterable[bytes], *, is_compressed: bool = False) -> None:
    """Put in a file, as it is where it is compressed already: once more costs time and gains nothing."""
    entry = zipfile.ZipInfo(path, _TIME)
    is_compressed = is_compressed or path.endswith(".png")
    entry.compress_type = zipfile.ZIP_STORED if is_compressed else zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    with archive.open(entry, "w", force_zip64=True) as file:
        for part in parts:
            file.write(part)


# ---- in


def import_labels(data: bytes, file_name: str, project: Project) -> LabelImport:
    """Read a file of any format for the images and classes of ``project``, which stays as it is.

    What a file is, is told by its content; its name matters for a YOLO text file only.

    Raises:
        ImportFormatError: it is of no known format, an entry is wrong, an image has another size, or none is known.
    """
    collector = Collector(project)
    try:
        if data.startswith(b"PK"):
            return _read_zip(ZipEntries(data), collector)
        if data.startswith(b"\x89PNG"):
            return png.read_single_mask(data, collector)
        start = data[:64].removeprefix(b"\xef\xbb\xbf").lstrip()
        if start.startswith(b"<"):
            return _read_xml(data, collector)
        if PurePath(file_name).suffix.lower() == ".txt":
            yolo.read_yolo_text(data, file_name, None, collector)
            return collector.result()
        return _read_json(data, collector)
    except ImportFormatError:
        raise
    except LabelError as error:
        raise ImportFormatError(f"The file: {error}") from error


def _read_xml(data: bytes, collector: Collector) -> LabelImport:
    root = parse_xml(data)
    if root.tag == "annotations":
        return cvat.read_cvat_tree(root, collector)
    if root.tag == "annotation":
        voc.read_voc_boxes(root, collector)
        return collector.result()
    raise ImportFormatError("The file is XML, but neither of CVAT (for images 1.1) nor of Pascal VOC.")


def _read_json(data: bytes, collector: Collector) -> LabelImport:
    values = parse_json(data)
    if isinstance(values, list) and values and all(isinstance(task, dict) and "data" in task for task in values):
        return label_studio.read_label_studio(values, collector)
    if isinstance(values, dict) and "shapes" in values:
        labelme.read_labelme(values, collector)
        return collector.result()
    return coco.read_coco(values, collector)


def _read_zip(entries: ZipEntries, collector: Collector) -> LabelImport:
    """Read a zip file, by what lies in it; the format that says most comes first."""
    for path in entries.paths("annotations.xml"):
        return _read_xml(entries.read(path, MAX_XML_BYTES), collector)
    if any(entries.paths(".png", "SegmentationClass")) or any(entries.paths(".xml", "Annotations")):
        return voc.read_voc(entries, collector)
    others = [path for path in entries.paths(".json") if path.split("/")[-1] not in ("report.json", "legend.json")]
    if len(others) == 1:
        return _read_json(entries.read(others[0], MAX_JSON_BYTES), collector)
    if others:
        return labelme.read_labelme_zip(entries, collector)
    if any(entries.paths("legend.json")):
        return png.read_masks_zip(entries, collector)
    if any(entries.paths(".txt")):
        return yolo.read_yolo(entries, collector)
    raise ImportFormatError(
        "The zip file holds no labels: no JSON of COCO, labelme or Label Studio, no XML of CVAT or Pascal VOC, no text "
        "files of YOLO, no PNG masks with legend.json."
    )
