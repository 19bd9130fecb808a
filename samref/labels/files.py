"""Files that are either the old or the new version, never half of one; and a folder of images named by digest."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from samref.errors import StorageError, UnwritableError

__all__ = [
    "BlobFolder",
    "bytes_in_words",
    "disk_errors",
    "part_name",
    "put_in_place",
    "replacing",
    "write_atomically",
]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_PART = ".part"
_UNFINISHED = re.compile(r"\.[0-9a-f]{16}\.part")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turn what the operating system says into a :class:`StorageError` about ``what`` was to be saved or read.

    Raises:
        UnwritableError: the disk is full, or this program may not write there.
        StorageError: anything else.
    """
    try:
        yield
    except OSError as error:
        kind = UnwritableError if error.errno in (*_FULL, *_FORBIDDEN) else StorageError
        if error.errno in _FULL:
            text = "the disk is full. Free some space and try again; what was saved before is untouched."
        elif error.errno in _FORBIDDEN:
            text = "this program may not write there. Choose another folder or change its permissions."
        elif error.errno == errno.ENOENT:
            text = "the file or its folder is not there."
        else:
            text = f"the disk reports {error.strerror or error}."
        raise kind(f"{what}: {text}") from error


def bytes_in_words(count: int) -> str:
    """``count`` bytes as people say it: 12 kB, 3.4 MB, 50.0 GB."""
    if count < 100_000:
        return f"{count / 1e3:.1f} kB"
    return f"{count / 1e6:.1f} MB" if count < 1_000_000_000 else f"{count / 1e9:.1f} GB"


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, durable when this returns; on a failure the old file is still there.

    Raises:
        StorageError: no space, no permission, no such folder.
    """
    with disk_errors(f"{path} was not saved"):
        part = _write_part(path.parent, data)
        put_in_place(part, path)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write a file that takes the place of ``path`` at the end; on any exception the old file is still there.

    Raises:
        StorageError: no space, no permission, no such folder.
    """
    part = part_name(path.parent)
    try:
        with disk_errors(f"{path} was not saved"):
            yield part
            with part.open("rb") as file:
                os.fsync(file.fileno())
            put_in_place(part, path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def part_name(folder: Path) -> Path:
    """The passing name of a file that is being written."""
    return folder / f".{secrets.token_hex(8)}{_PART}"


def _write_part(folder: Path, data: bytes) -> Path:
    """A new file beside the final one, with its content on the disk."""
    part = part_name(folder)
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return part


def put_in_place(part: Path, path: Path) -> None:
    """Give a finished file its name, durable when this returns; may raise what the operating system says."""
    try:
        part.replace(path)
        _sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename durable, where folders can be opened (not on Windows, whose file system does it itself)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class BlobFolder:
    """Files by the digest of their content, in 256 subfolders. What lies there is never changed."""

    def __init__(self, folder: Path, *, make: bool = True) -> None:
        """Make the folder, for this user only, if it is not there.

        Args:
            folder: where the files are.
            make: False leaves the disk as it is; the folder may be missing then.

        Raises:
            StorageError: it cannot be made.
        """
        self._folder = folder
        if make:
            with disk_errors("The folder for images could not be made"):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def folder(self) -> Path:
        """Where the files are."""
        return self._folder

    def stage(self, data: bytes) -> Path:
        """Put ``data`` on the disk under a passing name; :meth:`publish` gives it its own, :meth:`discard` drops it.

        Raises:
            StorageError: no space or no permission.
        """
        with disk_errors("The image was not saved"):
            return _write_part(self._folder, data)

    def add(self, data: bytes, digest: str) -> None:
        """Put a file into the folder, durable when this returns.

        Raises:
            StorageError: no space or no permission.
        """
        part = self.stage(data)
        try:
            self.publish(part, digest)
        finally:
            self.discard(part)

    def publish(self, part: Path, digest: str) -> None:
        """Give a staged file its final name, durable when this returns.

        Raises:
            StorageError: no space or no permission.
        """
        path = self._path(digest)
        with disk_errors("The image was not saved"):
            if not path.parent.exists():
                path.parent.mkdir(mode=0o700, exist_ok=True)
                _sync_folder(self._folder)
            put_in_place(part, path)

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
        """The digests of all files, in no order.

        Raises:
            StorageError: the folder cannot be read.
        """
        with disk_errors("The folder of images could not be read"):
            for path in self._folder.glob("??/*"):
                if _DIGEST.fullmatch(path.name) and path.parent.name == path.name[:2]:
                    yield path.name

    def remove(self, digest: str) -> int:
        """Remove one file, and give its length; 0 where there is none.

        Raises:
            StorageError: it cannot be removed.
        """
        path = self._path(digest)
        with disk_errors("An image could not be removed"):
            size = self.size_bytes(digest)
            path.unlink(missing_ok=True)
        return size or 0

    def set_aside(self, digest: str, mark: str) -> None:
        """Rename a file, so that another can take its place.

        Raises:
            StorageError: it cannot be renamed.
        """
        path = self._path(digest)
        with disk_errors("An image could not be renamed"):
            path.rename(path.with_name(f"{digest}.{mark}"))

    def discard_unfinished(self) -> None:
        """Remove what a program that died was staging; only for who alone may write here.

        Raises:
            StorageError: a file cannot be removed.
        """
        with disk_errors("An unfinished file could not be removed"):
            for path in self._folder.iterdir():
                if _UNFINISHED.fullmatch(path.name):
                    path.unlink(missing_ok=True)

    def _path(self, digest: str) -> Path:
        return self._folder / digest[:2] / digest
