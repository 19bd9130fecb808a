"""The store of all workspaces: an append-only log of events in a database, and a folder of images.

A workspace belongs to whoever holds one of its tokens; the store knows only hashes of them. Every method may be called
from any thread. What a method wrote is on the disk when it returns; when it raises, nothing was changed: a
:class:`~samref.errors.LabelError` where what is asked does not fit (no such workspace, image or class, ...), a
:class:`~samref.errors.StorageError` where the disk is full or fails, or an entry of a log is damaged.

Nothing is ever removed, with one exception: in a demo (``demo_days``) workspaces made there expire. How long they were
not used is told by a served clock, which counts the seconds of running servers: no wall clock that is wrong removes
them.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import sqlalchemy as sa

from samref.core.geometry import ImageSize
from samref.errors import LabelError, StorageError
from samref.files import bytes_in_words, discard_parts, disk_errors
from samref.labels import queries
from samref.labels.annotations import NOT_REVIEWED, Annotation, ImageRecord, Project, tidy_path
from samref.labels.classes import LabelClass, default_classes, find_class, new_class, tidy_name
from samref.labels.database import Database, ServerDatabase
from samref.labels.events import (
    AnnotationsImported,
    BoxesProposed,
    ClassAdded,
    ClassChanged,
    ClassRemoved,
    Event,
    ImageOpened,
    ImageRestored,
    ImageState,
    ProposedBox,
    replay,
)
from samref.labels.folder import DATABASE_NAME, IMAGES_NAME, BlobFolder, FolderLock
from samref.labels.formats.source import Source
from samref.labels.queries import CLASS_LOG, Appended, Entry, ImageSummary, WorkspaceSummary, append_entries
from samref.labels.sqlite import SqliteDatabase

MAX_UNTOUCHED = 10_000
"""Workspaces in which nothing was ever done that are kept; a visitor who only looks leaves one behind."""

DAY_S = 86400.0

_PROPOSED, _UNSEEN = '"type":"boxes_proposed"', '["reviewed","no"]'
"""How the logs write boxes that are to be done, and annotations that are to be looked at."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NewWorkspace:
    """A workspace just made. The token is told here and never again."""

    id: int
    token: str


@dataclass(frozen=True, slots=True)
class PutImage:
    """An image put into a workspace: whether it is new there, was there already, or came back from the removed ones."""

    digest: str
    outcome: Literal["new", "known", "restored"]


@dataclass(frozen=True, slots=True)
class StoreDescription:
    """What a person at the page may want to know of where the labels are."""

    folder: Path
    is_read_only: bool  # the disk is full or may not be written to: labels can only be looked at
    demo_days: float | None  # after so long without use workspaces made now are removed; None: kept for good


