"""The questions to the database and the changes of it: workspaces, images, logs.

:mod:`samref.labels.store` opens and closes the transactions. Each function says what it does in SQL that every
database understands.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from samref.core.geometry import ImageSize
from samref.errors import LabelError, StorageError
from samref.labels import events
from samref.labels.annotations import Annotation
from samref.labels.classes import LabelClass, add_class, change_class, find_class, remove_class
from samref.labels.events import Event, ImageState, replay, replay_classes
from samref.labels.serialization import event_from_json, event_to_json
from samref.labels.tables import (
    annotation_table,
    event_table,
    image_table,
    meta_table,
    token_table,
    untouched,
    workspace_table,
)

CLASS_LOG = ""
"""Stands for a digest in the log of a workspace's classes."""

MAX_EVENTS = 200_000
"""Events one log may hold; more is an accident or an attack."""

_GONE = "This workspace is not there any more. Reload the page to start a new one."
_NOT_HELD = "This workspace does not hold that image; open it first."

_workspaces, _images, _events = workspace_table.c, image_table.c, event_table.c
_annotations, _tokens, _meta = annotation_table.c, token_table.c, meta_table.c


@dataclass(frozen=True, slots=True)
class WorkspaceSummary:
    """A line of the list of workspaces: times in seconds since 1970, how much it holds, and whether it may expire."""

    id: int
    created_at: float
    used_at: float
    images: int
    annotations: int
    bytes: int
    is_demo: bool


@dataclass(frozen=True, slots=True)
class ImageSummary:
    """A line of the list of images; ``annotations`` is their number, ``mark`` one of :data:`events.MARKS`."""

    digest: str
    file_name: str
    size: ImageSize
    annotations: int
    mark: str = ""
    has_draft: bool = False
    removed: bool = False


@dataclass(frozen=True, slots=True)
class Appended:
    """How many events a log holds now, and the revision of its workspace."""

    events: int
    revision: int  # grows whenever classes, the list of images or their annotations change


# ---- workspaces


def insert_workspace(connection: sa.Connection, now: float, served: float, *, is_demo: bool) -> int:
    """Make a workspace, and give its number; nothing opens it yet."""
    times = {"created_at": now, "used_at": now, "used_served_s": served}
    row = {**times, "is_demo": is_demo, "revision": 0, "events": 0}
    key = connection.execute(workspace_table.insert(), row).inserted_primary_key
    assert key is not None
    return int(key[0])


def add_token(connection: sa.Connection, workspace_id: int, now: float) -> str:
    """A new token that opens a workspace as well as those it has; only a hash of it is kept."""
    token = secrets.token_urlsafe(32)
    row = {"token_hash": _hash(token), "workspace_id": workspace_id, "created_at": now}
    connection.execute(token_table.insert(), row)
    return token


def find_workspace(connection: sa.Connection, token: str) -> tuple[int, int] | None:
    """The number and the revision of the workspace that ``token`` opens, or None."""
    wanted = sa.select(_workspaces.id, _workspaces.revision).join(token_table)
    found = connection.execute(wanted.where(_tokens.token_hash == _hash(token))).first()
    return None if found is None else (found.id, found.revision)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def is_bare(connection: sa.Connection) -> bool:
    """Whether there is no workspace at all."""
    return connection.execute(sa.select(_workspaces.id).limit(1)).first() is None


def list_workspaces(connection: sa.Connection) -> tuple[WorkspaceSummary, ...]:
    """All workspaces, first made first."""
    held = sa.select(sa.func.count()).where(_images.workspace_id == _workspaces.id).scalar_subquery()
    size = sa.select(sa.func.sum(_images.bytes)).where(_images.workspace_id == _workspaces.id).scalar_subquery()
    objects = sa.select(sa.func.count()).where(_annotations.workspace_id == _workspaces.id).scalar_subquery()
    rows = connection.execute(
        sa.select(
            _workspaces.id, _workspaces.created_at, _workspaces.used_at, held, objects, size, _workspaces.is_demo
        ).order_by(_workspaces.id)
    )
    return tuple(WorkspaceSummary(*row[:5], int(row[5] or 0), bool(row[6])) for row in rows)


def workspace_revision(connection: sa.Connection, workspace_id: int) -> int:
    """How often the lists of a workspace have changed."""
    found = connection.execute(sa.select(_workspaces.revision).where(_workspaces.id == workspace_id)).scalar()
    if found is None:
        raise LabelError(_GONE)
    return int(found)


