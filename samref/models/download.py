"""Downloads one large file so that a broken transfer goes on where it stopped."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import filelock
import httpx
from tqdm import tqdm

from samref.errors import CheckpointInvalidError, CheckpointMissingError, StorageError
from samref.files import disk_errors, put_in_place

TIMEOUT_S = 30.0
"""Silence after which a connection counts as lost; not the time of the whole transfer."""

SPARE_BYTES = 64 << 20
"""Left free on the disk: a completely full one troubles everything else that runs there."""

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def check_address(url: str) -> None:
    """Refuse everything but encrypted transfers; plain http goes no further than this machine."""
    address = urlsplit(url)
    if address.scheme == "https" or (address.scheme == "http" and address.hostname in LOOPBACK):
        return
    raise CheckpointInvalidError(f"Weights are fetched over https only, not from {url}.")


def download(url: str, target: Path, verify: Callable[[Path], None], size_bytes: int | None = None) -> None:
    """Bring the file at ``url`` to ``target``, which appears only once it is whole and right.

    Until then it is called ``<target>.part``; what that holds already is not fetched again. A terminal shows a bar.

    Args:
        url: where the file is.
        target: where it goes.
        verify: raises :class:`CheckpointInvalidError` about a whole file that is another one.
        size_bytes: of the whole file, None if unknown.

    Raises:
        CheckpointMissingError: no connection, an error page, the transfer broke off, or another process is at it.
        CheckpointInvalidError: what the server offers is another file.
        StorageError: no space, or the folder cannot be written.
    """
    check_address(url)
    part = target.with_name(f"{target.name}.part")
    with disk_errors(f"{target.name} was not stored in {target.parent} (SAMREF_CACHE chooses another folder)"):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with filelock.FileLock(target.with_name(f".{target.name}.lock"), blocking=False):
                _transfer(url, part, target.name, size_bytes)
                _check(url, part, target.name, verify)
                put_in_place(part, target)
        except filelock.Timeout as error:
            raise CheckpointMissingError(
                f"Another process is fetching {target.name} right now. Wait for it to finish."
            ) from error


def _check(url: str, part: Path, name: str, verify: Callable[[Path], None]) -> None:
    try:
        verify(part)
    except CheckpointInvalidError as error:
        part.unlink()
        raise CheckpointInvalidError(
            f"What {urlsplit(url).hostname} sent is not {name}: size or SHA-256 differ. "
            "It was deleted. Try again; if it happens twice, the server's file or a proxy in between is wrong."
        ) from error


def _transfer(url: str, part: Path, name: str, total: int | None) -> None:
    """Bring ``part`` up to its full length."""
    done = part.stat().st_size if part.exists() else 0
    if total is not None and done > total:
        done = 0
    if done == total:
        return
    _check_space(part, name, done, total)
    host = urlsplit(url).hostname
    hooks = {"request": [lambda request: check_address(str(request.url))]}  # of every redirect, too
    started = False
    try:
        with httpx.Client(follow_redirects=True, timeout=TIMEOUT_S, event_hooks=hooks) as client:
            response = _answer(client, url, done)
            started = True
            if not response.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
                done = 0  # the server cannot go on in the middle, so everything comes again
            total = _length(response, name, done, total)
            with (
                part.open("ab" if done else "wb") as file,
                tqdm(total=total, initial=done, unit="B", unit_scale=True, desc=name, disable=None) as bar,
            ):
                for chunk in response.iter_raw():
                    done += len(chunk)
                    if total is not None and done > total:
                        raise CheckpointInvalidError(f"The server sends more than {name} should have. Try again later.")
                    file.write(chunk)
                    bar.update(len(chunk))
                file.flush()
                os.fsync(file.fileno())
    except httpx.HTTPStatusError as error:
        answer = error.response
        raise CheckpointMissingError(
            f"{host} answered {answer.status_code} {answer.reason_phrase} for {name}. Try again later, or fetch {url} "
            f"by other means and put it into {part.parent}."
        ) from error
    except httpx.HTTPError as error:
        if not started:
            raise CheckpointMissingError(
                f"{name} could not be fetched from {host} ({error}). Check the connection "
                "and run the same command again: what has arrived is kept."
            ) from error
        of = "" if total is None else f" of {total / 1e6:,.1f}"
        raise CheckpointMissingError(
            f"The connection broke off after {done / 1e6:,.1f}{of} MB of {name}. "
            "Run the same command again: it goes on from there."
        ) from error


def _answer(client: httpx.Client, url: str, offset: int) -> httpx.Response:
    """The server's answer, its body still to come: from ``offset`` on, or the whole file where it cannot do that."""
    headers = {"User-Agent": "samref", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    response = client.send(client.build_request("GET", url, headers=headers), stream=True)
    if offset and response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        response.close()
        return _answer(client, url, 0)
    return response.raise_for_status()


def _length(response: httpx.Response, name: str, done: int, total: int | None) -> int | None:
    """Length of the whole file; another one than expected is refused before its first byte (error pages are files)."""
    announced = response.headers.get("Content-Length", "")
    if not announced.isdigit():
        return total
    offered = done + int(announced)
    if total is not None and offered != total:
        raise CheckpointInvalidError(
            f"The server offers a file of {offered:,} bytes where {name} has {total:,}. "
            "Nothing was stored; try again later."
        )
    return offered


def _check_space(part: Path, name: str, done: int, total: int | None) -> None:
    if total is None:
        return
    free = shutil.disk_usage(part.parent).free
    if free < total - done + SPARE_BYTES:
        raise StorageError(
            f"{name} needs {(total - done) / 1e6:,.0f} MB more in {part.parent}, where only "
            f"{free / 1e6:,.0f} MB are free. Make room, or choose another folder with SAMREF_CACHE."
        )
