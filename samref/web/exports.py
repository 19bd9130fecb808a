"""Labels out and in as the page asks for them: what it may choose, how an export is made, what a preview says."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from typing import Annotated, Any, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from samref.core.masks import Rle
from samref.errors import RequestError
from samref.files import disk_errors
from samref.labels.annotations import ImageRecord
from samref.labels.formats import Export, find_format, write_export
from samref.labels.formats import preview_export as look_at_export
from samref.labels.formats.outlines import simplifications
from samref.labels.formats.reading import LabelImport
from samref.labels.formats.source import MAX_TOLERANCE, Options, Source
from samref.web.protocol import Digest

MAX_IMAGES = 30_000
"""Images that one request may name; without a list, all are meant."""

TOLERANCES = (0.0, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0)
"""Pixels that the page's slider offers."""

LOOK_S = 1.0
"""So long a preview goes through images; what it has not come to is not in its figures."""

MEASURE_S = 1.0
"""So long it measures outlines."""

_MEASURED = 400  # objects at most


class ExportRequest(BaseModel):
    """What a person chose for a download."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Annotated[str, Field(max_length=40)]
    images: Annotated[list[Digest], Field(min_length=1, max_length=MAX_IMAGES)] | None = None
    shape: Literal["polygons", "masks"] | None = None
    tolerance: Annotated[float, Field(ge=0, le=MAX_TOLERANCE, allow_inf_nan=False)] = 0.0
    fill_holes: Annotated[bool, Field(strict=True)] = False
    border: Annotated[bool, Field(strict=True)] = False
    with_images: Annotated[bool, Field(strict=True)] = False

    @property
    def options(self) -> Options:
        """The same for the writers; Label Studio's brush strokes are exact, so they are its default."""
        shape = self.shape or ("masks" if self.format == "label-studio" else "polygons")
        return Options(shape, self.tolerance, self.fill_holes, self.border, self.with_images)


@dataclass(frozen=True, slots=True)
class MadeExport:
    """An export on the disk, in a file without a name that is gone once it is closed."""

    export: Export
    file: BinaryIO
    size: int


def parse_export(payload: Any) -> ExportRequest:
    """A request for an export, checked.

    Raises:
        RequestError: it is wrong.
    """
    try:
        return ExportRequest.model_validate(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "request"
        raise RequestError(f"The export cannot be made as asked: {place}: {first['msg']}.") from error


def make_export(source: Source, request: ExportRequest) -> MadeExport:
    """Write an export to the disk, an image at a time."""
    with disk_errors("The export was not written"):
        file: BinaryIO = tempfile.TemporaryFile(prefix="samref-export-")  # noqa: SIM115 - closed when it was sent
        try:
            export = write_export(source, request.format, request.options, file)
            size = file.tell()
            file.seek(0)
        except BaseException:
            file.close()
            raise
    return MadeExport(export, file, size)


def preview_export(source: Source, request: ExportRequest) -> dict[str, Any]:
    """What an export would hold and lose, and what each tolerance would do, as the page is told."""
    wanted = find_format(request.format)
    looked = 0
    masks: list[Rle] = []
    until = time.monotonic() + LOOK_S

    def read() -> Iterator[ImageRecord]:
        nonlocal looked
        for record in source.read():
            looked += 1
            masks.extend(annotation.mask for annotation in record.annotations)
            yield record
            if time.monotonic() > until:
                return

    report = look_at_export(replace(source, read=read), request.format, request.options)
    curve: list[dict[str, Any]] = []
    measured = 0
    if wanted.has_outlines and (request.options.shape == "polygons" or request.format == "coco-polygon"):
        spread = masks[:: max(1, len(masks) // _MEASURED)]
        stop = time.monotonic() + MEASURE_S
        measured, found = simplifications(
            spread,
            TOLERANCES,
            fill_holes=request.fill_holes or request.format == "yolo-seg",
            as_coco=request.format.startswith("coco"),
            go_on=lambda: time.monotonic() < stop,
        )
        curve = [
            {
                "tolerance": each.tolerance,
                "points": each.points,
                "as_masks": each.as_masks,
                "mean_iou": round(each.mean_iou, 4),
                "worst_iou": round(each.worst_iou, 4),
            }
            for each in found
        ]
    return {
        "images": len(source.images),
        "looked_at": looked,
        "objects": report.objects,
        "sentences": list(report.sentences[bool(report.drafts) :]),  # of drafts the page knows the names
        "measured": measured,
        "curve": curve,
    }


def import_to_wire(found: LabelImport) -> dict[str, Any]:
    """What came in, as the page is told."""
    return {
        "annotations": found.count,
        "images": len(found.annotations),
        "unchanged": found.unchanged,
        "message": found.message,
        "boxes": [
            {"image": each.digest, "class_id": each.class_id, "box": list(astuple(each.box))} for each in found.boxes
        ],
    }
