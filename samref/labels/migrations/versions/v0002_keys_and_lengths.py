"""From version 1, of SQLite files before Alembic: more keys for a workspace, lengths of logs, the served clock."""

from __future__ import annotations

import hashlib
import secrets

import sqlalchemy as sa
from alembic import op

from samref.errors import StorageError
from samref.labels.migrations import note_identity

revision = "0002"
down_revision = None


def upgrade() -> None:
    """Make the table of workspaces anew and add what it lacked; a workspace keeps its number."""
    connection = op.get_bind()
    run = connection.exec_driver_sql
    there = set(sa.inspect(connection).get_table_names())
    missing = sorted({"workspaces", "images", "events", "annotations"} - there)
    if missing:
        raise StorageError(f"The database of labels is damaged: its table {missing[0]!r} is missing. Restore a copy.")
    first = run("SELECT id, token_hash, created_at FROM workspaces ORDER BY id LIMIT 1").first()
    last_number = run("SELECT seq FROM sqlite_sequence WHERE name = 'workspaces'").scalar()
    # No renaming of the old table: that would rename it in the foreign keys of the others as well.
    run("CREATE TEMPORARY TABLE workspaces_1 AS SELECT * FROM workspaces")
    run("DROP TABLE workspaces")
    for statement in _TABLES:
        run(statement)
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
    note_identity(connection, known)


_TABLES = (
    """
    CREATE TABLE workspaces (
        id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, created_at FLOAT NOT NULL, used_at FLOAT NOT NULL,
        used_served_s FLOAT NOT NULL, is_demo BOOLEAN NOT NULL, revision INTEGER NOT NULL, events INTEGER NOT NULL
    )
    """,
    "CREATE INDEX ix_workspaces_untouched ON workspaces (used_served_s, id) WHERE revision <= 1",
    """
    CREATE TABLE tokens (
        token_hash VARCHAR(64) NOT NULL, workspace_id INTEGER NOT NULL, created_at FLOAT NOT NULL,
        PRIMARY KEY (token_hash), FOREIGN KEY(workspace_id) REFERENCES workspaces (id) ON DELETE CASCADE
    ) WITHOUT ROWID
    """,
    "CREATE INDEX ix_tokens_workspace_id ON tokens (workspace_id)",
    "CREATE TABLE meta (name VARCHAR NOT NULL, value VARCHAR NOT NULL, PRIMARY KEY (name)) WITHOUT ROWID",
)
