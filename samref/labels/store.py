"""The store of all workspaces: an append-only log of events in SQLite, and the pictures beside it.

A workspace belongs to whoever holds its token; the store knows only a hash of it. Every method may be called from any
thread. What a method wrote is on the disk when it returns; when it raises, nothing was changed. Every method raises
:class:`~samref.errors.StorageError` when the disk is full or fails; that is not repeated below.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from samref.core.geometry import ImageSize
from samref.errors import StorageError
from samref.labels import pictures, workspaces
from samref.labels.classes import find_class, new_class, tidy_name
from samref.labels.database import Database
from samref.labels.files import BlobFolder, disk_errors
from samref.labels.ledger import CLASS_LOG, read_classes, read_events, revision, write_events
from samref.labels.log import (
    AnnotationsImported,
    ClassAdded,
    ClassChanged,
    ClassRemoved,
    Event,
    ImageOpened,
    ImageState,
    replay,
)
from samref.labels.names import tidy_file_name
from samref.labels.pictures import ImageSummary
from samref.labels.project import Annotation, ImageRecord, LabelClass, Project, default_classes

__all__ = ["ImageSummary", "NewWorkspace", "ProjectStore", "Pruned"]

_TOUCH_EVERY_S = 3600.0  # reading alone notes the time of use only this often: it should not cost a write


@dataclass(frozen=True, slots=True)
class NewWorkspace:
    """A workspace just made. The token is told here and never again."""

    id: int
    token: str


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed to keep the store within its bounds; ``bytes`` counts pictures only."""

    workspaces: int
    images: int
    bytes: int


