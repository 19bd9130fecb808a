"""The schema of version 1, which only SQLite files made before Alembic have; nothing makes it any more."""

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Such a file is there already, or a new one begins at the present schema."""
