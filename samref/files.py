"""Writes files atomically and durably, keeps journals of runs, and says what went wrong with a disk.

It also finds the files that come with samref.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any

from samref.errors import DataError, LabelError, StorageError, UnwritableError

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


class Journal:
    """What a run has found out so far, on the disk; any number of threads may add to it.

    A file of JSON lines: a header of all that the results depend on, then a line for each result, on the disk before
    the next one is begun. What a killed run had not finished writing is left out. NaN is written as ``NaN``, which
    Python's JSON reader takes back and strict ones do not.
    """

    def __init__(
        self, path: Path, header: Mapping[str, Any], read: Callable[[dict[str, Any]], None], *, restart: bool = False
    ) -> None:
        """Open it, or begin it where there is none.

        Args:
            path: of the file.
            header: as JSON values.
            read: takes back a line of an earlier run; a ValueError, KeyError, TypeError, AttributeError or LabelError
                says that the line is damaged.
            restart: throw away what is there.

        Raises:
            DataError: it is damaged, or belongs to a run with other arguments.
            StorageError: it cannot be written, or another process is writing it.
        """
        self.path = path
        self._lock = threading.Lock()
        with disk_errors(f"{path} cannot be written"):
            self._file: FileIO = path.open("a+b", buffering=0)
        try:
            _claim(self._file, path)
            self._begin(json.loads(json.dumps(header)), read, restart)
        except BaseException:
            self._file.close()
            raise

    def add(self, values: Mapping[str, Any]) -> None:
        """Keep one result; it is on the disk when this returns.

        On a full disk what was kept before stays, and the run can go on from there later.
        """
        with self._lock:
            self._append(values)

    def remove(self) -> None:
        """Delete the file: the results hold everything now."""
        self.close()
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        self._file.close()

    def _begin(self, header: Mapping[str, Any], read: Callable[[dict[str, Any]], None], restart: bool) -> None:
        with disk_errors(f"{self.path} cannot be read"):
            self._file.seek(0)
            lines = self._file.read().split(b"\n")
        whole = [] if restart else lines[:-1]
        for number, line in enumerate(whole, start=1):
            try:
                values = dict(json.loads(line).items())
                if number > 1:
                    read(values)
            except (ValueError, AttributeError, KeyError, TypeError, LabelError) as error:
                raise DataError(
                    f"{self.path} is damaged in line {number}. Start with --restart to throw it away and begin anew."
                ) from error
            if number == 1:
                _refuse_differing(self.path, values, header)
        with disk_errors(f"{self.path} cannot be written"):
            self._file.truncate(sum(len(line) + 1 for line in whole))
        if not whole:
            self._append(header)

    def _append(self, value: Mapping[str, Any]) -> None:
        """A line, whole or not at all."""
        line = memoryview(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8") + b"\n")
        with disk_errors(f"{self.path} could not be continued"):
            end = self._file.seek(0, os.SEEK_END)
            try:
                while line:
                    line = line[self._file.write(line) :]
                os.fsync(self._file.fileno())
            except OSError:
                self._file.truncate(end)
                raise


def _claim(file: FileIO, path: Path) -> None:
    """One process at a time, where the system can tell."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StorageError(f"Another run is writing {path} right now. Wait for it, or name another file.") from error


_VALUE_SHOWN = 40
"""Longest value of an argument that is quoted when two runs differ in it."""


def _refuse_differing(path: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    def shown(value: Any) -> str:
        text = json.dumps(value, ensure_ascii=False)
        return text if len(text) <= _VALUE_SHOWN else f"{text[: _VALUE_SHOWN - 3]}..."

    differing = [
        f"{key} was {shown(old.get(key))} and is {shown(new.get(key))}"
        for key in dict.fromkeys((*old, *new))
        if old.get(key) != new.get(key)
    ]
    if differing:
        raise DataError(
            f"{path} was left by a run with other arguments: {'; '.join(differing)}. "
            "Give the same arguments to go on with it, or --restart to throw it away."
        )
