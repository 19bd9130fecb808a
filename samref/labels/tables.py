"""The tables of the store.

``events`` is the record; ``images`` and ``annotations`` only repeat from it what lists need, in the same transaction.
The log of a workspace's classes has the empty digest.
"""

from __future__ import annotations

import sqlalchemy as sa

__all__ = ["annotation_table", "event_table", "image_table", "metadata", "workspace_table"]

metadata = sa.MetaData()


def _workspace() -> sa.ForeignKey:
    return sa.ForeignKey("workspaces.id", ondelete="CASCADE")


workspace_table = sa.Table(
    "workspaces",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("token_hash", sa.String(64), nullable=False, unique=True),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("used_at", sa.Float, nullable=False, index=True),
    sa.Column("revision", sa.Integer, nullable=False),
    sqlite_autoincrement=True,  # a number is never given twice: a removed workspace cannot be mistaken for a new one
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
