"""The folder that samref keeps labels in: what lies where, and the lock that lets one server at a time write there."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

import filelock

from samref.errors import StorageError
from samref.files import disk_errors

DATABASE_NAME = "samref.sqlite"
"""Name of the database in the data folder."""

IMAGES_NAME = "images"
"""Name of the folder beside it with the image files, each named by the SHA-256 of its content."""

LOCK_NAME = "samref.lock"


def database_in(folder: Path) -> Path:
    """The database of a data folder.

    Raises:
        StorageError: there is none.
    """
    path = folder / DATABASE_NAME
    if not path.is_file():
        raise StorageError(f"There is no {DATABASE_NAME} in {folder}: name the folder that samref keeps labels in.")
    return path


def image_file(folder: Path, digest: str) -> Path:
    """Where the file of an image lies."""
    return folder / IMAGES_NAME / digest[:2] / digest


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
