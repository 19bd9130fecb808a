"""A table of all objects as CSV: what, how large, where and how made. It has no masks and cannot be read back.

Text that begins with ``=``, ``+``, ``-`` or ``@`` gets a ``'`` in front, so that no spreadsheet takes it for a formula.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from samref.core.polygons import mask_to_polygons
from samref.labels.annotations import ImageRecord, file_names
from samref.labels.formats.source import Files, Options, Report, Source

COLUMNS = (
    "image", "image_width", "image_height", "object", "class", "x", "y", "width", "height", "area", "parts", "holes",
    "score", "model", "clicks", "seconds", "author", "created_at", "visible", "note", "attributes",
)  # fmt: skip

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def table_files(source: Source, options: Options, report: Report) -> Files:  # noqa: ARG001 - as all formats
    """The one file of a CSV export."""
    yield "objects.csv", _rows(source, report)


def _rows(source: Source, report: Report) -> Iterator[bytes]:
    names = file_names(source.images)
    yield ("\ufeff" + ",".join(COLUMNS) + "\r\n").encode("utf-8")
    for record in source.read():
        text = io.StringIO()
        csv.writer(text).writerows(_cells(record, names[record.digest], source, report))
        yield text.getvalue().encode("utf-8")


def _cells(record: ImageRecord, name: str, source: Source, report: Report) -> Iterator[list[str | int]]:
    for annotation in record.annotations:
        report.note(record, annotation)
        parts = mask_to_polygons(annotation.mask.to_crop()[0]) if annotation.mask.area else []
        yield [
            plain_cell(name),
            record.size.width,
            record.size.height,
            plain_cell(annotation.id),
            plain_cell(source.class_name(annotation.class_id)),
            *annotation.mask.box_xywh,
            annotation.mask.area,
            len(parts),
            sum(len(part.holes) for part in parts),
            f"{annotation.score:.4f}" if annotation.has_score else "",
            plain_cell(annotation.model),
            annotation.clicks,
            f"{annotation.seconds:.1f}",
            plain_cell(annotation.author),
            annotation.created_at.isoformat(timespec="seconds"),
            "yes" if annotation.visible else "no",
            plain_cell(annotation.note),
            plain_cell("; ".join(f"{name}={value}" for name, value in annotation.attributes)),
        ]


def plain_cell(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text
