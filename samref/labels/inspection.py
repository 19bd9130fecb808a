"""Looks at every page of a database of labels, every entry of every log, and every image file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from samref.errors import StorageError
from samref.labels.events import replay, replay_classes
from samref.labels.folder import BlobFolder, database_in
from samref.labels.queries import CLASS_LOG, ImageSummary, list_images, listed_annotations, read_events
from samref.labels.sqlite import database_errors, faults_of_file
from samref.labels.store import ProjectStore


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was looked at, and a sentence for each fault.

    Attributes:
        workspaces: how many.
        images: how many different ones.
        events: in all logs that can be read.
        strangers: image files that no workspace names; no fault.
        faults: nothing where all is well.
    """

    workspaces: int
    images: int
    events: int
    strangers: int
    faults: tuple[str, ...]


def inspect(folder: Path) -> Inspection:
    """Look at a data folder, while a server may be working on it; nothing is changed.

    Raises:
        StorageError: there is no database, or it cannot be opened at all.
    """
    path = database_in(folder)
    store = ProjectStore(path, reads_only=True)
    faults: list[str] = []
    digests: dict[str, str] = {}
    events = 0
    try:
        found = store.workspaces()
        with store.database.read() as connection:  # one transaction: one moment
            faults.extend(faults_of_file(connection))
            for workspace in found:
                classes: set[int] | None = None
                try:
                    with database_errors():
                        log = read_events(connection, workspace.id, CLASS_LOG)
                    events += len(log)
                    classes = {label_class.id for label_class in replay_classes(log)}
                except StorageError as error:
                    faults.append(str(error))
                try:
                    with database_errors():
                        images = list_images(connection, workspace.id)
                except StorageError as error:
                    faults.append(f"The list of images of workspace {workspace.id}: {error}")
                    continue
                for image in images:
                    count, found_faults = _faults_of_log(connection, workspace.id, image, classes)
                    events += count
                    faults.extend(found_faults)
                    digests[image.digest] = f"{image.file_name!r}, workspace {workspace.id}"
        faults.extend(_faults_of_images(store.blobs, digests))
        strangers = sum(1 for digest in store.blobs.digests() if digest not in digests)
    finally:
        store.close()
    return Inspection(len(found), len(digests), events, strangers, tuple(faults))


def _faults_of_log(
    connection: sa.Connection, workspace_id: int, image: ImageSummary, classes: set[int] | None
) -> tuple[int, list[str]]:
    """How many entries the log of an image has, and its faults; ``classes`` is None where they cannot be read."""
    where = f"{image.file_name!r} (workspace {workspace_id}, {image.digest})"
    try:
        with database_errors():
            events = read_events(connection, workspace_id, image.digest)
            listed = listed_annotations(connection, workspace_id, image.digest)
    except StorageError as error:
        return 0, [f"{where}: {error}"]
    state = replay(events)
    logged = {annotation.id: annotation.class_id for annotation in state.annotations}
    faults = []
    if state.digest != image.digest:
        faults.append(f"{where}: its log does not begin with the image's own digest.")
    elif state.size != image.size:
        faults.append(f"{where}: the list of images and the log name different sizes.")
    if logged != listed:
        faults.append(f"{where}: the log holds {len(logged)} objects, the list {len(listed)}, or their classes differ.")
    unknown = set() if classes is None else {*logged.values()} - classes
    faults.extend(f"{where}: an object has class {class_id}, which there is not." for class_id in sorted(unknown))
    return len(events), faults


def _faults_of_images(blobs: BlobFolder, digests: dict[str, str]) -> Iterator[str]:
    for digest, where in digests.items():
        try:
            blobs.read(digest)
        except StorageError as error:
            yield f"Image {digest} ({where}): {error}"
