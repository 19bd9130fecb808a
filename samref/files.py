"""Writes files atomically and durably, says what went wrong with a disk, and finds the files that come with samref."""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from samref.errors import StorageError, UnwritableError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_PART = ".part"
_PART_NAME = re.compile(r"\.[0-9a-f]{16}\.part.*")  # SQLite puts files beside one that end in "-wal" and the like


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


def counted(number: int, noun: str) -> str:
    """``number`` of something as people say it: 1 image, 2 images, 1 entry, 2 entries, 2 boxes."""
    if number == 1:
        return f"1 {noun}"
    if noun.endswith("x"):
        return f"{number} {noun}es"
    return f"{number} {noun[:-1]}ies" if noun.endswith("y") else f"{number} {noun}s"


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, durable when this returns; on a failure the old file is still there."""
    with disk_errors(f"{path} was not saved"):
        part = write_part(path.parent, data)
        put_in_place(part, path)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write a file that takes the place of ``path`` at the end; on any exception the old one stays."""
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


def is_part(path: Path) -> bool:
    """Whether a file is one that was being written."""
    return _PART_NAME.fullmatch(path.name) is not None


def discard_parts(folder: Path) -> None:
    """Remove what programs that died were writing; only for who alone may write there."""
    with disk_errors(f"An unfinished file in {folder} could not be removed"):
        for path in folder.iterdir():
            if is_part(path):
                path.unlink(missing_ok=True)


def write_part(folder: Path, data: bytes) -> Path:
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
        sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename durable, where folders can be opened (not on Windows, whose file system does it itself)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def assets_folder() -> Path:
    """``assets``: inside the package where a wheel was installed, beside it in a checkout."""
    package = Path(__file__).parent
    installed = package / "assets"
    return installed if installed.is_dir() else package.parent / "assets"