class ProjectStore:
    """Workspaces, their logs and their images."""

    def __init__(
        self,
        place: Path | str,
        *,
        blobs: Path | None = None,
        max_bytes: int | None = None,
        max_untouched: int = MAX_UNTOUCHED,
        demo_days: float = 0.0,
        lock: FolderLock | None = None,
        reads_only: bool = False,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open a store, or make one.

        Args:
            place: the SQLite file, or the address of a PostgreSQL database (``postgresql+psycopg://…``).
            blobs: folder for the images; "images" beside the file unless told otherwise. A database needs it.
            max_bytes: new images are refused when the store would hold more; None for no limit.
            max_untouched: workspaces in which nothing was ever done that are kept.
            demo_days: workspaces made now expire when not used for so many days of serving; 0 keeps them for good.
            lock: taken before anything is written, and held until :meth:`close`.
            reads_only: make nothing, and refuse every change.
            clock: tells the time.
            monotonic: tells how much time has passed, in seconds.
        """
        self._clock = clock
        self._max_bytes = max_bytes
        self._max_untouched = max_untouched
        self._demo_days = demo_days
        self._path = None if isinstance(place, str) else place
        if blobs is None:
            if self._path is None:
                raise StorageError("Labels in a database need a folder for their images, too. Name one.")
            blobs = self._path.parent / IMAGES_NAME
        if not reads_only:
            with disk_errors("The folder for labels could not be made"):
                blobs.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                if self._path is not None:
                    self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.blobs = BlobFolder(blobs, make=not reads_only)
        self.database: Database
        if isinstance(place, str):
            self.database = ServerDatabase(place, lock=lock, check_new=self._check_new, reads_only=reads_only)
        else:
            self.database = SqliteDatabase(place, lock=lock, check_new=self._check_new, reads_only=reads_only)
        try:
            with self.database.read() as connection:
                served_s = queries.served_s(connection)
                is_bare = queries.is_bare(connection)
            if lock is not None and not self.database.is_read_only:
                if is_bare and not demo_days:  # only a demo removes a workspace that holds an image
                    self._check_new()
                discard_parts(self.blobs.folder)  # nobody else writes here, so whoever staged them has died
        except BaseException:
            self.database.close()
            raise
        self._monotonic, self._served_before_s, self._started_at = monotonic, served_s, monotonic()
        self._looks: dict[int, tuple[float, float]] = {}  # wall clock and served clock of looks not yet written down

    def close(self) -> None:
        """Write down what is not yet on the disk, and close the database."""
        if not self.database.is_read_only:
            try:
                self._note_looks()
            except StorageError as error:
                _log.warning("When workspaces were last looked at was not saved: %s", error)
        self.database.close()

    def describe(self) -> StoreDescription:
        """Where the labels are and what may become of them, as it is now."""
        return StoreDescription(self.blobs.folder.parent, self.database.is_read_only, self._demo_days or None)

    def _check_new(self) -> None:
        """Refuse to begin with no labels where there were some: a new database would hide that the old one is lost."""
        count = sum(1 for _ in self.blobs.digests())
        there = f"{count} images are" if count != 1 else "an image is"
        if self._path is None:
            if count:
                raise StorageError(
                    f"The database of labels holds no workspace, but {there} in {self.blobs.folder}. Restore that "
                    "database, or name another folder for images."
                )
            return
        log = Path(f"{self._path}-wal")
        if count == 0 and not (log.is_file() and log.stat().st_size > 0):
            return
        raise StorageError(
            f"The database of labels {self._path} is missing or empty, but {there} in {self.blobs.folder}. Put the "
            f"database back, or restore a backup with `python -m samref workspaces restore BACKUP --data "
            f"{self._path.parent}`, or begin a new one that holds those images with `python -m samref workspaces "
            f"recover --data {self._path.parent}`."
        )

    # ---- workspaces

    def create_workspace(self) -> NewWorkspace:
        """A new workspace with the default classes, and the token that opens it.

        Of workspaces in which nothing was ever done, the one not used for the longest makes room where there are too
        many.
        """
        now, served = self._now(), self._served()
        with self.database.write() as connection:
            queries.remove_oldest_untouched(connection, self._max_untouched)
            workspace_id = queries.insert_workspace(connection, now, served, is_demo=self._demo_days > 0)
            token = queries.add_token(connection, workspace_id, now)
            added = [Entry.of(ClassAdded(label_class)) for label_class in default_classes()]
            append_entries(connection, workspace_id, CLASS_LOG, added, now, served)
        return NewWorkspace(workspace_id, token)

    def find_workspace(self, token: str) -> tuple[int, int] | None:
        """The number and the revision of the workspace that the token opens, or None; notes that it is in use."""
        with self.database.read() as connection:
            found = queries.find_workspace(connection, token)
        if found is not None:
            self._looks[found[0]] = (self._now(), self._served())  # written down by keep_house: no write for a look
        return found

    def add_key(self, workspace_id: int) -> str:
        """One more token that opens a workspace; those it has stay good."""
        now, served = self._now(), self._served()
        with self.database.write() as connection:
            # As a change of its lists, so that it does not count as one in which nothing was ever done.
            queries.note_change(connection, workspace_id, now, served)
            return queries.add_token(connection, workspace_id, now)

    def workspaces(self) -> tuple[WorkspaceSummary, ...]:
        """All workspaces, first made first."""
        with self.database.read() as connection:
            return queries.list_workspaces(connection)

    def workspace_revision(self, workspace_id: int) -> int:
        """A number that grows whenever classes, the list of images or their annotations change."""
        with self.database.read() as connection:
            return queries.workspace_revision(connection, workspace_id)

    # ---- the log

    def append(
        self, workspace_id: int, digest: str | None, *events: Event, after: ImageState | None = None
    ) -> Appended:
        """Add events to the log of an image, or (``digest`` None) of the workspace's classes; all of them or none.

        ``after`` is the image with these events, where the caller knows it; it spares the store reading the log.
        """
        entries = [Entry.of(event) for event in events]
        with self.database.write() as connection:
            return self._write(connection, workspace_id, digest or CLASS_LOG, entries, after)

    def append_to_all(self, workspace_id: int, digests: Collection[str], event: Event) -> None:
        """Add one event to the logs of several images; to all of them or to none."""
        entry = Entry.of(event)
        with self.database.write() as connection:
            for digest in digests:
                self._write(connection, workspace_id, digest, [entry])

    def events(self, workspace_id: int, digest: str | None) -> tuple[Event, ...]:
        """The log of an image, or (``digest`` None) of the workspace's classes; empty where there is none."""
        with self.database.read() as connection:
            return queries.read_events(connection, workspace_id, digest or CLASS_LOG)

    def revision(self, workspace_id: int, digest: str | None) -> int:
        """How many events that log holds."""
        with self.database.read() as connection:
            return queries.log_length(connection, workspace_id, digest or CLASS_LOG)

    def state(self, workspace_id: int, digest: str) -> ImageState:
        """An image after its log."""
        return replay(self.events(workspace_id, digest))

    # ---- classes

    def classes(self, workspace_id: int) -> tuple[LabelClass, ...]:
        """The classes of a workspace."""
        with self.database.read() as connection:
            return queries.read_classes(connection, workspace_id)

    def add_class(self, workspace_id: int, name: str, colour: str | None = None) -> LabelClass:
        """Add a class; its number and, unless given, its colour are chosen here."""
        with self.database.write() as connection:
            label_class = new_class(queries.read_classes(connection, workspace_id), name, colour)
            self._write(connection, workspace_id, CLASS_LOG, [Entry.of(ClassAdded(label_class))])
        return label_class

    def change_class(
        self, workspace_id: int, class_id: int, *, name: str | None = None, colour: str | None = None
    ) -> LabelClass:
        """Give a class another name, another colour, or both."""
        with self.database.write() as connection:
            old = find_class(queries.read_classes(connection, workspace_id), class_id)
            name = old.name if name is None else tidy_name(name)
            new = LabelClass(class_id, name, old.colour if colour is None else colour.lower())
            if new != old:
                self._write(connection, workspace_id, CLASS_LOG, [Entry.of(ClassChanged(new))])
        return new

    def remove_class(self, workspace_id: int, class_id: int) -> None:
        """Remove a class that no annotation uses."""
        self.append(workspace_id, None, ClassRemoved(class_id))

    # ---- images

    def add_image(
        self, workspace_id: int, data: bytes, file_name: str, size: ImageSize, digest: str | None = None
    ) -> str:
        """Put an image file into a workspace, and give its digest; see :meth:`put_image`."""
        return self.put_image(workspace_id, data, file_name, size, digest).digest

    def put_image(
        self, workspace_id: int, data: bytes, file_name: str, size: ImageSize, digest: str | None = None
    ) -> PutImage:
        """Put an image file into a workspace; one that is there already stays as it is, a removed one comes back.

        ``file_name`` may have folders (:func:`tidy_path`); ``size`` is that of the upright image.
        """
        digest = digest or hashlib.sha256(data).hexdigest()
        name = tidy_path(file_name)
        part = self.blobs.stage(data)  # outside the lock: clicks need not wait for a large file
        try:
            with self.database.write() as connection:
                queries.workspace_revision(connection, workspace_id)  # refuses one that is gone
                held = queries.list_images(connection, workspace_id, [digest], with_removed=True)
                if held:
                    self.blobs.publish(part, digest)  # the same bytes; repairs a file that was lost
                    if held[0].removed:
                        self._write(connection, workspace_id, digest, [Entry.of(ImageRestored())])
                    return PutImage(digest, "restored" if held[0].removed else "known")
                self._check_room(connection, len(data))
                self.blobs.publish(part, digest)
                queries.insert_image(connection, workspace_id, digest, name, size, len(data))
                opened = ImageOpened(digest, name, size.height, size.width)
                self._write(connection, workspace_id, digest, [Entry.of(opened)])
        finally:
            self.blobs.discard(part)
        return PutImage(digest, "new")

    def images(
        self, workspace_id: int, *, with_removed: bool = False, changed_after: int | None = None
    ) -> tuple[ImageSummary, ...]:
        """The images of a workspace, first come first; those changed since a revision only, where one is given."""
        with self.database.read() as connection:
            return queries.list_images(connection, workspace_id, with_removed=with_removed, changed_after=changed_after)

    def image(self, workspace_id: int, digest: str) -> ImageSummary | None:
        """One image of a workspace, removed or not; None when the workspace does not hold it."""
        with self.database.read() as connection:
            return next(iter(queries.list_images(connection, workspace_id, [digest], with_removed=True)), None)

    def image_bytes(self, workspace_id: int, digest: str) -> bytes:
        """An image's file as it came, only for a workspace that holds it."""
        with self.database.read() as connection:
            queries.check_held(connection, workspace_id, digest)
        return self.blobs.read(digest)

    def project(self, workspace_id: int, digests: Collection[str] | None = None) -> Project:
        """The whole workspace, or some of its images, as a value: what the exporters take; without removed images.

        Of the whole, an image whose log is damaged is left out and named in ``left_out``: it should not keep the
        others from being exported.
        """
        with self.database.read() as connection:  # one transaction: one moment
            records: list[ImageRecord] = []
            left_out: list[str] = []
            for image in queries.list_images(connection, workspace_id, digests):
                try:
                    with self.database.errors():
                        state = replay(queries.read_events(connection, workspace_id, image.digest))
                except StorageError as error:
                    if digests is not None:
                        raise
                    left_out.append(f"{image.file_name} ({image.digest}): {error}")
                    continue
                records.append(ImageRecord(image.digest, image.file_name, image.size, state.annotations))
            return Project(queries.read_classes(connection, workspace_id), tuple(records), tuple(left_out))

    @contextmanager
    def reading(self, workspace_id: int, digests: Collection[str] | None = None) -> Iterator[Source]:
        """The whole workspace, or some of its images, to be gone through an image at a time.

        All passes see the same moment. An image whose log is damaged is left out; of one image only, it is an error.
        """
        with self.database.read() as connection:
            listed = queries.list_images(connection, workspace_id, digests)
            classes = queries.read_classes(connection, workspace_id)
            heads = tuple(ImageRecord(image.digest, image.file_name, image.size) for image in listed)

            def read() -> Iterator[ImageRecord]:
                for head in heads:
                    try:
                        with self.database.errors():
                            state = replay(queries.read_events(connection, workspace_id, head.digest))
                    except StorageError as error:
                        if digests is not None and len(heads) == 1:
                            raise
                        source.left_out[head.digest] = f"{head.file_name} ({head.digest}): {error}"
                        continue
                    yield replace(head, annotations=state.annotations)

            source = Source(classes, heads, read, lambda digest: self.image_bytes(workspace_id, digest))
            source.drafts.update(image.digest for image in listed if image.has_draft)
            yield source

    def import_annotations(
        self,
        workspace_id: int,
        new_classes: Sequence[LabelClass],
        annotations: Mapping[str, Sequence[Annotation]],
        boxes: Mapping[str, Sequence[ProposedBox]] = MappingProxyType({}),
    ) -> None:
        """Add classes, and by digest of their image annotations and boxes to become some; all of them or none."""
        added = [Entry.of(ClassAdded(label_class)) for label_class in new_classes]
        imported = [(digest, Entry.of(AnnotationsImported(tuple(items)))) for digest, items in annotations.items()]
        imported += [(digest, Entry.of(BoxesProposed(tuple(items)))) for digest, items in boxes.items()]
        with self.database.write() as connection:
            self._write(connection, workspace_id, CLASS_LOG, added)
            for digest, entry in imported:
                self._write(connection, workspace_id, digest, [entry])

    # ---- boxes that shall become annotations

    def proposed_boxes(self, workspace_id: int, digest: str | None = None) -> dict[str, tuple[ProposedBox, ...]]:
        """The boxes that are not annotations yet, by digest of their image, or those of one image.

        Of all images, those whose log is damaged are left out: they should not keep the others from being done.
        """
        digests = self._digests_with(workspace_id, _PROPOSED, digest)
        found = {each: state.proposed for each, state in self._states(workspace_id, digests, digest is not None)}
        return {each: proposed for each, proposed in found.items() if proposed}

    def not_reviewed(self, workspace_id: int) -> list[tuple[str, Annotation]]:
        """The annotations that no person has looked at yet, each with the digest of its image, lowest score first."""
        digests = self._digests_with(workspace_id, _UNSEEN)
        states = self._states(workspace_id, digests, must_read=False)
        found = [(digest, each) for digest, state in states for each in state.annotations if _is_unseen(each)]
        return sorted(found, key=lambda one: one[1].score)

    def _digests_with(self, workspace_id: int, written: str, digest: str | None = None) -> tuple[str, ...]:
        with self.database.read() as connection:
            return queries.digests_with(connection, workspace_id, written, digest)

    def _states(self, workspace_id: int, digests: Sequence[str], must_read: bool) -> Iterator[tuple[str, ImageState]]:
        for digest in digests:
            try:
                yield digest, self.state(workspace_id, digest)
            except StorageError as error:
                if must_read:
                    raise
                _log.warning("An image was left out: %s", error)

    # ---- bounds and housekeeping

    def keep_house(self) -> None:
        """Write down the served clock, remove what expired in a demo, and shorten the write-ahead log.

        To be called about once a minute: so much of the served clock is lost when the server is killed.
        """
        self._note_looks()
        if self._demo_days > 0:
            self._expire(self._served() - self._demo_days * DAY_S)
        self.database.checkpoint()

    def _note_looks(self) -> None:
        looks = self._looks.copy()
        with self.database.write(is_upkeep=True) as connection:
            queries.note_looks(connection, looks)
            queries.save_served_s(connection, self._served())
        for workspace_id, look in looks.items():
            if self._looks.get(workspace_id) == look:  # otherwise somebody looked again meanwhile
                self._looks.pop(workspace_id, None)

    def _expire(self, used_before_s: float) -> None:
        with self.database.read() as connection:
            found = queries.expired_workspaces(connection, used_before_s)
        for workspace_id, used_s in found:
            with self.database.write() as connection:
                if workspace_id in self._looks:  # looked at just now
                    continue
                images = queries.list_images(connection, workspace_id, with_removed=True)
                digests = [image.digest for image in images]
                queries.remove_workspace(connection, workspace_id)
            removed, freed = self._remove_images(digests)
            _log.warning(
                "Removed demo workspace %d: not used for %.2f days of serving, and SAMREF_DEMO_DAYS is %g. With it "
                "went %d images (%s); %d more stay because another workspace holds them.",
                workspace_id,
                (self._served() - used_s) / DAY_S,
                self._demo_days,
                removed,
                bytes_in_words(freed),
                len(digests) - removed,
            )
        if found:
            self.database.give_space_back()

    def _remove_images(self, digests: Sequence[str]) -> tuple[int, int]:
        """Remove those of ``digests`` that no workspace holds any more: their number and bytes."""
        removed = freed = 0
        with self.database.write() as connection:  # so that nobody adds one of them meanwhile
            for digest in digests:
                if not queries.is_held(connection, digest):
                    freed += self.blobs.remove(digest)
                    removed += 1
        return removed, freed

    def _check_room(self, connection: sa.Connection, size: int) -> None:
        if self._max_bytes is None:
            return
        held = queries.image_bytes_held(connection) + self.database.bytes_in_use(connection)
        excess = held + size - self._max_bytes
        if excess > 0:
            raise StorageError(
                f"This server holds {bytes_in_words(held)} of the {bytes_in_words(self._max_bytes)} it may hold, so "
                f"this image of {bytes_in_words(size)} is {bytes_in_words(excess)} too much. Everything that is here "
                "stays; whoever runs the server can allow more with SAMREF_STORE_BYTES."
            )

    def _write(
        self,
        connection: sa.Connection,
        workspace_id: int,
        digest: str,
        entries: Sequence[Entry],
        after: ImageState | None = None,
    ) -> Appended:
        return append_entries(connection, workspace_id, digest, entries, self._now(), self._served(), after)

    def _now(self) -> float:
        return self._clock().timestamp()

    def _served(self) -> float:
        """Seconds that servers have been running on these labels: it stands still while none runs, never goes back."""
        return self._served_before_s + max(0.0, self._monotonic() - self._started_at)


def _is_unseen(annotation: Annotation) -> bool:
    return NOT_REVIEWED[0] in annotation.attributes


def accepted_projects(folder: Path) -> dict[int, Project]:
    """The project of every workspace that has an annotation, by the workspace's number: to train on.

    The page opens a workspace by its token; who can read the files needs none. A server may run on them meanwhile.
    Images whose log is damaged are left out, with a warning.
    """
    path = folder / DATABASE_NAME
    if not path.is_file():
        raise LabelError(f"There is no {DATABASE_NAME} in {folder}: that is not a folder that samref keeps labels in.")
    with closing(ProjectStore(path, reads_only=True)) as store:
        projects = {workspace.id: store.project(workspace.id) for workspace in store.workspaces() if workspace.images}
    for project in projects.values():
        for sentence in project.left_out:
            _log.warning("Left out: %s", sentence)
    return {number: project for number, project in projects.items() if any(i.annotations for i in project.images)}
