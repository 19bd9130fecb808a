"""The workspaces as rows; :mod:`samref.labels.store` opens and closes the transactions."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import sqlalchemy as sa

from samref.errors import LabelError
from samref.labels.pictures import bytes_held
from samref.labels.tables import workspace_table

__all__ = ["find", "insert_workspace", "note_use", "remove_workspaces", "revision"]

_GONE = "This workspace is not there any more. Reload the page to start a new one."


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def insert_workspace(connection: sa.Connection, token: str, now: float) -> int:
    """Make a workspace that ``token`` opens, and give its number; only a hash of the token is kept."""
    row = {"token_hash": _hash(token), "created_at": now, "used_at": now, "revision": 0}
    key = connection.execute(workspace_table.insert(), row).inserted_primary_key
    assert key is not None
    return int(key[0])


def find(connection: sa.Connection, token: str) -> tuple[int, float] | None:
    """The number of the workspace that ``token`` opens and when it was last used, or None."""
    columns = workspace_table.c
    wanted = sa.select(columns.id, columns.used_at).where(columns.token_hash == _hash(token))
    row = connection.execute(wanted).first()
    return None if row is None else (int(row.id), float(row.used_at))


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


def note_use(connection: sa.Connection, workspace_id: int, now: float, *, lists_changed: bool) -> None:
    """Note that a workspace is in use, and whether its lists have changed.

    Raises:
        LabelError: there is no such workspace.
    """
    columns = workspace_table.c
    change = workspace_table.update().where(columns.id == workspace_id)
    change = change.values(used_at=now, revision=columns.revision + int(lists_changed))
    if connection.execute(change).rowcount == 0:
        raise LabelError(_GONE)


def remove_workspaces(
    connection: sa.Connection, used_before: float, max_bytes: int | None, keep: Collection[int]
) -> int:
    """Remove workspaces not used since ``used_before``, then the longest unused until ``max_bytes`` are not exceeded.

    Returns:
        How many were removed; none of ``keep`` is.
    """
    columns = workspace_table.c
    by_use = sa.select(columns.id, columns.used_at).order_by(columns.used_at, columns.id)
    removed = 0
    for workspace_id, used_at in connection.execute(by_use).all():
        if workspace_id in keep:
            continue
        if used_at >= used_before and (max_bytes is None or bytes_held(connection) <= max_bytes):
            break
        connection.execute(workspace_table.delete().where(columns.id == workspace_id))
        removed += 1
    return removed
