"""The embedded model for pages that run it themselves: which files it is made of, and each of them.

Addresses hold the beginning of the file's digest, so a browser keeps every file for good and asks again only for the
list. All of it is public: code and weights that come with samref, and nothing of anybody's images. The one thing that
depends on an image, the pixels that the encoder takes, is among the images' own routes (:class:`FramedCopies`).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import brotli
import numpy as np
from numpy.typing import NDArray
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from samref.caches import Cache
from samref.core.images import DecodedImage
from samref.inference.framed import framed_pixels
from samref.web.first_load import NEVER_CHANGES

ABOUT_ADDRESS = "samref/local/about.json"
"""The list of files, as the page is told of it."""

RUNTIME_FOLDER = "onnxruntime"
RUNTIME_FILES = {"runtime": "ort.wasm.bundle.min.mjs", "binary": "ort-wasm-simd-threaded.wasm"}

_MEDIA_TYPES = {".mjs": "text/javascript", ".wasm": "application/wasm"}
_OTHER = "application/octet-stream"

_OPEN_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",  # threads load the runtime as their script
}

_QUALITY = 5
"""Of packing pixels: 20 ms an image; the best takes a second and saves a sixth."""


@dataclass(frozen=True, slots=True)
class _File:
    """One file; ``is_packed`` on the disk with brotli. Digest and size are of what the page gets."""

    path: Path
    is_packed: bool
    sha256: str
    size_bytes: int
    name: str

    @property
    def address(self) -> str:
        return f"samref/local/{self.sha256[:16]}/{self.name}"

    def to_wire(self) -> dict[str, Any]:
        return {"address": self.address, "sha256": self.sha256, "size_bytes": self.size_bytes}


class LocalModel:
    """The files of the embedded model in the page.

    Args:
        folder: graphs, ``model.json`` and the runtime: ``assets/browser``.
        weights: the file that the server itself loads.
    """

    def __init__(self, folder: Path, weights: Path) -> None:
        self._folder = folder
        self._weights = weights

    @property
    def is_there(self) -> bool:
        """Whether this copy of samref has all of it."""
        return self._weights.is_file() and (self._folder / RUNTIME_FOLDER / "files.json").is_file()

    def to_wire(self) -> dict[str, str] | None:
        """What the page is told at its start."""
        return {"model": self._description["model"], "about": ABOUT_ADDRESS} if self.is_there else None

    def routes(self) -> list[BaseRoute]:
        return [
            Route(f"/{ABOUT_ADDRESS}", self._about, methods=["GET"]),
            Route("/samref/local/{digest}/{name}", self._file, methods=["GET"]),
        ]

    @cached_property
    def _description(self) -> dict[str, Any]:
        described: dict[str, Any] = json.loads((self._folder / "model.json").read_text(encoding="utf-8"))
        return described

    @cached_property
    def _files(self) -> Mapping[str, _File]:
        """By what the page calls them."""
        vendored = json.loads((self._folder / RUNTIME_FOLDER / "files.json").read_text(encoding="utf-8"))["files"]
        files = {
            part: _File(
                self._folder / RUNTIME_FOLDER / f"{name}.br",
                True,
                vendored[name]["sha256"],
                vendored[name]["size_bytes"],
                name,
            )
            for part, name in RUNTIME_FILES.items()
        }
        for part, name in self._description["graphs"].items():
            files[part] = _plain(self._folder / name)
        return {**files, "weights": _plain(self._weights)}

    async def _about(self, request: Request) -> Response:  # noqa: ARG002 - Starlette's own
        if not self.is_there:
            raise HTTPException(404)
        files = await asyncio.to_thread(lambda: self._files)
        said = {**self._description, "files": {part: file.to_wire() for part, file in files.items()}}
        return JSONResponse(said, headers={**_OPEN_HEADERS, "Cache-Control": "no-cache"})

    async def _file(self, request: Request) -> Response:
        if not self.is_there:
            raise HTTPException(404)
        files = await asyncio.to_thread(lambda: self._files)
        wanted = f"samref/local/{request.path_params['digest']}/{request.path_params['name']}"
        file = next((file for file in files.values() if file.address == wanted), None)
        if file is None:
            raise HTTPException(404)
        headers = {**_OPEN_HEADERS, "Cache-Control": NEVER_CHANGES, "Vary": "Accept-Encoding"}
        media_type = _MEDIA_TYPES.get(Path(file.name).suffix, _OTHER)
        if not file.is_packed:
            return FileResponse(file.path, media_type=media_type, headers=headers)
        if "br" in request.headers.get("accept-encoding", ""):
            return FileResponse(file.path, media_type=media_type, headers={**headers, "Content-Encoding": "br"})
        data = await asyncio.to_thread(lambda: brotli.decompress(file.path.read_bytes()))
        return Response(data, media_type=media_type, headers=headers)


def _plain(path: Path) -> _File:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return _File(path, False, digest, path.stat().st_size, path.name)


class FramedCopies:
    """Images as the encoder takes them, packed for the way; the least recently used leave first."""

    def __init__(self, size_bytes: int = 32 * 1024 * 1024) -> None:
        self._cache: Cache[str, bytes] = Cache(max_bytes=size_bytes, size_of=len)

    def get(self, digest: str, decode: Callable[[], DecodedImage]) -> bytes:
        """One image, packed with brotli; ``decode`` is called when it is not here."""
        return self._cache.get_or_create(
            digest, lambda: bytes(brotli.compress(pack_pixels(framed_pixels(decode())), quality=_QUALITY))
        )

    def held(self, digest: str) -> bytes | None:
        """The same where it is here already."""
        return self._cache.get(digest)


def pack_pixels(rgb: NDArray[np.uint8]) -> bytes:
    """Pixels (h, w, 3) in a form that packs well: width and height, 16 bits each, low byte first, then three planes.

    The planes are green, red less green and blue less green, row by row. Each value has taken off what its neighbours
    foretell (left, above and above left; the median edge detector of LOCO-I). All is modulo 256.
    """
    height, width = rgb.shape[:2]
    green = rgb[..., 1]
    planes = np.stack([green, rgb[..., 0] - green, rgb[..., 2] - green]).astype(np.int16)
    around = np.pad(planes, ((0, 0), (1, 0), (1, 0)))
    left, above, corner = around[:, 1:, :-1], around[:, :-1, 1:], around[:, :-1, :-1]
    foretold = np.clip(left + above - corner, np.minimum(left, above), np.maximum(left, above))
    size = np.array([width, height], dtype="<u2")
    return bytes(size.tobytes()) + bytes((planes - foretold).astype(np.uint8).tobytes())