def note_change(connection: sa.Connection, workspace_id: int, now: float, served: float) -> None:
    """Note that a workspace is in use and that its lists have changed."""
    change = workspace_table.update().where(_workspaces.id == workspace_id)
    change = change.values(used_at=now, used_served_s=served, revision=_workspaces.revision + 1)
    if connection.execute(change).rowcount == 0:
        raise LabelError(_GONE)


def note_looks(connection: sa.Connection, looks: Mapping[int, tuple[float, float]]) -> None:
    """Note when workspaces were looked at: wall clock and served clock by number."""
    for workspace_id, (now, served) in looks.items():
        change = workspace_table.update().where(_workspaces.id == workspace_id, _workspaces.used_served_s <= served)
        connection.execute(change.values(used_at=now, used_served_s=served))


def expired_workspaces(connection: sa.Connection, used_before_s: float) -> list[tuple[int, float]]:
    """Demo workspaces not used since that second of the served clock: number and second of the last use."""
    wanted = sa.select(_workspaces.id, _workspaces.used_served_s)
    wanted = wanted.where(_workspaces.is_demo, _workspaces.used_served_s < used_before_s).order_by(_workspaces.id)
    return [(row.id, row.used_served_s) for row in connection.execute(wanted)]


def remove_workspace(connection: sa.Connection, workspace_id: int) -> None:
    """Remove a workspace with its log, its lists and the tokens that open it."""
    connection.execute(workspace_table.delete().where(_workspaces.id == workspace_id))


def remove_oldest_untouched(connection: sa.Connection, bound: int) -> None:
    """Make room for one more workspace in which nothing was ever done, where there are ``bound`` of them already.

    One with an image, or with a change of its classes, is never removed.
    """
    count = connection.execute(sa.select(sa.func.count()).select_from(workspace_table).where(untouched)).scalar_one()
    if count < bound:
        return
    without_image = ~sa.exists().where(_images.workspace_id == _workspaces.id)
    oldest = sa.select(_workspaces.id).where(untouched, without_image)
    oldest = oldest.order_by(_workspaces.used_served_s, _workspaces.id).limit(count - bound + 1)
    connection.execute(workspace_table.delete().where(_workspaces.id.in_(oldest.scalar_subquery())))


def identity(connection: sa.Connection) -> str:
    """By what these labels are known from all others."""
    return str(connection.execute(sa.select(_meta.value).where(_meta.name == "identity")).scalar_one())


def served_s(connection: sa.Connection) -> float:
    """Seconds that servers have run on these labels."""
    return float(connection.execute(sa.select(_meta.value).where(_meta.name == "served_s")).scalar_one())


def save_served_s(connection: sa.Connection, served: float) -> None:
    """Note how long servers have run on these labels."""
    connection.execute(meta_table.update().where(_meta.name == "served_s").values(value=repr(served)))


# ---- images


def insert_image(
    connection: sa.Connection, workspace_id: int, digest: str, name: str, size: ImageSize, size_bytes: int
) -> None:
    """Note that a workspace holds an image; its log says the rest."""
    place = {"workspace_id": workspace_id, "digest": digest, "file_name": name}
    sizes = {"height": size.height, "width": size.width, "bytes": size_bytes}
    state = {"mark": "", "has_draft": False, "removed": False, "changed_at": 0}
    connection.execute(image_table.insert(), {**place, **sizes, **state, "events": 0})


def save_state(connection: sa.Connection, workspace_id: int, digest: str, state: ImageState, revision: int) -> None:
    """Note what the list of images says of an image after its log; ``revision`` is that of its workspace."""
    values = {"mark": state.mark, "has_draft": state.draft.is_open, "removed": state.removed, "changed_at": revision}
    connection.execute(image_table.update().where(_is_image(workspace_id, digest)).values(values))


def holds(connection: sa.Connection, workspace_id: int, digest: str) -> bool:
    """Whether a workspace holds an image."""
    held = sa.select(_images.id).where(_is_image(workspace_id, digest))
    return connection.execute(held).first() is not None


def check_held(connection: sa.Connection, workspace_id: int, digest: str) -> None:
    """Refuse an image that a workspace does not hold."""
    if not holds(connection, workspace_id, digest):
        raise LabelError(_NOT_HELD)


