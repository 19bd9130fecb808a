"""The accepted annotations of a store, for the owner of its files: to train on what the team has labelled.

The page opens a workspace by its token; who can read the files needs none. Nothing is written.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from samref.errors import LabelError
from samref.labels.project import Project
from samref.labels.store import ProjectStore

__all__ = ["DATABASE_NAME", "accepted_projects", "picture_file"]

DATABASE_NAME = "samref.sqlite"
"""Name of the database in the folder that ``samref serve`` keeps its data in; the pictures are in ``images`` there."""


def accepted_projects(folder: Path) -> dict[int, Project]:
    """The project of every workspace that has an annotation, by the workspace's number.

    Args:
        folder: the one with :data:`DATABASE_NAME` in it.

    Raises:
        LabelError: there is no such database.
        StorageError: it cannot be read.
    """
    path = folder / DATABASE_NAME
    if not path.is_file():
        raise LabelError(f"There is no {DATABASE_NAME} in {folder}: that is not a folder that samref keeps labels in.")
    store = ProjectStore(path)
    try:
        with closing(sqlite3.connect(path)) as connection:
            numbers = [int(row[0]) for row in connection.execute("SELECT id FROM workspaces ORDER BY id")]
        projects = {number: store.project(number) for number in numbers}
    finally:
        store.close()
    return {number: project for number, project in projects.items() if any(i.annotations for i in project.images)}


def picture_file(folder: Path, digest: str) -> Path:
    """Where the file of a picture lies."""
    return folder / "images" / digest[:2] / digest
