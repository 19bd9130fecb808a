"""The place that labels are shipped to: objects at an fsspec address, each written once under a name of its own.

::

    claims/{generation}                                  a server began to ship here
    log/{generation}/{first}-{last}-{ms}-{sha256}.segment    the transactions first to last
    log/{generation}/{number}-{ms}-{sha256}.snapshot         the database after that transaction
    blobs/{ab}/{sha256}                                  an image file
    kept/{generation}                                    nothing of this generation is to be cleared away

A generation is a number and a nonce, ``00000007-3fa9c1d2``, and the later one is the greater text. It is claimed by
writing a claim and looking whether it is the greatest; where two servers choose the same number at once the nonce
decides. So no server needs an exclusive create, which few stores have. Two servers never write the same name, save
image files, which have the same content then.

What the store must give is that a name which was written is seen by whoever lists afterwards.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from samref.errors import SettingsError, StorageError
from samref.files import replacing
from samref.labels.annotations import DIGEST

TOKEN = "HF_TOKEN"  # noqa: S105 - the name of a variable

_CLAIM_TRIES = 20
_PART_BYTES = 1 << 20
_GENERATION = r"\d{8}-[0-9a-f]{8}"
_CLAIM = re.compile(rf"claims/({_GENERATION})")
_KEPT = re.compile(rf"kept/({_GENERATION})")
_SEGMENT = re.compile(rf"log/({_GENERATION})/(\d{{12}})-(\d{{12}})-(\d{{13}})-([0-9a-f]{{64}})\.segment")
_SNAPSHOT = re.compile(rf"log/({_GENERATION})/(\d{{12}})-(\d{{13}})-([0-9a-f]{{64}})\.snapshot")
_BLOB = re.compile(r"blobs/([0-9a-f]{2})/(\1[0-9a-f]{62})")
_PASSWORD = re.compile(r"(?<=://)[^/@\s]+@")
_TOKENS = re.compile(r"\bhf_\w+")


class DepotError(StorageError):
    """The place that labels are shipped to cannot be reached, or refuses."""


class DamagedError(DepotError):
    """An object there is not what its name says."""


class NoTokenError(DepotError):
    """There is no token for it."""


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """Transactions ``first`` to ``last`` of a generation; all that was done before ``at`` is in them or before them."""

    generation: str
    first: int
    last: int
    at: float  # seconds since 1970
    digest: str

    @property
    def name(self) -> str:
        """Where it lies."""
        return f"log/{self.generation}/{self.first:012}-{self.last:012}-{_ms(self.at)}-{self.digest}.segment"


@dataclass(frozen=True, slots=True, order=True)
class Snapshot:
    """The whole database after the transaction ``number`` of a generation, packed."""

    generation: str
    number: int
    at: float  # seconds since 1970
    digest: str

    @property
    def name(self) -> str:
        """Where it lies."""
        return f"log/{self.generation}/{self.number:012}-{_ms(self.at)}-{self.digest}.snapshot"


@dataclass(frozen=True, slots=True)
class Log:
    """What lies there of all generations, in order."""

    segments: tuple[Segment, ...]
    snapshots: tuple[Snapshot, ...]

    @property
    def newest(self) -> str | None:
        """The last generation that holds a snapshot: what there is to fetch."""
        return self.snapshots[-1].generation if self.snapshots else None


class Depot:
    """Objects at an address. Every method asks the store anew and raises :class:`DepotError` when it refuses."""

    def __init__(self, address: str, environment: Mapping[str, str] = os.environ) -> None:
        """Nothing is asked yet.

        Args:
            address: such as ``hf://buckets/owner/name/folder``, ``file:///folder`` or ``memory://folder``.
            environment: holds the token for ``hf://``.

        Raises:
            SettingsError: no such address can be used here.
            NoTokenError: ``hf://`` without a token.
        """
        self.shown = _PASSWORD.sub("", address)
        self.is_versioned = address.startswith("hf://datasets/")
        """Every object is a commit that is kept for ever."""
        self._secret = environment.get(TOKEN, "")
        options: dict[str, Any] = {"skip_instance_cache": True}
        if "://" not in address:
            raise SettingsError(f"{self.shown!r} is no address to ship to; file:///folder names a folder.")
        if address.startswith("hf://"):
            if not self._secret:
                raise NoTokenError(f"{TOKEN} is not set, so {self.shown} can neither be read nor written.")
            options["token"] = self._secret
        try:
            self._files, root = fsspec.url_to_fs(address, **options)
        except (ValueError, ImportError, TypeError) as error:
            raise SettingsError(f"{self.shown} cannot be shipped to: {self._tidy(error)}") from error
        self._root = root.rstrip("/")
        self._is_local = "file" in (self._files.protocol if isinstance(self._files.protocol, tuple) else ())

    # ---- generations

    def claim(self) -> str:
        """A generation of one's own, greater than all that were claimed before."""
        for _ in range(_CLAIM_TRIES):
            generation = f"{int((self.highest_claim() or '0').partition('-')[0]) + 1:08}-{secrets.token_hex(4)}"
            self._put(f"claims/{generation}", b"{}")
            if self.highest_claim() == generation:
                return generation
        raise DepotError(f"Other servers keep claiming {self.shown}. Ship each of them to an address of its own.")

    def highest_claim(self) -> str | None:
        """The generation that was claimed last; None where there is none."""
        return max(self.claims(), default=None)

    def claims(self) -> list[str]:
        """All generations that were claimed and not cleared away."""
        return [found[1] for name in self._names("claims") if (found := _CLAIM.fullmatch(name))]

    def keep(self, generation: str) -> None:
        """Have nothing of a generation cleared away: somebody may want to save more of it."""
        self._put(f"kept/{generation}", b"{}")

    def kept(self) -> set[str]:
        """The generations of which nothing is to be cleared away."""
        return {found[1] for name in self._names("kept") if (found := _KEPT.fullmatch(name))}

    # ---- the log

    def log(self) -> Log:
        """The names of all segments and snapshots."""
        segments, snapshots = [], []
        for name in self._names("log"):
            if found := _SEGMENT.fullmatch(name):
                segments.append(Segment(found[1], int(found[2]), int(found[3]), int(found[4]) / 1000, found[5]))
            elif found := _SNAPSHOT.fullmatch(name):
                snapshots.append(Snapshot(found[1], int(found[2]), int(found[3]) / 1000, found[4]))
        return Log(tuple(sorted(segments)), tuple(sorted(snapshots)))

    def put_segment(self, generation: str, first: int, last: int, at: float, data: bytes) -> None:
        """Write a segment."""
        self._put(Segment(generation, first, last, at, hashlib.sha256(data).hexdigest()).name, data)

    def put_snapshot(self, generation: str, number: int, at: float, path: Path) -> None:
        """Write a snapshot from a file."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        target = self._path(Snapshot(generation, number, at, digest).name)
        with self._errors():
            if self._is_local:
                with self._local(target) as part:
                    shutil.copyfile(path, part)
            else:
                self._files.put_file(str(path), target)

    def read_segment(self, segment: Segment) -> bytes:
        """What was written.

        Raises:
            DamagedError: it is something else now, or was never finished.
        """
        return self._read(segment.name, segment.digest)

    def fetch_snapshot(self, snapshot: Snapshot, path: Path) -> None:
        """Write a snapshot to a file; otherwise as :meth:`read_segment`."""
        digest = hashlib.sha256()
        remote = self._path(snapshot.name)
        with self._errors(snapshot.name), self._files.open(remote, "rb") as source, path.open("wb") as file:
            while part := source.read(_PART_BYTES):
                digest.update(part)
                file.write(part)
        if digest.hexdigest() != snapshot.digest:
            raise DamagedError(f"The object {snapshot.name} at {self.shown} is damaged.")

    # ---- image files

    def blobs(self) -> dict[str, int]:
        """The image files there: bytes by digest."""
        found = {_BLOB.fullmatch(name): size for name, size in self._names("blobs").items()}
        return {match[2]: size for match, size in found.items() if match}

    def put_blob(self, digest: str, data: bytes) -> None:
        """Write an image file."""
        self._put(_blob(digest), data)

    def read_blob(self, digest: str) -> bytes:
        """An image file; otherwise as :meth:`read_segment`."""
        return self._read(_blob(digest), digest)

    # ---- clearing away

    def remove(self, objects: list[Segment | Snapshot], claims: list[str], blobs: list[str]) -> None:
        """Remove what nobody needs any more."""
        names = [*(each.name for each in objects), *(f"claims/{each}" for each in claims), *map(_blob, blobs)]
        for name in names:
            with self._errors():
                self._files.rm_file(self._path(name))

    # ---- inside

    def _put(self, name: str, data: bytes) -> None:
        with self._errors():
            if self._is_local:
                with self._local(self._path(name)) as part:
                    part.write_bytes(data)
            else:
                self._files.pipe_file(self._path(name), data)

    @contextmanager
    def _local(self, path: str) -> Iterator[Path]:
        """Where to write a file that appears whole or not at all; object stores give that by themselves."""
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replacing(Path(path)) as part:
            yield part

    def _read(self, name: str, digest: str) -> bytes:
        with self._errors(name):
            data = bytes(self._files.cat_file(self._path(name)))
        if hashlib.sha256(data).hexdigest() != digest:
            raise DamagedError(f"The object {name} at {self.shown} is damaged.")
        return data

    def _names(self, folder: str) -> dict[str, int]:
        """Names in a folder with their sizes, as the store has them now."""
        path = self._path(folder)
        with self._errors():
            self._files.invalidate_cache(path)
            found = self._files.find(path, detail=True)
        return {name.removeprefix(f"{self._root}/"): int(about.get("size") or 0) for name, about in found.items()}

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextmanager
    def _errors(self, name: str | None = None) -> Iterator[None]:
        """Turn what a store's driver raises, which is anything, into a sentence; a missing object is a damaged one."""
        try:
            yield
        except DepotError:
            raise
        except FileNotFoundError as error:
            if name is None:
                raise DepotError(f"{self.shown} is not there, or may not be seen: {self._tidy(error)}") from error
            raise DamagedError(f"The object {name} is missing at {self.shown}.") from error
        except Exception as error:  # noqa: BLE001 - each driver has exceptions of its own
            raise DepotError(f"{self.shown} cannot be reached: {self._tidy(error)}") from None

    def _tidy(self, error: BaseException) -> str:
        """What an error says, in one line and without secrets."""
        said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        if self._secret:
            said = said.replace(self._secret, "…")
        return _TOKENS.sub("…", _PASSWORD.sub("", said))[:300] + "."


def _blob(digest: str) -> str:
    assert DIGEST.fullmatch(digest)
    return f"blobs/{digest[:2]}/{digest}"


def _ms(seconds: float) -> str:
    return f"{int(seconds * 1000):013}"  # rounded down: rather too little is promised
