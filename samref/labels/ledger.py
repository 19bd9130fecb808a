"""Reading and writing logs within one database transaction; :mod:`samref.labels.store` opens and closes those."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from samref.errors import LabelError, StorageError
from samref.labels import tables, workspaces
from samref.labels.classes import LabelClass, check_removable, find_class
from samref.labels.image_rows import check_held
from samref.labels.log import (
    AnnotationsImported,
    ClassAdded,
    ClassChanged,
    ClassRemoved,
    Committed,
    Deleted,
    Event,
    ImageOpened,
    Reclassed,
    event_from_dict,
    event_to_dict,
    replay_classes,
)
from samref.labels.project import Annotation, Project, add_class, change_class

__all__ = ["CLASS_LOG", "MAX_EVENTS", "Entry", "read_classes", "read_events", "revision", "write_entries"]

CLASS_LOG = ""
"""Stands for a digest in the log of a workspace's classes."""

MAX_EVENTS = 200_000
"""Events one log may hold; more is an accident or an attack."""


def revision(connection: sa.Connection, workspace_id: int, digest: str) -> int:
    """How many events a log holds; 0 where there is none."""
    return int(connection.execute(_length_of(workspace_id, digest)).scalar() or 0)


def read_events(connection: sa.Connection, workspace_id: int, digest: str) -> tuple[Event, ...]:
    """All events of a log, in order.

    Raises:
        StorageError: an entry is missing or cannot be read.
    """
    events = tables.event_table.c
    rows = connection.execute(
        sa.select(events.number, events.body)
        .where(events.workspace_id == workspace_id, events.digest == digest)
        .order_by(events.number)
    )
    read: list[Event] = []
    for number, body in rows:
        if number != len(read) + 1:
            raise _broken(connection, workspace_id, digest, len(read) + 1, "is missing")
        try:
            read.append(event_from_dict(json.loads(body)))
        except (LabelError, ValueError, RecursionError) as error:
            raise _broken(connection, workspace_id, digest, number, f"cannot be read ({error})") from error
    length = revision(connection, workspace_id, digest)
    if length != len(read):
        raise _broken(connection, workspace_id, digest, min(length, len(read)) + 1, _missing(length, len(read)))
    return tuple(read)


def _missing(length: int, found: int) -> str:
    return "is missing" if length > found else "should not be there"


def _broken(connection: sa.Connection, workspace_id: int, digest: str, number: int, what: str) -> StorageError:
    """What to say of an entry that is not as it should be."""
    images = tables.image_table.c
    name = connection.execute(
        sa.select(images.file_name).where(images.workspace_id == workspace_id, images.digest == digest)
    ).scalar()
    log = "the classes" if digest == CLASS_LOG else f"the image {name or digest!r}"
    return StorageError(
        f"Entry {number} of the log of {log} (workspace {workspace_id}) {what}. Restore a backup with `python -m "
        "samref workspaces restore BACKUP`, or save the other entries with `python -m samref workspaces recover`."
    )


def _length_of(workspace_id: int, digest: str) -> sa.Select[Any]:
    """Asks how many events a log should hold."""
    if digest == CLASS_LOG:
        workspaces_ = tables.workspace_table.c
        return sa.select(workspaces_.events).where(workspaces_.id == workspace_id)
    images = tables.image_table.c
    return sa.select(images.events).where(images.workspace_id == workspace_id, images.digest == digest)


def _save_length(connection: sa.Connection, workspace_id: int, digest: str, length: int) -> None:
    if digest == CLASS_LOG:
        rows, here = tables.workspace_table, tables.workspace_table.c.id == workspace_id
    else:
        rows, images = tables.image_table, tables.image_table.c
        here = sa.and_(images.workspace_id == workspace_id, images.digest == digest)
    connection.execute(rows.update().where(here).values(events=length))


def read_classes(connection: sa.Connection, workspace_id: int) -> tuple[LabelClass, ...]:
    """The classes of a workspace."""
    return replay_classes(read_events(connection, workspace_id, CLASS_LOG))


