"""Files that are either the old or the new version, never half of one; and a folder of pictures named by digest."""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from samref.errors import StorageError

__all__ = ["BlobFolder", "disk_errors", "write_atomically"]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_PART = ".part"


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turn what the operating system says into a :class:`StorageError` about ``what`` was to be saved or read."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            text = "the disk is full. Free some space and try again; what was saved before is untouched."
        elif error.errno in _FORBIDDEN:
            text = "this program may not write there. Choose another folder or change its permissions."
        elif error.errno == errno.ENOENT:
            text = "the file or its folder is not there."
        else:
            text = f"the disk reports {error.strerror or error}."
        raise StorageError(f"{what}: {text}") from error


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, durable when this returns; on a failure the old file is still there.

    Raises:
        StorageError: no space, no permission, no such folder.
    """
    with disk_errors(f"{path} was not saved"):
        part = _write_part(path.parent, data)
        _put_in_place(part, path)


def _write_part(folder: Path, data: bytes) -> Path:
    """A new file beside the final one, with its content on the disk."""
    part = folder / f".{secrets.token_hex(8)}{_PART}"
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return part


def _put_in_place(part: Path, path: Path) -> None:
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
    """Files by the digest of their content, in 256 subfolders. What lies there is never changed, only removed."""

    _STALE_S = 3600.0  # an unfinished file this old belongs to a process that died

    def __init__(self, folder: Path) -> None:
        """Make the folder, for this user only, if it is not there.

        Raises:
            StorageError: it cannot be made.
        """
        self._folder = folder
        with disk_errors("The folder for pictures could not be made"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def stage(self, data: bytes) -> Path:
        """Put ``data`` on the disk under a passing name; :meth:`publish` gives it its own, :meth:`discard` drops it.

        Raises:
            StorageError: no space or no permission.
        """
        with disk_errors("The picture was not saved"):
            return _write_part(self._folder, data)

    def publish(self, part: Path, digest: str) -> None:
        """Give a staged file its final name, durable when this returns.

        Raises:
            StorageError: no space or no permission.
        """
        path = self._path(digest)
        with disk_errors("The picture was not saved"):
            if not path.parent.exists():
                path.parent.mkdir(mode=0o700, exist_ok=True)
                _sync_folder(self._folder)
            _put_in_place(part, path)

    def discard(self, part: Path) -> None:
        """Remove a staged file, if it still is one."""
        with disk_errors("An unfinished file could not be removed"):
            part.unlink(missing_ok=True)

    def read(self, digest: str) -> bytes:
        """The content with that digest.

        Raises:
            StorageError: it is not there or cannot be read.
        """
        with disk_errors("The picture could not be read"):
            return self._path(digest).read_bytes()

    def sweep(self, keep: Collection[str]) -> tuple[int, int]:
        """Remove everything but ``keep`` and files that are just being written.

        Returns:
            Number of pictures removed, and bytes freed.

        Raises:
            StorageError: a file cannot be removed.
        """
        removed = freed = 0
        stale = time.time() - self._STALE_S
        with disk_errors("Old pictures could not be removed"):
            for path in [*self._folder.glob("??/*"), *self._folder.glob(f".*{_PART}")]:
                status = path.stat()
                unfinished = path.suffix == _PART
                if path.name in keep or (unfinished and status.st_mtime > stale):
                    continue
                path.unlink()
                removed += not unfinished
                freed += status.st_size
        return removed, freed

    def _path(self, digest: str) -> Path:
        return self._folder / digest[:2] / digest
