"""``python -m samref labels``: labels of a workspace out of a data folder as files of any format, and in."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from samref.cli.workspaces import DataOption, data_folder
from samref.errors import ImportFormatError, LabelError
from samref.files import bytes_in_words, counted, disk_errors, replacing
from samref.labels.folder import FolderLock, database_in
from samref.labels.formats import FORMATS, find_format, import_labels, write_export
from samref.labels.formats.reading import MAX_ZIP_BYTES
from samref.labels.formats.source import MAX_TOLERANCE, Options
from samref.labels.store import ProjectStore

app = typer.Typer(help="Labels of a workspace as files of other programs, out and in.", no_args_is_help=True)

WorkspaceArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="WORKSPACE", help="Its number, as `workspaces list` prints it, or its key.")
]


@app.command()
def export(
    workspace: WorkspaceArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.")],
    kind: Annotated[str, typer.Option("--format", "-f", help=f"One of {', '.join(FORMATS)}.")] = "coco-polygon",
    name: Annotated[list[str] | None, typer.Option("--image", help="Name of an image; all unless given.")] = None,
    masks: Annotated[bool, typer.Option("--masks", help="Pixels instead of outlines, where both can be had.")] = False,
    tolerance: Annotated[
        float, typer.Option(min=0, max=MAX_TOLERANCE, help="Pixels that a simplified outline may be off.")
    ] = 0.0,
    fill_holes: Annotated[bool, typer.Option("--fill-holes", help="Outlines without holes.")] = False,
    border: Annotated[bool, typer.Option("--border", help="255 beside edges (Pascal VOC).")] = False,
    images: Annotated[bool, typer.Option("--images", help="The image files, too.")] = False,
    data: DataOption = None,
) -> None:
    """Write the labels of a workspace, and say what the format cannot."""
    find_format(kind)
    options = Options("masks" if masks else "polygons", tolerance, fill_holes, border, images)
    with ExitStack() as stack:
        store = stack.enter_context(closing(ProjectStore(database_in(data_folder(data)), reads_only=True)))
        number = _number(store, workspace)
        digests = None if not name else _digests(store, number, name)
        part = stack.enter_context(replacing(out))
        file = stack.enter_context(part.open("wb"))
        source = stack.enter_context(store.reading(number, digests))
        report = write_export(source, kind, options, file).report
    with disk_errors(f"{out} cannot be read"):
        size = out.stat().st_size
    typer.echo(
        f"{out}: {counted(report.images, 'image')}, {counted(report.objects, 'object')}, {bytes_in_words(size)}."
    )
    for sentence in report.sentences:
        typer.echo(sentence, err=True)
    if report.left_out:
        raise typer.Exit(1)


@app.command("import")
def import_(
    workspace: WorkspaceArgument,
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Label files of any format.")],
    data: DataOption = None,
) -> None:
    """Add labels to images that the workspace holds; each file as a whole or not at all. The server must be stopped."""
    folder = data_folder(data)
    database = database_in(folder)
    with FolderLock(folder) as lock, closing(ProjectStore(database, lock=lock)) as store:
        number = _number(store, workspace)
        for path in files:
            with disk_errors(f"{path} cannot be read"):
                if path.stat().st_size > MAX_ZIP_BYTES:
                    raise ImportFormatError(
                        f"{path}: The file is larger than {bytes_in_words(MAX_ZIP_BYTES)}. Split it."
                    )
                content = path.read_bytes()
            try:
                found = import_labels(content, path.name, store.project(number))
                store.import_annotations(number, found.new_classes, found.annotations)
            except LabelError as error:
                raise ImportFormatError(f"{path}: {error}") from error
            typer.echo(f"{path}: {found.message}")


def _number(store: ProjectStore, workspace: str) -> int:
    """The workspace of that number or key."""
    if workspace.isdigit() and len(workspace) < 10:
        number = int(workspace)
    else:
        found = store.find_workspace(workspace)
        if found is None:
            raise LabelError("No workspace here has that key; `python -m samref workspaces list` shows all.")
        number = found[0]
    try:
        store.workspace_revision(number)
    except LabelError as error:
        raise LabelError(f"There is no workspace {number}; `python -m samref workspaces list` shows all.") from error
    return number


def _digests(store: ProjectStore, number: int, names: list[str]) -> list[str]:
    """The digests of the images of those names."""
    images = store.images(number)
    known = Counter(image.file_name for image in images)
    for name in names:
        if name not in known:
            raise LabelError(f"Workspace {number} has no image {name!r}.")
    return [image.digest for image in images if image.file_name in names]
