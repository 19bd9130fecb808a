"""``python -m samref segment-folder``: boxes of many images become masks, which are written as one COCO file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from samref.datasets.records import IMAGE_SUFFIXES
from samref.errors import DataError, ImportFormatError, StorageError
from samref.files import counted, disk_errors, write_atomically
from samref.labels.annotations import ImageRecord, Project
from samref.labels.classes import LabelClass, new_class
from samref.labels.formats.boxes import (
    MAX_BOXES,
    MAX_BYTES,
    MAX_NAMES_BYTES,
    NAMES_FILES,
    BoxFile,
    class_names_from,
    read_boxes,
    read_yolo,
)
from samref.labels.formats.coco import export_coco

SHOWN_FAULTS = 50
"""Sentences about single images that are printed; the rest is counted."""


def segment_folder(
    folder: Annotated[Path, typer.Argument(help="Folder of images; those in folders below it count.")],
    boxes: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|DIR",
            help="COCO file, or zip file or folder of YOLO labels; the labels beside the images unless told.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="COCO file for the masks.")] = Path(
        "masks.json"
    ),
    review: Annotated[
        Path | None, typer.Option(metavar="FILE", help="CSV list of all objects, the lowest score first.")
    ] = None,
    rle: Annotated[bool, typer.Option("--rle", help="Run lengths throughout, no polygons.")] = False,
    model: Annotated[str, typer.Option(help="Name of the model; 'samref models list' shows them.")] = "tiny",
    checkpoint: Annotated[Path | None, typer.Option(help="Take the weights from this file.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
    workers: Annotated[int, typer.Option(min=1, max=64, help="Threads that read images ahead of the model.")] = 2,
    restart: Annotated[
        bool, typer.Option("--restart", help="New start where an interrupted run left a journal beside the results.")
    ] = False,
) -> None:
    """Turn boxes around objects into masks, for all images of FOLDER.

    Each image is encoded once. An interrupted run goes on where it stopped when it is started again in the same words.
    An image that fails keeps none of the others from being done; the failures are listed at the end.
    """
    from samref.inference.boxes import BoxJournal, BoxTask, check_takes_boxes, segment_boxes

    for target in (out, *([] if review is None else [review])):
        if target.is_dir() or not target.parent.is_dir():
            raise StorageError(f"The result cannot be written: {target} is a folder, or its folder is not there.")
    paths = _images(folder)
    found = _found_boxes(folder, boxes, paths)
    tasks, missing = [], []
    by_name = _by_name(paths, found)
    for image in found.images:
        name = by_name.get(image.name)
        if name is None:
            missing.append(image.name)
        else:
            tasks.append(BoxTask(name, paths[name], image))
    if not tasks:
        raise ImportFormatError(f"None of the {counted(len(missing), 'image')} with boxes is in {folder}.")
    classes: tuple[LabelClass, ...] = ()
    class_ids: dict[str, int] = {}
    for class_name in found.class_names:
        classes = (*classes, new_class(classes, class_name))
        class_ids[class_name] = classes[-1].id

    from samref.inference.device import load_predictor  # torch: after everything that can be refused without it

    predictor = load_predictor(model, device=device, precision=precision, checkpoint=checkpoint)
    check_takes_boxes(predictor.spec)
    header = {
        "model": model,
        "checkpoint": None if checkpoint is None else str(checkpoint.resolve()),
        "precision": str(predictor.dtype),
        "classes": list(found.class_names),
    }
    journal = BoxJournal(out.with_name(f"{out.name}.journal"), header, restart=restart)
    try:
        outcome = segment_boxes(predictor, tasks, class_ids, journal, workers=workers, progress=True)
        names = [each.name for each in outcome.images]
        records = [ImageRecord(i.digest, Path(i.name).name, i.size, i.annotations) for i in outcome.images]
        write_atomically(out, _coco(Project(classes, tuple(records)), names, polygons=not rle))
        if review is not None:
            write_atomically(review, _review(classes, names, records))
        for name in missing:
            outcome.add_fault(name, "No image of that name is in the folder.")
        if not outcome.faults:
            journal.remove()
    finally:
        journal.close()
    objects = sum(len(record.annotations) for record in records)
    typer.echo(f"{counted(objects, 'mask')} in {counted(len(records), 'image')}, written to {out}")
    if outcome.faults:
        _tell(outcome.faults)
        raise typer.Exit(1)


def _images(folder: Path) -> dict[str, Path]:
    """The images below ``folder`` by their names relative to it, with forward slashes."""
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}. Name the one with the images.")
    with disk_errors(f"The folder {folder} could not be read"):
        found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    images = {path.relative_to(folder).as_posix(): path for path in found if not path.name.startswith(".")}
    if not images:
        raise DataError(f"There is no image in {folder}. Name the folder with the images.")
    return images


def _found_boxes(folder: Path, given: Path | None, images: Mapping[str, Path]) -> BoxFile:
    if given is not None and not given.is_dir():
        return read_boxes(_read(given, MAX_BYTES))
    places = [given] if given is not None else [folder, *_label_folders(folder)]
    for place in places:
        texts = dict(_label_texts(place, images))
        if texts:
            return read_yolo(texts, _class_names(place))
    if given is not None:
        raise ImportFormatError(f"The folder {given} holds no YOLO label of an image in {folder}.")
    raise ImportFormatError(
        f"There are no boxes for the images in {folder}. Name a COCO file or a folder of YOLO labels with --boxes; "
        "samref does not look for objects by itself."
    )


def _label_folders(folder: Path) -> list[Path]:
    """Where YOLO keeps labels that do not lie beside their images."""
    parts = folder.absolute().parts
    found = [folder / "labels"]
    if "images" in parts:
        at = len(parts) - 1 - parts[::-1].index("images")
        found.append(Path(*parts[:at], "labels", *parts[at + 1 :]))
    return [path for path in found if path.is_dir()]


def _label_texts(place: Path, images: Mapping[str, Path]) -> Iterator[tuple[str, str]]:
    left = MAX_BYTES
    for name in images:
        stem = Path(name).with_suffix("")
        inner = Path(*("labels" if part == "images" else part for part in stem.parts))
        tried = dict.fromkeys(place / f"{each}.txt" for each in (stem, inner, stem.name))
        path = next((path for path in tried if path.is_file()), None)
        if path is None:
            continue
        content = _read(path, left)
        left -= len(content)
        try:
            yield name, content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ImportFormatError(f"{path} is no UTF-8 text. Save it as UTF-8.") from error


def _class_names(place: Path) -> tuple[str, ...]:
    """Names of classes in ``place`` or up to two folders above it; none where there is no such file."""
    for folder in (place, *place.absolute().parents[:2]):
        for name in NAMES_FILES:
            if (folder / name).is_file():
                return class_names_from(name, _read(folder / name, MAX_NAMES_BYTES + 1))
    return ()


def _read(path: Path, limit: int) -> bytes:
    with disk_errors(f"{path} cannot be read"), path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ImportFormatError(
            f"With {path} the boxes take more than {MAX_BYTES >> 20} MiB; {MAX_BOXES:,} boxes need half of that. "
            "Split the folder and do the parts."
        )
    return content


def _by_name(images: Mapping[str, Path], found: BoxFile) -> dict[str, str]:
    """The image of the folder for each name in the file of boxes: by the whole path, else by the last part of it."""
    ends: dict[str, list[str]] = {}
    for name in images:
        last = name.rpartition("/")[2]
        for end in {last, last.rpartition(".")[0]}:
            ends.setdefault(end, []).append(name)
    named: dict[str, str] = {}
    taken: dict[str, str] = {}
    for image in found.images:
        whole = image.name.replace("\\", "/").removeprefix("./")
        candidates = [whole] if whole in images else ends.get(whole.rpartition("/")[2], [])
        if len(candidates) > 1:
            raise ImportFormatError(
                f"The boxes of {image.name!r} could be of {candidates[0]} or {candidates[1]}. Write their folders into "
                "the file of boxes."
            )
        for name in candidates:
            if name in taken:
                raise ImportFormatError(f"Both {taken[name]!r} and {image.name!r} in the file of boxes mean {name}.")
            taken[name] = image.name
            named[image.name] = name
    return named


def _coco(project: Project, names: Sequence[str], *, polygons: bool) -> bytes:
    data = export_coco(project, polygons=polygons)
    for entry, name in zip(data["images"], names, strict=True):
        entry["file_name"] = name  # with its folders
    for entry, annotation in zip(data["annotations"], (a for i in project.images for a in i.annotations), strict=True):
        entry["score"] = round(annotation.score, 6)
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")


def _review(classes: Sequence[LabelClass], names: Sequence[str], records: Sequence[ImageRecord]) -> bytes:
    """Score, image, class and box of each object, the lowest score first; ``id`` is that in the COCO file."""
    class_names = {each.id: each.name for each in classes}
    objects = [(name, each) for name, record in zip(names, records, strict=True) for each in record.annotations]
    rows: list[tuple[str | int, ...]] = [
        (f"{each.score:.4f}", name, number, class_names[each.class_id], *each.mask.box_xywh, each.mask.area)
        for number, (name, each) in enumerate(objects, start=1)
    ]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(("score", "image", "id", "class", "x", "y", "width", "height", "area"))
    rows.sort(key=lambda row: (float(row[0]), int(row[2])))
    writer.writerows(rows)
    return text.getvalue().encode("utf-8")


def _tell(faults: Mapping[str, Sequence[str]]) -> None:
    lines = [f"{name}: {sentence}" for name, sentences in faults.items() for sentence in sentences]
    typer.echo(f"{counted(len(faults), 'image')} not done, or not in full:", err=True)
    for line in lines[:SHOWN_FAULTS]:
        typer.echo(f"  {line}", err=True)
    if len(lines) > SHOWN_FAULTS:
        typer.echo(f"  and {len(lines) - SHOWN_FAULTS} more", err=True)
