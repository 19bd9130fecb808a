"""``python -m samref backup``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from samref.cli.data_folder import DataOption, data_folder
from samref.files import bytes_in_words
from samref.labels.backup import back_up

__all__ = ["backup"]


def backup(
    out: Annotated[Path, typer.Argument(help="Folder for the backup: a new one, or that of an earlier backup.")],
    data: DataOption = None,
) -> None:
    """Copy all images and labels as they are now, while a server may be running.

    The copy is itself a data folder. A second backup into the same folder copies only new images.
    """
    made = back_up(data_folder(data), out)
    typer.echo(
        f"Backup in {out}: {made.workspaces} workspaces, {made.images} images ({bytes_in_words(made.bytes)}), "
        f"{made.annotations} annotations. Copied just now: {made.new_images} images "
        f"({bytes_in_words(made.new_bytes)}) and the database."
    )
    for fault in made.faults:
        typer.echo(f"Not in the backup: {fault}", err=True)
    if made.faults:
        raise typer.Exit(1)
