"""The workspaces as rows; :mod:`samref.labels.store` opens and closes the transactions."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

import sqlalchemy as sa

from samref.errors import LabelError
from samref.labels.tables import annotation_table, image_table, meta_table, token_table, untouched, workspace_table

__all__ = [
    "WorkspaceSummary",
    "add_token",
    "expired_workspaces",
    "find",
    "insert_workspace",
    "is_bare",
    "list_workspaces",
    "note_looks",
    "note_use",
    "remove_oldest_untouched",
    "remove_workspace",
    "revision",
    "save_served_s",
    "served_s",
]

_GONE = "This workspace is not there any more. Reload the page to start a new one."


@dataclass(frozen=True, slots=True)
class WorkspaceSummary:
    """A line of the list of workspaces.

    Attributes:
        id: its number.
        created_at: seconds since 1970 by the wall clock.
        used_at: as ``created_at``.
        images: how many it holds.
        annotations: how many accepted objects.
        bytes: of its image files.
        is_demo: whether it may expire.
    """

    id: int
    created_at: float
    used_at: float
    images: int
    annotations: int
    bytes: int
    is_demo: bool


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def insert_workspace(connection: sa.Connection, now: float, served: float, *, is_demo: bool) -> int:
    """Make a workspace, and give its number; nothing opens it yet."""
    row = {
        "created_at": now,
        "used_at": now,
        "used_served_s": served,
        "is_demo": is_demo,
        "revision": 0,
        "events": 0,
    }
    key = connection.execute(workspace_table.insert(), row).inserted_primary_key
    assert key is not None
    return int(key[0])


def add_token(connection: sa.Connection, workspace_id: int, now: float) -> str:
    """A new token that opens a workspace as well as those it has; only a hash of it is kept."""
    token = secrets.token_urlsafe(32)
    row = {"token_hash": _hash(token), "workspace_id": workspace_id, "created_at": now}
    connection.execute(token_table.insert(), row)
    return token


def find(connection: sa.Connection, token: str) -> int | None:
    """The number of the workspace that ``token`` opens, or None."""
    columns = token_table.c
    found = connection.execute(sa.select(columns.workspace_id).where(columns.token_hash == _hash(token))).scalar()
    return None if found is None else int(found)


def is_bare(connection: sa.Connection) -> bool:
    """Whether there is no workspace at all."""
    return connection.execute(sa.select(workspace_table.c.id).limit(1)).first() is None


def list_workspaces(connection: sa.Connection) -> tuple[WorkspaceSummary, ...]:
    """All workspaces, first made first."""
    workspaces, images, annotations = workspace_table.c, image_table.c, annotation_table.c
    held = sa.select(sa.func.count()).where(images.workspace_id == workspaces.id).scalar_subquery()
    size = sa.select(sa.func.sum(images.bytes)).where(images.workspace_id == workspaces.id).scalar_subquery()
    objects = sa.select(sa.func.count()).where(annotations.workspace_id == workspaces.id).scalar_subquery()
    rows = connection.execute(
        sa.select(
            workspaces.id, workspaces.created_at, workspaces.used_at, held, objects, size, workspaces.is_demo
        ).order_by(workspaces.id)
    )
    return tuple(WorkspaceSummary(*row[:5], row[5] or 0, bool(row[6])) for row in rows)


def revision(connection: sa.Connection, workspace_id: int) -> int:
    """How often the lists of a workspace have changed.

    Raises:
        LabelError: there is no such workspace.
    """
    columns = workspace_table.c
    found = connection.execute(sa.select(columns.revision).where(columns.id == workspace_id)).scalar()
    if found is None:
        raise LabelError(_GONE)
    return int(found)


def note_use(connection: sa.Connection, workspace_id: int, now: float, served: float, *, lists_changed: bool) -> None:
    """Note that a workspace is in use, and whether its lists have changed.

    Raises:
        LabelError: there is no such workspace.
    """
    columns = workspace_table.c
    change = workspace_table.update().where(columns.id == workspace_id)
    change = change.values(used_at=now, used_served_s=served, revision=columns.revision + int(lists_changed))
    if connection.execute(change).rowcount == 0:
        raise LabelError(_GONE)


def note_looks(connection: sa.Connection, looks: dict[int, tuple[float, float]]) -> None:
    """Note when workspaces were looked at: wall clock and served clock by number."""
    columns = workspace_table.c
    for workspace_id, (now, served) in looks.items():
        change = workspace_table.update().where(columns.id == workspace_id, columns.used_served_s <= served)
        connection.execute(change.values(used_at=now, used_served_s=served))


def expired_workspaces(connection: sa.Connection, used_before_s: float) -> list[tuple[int, float]]:
    """Demo workspaces not used since that second of the served clock: number and second of the last use."""
    columns = workspace_table.c
    wanted = sa.select(columns.id, columns.used_served_s).where(columns.is_demo, columns.used_served_s < used_before_s)
    return [(int(row.id), float(row.used_served_s)) for row in connection.execute(wanted.order_by(columns.id))]


def remove_workspace(connection: sa.Connection, workspace_id: int) -> None:
    """Remove a workspace with its log, its lists and the tokens that open it."""
    connection.execute(workspace_table.delete().where(workspace_table.c.id == workspace_id))


def remove_oldest_untouched(connection: sa.Connection, bound: int) -> None:
    """Make room for one more workspace in which nothing was ever done, where there are ``bound`` of them already.

    One with an image, or with a change of its classes, is never removed.
    """
    columns = workspace_table.c
    count = connection.execute(sa.select(sa.func.count()).select_from(workspace_table).where(untouched)).scalar_one()
    if count < bound:
        return
    without_image = ~sa.exists().where(image_table.c.workspace_id == columns.id)
    oldest = sa.select(columns.id).where(untouched, without_image).order_by(columns.used_served_s, columns.id)
    removed = oldest.limit(count - bound + 1).scalar_subquery()
    connection.execute(workspace_table.delete().where(columns.id.in_(removed)))


def served_s(connection: sa.Connection) -> float:
    """Seconds that servers have run on these labels."""
    columns = meta_table.c
    return float(connection.execute(sa.select(columns.value).where(columns.name == "served_s")).scalar_one())


def save_served_s(connection: sa.Connection, served: float) -> None:
    """Note how long servers have run on these labels."""
    change = meta_table.update().where(meta_table.c.name == "served_s")
    connection.execute(change.values(value=repr(served)))
