"""Brings a database of labels to the present schema, in place: all of it or nothing.

A new database gets the present tables at once and is stamped; an older one is upgraded by Alembic, whose revisions
lie in ``versions``. A SQLite file tells its revision in ``user_version``, too. Version 1 came before Alembic, so its
files have no row in Alembic's table, and the first revision (0002) begins where they are; one of version 2 is stamped
when it is first opened to be written, before any later revision.
"""

from __future__ import annotations

import secrets
from pathlib import Path

import sqlalchemy as sa

from samref.errors import StorageError
from samref.labels.tables import SCHEMA_REVISION, meta_table, metadata, version_table

FIRST_REVISION = "0002"
"""Alembic's first; databases from before it begin with that one."""


def is_up_to_date(connection: sa.Connection, unstamped: int = 0) -> bool:
    """Whether the database has the present schema, with every table.

    ``unstamped`` is the ``user_version`` of a SQLite file; 0 where there is no such thing.
    """
    tables = set(sa.inspect(connection).get_table_names())
    found = _revision(connection, tables, unstamped)
    if found is None or found < SCHEMA_REVISION:
        return False
    missing = sorted({*metadata.tables} - {version_table.name} - tables)
    if missing:
        raise StorageError(
            f"The database of labels is damaged: its table {missing[0]!r} is missing. Restore a backup with "
            "`python -m samref workspaces restore BACKUP`, or save what can be read with "
            "`python -m samref workspaces recover`."
        )
    return True


def bring_up_to_date(connection: sa.Connection, unstamped: int = 0) -> None:
    """Make the tables, or change those of an older version.

    The transaction writes, and in a SQLite file began with ``PRAGMA foreign_keys = OFF``: a table that others refer to
    is made anew, and SQLite would empty those with it.
    """
    tables = set(sa.inspect(connection).get_table_names())
    if is_up_to_date(connection, unstamped):
        if version_table.name not in tables:
            version_table.create(connection)
            connection.execute(version_table.insert(), {"version_num": SCHEMA_REVISION})
    elif (found := _revision(connection, tables, unstamped)) is not None:
        if version_table.name not in tables and found >= FIRST_REVISION:
            version_table.create(connection)
            connection.execute(version_table.insert(), {"version_num": found})
        _upgrade(connection)
    elif tables:
        raise StorageError("The database of labels is damaged: it does not say which version it is of. Restore a copy.")
    else:
        metadata.create_all(connection)
        connection.execute(version_table.insert(), {"version_num": SCHEMA_REVISION})
        note_identity(connection, secrets.token_hex(16))


def note_identity(connection: sa.Connection, identity: str) -> None:
    """Give the labels the name by which backups know them, and a served clock that begins."""
    rows = [{"name": "identity", "value": identity}, {"name": "served_s", "value": "0"}]
    connection.execute(meta_table.insert(), rows)


def _revision(connection: sa.Connection, tables: set[str], unstamped: int) -> str | None:
    """The Alembic revision of a database; None of one without labels."""
    found = f"{unstamped:04}" if unstamped else None
    if version_table.name in tables:
        found = connection.execute(sa.select(version_table.c.version_num)).scalar() or found
    if max(found or "", f"{unstamped:04}") > SCHEMA_REVISION:
        raise StorageError("The database of labels was written by a newer samref. Start that version instead.")
    return found


def _upgrade(connection: sa.Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
