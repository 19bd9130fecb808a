"""Fetching one large file over https so that a broken transfer can go on where it stopped.

The standard library's urllib on purpose: it is one GET with one Range header, urllib honours the machine's proxy
settings, and the models then need no network package that only the web page brings.
"""

from __future__ import annotations

import errno
import http.client
import os
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeAlias
from urllib.parse import urlsplit

from samref.errors import CheckpointInvalidError, CheckpointMissingError, StorageError

if sys.platform != "win32":
    import fcntl

__all__ = ["Progress", "check_address", "disk_errors", "open_part", "transfer"]

Progress: TypeAlias = Callable[[int, int | None], None]
"""Called with the bytes on disk and, where known, the bytes in all."""

CHUNK_BYTES = 1 << 20
TIMEOUT_S = 30.0
"""Silence after which a connection counts as lost; not the time of the whole transfer."""
SPARE_BYTES = 64 << 20
"""Left free on the disk: a completely full one troubles everything else that runs there."""
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
FULL_DISK = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})


def check_address(url: str) -> None:
    """Refuse everything but encrypted transfers; plain http goes no further than this machine.

    Raises:
        CheckpointInvalidError: another scheme or host.
    """
    address = urlsplit(url)
    if address.scheme == "https" or (address.scheme == "http" and address.hostname in LOOPBACK):
        return
    raise CheckpointInvalidError(f"Weights are fetched over https only, not from {url}.")


@contextmanager
def open_part(part: Path) -> Iterator[int]:
    """A file descriptor of the ``.part`` file, for this process alone.

    Raises:
        StorageError: it cannot be written.
        CheckpointMissingError: another process is writing it.
    """
    with disk_errors(part):
        part.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
    try:
        if sys.platform != "win32":  # where there is no flock, the digest still catches a file two have written
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise CheckpointMissingError(
                    f"Another process is fetching {part.stem} right now. Wait for it to finish."
                ) from error
        try:
            yield descriptor
            with disk_errors(part):
                os.fsync(descriptor)
        finally:
            if os.fstat(descriptor).st_size == 0:  # nothing arrived, so there is nothing to go on from
                part.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def transfer(url: str, descriptor: int, part: Path, total: int | None, progress: Progress | None) -> None:
    """Bring an open ``.part`` file up to its full length.

    Args:
        url: where the file is.
        descriptor: of the ``.part`` file; what it holds already is not fetched again.
        part: its path, for the messages and the free space.
        total: length of the whole file, None if unknown.
        progress: told how far it is.

    Raises:
        CheckpointMissingError: no connection, an error page, or the connection broke off.
        CheckpointInvalidError: the server offers a file of another length.
        StorageError: no space left.
    """
    with disk_errors(part):
        done = os.lseek(descriptor, 0, os.SEEK_END)
        if total is not None and done > total:
            done = 0
        if total is not None and done == total:
            return
        _check_space(part, done, total)
    with _network_errors(url, part), _open(url, done) as response:
        if not (response.status == http.client.PARTIAL_CONTENT and _starts_at(response, done)):
            done = 0  # the server cannot go on in the middle, so everything comes again
        total = _length(response, part, done, total)
        with disk_errors(part):
            os.ftruncate(descriptor, done)
            os.lseek(descriptor, done, os.SEEK_SET)
        if progress is not None:
            progress(done, total)
        while chunk := response.read(CHUNK_BYTES):
            done += len(chunk)
            if total is not None and done > total:
                raise CheckpointInvalidError(f"The server sends more than {part.stem} should have. Try again later.")
            with disk_errors(part):
                _write(descriptor, chunk)
            if progress is not None:
                progress(done, total)
    if total is not None and done < total:
        raise CheckpointMissingError(
            f"The connection broke off after {done / 1e6:,.1f} of {total / 1e6:,.1f} MB of {part.stem}. "
            "Run the same command again: it goes on from there."
        )


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns the disk's refusals into a :class:`StorageError` with a sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL_DISK:
            raise StorageError(
                f"No space left while writing {path}. Make room and run the same command again: it goes on where it "
                "stopped. SAMREF_CACHE chooses another folder."
            ) from error
        raise StorageError(f"{path} cannot be used: {error.strerror or error}.") from error


@contextmanager
def _network_errors(url: str, part: Path) -> Iterator[None]:
    host = urlsplit(url).hostname
    try:
        yield
    except urllib.error.HTTPError as error:
        raise CheckpointMissingError(
            f"{host} answered {error.code} {error.reason} for {part.stem}. Try again later, or fetch {url} by other "
            f"means and put it into {part.parent}."
        ) from error
    except (http.client.HTTPException, OSError) as error:  # URLError and every timeout are OSErrors
        raise CheckpointMissingError(
            f"{part.stem} could not be fetched from {host} ({getattr(error, 'reason', error)}). Check the connection "
            "and run the same command again: what has arrived is kept."
        ) from error


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect only to where a first request may go."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        check_address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(url: str, offset: int) -> Any:
    headers = {"User-Agent": "samref", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    check_address(url)
    request = urllib.request.Request(url, headers=headers)  # noqa: S310  (https or loopback: checked above)
    try:
        return urllib.request.build_opener(_SafeRedirects()).open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
            error.close()
            return _open(url, 0)
        raise


def _starts_at(response: http.client.HTTPResponse, offset: int) -> bool:
    return (response.headers.get("Content-Range") or "").startswith(f"bytes {offset}-")


def _length(response: http.client.HTTPResponse, part: Path, done: int, total: int | None) -> int | None:
    """Length of the whole file; another one than expected is refused before its first byte (error pages are files)."""
    announced = response.headers.get("Content-Length") or ""
    if not announced.isdigit():
        return total
    offered = done + int(announced)
    if total is not None and offered != total:
        raise CheckpointInvalidError(
            f"The server offers a file of {offered:,} bytes where {part.stem} has {total:,}. "
            "Nothing was stored; try again later."
        )
    return offered


def _check_space(part: Path, done: int, total: int | None) -> None:
    if total is None:
        return
    free = shutil.disk_usage(part.parent).free
    if free < total - done + SPARE_BYTES:
        raise StorageError(
            f"{part.stem} needs {(total - done) / 1e6:,.0f} MB more in {part.parent}, where only "
            f"{free / 1e6:,.0f} MB are free. Make room, or choose another folder with SAMREF_CACHE."
        )


def _write(descriptor: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(descriptor, view) :]
