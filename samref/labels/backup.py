"""Backups of a data folder, and their way back.

A backup is itself a data folder: a database that needs no write-ahead log, and the images that it names. The images
come first and the database is put in place last, so a backup that breaks off leaves the one before it as it was.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, count
from pathlib import Path

from samref.errors import StorageError
from samref.files import discard_parts, disk_errors, is_part, part_name, put_in_place
from samref.labels.folder import DATABASE_NAME, IMAGES_NAME, LOCK_NAME, BlobFolder, FolderLock, database_in
from samref.labels.queries import identity, image_bytes, list_workspaces, served_s
from samref.labels.sqlite import BESIDE, SqliteDatabase, empty_log, what_is_damaged


@dataclass(frozen=True, slots=True)
class Copied:
    """What a backup holds, or what was brought back from one."""

    workspaces: int
    images: int  # different ones
    annotations: int  # accepted objects
    bytes: int  # of the image files
    new_images: int  # copied just now
    new_bytes: int
    aside: Path | None  # where the database lies that was there before; None where there was none
    faults: tuple[str, ...]  # a sentence for each image whose file could not be copied


def back_up(folder: Path, out: Path) -> Copied:
    """Copy a data folder as it is at one moment, while a server may be working on it.

    ``out`` is missing, empty, or an earlier backup of the same labels, to which only new images are copied.
    """
    path = database_in(folder)
    if out.resolve() == folder.resolve() or folder.resolve() in out.resolve().parents:
        raise StorageError(f"{out} lies in the data folder {folder} itself. Choose another folder, or another disk.")
    _check_fit(out)
    with disk_errors(f"{out} could not be made"):
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
    with FolderLock(out), database_part(out) as part:
        _take_snapshot(path, part)
        _check_older(out, part)
        rows = _images_named_in(part)
        old, new = BlobFolder(folder / IMAGES_NAME, make=False), BlobFolder(out / IMAGES_NAME)
        discard_parts(new.folder)
        copied, faults = _copy_images(rows, old, new, lambda digest: new.size_bytes(digest) == rows[digest])
        with disk_errors(f"{out / DATABASE_NAME} was not saved"):
            put_in_place(part, out / DATABASE_NAME)
    return _counted(out / DATABASE_NAME, rows, copied, faults, None)


def restore(backup: Path, folder: Path) -> Copied:
    """Bring labels and missing images back from a backup; the present database is kept under another name.

    ``backup`` was made by :func:`back_up`, or is a copy of a data folder. Images that it does not name stay.
    """
    path = database_in(backup)
    if backup.resolve() == folder.resolve():
        raise StorageError(f"{backup} is the data folder itself. Name the folder of a backup.")
    with disk_errors(f"{folder} could not be made"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with FolderLock(folder), database_part(folder) as part:
        _take_snapshot(path, part)
        if (said := what_is_damaged(part)) is not None:
            raise StorageError(f"{path} is damaged ({said}), so nothing was restored. Use another backup.")
        rows = _images_named_in(part)
        kept, mine = BlobFolder(backup / IMAGES_NAME, make=False), BlobFolder(folder / IMAGES_NAME)
        copied, faults = _copy_images(rows, kept, mine, lambda digest: _is_whole(mine, digest))
        aside = replace_database(part, folder / DATABASE_NAME)
    return _counted(folder / DATABASE_NAME, rows, copied, faults, aside)


def _take_snapshot(path: Path, part: Path) -> None:
    """Write the database as it is at this moment to ``part``, whoever works on it."""
    with closing(SqliteDatabase(path, reads_only=True)) as source:
        source.copy_to(part)


def replace_database(part: Path, path: Path) -> Path | None:
    """Put a new database in the place of another, which is kept beside it under a name with the time.

    Only for who has the folder's lock. When this breaks off, either the old or the new database is there. Gives the
    name of the old one, or None where there was none.
    """
    beside = [suffix for suffix in BESIDE if Path(f"{path}{suffix}").exists()]
    aside = None
    with disk_errors(f"{path} was not replaced"):
        if path.is_file() or beside:
            # What is in the write-ahead log belongs to the old database, and must never be read into the new one.
            empty_log(path)
            aside = _free_name(path)
            if path.is_file():
                try:
                    os.link(path, aside)  # both names for a moment: no moment without a database
                except OSError:
                    shutil.copy2(path, aside)
            for suffix in BESIDE:
                with suppress(FileNotFoundError):
                    Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
        put_in_place(part, path)
    return aside


def _free_name(path: Path) -> Path:
    stem = f"{path.name}.before-{_stamp()}"
    names = (path.with_name(stem + ending) for ending in chain([""], (f"-{number}" for number in count(2))))
    return next(name for name in names if not name.exists())


def _stamp() -> str:
    return datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")


@contextmanager
def database_part(folder: Path) -> Iterator[Path]:
    """Where to write a database before it gets its name; removed at the end, and so is what a killed program left."""
    discard_parts(folder)
    part = part_name(folder)
    try:
        yield part
    finally:
        for suffix in ("", *BESIDE):
            with suppress(OSError):
                Path(f"{part}{suffix}").unlink(missing_ok=True)


def _check_fit(out: Path) -> None:
    """Refuse a folder in which something else lies."""
    with disk_errors(f"{out} could not be read"):
        names = [path.name for path in out.iterdir()] if out.exists() else []
    if DATABASE_NAME in names:
        return
    strange = sorted(name for name in names if name not in (IMAGES_NAME, LOCK_NAME) and not is_part(Path(name)))
    if strange:
        raise StorageError(f"{out} holds other things, {strange[0]!r} for one. Name an empty folder or a new one.")


def _check_older(out: Path, part: Path) -> None:
    """Refuse to write over labels of another folder, or over labels that are newer."""
    path = out / DATABASE_NAME
    if not path.exists():
        return
    ours, our_time = _told_by(part)
    try:
        theirs, their_time = _told_by(path)
    except StorageError as error:
        raise StorageError(f"The backup that is in {out} cannot be read. Name another folder for this one.") from error
    if theirs != ours:
        raise StorageError(f"{out} holds a backup of other labels. Name another folder for this one.")
    if their_time > our_time:
        raise StorageError(f"{out} holds newer labels than these. Name another folder for this backup.")
    if Path(f"{path}-wal").exists():
        raise StorageError(f"The backup in {out} is open in another program. Close that one, or name another folder.")


def _told_by(path: Path) -> tuple[str, float]:
    with closing(SqliteDatabase(path, reads_only=True)) as database, database.read() as connection:
        return identity(connection), served_s(connection)


def _images_named_in(path: Path) -> dict[str, int]:
    """The digests of all images that a database names, with the lengths of their files."""
    with closing(SqliteDatabase(path, reads_only=True)) as database, database.read() as connection:
        return image_bytes(connection)


def _copy_images(
    rows: dict[str, int], old: BlobFolder, new: BlobFolder, is_there: Callable[[str], bool]
) -> tuple[list[str], tuple[str, ...]]:
    """Copy what is not there: the digests that were copied, and a sentence for each that cannot be read."""
    copied, faults = [], []
    for digest in rows:
        if is_there(digest):
            continue
        try:
            data = old.read(digest)
        except StorageError as error:
            faults.append(f"Image {digest}: {error}")
            continue
        if new.size_bytes(digest) is not None:
            new.set_aside(digest, f"changed-{_stamp()}")
        new.add(data, digest)
        copied.append(digest)
    return copied, tuple(faults)


def _is_whole(blobs: BlobFolder, digest: str) -> bool:
    try:
        blobs.read(digest)
    except StorageError:
        return False
    return True


def _counted(
    path: Path, rows: dict[str, int], copied: list[str], faults: tuple[str, ...], aside: Path | None
) -> Copied:
    with closing(SqliteDatabase(path, reads_only=True)) as database, database.read() as connection:
        found = list_workspaces(connection)
    return Copied(
        workspaces=len(found),
        images=len(rows),
        annotations=sum(workspace.annotations for workspace in found),
        bytes=sum(rows.values()),
        new_images=len(copied),
        new_bytes=sum(rows[digest] for digest in copied),
        aside=aside,
        faults=faults,
    )
