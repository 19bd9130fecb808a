"""Fetches labels home: the newest snapshot that is whole, the segments after it, and the image files.

What cannot be read is named, and what comes after it is not made up: the labels are then those of the last moment
before it.
"""

from __future__ import annotations

import gzip
import json
import logging
import shutil
import time
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from samref.errors import StorageError
from samref.files import bytes_in_words, counted, disk_errors, part_name, write_atomically
from samref.labels.backup import database_part, replace_database
from samref.labels.folder import DATABASE_NAME, IMAGES_NAME, BlobFolder, FolderLock
from samref.labels.queries import image_bytes, list_workspaces
from samref.labels.shipping.depot import DamagedError, Depot, DepotError, Log, Snapshot
from samref.labels.shipping.segments import SegmentError, apply, unpack
from samref.labels.sqlite import SqliteDatabase, what_is_damaged

NOTE_NAME = "shipped.json"
"""A file in the data folder: where its labels are shipped to, and in which generation."""

THREADS = 8

PATIENCE_S = 20.0
"""A place that cannot be reached when a server starts with nothing is asked again for so long."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Fetched:
    """What was fetched home.

    Attributes:
        generation: that it is of.
        at: all that was done before this moment is in it; seconds since 1970.
        workspaces: how many.
        images: how many different ones.
        bytes: of the image files.
        aside: where the database lies that was there before; None where there was none.
        faults: a sentence for each thing that could not be read.
    """

    generation: str
    at: float
    workspaces: int = 0
    images: int = 0
    bytes: int = 0
    aside: Path | None = None
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        what = f"{counted(self.workspaces, 'workspace')}, {counted(self.images, 'image')}"
        return f"{what} ({bytes_in_words(self.bytes)}), as they were at {moment_in_words(self.at)}"


@dataclass(slots=True)
class Begun:
    """How a server begins with the place that it ships to.

    Attributes:
        depot: the place; None where nothing can be shipped in this run.
        generation: one's own; None where it is to be claimed later.
        fetched: what was fetched, if anything was.
        is_level: whether all that is in the folder is there, too.
        problem: why nothing is shipped.
    """

    depot: Depot | None = None
    generation: str | None = None
    fetched: Fetched | None = None
    is_level: bool = False
    problem: str | None = None


def begin(folder: Path, open_depot: Callable[[], Depot], *, patience_s: float = PATIENCE_S) -> Begun:
    """Claim a generation, and fetch the labels where the data folder has none, or older ones.

    Only for who has the folder's lock. A place that cannot be used does not keep a server from running: then
    :attr:`Begun.problem` says what that means.

    Raises:
        SettingsError: the address cannot be used at all.
        StorageError: the labels in the folder and those there are not of one kin, or the disk fails.
    """
    deadline = time.monotonic() + patience_s
    pause_s = 1.0
    depot: Depot | None = None
    while True:
        try:
            depot = open_depot()
            return _begin(folder, depot)
        except DepotError as error:
            if depot is not None and holds_labels(folder):
                _log.warning("%s Shipping goes on when it can be reached.", error)
                return Begun(depot)  # this folder goes on; the shipper claims later and looks whether it may
            if depot is None or time.monotonic() + pause_s > deadline:
                return Begun(
                    problem=f"{error} Labels that were kept there are not here, and what is done now does not survive "
                    "the loss of this machine's disk, such as a restart of a Space. A restart tries again."
                )
            _log.warning("%s Trying again.", error)
        time.sleep(pause_s)
        pause_s *= 2


def _begin(folder: Path, depot: Depot) -> Begun:
    note = read_note(folder, depot)
    is_ours = holds_labels(folder) and not note.get("is_fetching")
    if is_ours and "generation" not in note and depot.log().newest is not None:
        raise StorageError(
            f"{folder} holds labels that were not shipped to {depot.shown}, and others are there. Ship to an empty "
            "address, or begin with an empty data folder."
        )
    generation = depot.claim()
    log = depot.log()  # after the claim: what an older server writes from now on, it does not call saved
    if log.newest is None or (is_ours and note.get("generation", "") >= log.newest):
        write_note(folder, depot, generation)
        return Begun(depot, generation, is_level=not is_ours)
    write_note(folder, depot, generation, is_fetching=True)
    fetched = _fetch(depot, log, folder)
    write_note(folder, depot, generation)
    if fetched.faults:
        for each in {*depot.claims()} - {generation}:
            depot.keep(each)  # for somebody to save what we could not read
    return Begun(depot, generation, fetched, is_level=not fetched.faults)


def may_go_on(folder: Path, depot: Depot) -> bool:
    """Whether the labels of a folder that was not asked about at the start are the newest."""
    newest = depot.log().newest
    return newest is None or read_note(folder, depot).get("generation", "") >= newest


def fetch_home(depot: Depot, folder: Path) -> Fetched:
    """Fetch the labels into a folder that holds none yet; a server may be shipping meanwhile.

    Raises:
        StorageError: the folder holds something, or there is nothing to fetch.
    """
    log = depot.log()
    if log.newest is None:
        raise StorageError(f"No labels were shipped to {depot.shown}. Look whether the address is right.")
    with disk_errors(f"{folder} could not be made"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise StorageError(f"{folder} is not empty. Name a new folder.")
    with FolderLock(folder):
        return _fetch(depot, log, folder)


# ---- what the folder says of itself


def holds_labels(folder: Path) -> bool:
    """Whether a data folder holds a workspace; a database that cannot be read counts as one that does."""
    path = folder / DATABASE_NAME
    if not path.is_file():
        return any(BlobFolder(folder / IMAGES_NAME, make=False).digests())
    try:
        with closing(SqliteDatabase(path, reads_only=True)) as database, database.read() as connection:
            return bool(list_workspaces(connection))
    except StorageError:
        return True


def read_note(folder: Path, depot: Depot) -> Mapping[str, Any]:
    """What the folder says about being shipped to this place; empty where it says nothing."""
    try:
        note = json.loads((folder / NOTE_NAME).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) and note.get("address") == depot.shown else {}


def write_note(folder: Path, depot: Depot, generation: str, *, is_fetching: bool = False) -> None:
    """Have the folder say in which generation its labels are shipped."""
    note = {"address": depot.shown, "generation": generation, "is_fetching": is_fetching}
    write_atomically(folder / NOTE_NAME, json.dumps(note).encode())


# ---- fetching


def _fetch(depot: Depot, log: Log, folder: Path) -> Fetched:
    faults: list[str] = []
    with database_part(folder) as part:
        for snapshot in reversed(log.snapshots):
            try:
                _fetch_snapshot(depot, snapshot, folder, part)
            except DamagedError as error:
                faults.append(str(error))
                continue
            fetched = Fetched(snapshot.generation, snapshot.at, faults=faults)
            _apply_segments(depot, log, snapshot, part, fetched)
            break
        else:
            raise DepotError(f"None of the snapshots at {depot.shown} can be read: {faults[0]}")
        if (said := what_is_damaged(part)) is not None:
            raise DepotError(f"What was fetched from {depot.shown} is damaged: {said}")
        _fetch_images(depot, folder, part, fetched)
        fetched.aside = replace_database(part, folder / DATABASE_NAME)
    for fault in fetched.faults:
        _log.warning("Not fetched: %s", fault)
    return fetched


def _fetch_snapshot(depot: Depot, snapshot: Snapshot, folder: Path, part: Path) -> None:
    packed = part_name(folder)
    try:
        with disk_errors(f"{part} was not saved"):
            depot.fetch_snapshot(snapshot, packed)
            try:
                with gzip.open(packed) as source, part.open("wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
            except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                raise DamagedError(f"The object {snapshot.name} at {depot.shown} is damaged.") from error
    finally:
        packed.unlink(missing_ok=True)


def _apply_segments(depot: Depot, log: Log, snapshot: Snapshot, part: Path, fetched: Fetched) -> None:
    """Make what was done after a snapshot; what was sent twice is in more than one segment and is made once."""
    number = snapshot.number
    segments = [each for each in log.segments if each.generation == snapshot.generation]
    while True:
        following = [each for each in segments if each.first <= number + 1 <= each.last]
        for segment in sorted(following, key=lambda each: -each.last):
            segments.remove(segment)
            try:
                number = apply(part, unpack(depot.read_segment(segment)), number)
            except (DamagedError, SegmentError) as error:
                fetched.faults.append(str(error))
                continue
            fetched.at = max(fetched.at, segment.at)
            break
        else:
            break
    later = [each for each in segments if each.first > number + 1]
    if later:
        fetched.faults.append(
            f"{counted(len(later), 'segment')} at {depot.shown} cannot be used, since one before them is missing or "
            f"damaged. What was done after {moment_in_words(fetched.at)} is not here."
        )


def _fetch_images(depot: Depot, folder: Path, part: Path, fetched: Fetched) -> None:
    with closing(SqliteDatabase(part, reads_only=True)) as database, database.read() as connection:
        sizes = image_bytes(connection)
        fetched.workspaces = len(list_workspaces(connection))
    blobs = BlobFolder(folder / IMAGES_NAME)
    missing = [digest for digest, size in sizes.items() if blobs.size_bytes(digest) != size]

    def fetch(digest: str) -> str | None:
        try:
            blobs.add(depot.read_blob(digest), digest)
        except DamagedError as error:
            return f"Image {digest}: {error}"
        return None

    with ThreadPoolExecutor(THREADS, thread_name_prefix="samref-fetch") as threads:
        fetched.faults += [fault for fault in threads.map(fetch, missing) if fault is not None]
    fetched.images, fetched.bytes = len(sizes), sum(sizes.values())


def moment_in_words(seconds: float) -> str:
    """A time as people say it."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")
