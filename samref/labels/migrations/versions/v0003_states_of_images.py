"""Images know how they are marked, whether they have an unfinished object, and when that changed last."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from samref.errors import LabelError
from samref.labels.events import replay
from samref.labels.serialization import event_from_json

revision = "0003"
down_revision = "0002"

_NEW_COLUMNS = (
    sa.Column("mark", sa.String(16), nullable=False, server_default=""),
    sa.Column("has_draft", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("removed", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("changed_at", sa.Integer, nullable=False, server_default="0"),
)

_images = sa.table("images", sa.column("workspace_id"), sa.column("digest"), sa.column("has_draft", sa.Boolean))
_events = sa.table("events", *(sa.column(name) for name in ("workspace_id", "digest", "number", "body")))


def upgrade() -> None:
    """Add the columns; which images have a draft is told by their logs."""
    connection = op.get_bind()
    for column in _NEW_COLUMNS:
        op.add_column("images", column)
    for workspace_id, digest in connection.execute(sa.select(_images.c.workspace_id, _images.c.digest)).all():
        if _has_draft(connection, workspace_id, digest):
            image = sa.and_(_images.c.workspace_id == workspace_id, _images.c.digest == digest)
            connection.execute(_images.update().where(image).values(has_draft=True))


def _has_draft(connection: sa.Connection, workspace_id: int, digest: str) -> bool:
    entries = sa.select(_events.c.body).where(_events.c.workspace_id == workspace_id, _events.c.digest == digest)
    try:
        log = [event_from_json(body) for body in connection.execute(entries.order_by(_events.c.number)).scalars()]
    except LabelError:  # a damaged log is named when somebody opens it
        return False
    return replay(log).draft.is_open