@dataclass(frozen=True, slots=True)
class Entry:
    """An event and the text that stands for it in a log; a long one is made before anybody waits for the database."""

    event: Event
    body: str

    @staticmethod
    def of(event: Event) -> Entry:
        """The entry of an event."""
        body = json.dumps(event_to_dict(event), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return Entry(event, body)


def write_entries(
    connection: sa.Connection, workspace_id: int, digest: str, entries: Sequence[Entry], at: float, served: float
) -> int:
    """Add entries to a log and keep the lists in step with it.

    Args:
        connection: in a transaction that writes.
        workspace_id: the workspace.
        digest: of the image, or :data:`CLASS_LOG`.
        entries: in order.
        at: now by the wall clock.
        served: now by the served clock.

    Returns:
        How many events the log holds now.

    Raises:
        StorageError: the end of the log is missing.
        LabelError: an event does not fit (no such workspace, image or class, a class that is used, a log too long).
    """
    workspaces.revision(connection, workspace_id)  # refuses a workspace that is gone
    if digest != CLASS_LOG:
        check_held(connection, workspace_id, digest)
    number = revision(connection, workspace_id, digest)
    if number != (last := _last_number(connection, workspace_id, digest)):
        raise _broken(connection, workspace_id, digest, min(number, last) + 1, _missing(number, last))
    if number + len(entries) > MAX_EVENTS:
        raise LabelError(f"The history of this image is full ({MAX_EVENTS} steps). Export it and start it anew.")
    lists_changed = False
    for entry in entries:
        lists_changed |= _keep_in_step(connection, workspace_id, digest, entry.event)
        number += 1
        row = {"workspace_id": workspace_id, "digest": digest, "number": number, "at": at, "body": entry.body}
        connection.execute(tables.event_table.insert(), row)
        _save_length(connection, workspace_id, digest, number)  # at once: the next entry's check reads the log
    workspaces.note_use(connection, workspace_id, at, served, lists_changed=lists_changed)
    return number


def _last_number(connection: sa.Connection, workspace_id: int, digest: str) -> int:
    events = tables.event_table.c
    last = sa.select(sa.func.max(events.number)).where(events.workspace_id == workspace_id, events.digest == digest)
    return connection.execute(last).scalar() or 0


def _keep_in_step(connection: sa.Connection, workspace_id: int, digest: str, event: Event) -> bool:
    """Bring the lists up to date with one event; True if they changed."""
    if isinstance(event, ClassAdded | ClassChanged | ClassRemoved) != (digest == CLASS_LOG):
        raise LabelError("Changes of classes belong to the workspace, all others to an image.")
    match event:
        case ClassAdded() | ClassChanged() | ClassRemoved():
            _check_class_event(connection, workspace_id, event)
        case ImageOpened():
            _rename_image(connection, workspace_id, digest, event)
        case Committed(annotation):
            _put(connection, workspace_id, digest, (annotation,))
        case AnnotationsImported(annotations):
            _put(connection, workspace_id, digest, annotations)
        case Deleted(annotation_id):
            connection.execute(tables.annotation_table.delete().where(_is(workspace_id, digest, annotation_id)))
        case Reclassed(annotation_id, class_id):
            find_class(read_classes(connection, workspace_id), class_id)
            change = tables.annotation_table.update().where(_is(workspace_id, digest, annotation_id))
            connection.execute(change.values(class_id=class_id))
        case _:
            return False
    return True


def _is(workspace_id: int, digest: str, annotation_id: str) -> sa.ColumnElement[bool]:
    columns = tables.annotation_table.c
    return sa.and_(columns.workspace_id == workspace_id, columns.digest == digest, columns.id == annotation_id)


def _put(connection: sa.Connection, workspace_id: int, digest: str, annotations: Iterable[Annotation]) -> None:
    classes = read_classes(connection, workspace_id)
    rows = []
    for annotation in annotations:
        find_class(classes, annotation.class_id)
        key = {"workspace_id": workspace_id, "digest": digest, "id": annotation.id}
        rows.append({**key, "class_id": annotation.class_id})
    if rows:
        statement = insert(tables.annotation_table)
        statement = statement.on_conflict_do_update(set_={"class_id": statement.excluded.class_id})
        connection.execute(statement, rows)


def _rename_image(connection: sa.Connection, workspace_id: int, digest: str, event: ImageOpened) -> None:
    if event.digest != digest:
        raise LabelError("The event names another image than the log it belongs to.")
    images = tables.image_table
    here = sa.and_(images.c.workspace_id == workspace_id, images.c.digest == digest)
    connection.execute(images.update().where(here).values(file_name=event.file_name))


def _check_class_event(
    connection: sa.Connection, workspace_id: int, event: ClassAdded | ClassChanged | ClassRemoved
) -> None:
    classes = read_classes(connection, workspace_id)
    match event:
        case ClassAdded(label_class):
            add_class(Project(classes), label_class)
        case ClassChanged(label_class):
            change_class(Project(classes), label_class)
        case ClassRemoved(class_id):
            columns = tables.annotation_table.c
            uses = sa.select(sa.func.count()).where(columns.workspace_id == workspace_id, columns.class_id == class_id)
            check_removable(classes, find_class(classes, class_id), connection.execute(uses).scalar_one())