def list_images(
    connection: sa.Connection,
    workspace_id: int,
    digests: Iterable[str] | None = None,
    *,
    with_removed: bool = False,
    changed_after: int | None = None,
) -> tuple[ImageSummary, ...]:
    """The images of a workspace, or some of them, with their numbers of annotations, first come first.

    Args:
        connection: to the database.
        workspace_id: of the workspace.
        digests: only these.
        with_removed: those that were removed, too.
        changed_after: only those that have changed since that revision of the workspace.
    """
    count = (
        sa.select(sa.func.count())
        .where(_annotations.workspace_id == _images.workspace_id, _annotations.digest == _images.digest)
        .scalar_subquery()
    )
    state = (_images.mark, _images.has_draft, _images.removed)
    wanted = sa.select(_images.digest, _images.file_name, _images.height, _images.width, count, *state)
    wanted = wanted.where(_images.workspace_id == workspace_id)
    if not with_removed:
        wanted = wanted.where(sa.not_(_images.removed))
    if changed_after is not None:
        wanted = wanted.where(_images.changed_at > changed_after)
    if digests is not None:
        wanted = wanted.where(_images.digest.in_(list(digests)))
    rows = connection.execute(wanted.order_by(_images.id))
    return tuple(
        ImageSummary(digest, name, ImageSize(height, width), n, mark, bool(has_draft), bool(removed))
        for digest, name, height, width, n, mark, has_draft, removed in rows
    )


def is_held(connection: sa.Connection, digest: str) -> bool:
    """Whether any workspace holds an image."""
    return connection.execute(sa.select(_images.id).where(_images.digest == digest).limit(1)).first() is not None


def image_bytes(connection: sa.Connection) -> dict[str, int]:
    """The bytes of all images, each once, by digest."""
    rows = connection.execute(sa.select(_images.digest, sa.func.max(_images.bytes)).group_by(_images.digest))
    return {digest: int(size) for digest, size in rows}


def image_bytes_held(connection: sa.Connection) -> int:
    """Bytes of all images, each counted once."""
    each = sa.select(sa.func.max(_images.bytes).label("bytes")).group_by(_images.digest).subquery()
    return int(connection.execute(sa.select(sa.func.sum(each.c.bytes))).scalar() or 0)


def listed_annotations(connection: sa.Connection, workspace_id: int, digest: str) -> dict[str, int]:
    """The classes of an image's annotations by their ids, as the list has them."""
    rows = connection.execute(
        sa.select(_annotations.id, _annotations.class_id).where(_of_image(workspace_id, digest, _annotations))
    )
    return {row.id: row.class_id for row in rows}


def _is_image(workspace_id: int, digest: str) -> sa.ColumnElement[bool]:
    return _of_image(workspace_id, digest, _images)


def _of_image(workspace_id: int, digest: str, columns: Any) -> sa.ColumnElement[bool]:
    return sa.and_(columns.workspace_id == workspace_id, columns.digest == digest)


# ---- logs


def log_length(connection: sa.Connection, workspace_id: int, digest: str) -> int:
    """How many events a log should hold; 0 where there is none."""
    if digest == CLASS_LOG:
        length = sa.select(_workspaces.events).where(_workspaces.id == workspace_id)
    else:
        length = sa.select(_images.events).where(_is_image(workspace_id, digest))
    return int(connection.execute(length).scalar() or 0)


def save_log_length(connection: sa.Connection, workspace_id: int, digest: str, length: int) -> None:
    """Note how many events a log should hold."""
    if digest == CLASS_LOG:
        change = workspace_table.update().where(_workspaces.id == workspace_id)
    else:
        change = image_table.update().where(_is_image(workspace_id, digest))
    connection.execute(change.values(events=length))


def read_events(connection: sa.Connection, workspace_id: int, digest: str) -> tuple[Event, ...]:
    """All events of a log, in order.

    Raises:
        StorageError: an entry is missing or cannot be read.
    """
    rows = connection.execute(
        sa.select(_events.number, _events.body).where(_of_image(workspace_id, digest, _events)).order_by(_events.number)
    )
    read: list[Event] = []
    for number, body in rows:
        if number != len(read) + 1:
            raise _broken(connection, workspace_id, digest, len(read) + 1, "is missing")
        try:
            read.append(event_from_json(body))
        except LabelError as error:
            raise _broken(connection, workspace_id, digest, number, f"cannot be read ({error})") from error
    length = log_length(connection, workspace_id, digest)
    if length != len(read):
        raise _broken(connection, workspace_id, digest, min(length, len(read)) + 1, _missing(length, len(read)))
    return tuple(read)


