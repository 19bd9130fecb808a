"""Brings a database of labels to the present schema, in place: all of it or nothing.

Version 1 had one token for a workspace, no lengths of logs and no served clock.
"""

from __future__ import annotations

import hashlib
import secrets

import sqlalchemy as sa

from samref.errors import StorageError
from samref.labels.tables import SCHEMA_VERSION, meta_table, metadata, token_table, workspace_table

__all__ = ["bring_up_to_date", "is_up_to_date"]


def is_up_to_date(connection: sa.Connection) -> bool:
    """Whether the database has the present schema, with every table.

    Raises:
        StorageError: it was written by a newer samref, or a table is missing.
    """
    version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    if version > SCHEMA_VERSION:
        raise StorageError("The database of labels was written by a newer samref. Start that version instead.")
    if version < SCHEMA_VERSION:
        return False
    missing = sorted(set(metadata.tables) - _tables(connection))
    if missing:
        raise StorageError(
            f"The database of labels is damaged: its table {missing[0]!r} is missing. Restore a backup with "
            "`python -m samref workspaces restore BACKUP`, or save what can be read with "
            "`python -m samref workspaces recover`."
        )
    return True


def bring_up_to_date(connection: sa.Connection) -> None:
    """Make the tables, or change those of an older version.

    Args:
        connection: in a transaction that writes, begun with ``PRAGMA foreign_keys = OFF``: a table that others refer
            to is made anew, and SQLite would empty those with it.

    Raises:
        StorageError: as :func:`is_up_to_date`.
    """
    if is_up_to_date(connection):
        return
    version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    tables = _tables(connection)
    if version == 1:
        _from_version_1(connection)
    elif tables:
        raise StorageError("The database of labels is damaged: it does not say which version it is of. Restore a copy.")
    else:
        metadata.create_all(connection)
        _note(connection, identity=secrets.token_hex(16))
    connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _from_version_1(connection: sa.Connection) -> None:
    run = connection.exec_driver_sql
    missing = sorted({"workspaces", "images", "events", "annotations"} - _tables(connection))
    if missing:
        raise StorageError(f"The database of labels is damaged: its table {missing[0]!r} is missing. Restore a copy.")
    first = run("SELECT id, token_hash, created_at FROM workspaces ORDER BY id LIMIT 1").first()
    last_number = run("SELECT seq FROM sqlite_sequence WHERE name = 'workspaces'").scalar()
    # No renaming of the old table: that would rename it in the foreign keys of the others as well.
    run("CREATE TEMPORARY TABLE workspaces_1 AS SELECT * FROM workspaces")
    run("DROP TABLE workspaces")
    metadata.create_all(connection, tables=[workspace_table, token_table, meta_table])
    run(
        "INSERT INTO workspaces (id, created_at, used_at, used_served_s, is_demo, revision, events) "
        "SELECT id, created_at, used_at, 0, 0, revision, "
        "(SELECT COALESCE(MAX(number), 0) FROM events WHERE workspace_id = w.id AND digest = '') FROM workspaces_1 w"
    )
    run("INSERT INTO tokens SELECT token_hash, id, created_at FROM workspaces_1")
    run("DROP TABLE workspaces_1")
    if last_number is not None:
        run("DELETE FROM sqlite_sequence WHERE name = 'workspaces'")
        run("INSERT INTO sqlite_sequence (name, seq) VALUES ('workspaces', ?)", (last_number,))
    run("ALTER TABLE images ADD COLUMN events INTEGER DEFAULT '0' NOT NULL")
    run(
        "UPDATE images SET events = (SELECT COALESCE(MAX(number), 0) FROM events "
        "WHERE workspace_id = images.workspace_id AND digest = images.digest)"
    )
    # From what is in it, so that two copies of one old database know that they are the same labels.
    known = secrets.token_hex(16) if first is None else hashlib.sha256(repr(tuple(first)).encode()).hexdigest()[:32]
    _note(connection, identity=known)


def _note(connection: sa.Connection, *, identity: str) -> None:
    rows = [{"name": "identity", "value": identity}, {"name": "served_s", "value": "0"}]
    connection.execute(meta_table.insert(), rows)


def _tables(connection: sa.Connection) -> set[str]:
    return set(connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars())
