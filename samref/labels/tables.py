"""The tables of the store.

``events`` is the record; ``images`` and ``annotations`` only repeat from it what lists need, in the same transaction.
The log of a workspace's classes has the empty digest. ``images.events`` and ``workspaces.events`` say how long each log
is, so that an entry missing at its end is noticed.
"""

from __future__ import annotations

import sqlalchemy as sa

SCHEMA_REVISION = "0003"
"""Alembic's name for these tables; :mod:`samref.labels.migrations` brings older databases up to it."""

metadata = sa.MetaData()


def _workspace() -> sa.ForeignKey:
    return sa.ForeignKey("workspaces.id", ondelete="CASCADE")


workspace_table = sa.Table(
    "workspaces",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("used_at", sa.Float, nullable=False),  # by the wall clock, for people to read; nothing is decided by it
    sa.Column("used_served_s", sa.Float, nullable=False),  # by the served clock, for demo workspaces to expire
    sa.Column("is_demo", sa.Boolean, nullable=False),  # made while the setting demo_days was on
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("events", sa.Integer, nullable=False),  # length of the log of classes
    sqlite_autoincrement=True,  # a number is never given twice: a removed workspace cannot be mistaken for a new one
)
untouched = workspace_table.c.revision <= sa.literal_column("1")
"""A workspace with its default classes and nothing else; in these words, so that SQLite knows the index by them."""

sa.Index(
    "ix_workspaces_untouched",
    workspace_table.c.used_served_s,
    workspace_table.c.id,
    sqlite_where=untouched,
    postgresql_where=untouched,
)
token_table = sa.Table(
    "tokens",
    metadata,
    sa.Column("token_hash", sa.String(64), primary_key=True),
    sa.Column("workspace_id", sa.Integer, _workspace(), nullable=False, index=True),
    sa.Column("created_at", sa.Float, nullable=False),
    sqlite_with_rowid=False,
)
image_table = sa.Table(
    "images",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("workspace_id", sa.Integer, _workspace(), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False, index=True),
    sa.Column("file_name", sa.String, nullable=False),
    sa.Column("height", sa.Integer, nullable=False),
    sa.Column("width", sa.Integer, nullable=False),
    sa.Column("bytes", sa.Integer, nullable=False),
    sa.Column("events", sa.Integer, nullable=False, server_default="0"),  # length of the image's log
    sa.Column("mark", sa.String(16), nullable=False, server_default=""),
    sa.Column("has_draft", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("removed", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("changed_at", sa.Integer, nullable=False, server_default="0"),  # the workspace's revision at that time
    sa.UniqueConstraint("workspace_id", "digest"),
)
event_table = sa.Table(
    "events",
    metadata,
    sa.Column("workspace_id", sa.Integer, _workspace(), primary_key=True),
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)
annotation_table = sa.Table(
    "annotations",
    metadata,
    sa.Column("workspace_id", sa.Integer, _workspace(), primary_key=True),
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("class_id", sa.Integer, nullable=False),
    sqlite_with_rowid=False,
)
meta_table = sa.Table(  # "identity": which folder's labels these are; "served_s": how long servers have run on them
    "meta",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("value", sa.String, nullable=False),
    sqlite_with_rowid=False,
)
version_table = sa.Table(  # Alembic's own; it holds one row
    "alembic_version", metadata, sa.Column("version_num", sa.String(32), primary_key=True)
)