def digests_with(
    connection: sa.Connection, workspace_id: int, written: str, digest: str | None = None
) -> tuple[str, ...]:
    """The images, first come first, whose logs hold an entry with these characters; removed ones are left out."""
    logs = sa.select(_events.digest).where(
        _events.workspace_id == workspace_id, _events.body.contains(written, autoescape=True)
    )
    if digest is not None:
        logs = logs.where(_events.digest == digest)
    here = _images.workspace_id == workspace_id, sa.not_(_images.removed)
    wanted = sa.select(_images.digest).where(*here, _images.digest.in_(logs))
    return tuple(connection.execute(wanted.order_by(_images.id)).scalars())


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
        return Entry(event, event_to_json(event))


def append_entries(
    connection: sa.Connection,
    workspace_id: int,
    digest: str,
    entries: Sequence[Entry],
    at: float,
    served: float,
    after: ImageState | None = None,
) -> Appended:
    """Add entries to a log and keep the lists in step with it; for a click these are four statements.

    Args:
        connection: to the database.
        workspace_id: of the workspace.
        digest: of the image, or :data:`CLASS_LOG`.
        entries: to be added.
        at: the present by the wall clock.
        served: the present by the served clock.
        after: the image with ``entries``, where the caller knows it; otherwise its log is read where that is needed.
    """
    revision, number, listed = _end_of_log(connection, workspace_id, digest)
    if number + len(entries) > MAX_EVENTS:
        raise LabelError(f"The history of this image is full ({MAX_EVENTS} steps). Export it and start it anew.")
    if digest == CLASS_LOG:
        lists_changed = _check_class_events(connection, workspace_id, entries)
        values: dict[str, Any] = {}
    else:
        given = [entry.event for entry in entries]
        values, objects_changed = _keep_in_step(connection, workspace_id, digest, given, listed, after)
        lists_changed = bool(values) or objects_changed
    if entries:
        key = {"workspace_id": workspace_id, "digest": digest, "at": at}
        rows = [{**key, "number": n, "body": e.body} for n, e in enumerate(entries, start=number + 1)]
        connection.execute(event_table.insert(), rows)
    number += len(entries)
    revision += lists_changed
    if digest == CLASS_LOG:
        save_log_length(connection, workspace_id, digest, number)
    else:
        values |= {"events": number} | ({"changed_at": revision} if lists_changed else {})
        connection.execute(image_table.update().where(_is_image(workspace_id, digest)).values(values))
    change = workspace_table.update().where(_workspaces.id == workspace_id)
    connection.execute(change.values(used_at=at, used_served_s=served, revision=revision))
    return Appended(number, revision)


@dataclass(frozen=True, slots=True)
class _Listed:
    """What the list of images says of one."""

    mark: str = ""
    has_draft: bool = False
    removed: bool = False


def _end_of_log(connection: sa.Connection, workspace_id: int, digest: str) -> tuple[int, int, _Listed]:
    """The revision of the workspace, the length of the log, of which nothing may be missing, and the image's state."""
    last = sa.select(sa.func.max(_events.number)).where(_of_image(workspace_id, digest, _events)).scalar_subquery()
    if digest == CLASS_LOG:
        wanted = sa.select(_workspaces.revision, _workspaces.events, last, sa.null(), sa.null(), sa.null())
    else:
        held = workspace_table.outerjoin(
            image_table, sa.and_(_images.workspace_id == _workspaces.id, _images.digest == digest)
        )
        state = (_images.mark, _images.has_draft, _images.removed)
        wanted = sa.select(_workspaces.revision, _images.events, last, *state).select_from(held)
    row = connection.execute(wanted.where(_workspaces.id == workspace_id)).first()
    if row is None:
        raise LabelError(_GONE)
    revision, length, found, mark, has_draft, removed = row
    if length is None:
        raise LabelError(_NOT_HELD)
    if length != (found or 0):
        raise _broken(connection, workspace_id, digest, min(length, found or 0) + 1, _missing(length, found or 0))
    return revision, length, _Listed(mark or "", bool(has_draft), bool(removed))


def _missing(length: int, found: int) -> str:
    return "is missing" if length > found else "should not be there"