class ProjectStore:
    """Workspaces, their logs and their pictures."""

    def __init__(
        self,
        path: Path,
        *,
        blobs: Path | None = None,
        max_bytes: int | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Open a store, or make one.

        Args:
            path: the SQLite file.
            blobs: folder for the pictures; "images" beside the file unless told otherwise.
            max_bytes: new pictures are refused when the store would hold more; None for no limit.
            clock: tells the time.
        """
        self._clock = clock
        self._max_bytes = max_bytes
        with disk_errors("The folder for labels could not be made"):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._blobs = BlobFolder(blobs or path.parent / "images")
        self._database = Database(path)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    # ---- workspaces

    def create_workspace(self) -> NewWorkspace:
        """A new workspace with the default classes, and the token that opens it."""
        token = secrets.token_urlsafe(32)
        now = self._now()
        with self._database.write() as connection:
            workspace_id = workspaces.insert_workspace(connection, token, now)
            added = [ClassAdded(label_class) for label_class in default_classes()]
            write_events(connection, workspace_id, CLASS_LOG, added, now)
        return NewWorkspace(workspace_id, token)

    def find_workspace(self, token: str) -> int | None:
        """The number of the workspace that the token opens, or None; notes that it is in use."""
        with self._database.read() as connection:
            found = workspaces.find(connection, token)
        if found is None:
            return None
        workspace_id, used_at = found
        now = self._now()
        if now - used_at > _TOUCH_EVERY_S:
            # On a full disk one can still look at what is there.
            with suppress(StorageError), self._database.write() as connection:
                workspaces.note_use(connection, workspace_id, now, lists_changed=False)
        return workspace_id

    def workspace_revision(self, workspace_id: int) -> int:
        """A number that grows whenever classes, the list of pictures or their annotations change.

        Raises:
            LabelError: there is no such workspace.
        """
        with self._database.read() as connection:
            return workspaces.revision(connection, workspace_id)

    # ---- the log

    def append(self, workspace_id: int, digest: str | None, *events: Event) -> int:
        """Add events to the log of a picture, or (``digest`` None) of the workspace's classes; all of them or none.

        Returns:
            The revision of that log: how many events it holds now.

        Raises:
            LabelError: an event does not fit (no such picture or class, a class that is still used, ...).
        """
        with self._database.write() as connection:
            return write_events(connection, workspace_id, digest or CLASS_LOG, events, self._now())

    def events(self, workspace_id: int, digest: str | None) -> tuple[Event, ...]:
        """The log of a picture, or (``digest`` None) of the workspace's classes; empty where there is none."""
        with self._database.read() as connection:
            return read_events(connection, workspace_id, digest or CLASS_LOG)

    def revision(self, workspace_id: int, digest: str | None) -> int:
        """How many events that log holds."""
        with self._database.read() as connection:
            return revision(connection, workspace_id, digest or CLASS_LOG)

    def state(self, workspace_id: int, digest: str) -> ImageState:
        """A picture after its log."""
        return replay(self.events(workspace_id, digest))

    # ---- classes

    def classes(self, workspace_id: int) -> tuple[LabelClass, ...]:
        """The classes of a workspace."""
        with self._database.read() as connection:
            return read_classes(connection, workspace_id)

    def add_class(self, workspace_id: int, name: str, colour: str | None = None) -> LabelClass:
        """Add a class; its number and, unless given, its colour are chosen here.

        Raises:
            LabelError: the name or colour cannot be used, or there are too many classes.
        """
        with self._database.write() as connection:
            label_class = new_class(read_classes(connection, workspace_id), name, colour)
            write_events(connection, workspace_id, CLASS_LOG, [ClassAdded(label_class)], self._now())
        return label_class

    def change_class(
        self, workspace_id: int, class_id: int, *, name: str | None = None, colour: str | None = None
    ) -> LabelClass:
        """Give a class another name, another colour, or both.

        Raises:
            LabelError: there is no such class, or the name or colour cannot be used.
        """
        with self._database.write() as connection:
            old = find_class(read_classes(connection, workspace_id), class_id)
            name = old.name if name is None else tidy_name(name)
            new = LabelClass(class_id, name, old.colour if colour is None else colour.lower())
            if new != old:
                write_events(connection, workspace_id, CLASS_LOG, [ClassChanged(new)], self._now())
        return new

    def remove_class(self, workspace_id: int, class_id: int) -> None:
        """Remove a class that no annotation uses.

        Raises:
            LabelError: there is no such class, it is used, or it is the last one.
        """
        self.append(workspace_id, None, ClassRemoved(class_id))

    # ---- pictures

    def add_image(self, workspace_id: int, data: bytes, file_name: str, size: ImageSize) -> str:
        """Put a picture into a workspace; nothing changes where it is there already.

        Args:
            workspace_id: the workspace.
            data: the file's bytes as they came.
            file_name: as it came; folders and control characters are cut off.
            size: of the upright picture.

        Returns:
            Its digest, the SHA-256 of ``data`` in hex.

        Raises:
            LabelError: there is no such workspace.
            StorageError: the store holds as much as it may.
        """
        digest = hashlib.sha256(data).hexdigest()
        name = tidy_file_name(file_name)
        part = self._blobs.stage(data)  # outside the lock: clicks need not wait for a large file
        try:
            with self._database.write() as connection:
                workspaces.revision(connection, workspace_id)  # refuses one that is gone
                if pictures.holds(connection, workspace_id, digest):
                    self._blobs.publish(part, digest)  # the same bytes; repairs a file that was lost
                    return digest
                if self._max_bytes is not None and pictures.bytes_held(connection) + len(data) > self._max_bytes:
                    raise StorageError("This server keeps as many pictures as it may. Try again later.")
                self._blobs.publish(part, digest)
                pictures.insert_image(connection, workspace_id, digest, name, size, len(data))
                opened = ImageOpened(digest, name, size.height, size.width)
                write_events(connection, workspace_id, digest, [opened], self._now())
        finally:
            self._blobs.discard(part)
        return digest

    def images(self, workspace_id: int) -> tuple[ImageSummary, ...]:
        """The pictures of a workspace, first come first."""
        with self._database.read() as connection:
            return pictures.list_images(connection, workspace_id)

    def image_bytes(self, workspace_id: int, digest: str) -> bytes:
        """A picture's file as it came, only for a workspace that holds it.

        Raises:
            LabelError: the workspace does not hold it.
        """
        with self._database.read() as connection:
            pictures.check_held(connection, workspace_id, digest)
        return self._blobs.read(digest)

    def project(self, workspace_id: int, digests: Collection[str] | None = None) -> Project:
        """The whole workspace, or some of its pictures, as a value: what the exporters take."""
        with self._database.read() as connection:  # one transaction: one moment
            records = []
            for image in pictures.list_images(connection, workspace_id):
                if digests is None or image.digest in digests:
                    state = replay(read_events(connection, workspace_id, image.digest))
                    records.append(ImageRecord(image.digest, image.file_name, image.size, state.annotations))
            return Project(read_classes(connection, workspace_id), tuple(records))

    def import_annotations(
        self,
        workspace_id: int,
        new_classes: Sequence[LabelClass],
        annotations: Mapping[str, Sequence[Annotation]],
    ) -> None:
        """Add classes, and annotations by digest of their picture; all of them or none.

        Raises:
            LabelError: a class or annotation does not fit.
        """
        now = self._now()
        with self._database.write() as connection:
            write_events(connection, workspace_id, CLASS_LOG, [ClassAdded(c) for c in new_classes], now)
            for digest, items in annotations.items():
                write_events(connection, workspace_id, digest, [AnnotationsImported(tuple(items))], now)

    # ---- bounds

    def bytes_held(self) -> int:
        """Bytes of all pictures and of the database."""
        with self._database.read() as connection:
            return pictures.bytes_held(connection)

    def prune(self, max_age: timedelta, max_bytes: int | None = None, keep: Collection[int] = ()) -> Pruned:
        """Remove workspaces not used for ``max_age``, then the longest unused until at most ``max_bytes`` are held.

        Args:
            max_age: how long a workspace may lie unused.
            max_bytes: what the store may hold; None for no limit.
            keep: workspaces that somebody has open; none of them is removed.
        """
        before = (self._clock() - max_age).timestamp()
        with self._database.write() as connection:
            removed = workspaces.remove_workspaces(connection, before, max_bytes, keep)
        with self._database.write() as connection:  # only now: files of a removal that failed must still be there
            images, freed = self._blobs.sweep(pictures.digests_held(connection))
        self._database.give_space_back()
        return Pruned(removed, images, freed)

    def _now(self) -> float:
        return self._clock().timestamp()
