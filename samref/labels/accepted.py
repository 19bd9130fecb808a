"""The accepted annotations of a store, for the owner of its files: to train on what the team has labelled.

The page opens a workspace by its token; who can read the files needs none. Nothing is changed, and a server may run on
them meanwhile.
"""

from __future__ import annotations

import logging
from pathlib import Path

from samref.errors import LabelError
from samref.labels.folder import DATABASE_NAME
from samref.labels.project import Project
from samref.labels.store import ProjectStore

__all__ = ["accepted_projects"]

_log = logging.getLogger(__name__)


def accepted_projects(folder: Path) -> dict[int, Project]:
    """The project of every workspace that has an annotation, by the workspace's number.

    Images whose log is damaged are left out, with a warning.

    Args:
        folder: the one with :data:`~samref.labels.folder.DATABASE_NAME` in it.

    Raises:
        LabelError: there is no such database.
        StorageError: it cannot be read.
    """
    path = folder / DATABASE_NAME
    if not path.is_file():
        raise LabelError(f"There is no {DATABASE_NAME} in {folder}: that is not a folder that samref keeps labels in.")
    store = ProjectStore(path, reads_only=True)
    try:
        projects = {workspace.id: store.project(workspace.id) for workspace in store.workspaces() if workspace.images}
    finally:
        store.close()
    for project in projects.values():
        for sentence in project.left_out:
            _log.warning("Left out: %s", sentence)
    return {number: project for number, project in projects.items() if any(i.annotations for i in project.images)}
