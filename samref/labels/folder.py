"""The folder that samref keeps labels in: what lies where, the image files, and the lock that one server holds."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import filelock

from samref.errors import StorageError
from samref.files import disk_errors, put_in_place, sync_folder, write_part
from samref.labels.annotations import DIGEST

DATABASE_NAME = "samref.sqlite"
"""Name of the database in the data folder."""

IMAGES_NAME = "images"
"""Name of the folder beside it with the image files, each named by the SHA-256 of its content."""

LOCK_NAME = "samref.lock"


def database_in(folder: Path) -> Path:
    """The database of a data folder."""
    path = folder / DATABASE_NAME
    if not path.is_file():
        raise StorageError(f"There is no {DATABASE_NAME} in {folder}: name the folder that samref keeps labels in.")
    return path


def image_file(folder: Path, digest: str) -> Path:
    """Where the file of an image lies in a data folder."""
    return folder / IMAGES_NAME / digest[:2] / digest


class BlobFolder:
    """Files by the digest of their content, in 256 subfolders. What lies there is never changed.

    Every method raises :class:`StorageError` when the disk refuses.
    """

    def __init__(self, folder: Path, *, make: bool = True) -> None:
        """Make the folder, for this user only, if it is not there; without ``make`` it may be missing."""
        self.folder = folder
        self.on_published: Callable[[str], None] = lambda _: None  # told of each file that came, by its digest,
        self.on_removed: Callable[[str], None] = lambda _: None  # and of each that went
        if make:
            with disk_errors("The folder for images could not be made"):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def stage(self, data: bytes) -> Path:
        """Put ``data`` on the disk under a passing name; :meth:`publish` gives it its own, :meth:`discard` drops it."""
        with disk_errors("The image was not saved"):
            return write_part(self.folder, data)

    def add(self, data: bytes, digest: str) -> None:
        """Put a file into the folder, durable when this returns."""
        part = self.stage(data)
        try:
            self.publish(part, digest)
        finally:
            self.discard(part)

    def publish(self, part: Path, digest: str) -> None:
        """Give a staged file its final name, durable when this returns."""
        path = self._path(digest)
        with disk_errors("The image was not saved"):
            if not path.parent.exists():
                path.parent.mkdir(mode=0o700, exist_ok=True)
                sync_folder(self.folder)
            put_in_place(part, path)
        self.on_published(digest)

    def discard(self, part: Path) -> None:
        """Remove a staged file, if it still is one."""
        with disk_errors("An unfinished file could not be removed"):
            part.unlink(missing_ok=True)

    def read(self, digest: str) -> bytes:
        """The content with that digest.

        Raises:
            StorageError: it is not there, cannot be read, or is not what was put there.
        """
        with disk_errors("The image could not be read"):
            data = self._path(digest).read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            raise StorageError(
                "The file of this image was changed on the disk, so its labels may not fit it any more. Open the "
                "original image once more, or put back its file from a backup."
            )
        return data

    def size_bytes(self, digest: str) -> int | None:
        """Length of the file with that digest; None where there is none."""
        try:
            return self._path(digest).stat().st_size
        except OSError:
            return None

    def digests(self) -> Iterator[str]:
        """The digests of all files, in no order."""
        with disk_errors("The folder of images could not be read"):
            for path in self.folder.glob("??/*"):
                if DIGEST.fullmatch(path.name) and path.parent.name == path.name[:2]:
                    yield path.name

    def remove(self, digest: str) -> int:
        """Remove one file, and give its length; 0 where there is none."""
        path = self._path(digest)
        with disk_errors("An image could not be removed"):
            size = self.size_bytes(digest)
            path.unlink(missing_ok=True)
        self.on_removed(digest)
        return size or 0

    def set_aside(self, digest: str, mark: str) -> None:
        """Rename a file, so that another can take its place."""
        path = self._path(digest)
        with disk_errors("An image could not be renamed"):
            path.rename(path.with_name(f"{digest}.{mark}"))

    def _path(self, digest: str) -> Path:
        return self.folder / digest[:2] / digest


class FolderLock:
    """Held by the one program that may change a data folder at will; the system lets go of it when that program ends.

    The file stays when the lock is released: to remove it would let two programs hold locks of one name.
    """

    def __init__(self, folder: Path) -> None:
        """Nothing is locked or written yet."""
        self._folder = folder
        self._path = folder / LOCK_NAME
        self._lock = filelock.FileLock(self._path, timeout=0, thread_local=False)

    def acquire(self) -> None:
        """Take the lock; nothing happens where this object has it already.

        Raises:
            UnwritableError: the disk is full or may not be written to.
            StorageError: another program has it.
        """
        if self._lock.is_locked:
            return
        with disk_errors(f"{self._path} could not be made"):
            try:
                self._lock.acquire()
            except filelock.Timeout as error:  # an OSError, too
                raise StorageError(
                    f"The folder {self._folder} is in use by another samref{self._holder()}. Stop that one first, or "
                    "name another folder with --data."
                ) from error
        with suppress(OSError):  # only for the sentence above
            self._path.write_text(f"process {os.getpid()} on {socket.gethostname()}\n", encoding="utf-8")

    def release(self) -> None:
        """Let go of the lock, if it is held."""
        if self._lock.is_locked:
            with suppress(OSError):
                self._path.write_text("", encoding="utf-8")
            self._lock.release()

    def __enter__(self) -> FolderLock:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _holder(self) -> str:
        with suppress(OSError, UnicodeDecodeError):
            text = self._path.read_text(encoding="utf-8").strip()
            if text.isprintable() and text:
                return f" ({text[:200]})"
        return ""