def _broken(connection: sa.Connection, workspace_id: int, digest: str, number: int, what: str) -> StorageError:
    """What to say of an entry that is not as it should be."""
    name = connection.execute(sa.select(_images.file_name).where(_is_image(workspace_id, digest))).scalar()
    log = "the classes" if digest == CLASS_LOG else f"the image {name or digest!r}"
    return StorageError(
        f"Entry {number} of the log of {log} (workspace {workspace_id}) {what}. Restore a backup with `python -m "
        "samref workspaces restore BACKUP`, or save the other entries with `python -m samref workspaces recover`."
    )


def _check_class_events(connection: sa.Connection, workspace_id: int, entries: Sequence[Entry]) -> bool:
    """Refuse changes that do not fit the classes there are; whether there is a change."""
    classes = read_classes(connection, workspace_id) if entries else ()
    for entry in entries:
        match entry.event:
            case events.ClassAdded(label_class):
                classes = add_class(classes, label_class)
            case events.ClassChanged(label_class):
                classes = change_class(classes, label_class)
            case events.ClassRemoved(class_id):
                uses = sa.select(sa.func.count()).where(
                    _annotations.workspace_id == workspace_id, _annotations.class_id == class_id
                )
                classes = remove_class(classes, class_id, connection.execute(uses).scalar_one())
            case _:
                raise LabelError("Changes of classes belong to the workspace, all others to an image.")
    return bool(entries)


_SIMPLE = (
    events.ImageOpened,
    events.Prompted,
    events.VisibilityChanged,
    events.ModelChanged,
    events.ImageMarked,
    events.ImageRemoved,
    events.ImageRestored,
)
"""Events that say all by themselves about the lists; what others do to them depends on what came before."""


def _keep_in_step(
    connection: sa.Connection,
    workspace_id: int,
    digest: str,
    new: Sequence[Event],
    listed: _Listed,
    after: ImageState | None,
) -> tuple[dict[str, Any], bool]:
    """What events change in the image's line of the list, and whether they changed the list of its annotations."""
    is_simple = all(isinstance(event, _SIMPLE) for event in new)
    if not is_simple and after is None:
        after = replay([*read_events(connection, workspace_id, digest), *new])
    said: dict[str, Any] = {}
    for event in new:
        match event:
            case events.ClassAdded() | events.ClassChanged() | events.ClassRemoved():
                raise LabelError("Changes of classes belong to the workspace, all others to an image.")
            case events.ImageOpened():
                if event.digest != digest:
                    raise LabelError("The event names another image than the log it belongs to.")
                said["file_name"] = event.file_name
            case events.Prompted():
                said["has_draft"] = True
            case events.Reclassed(_, class_id):
                find_class(read_classes(connection, workspace_id), class_id)
            case events.ImageMarked(mark):
                said["mark"] = mark
            case events.ImageRemoved():
                said["removed"] = True
            case events.ImageRestored():
                said["removed"] = False
    objects_changed = False
    if not is_simple:
        assert after is not None
        said["has_draft"] = after.draft.is_open
        objects_changed = _list_annotations(connection, workspace_id, digest, after.annotations)
    return {name: value for name, value in said.items() if getattr(listed, name, None) != value}, objects_changed


def _list_annotations(
    connection: sa.Connection, workspace_id: int, digest: str, annotations: Iterable[Annotation]
) -> bool:
    """Have the list hold exactly these annotations of an image; True where it changed."""
    before = listed_annotations(connection, workspace_id, digest)
    now = {annotation.id: annotation.class_id for annotation in annotations}
    gone = [each for each, class_id in before.items() if now.get(each) != class_id]
    put = {each: class_id for each, class_id in now.items() if before.get(each) != class_id}
    if put:
        classes = read_classes(connection, workspace_id)
        for class_id in {*put.values()}:
            find_class(classes, class_id)
    if gone:
        here = _is_annotation(workspace_id, digest, sa.bindparam("gone"))
        connection.execute(annotation_table.delete().where(here), [{"gone": each} for each in gone])
    if put:
        place = {"workspace_id": workspace_id, "digest": digest}
        rows = [{**place, "id": each, "class_id": class_id} for each, class_id in put.items()]
        connection.execute(annotation_table.insert(), rows)
    return bool(gone or put)


def _is_annotation(workspace_id: int, digest: str, annotation_id: Any) -> sa.ColumnElement[bool]:
    return sa.and_(_of_image(workspace_id, digest, _annotations), _annotations.id == annotation_id)
