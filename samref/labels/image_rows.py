"""The images of the workspaces as rows; :mod:`samref.labels.store` opens and closes the transactions."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from samref.core.geometry import ImageSize
from samref.errors import LabelError
from samref.labels import tables
from samref.labels.database import bytes_in_use

__all__ = [
    "ImageSummary",
    "bytes_held",
    "check_held",
    "digests_of",
    "holds",
    "insert_image",
    "is_held",
    "list_images",
]


@dataclass(frozen=True, slots=True)
class ImageSummary:
    """A line of the list of images; ``annotations`` is their number."""

    digest: str
    file_name: str
    size: ImageSize
    annotations: int


def insert_image(
    connection: sa.Connection, workspace_id: int, digest: str, name: str, size: ImageSize, size_bytes: int
) -> None:
    """Note that a workspace holds an image."""
    row = {
        "workspace_id": workspace_id,
        "digest": digest,
        "file_name": name,
        "height": size.height,
        "width": size.width,
        "bytes": size_bytes,
        "events": 0,
    }
    connection.execute(tables.image_table.insert(), row)


def holds(connection: sa.Connection, workspace_id: int, digest: str) -> bool:
    """Whether a workspace holds an image."""
    images = tables.image_table.c
    held = sa.select(images.id).where(images.workspace_id == workspace_id, images.digest == digest)
    return connection.execute(held).first() is not None


def check_held(connection: sa.Connection, workspace_id: int, digest: str) -> None:
    """Refuse an image that a workspace does not hold.

    Raises:
        LabelError: it does not.
    """
    if not holds(connection, workspace_id, digest):
        raise LabelError("This workspace does not hold that image; open it first.")


def list_images(connection: sa.Connection, workspace_id: int) -> tuple[ImageSummary, ...]:
    """The images of a workspace with their numbers of annotations, first come first."""
    images, annotations = tables.image_table.c, tables.annotation_table.c
    count = (
        sa.select(sa.func.count())
        .where(annotations.workspace_id == images.workspace_id, annotations.digest == images.digest)
        .scalar_subquery()
    )
    rows = connection.execute(
        sa.select(images.digest, images.file_name, images.height, images.width, count)
        .where(images.workspace_id == workspace_id)
        .order_by(images.id)
    )
    return tuple(ImageSummary(digest, name, ImageSize(height, width), n) for digest, name, height, width, n in rows)


def digests_of(connection: sa.Connection, workspace_id: int) -> list[str]:
    """The digests of the images of a workspace, first come first."""
    images = tables.image_table.c
    wanted = sa.select(images.digest).where(images.workspace_id == workspace_id).order_by(images.id)
    return list(connection.execute(wanted).scalars())


def is_held(connection: sa.Connection, digest: str) -> bool:
    """Whether any workspace holds an image."""
    images = tables.image_table.c
    return connection.execute(sa.select(images.id).where(images.digest == digest).limit(1)).first() is not None


def bytes_held(connection: sa.Connection) -> int:
    """Bytes of all images, each counted once, and of the database."""
    images = tables.image_table.c
    each = sa.select(sa.func.max(images.bytes).label("bytes")).group_by(images.digest).subquery()
    of_images = connection.execute(sa.select(sa.func.sum(each.c.bytes))).scalar() or 0
    return int(of_images) + bytes_in_use(connection)
