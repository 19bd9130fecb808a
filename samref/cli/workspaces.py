"""``python -m samref backup`` and ``python -m samref workspaces``: list, export, check, key, restore, recover."""

from __future__ import annotations

import os
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from samref.errors import LabelError
from samref.files import bytes_in_words, counted, disk_errors, replacing
from samref.labels import backup as backups
from samref.labels import recovery
from samref.labels.folder import database_in
from samref.labels.formats import write_export
from samref.labels.formats.source import Options
from samref.labels.store import ProjectStore
from samref.settings import Settings

app = typer.Typer(help="List, export, check and repair what a server keeps.", no_args_is_help=True)

DataOption: TypeAlias = Annotated[
    Path | None, typer.Option("--data", help="Data folder; the one of `serve` unless told otherwise.")
]
NumberArgument = Annotated[int, typer.Argument(help="Number of the workspace, as `list` prints it.")]

PAGE = "http://127.0.0.1:7860/"


def data_folder(given: Path | None) -> Path:
    """The folder that ``samref serve`` would use."""
    return Settings.from_environment(os.environ, data_folder=given).data_folder


def backup(
    out: Annotated[Path, typer.Argument(help="Folder for the backup: a new one, or that of an earlier backup.")],
    data: DataOption = None,
) -> None:
    """Copy all images and labels as they are now, while a server may be running.

    The copy is itself a data folder. A second backup into the same folder copies only new images.
    """
    made = backups.back_up(data_folder(data), out)
    typer.echo(
        f"Backup in {out}: {counted(made.workspaces, 'workspace')}, {counted(made.images, 'image')} "
        f"({bytes_in_words(made.bytes)}), {counted(made.annotations, 'annotation')}. Copied just now: "
        f"{counted(made.new_images, 'image')} ({bytes_in_words(made.new_bytes)}) and the database."
    )
    _tell(made.faults, "Not in the backup")


@app.command("list")
def list_(data: DataOption = None) -> None:
    """List all workspaces."""
    with closing(ProjectStore(database_in(data_folder(data)), reads_only=True)) as store:
        found = store.workspaces()
    typer.echo(f"{'number':>6}  {'made':<16}  {'last used':<16}  {'images':>7}  {'annotations':>11}  {'MB':>9}  kind")
    for workspace in found:
        made, used = _moment(workspace.created_at), _moment(workspace.used_at)
        typer.echo(
            f"{workspace.id:>6}  {made:<16}  {used:<16}  {workspace.images:>7}  {workspace.annotations:>11}  "
            f"{workspace.bytes / 1e6:>9.1f}  {'demo' if workspace.is_demo else 'kept'}"
        )


@app.command()
def export(
    number: NumberArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="Zip file to write.")],
    images: Annotated[bool, typer.Option("--images", help="The original image files, too.")] = False,
    data: DataOption = None,
) -> None:
    """Write the labels of a workspace as the page's zip export."""
    with closing(ProjectStore(database_in(data_folder(data)), reads_only=True)) as store:
        try:
            store.workspace_revision(number)
            with replacing(out) as part, part.open("wb") as file, store.reading(number) as source:
                report = write_export(source, "zip", Options(images=images), file).report
        except LabelError as error:
            raise LabelError(f"Workspace {number} cannot be exported: {error}") from error
    with disk_errors(f"{out} cannot be read"):
        size = out.stat().st_size
    typer.echo(
        f"{out}: {counted(report.images, 'image')}, {counted(report.objects, 'annotation')}, {bytes_in_words(size)}."
    )
    _tell(report.left_out, "Left out")


@app.command()
def check(data: DataOption = None) -> None:
    """Look for damage in the database, in every log and in every image file."""
    found = recovery.inspect(data_folder(data))
    typer.echo(
        f"Looked at {counted(found.workspaces, 'workspace')}, {counted(found.images, 'image')} and "
        f"{counted(found.events, 'entry')} of logs."
    )
    if found.strangers:
        files = counted(found.strangers, "image file")
        belong, them = ("belongs", "it") if found.strangers == 1 else ("belong", "them")
        typer.echo(f"{files} {belong} to no workspace; `workspaces recover` would adopt {them}.")
    _tell(found.faults, "Fault")
    typer.echo("No fault found.")


@app.command()
def key(number: NumberArgument, data: DataOption = None) -> None:
    """Make one more key that opens a workspace; those it has stay good."""
    with closing(ProjectStore(database_in(data_folder(data)))) as store:
        try:
            token = store.add_key(number)
        except LabelError as error:
            raise LabelError(
                f"There is no workspace {number}; `python -m samref workspaces list` shows all."
            ) from error
    _tell_key(number, token)


@app.command()
def restore(
    backup_folder: Annotated[Path, typer.Argument(metavar="BACKUP", help="Folder made by `backup`.")],
    data: DataOption = None,
) -> None:
    """Bring labels and images back from a backup; the present database is kept under another name."""
    folder = data_folder(data)
    done = backups.restore(backup_folder, folder)
    typer.echo(
        f"Restored to {folder}: {counted(done.workspaces, 'workspace')}, {counted(done.images, 'image')}, "
        f"{counted(done.annotations, 'annotation')}; {counted(done.new_images, 'image')} "
        f"{'was' if done.new_images == 1 else 'were'} brought back ({bytes_in_words(done.new_bytes)})."
    )
    if done.aside is not None:
        typer.echo(f"The database that was there is kept as {done.aside}.")
    _tell(done.faults, "Not brought back")


@app.command()
def recover(data: DataOption = None) -> None:
    """Save what can be read of a damaged or lost database; the damaged one is kept under another name."""
    folder = data_folder(data)
    done = recovery.recover(folder)
    typer.echo(
        f"Saved to {folder}: {counted(done.workspaces, 'workspace')}, {counted(done.images, 'image')}, "
        f"{counted(done.annotations, 'annotation')}, {counted(done.events, 'entry')} of logs."
    )
    if done.aside is not None:
        typer.echo(f"The database that was there is kept as {done.aside}.")
    for sentence in done.lost:
        typer.echo(f"Lost: {sentence}", err=True)
    if done.adopted_workspace is not None and done.token is not None:
        images, are = counted(done.adopted, "image"), "is" if done.adopted == 1 else "are"
        typer.echo(f"{images} that no workspace held {are} in the new workspace {done.adopted_workspace}.")
        _tell_key(done.adopted_workspace, done.token)


def _tell(faults: tuple[str, ...] | list[str], word: str) -> None:
    """Print faults, and end with exit code 1 where there are any."""
    for fault in faults:
        typer.echo(f"{word}: {fault}", err=True)
    if faults:
        raise typer.Exit(1)


def _tell_key(number: int, token: str) -> None:
    typer.echo(f"Key of workspace {number}: {token}")
    typer.echo(f"Open it with: {PAGE}#key={token}")


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")
