"""Our own HTTP routes beside Gradio's: requests and answers, images and labels in and out.

Gradio's login does not cover them, so each one checks the workspace's token itself. See ``docs/protocol.md``.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import quote, unquote

import brotli
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Receive, Scope, Send

from samref.core.images import SMALL_PIXELS, DecodedImage, decode_stored_image, upright_size
from samref.errors import ImageError, RequestError, SamrefError
from samref.labels.annotations import tidy_file_name, tidy_path
from samref.web.display import DisplayCopies
from samref.web.exports import MadeExport, import_to_wire, parse_export
from samref.web.first_load import ASK_EACH_TIME, PackedFiles
from samref.web.local import FramedCopies, LocalModel
from samref.web.protocol import UNEXPECTED, UnknownWorkspaceError, tab_and_sequence
from samref.web.server import Server, image_to_wire

TOKEN_HEADER = "X-Samref-Token"  # noqa: S105 - the name of a header
FILE_NAME_HEADER = "X-Samref-Filename"

REPORT_HEADER = "X-Samref-Report"
"""Sentences about a download, as a JSON list in percent encoding."""

_PART_BYTES = 256 * 1024  # of a download sent at once

REQUEST_BYTES = 2 * 2**20
"""Longest request of a page: a scribble of the most points takes 400 kB."""

SHORT_BYTES = 64 * 1024
"""A request no longer than this is parsed on the spot."""

SILENT_SENDER_S = 60.0
SLOW_READER_S = 60.0
"""A connection over which nothing moves for so long is given up."""

SECURE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}
PRIVATE = {**SECURE, "Cache-Control": "no-store"}

BYTES = "application/octet-stream"

WORKER = "local/worker.js"
"""The module that the page starts as a thread of its own."""

_log = logging.getLogger(__name__)

T = TypeVar("T")

LARGE_THREADS = 1
"""Holds one large image, 300 MB at the most, for longer than it is being decoded."""

SMALL_THREADS = 3

Endpoint = Callable[[Request], Awaitable[Response]]


class TooLargeError(ImageError):
    """More bytes than may be uploaded."""


class TooSlowError(SamrefError):
    """A body that stopped coming."""


class _Lines(Response):
    """Texts, one on each line, sent as they come."""

    media_type = "application/x-ndjson"

    def __init__(self, texts: AsyncGenerator[str, None]) -> None:
        super().__init__(headers={**PRIVATE, "X-Accel-Buffering": "no"})  # proxies are not to wait for the end
        del self.headers["content-length"]
        self._texts = texts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's own
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._texts) as texts:
            async for text in texts:
                if not await _is_read(send, f"{text}\n".encode(), "answer"):
                    return
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _is_read(send: Send, body: bytes, what: str) -> bool:
    """Send one more part of a response; whether the browser still reads."""
    try:
        await asyncio.wait_for(send({"type": "http.response.body", "body": body, "more_body": True}), SLOW_READER_S)
    except TimeoutError:
        _log.info("A browser stopped reading its %s; the connection is closed.", what)
        return False
    return True


class _Download(Response):
    """An export, sent from the disk; its sentences ride along in a header, since a download has no other place."""

    def __init__(self, made: MadeExport) -> None:
        said = json.dumps(list(made.export.report.sentences), ensure_ascii=True)
        headers = {
            **PRIVATE,
            "Content-Disposition": _attachment(made.export.file_name),
            "Content-Length": str(made.size),
            REPORT_HEADER: quote(said),
        }
        super().__init__(media_type=made.export.media_type, headers=headers)
        self._file = made.file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's own
        with self._file:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while data := await asyncio.to_thread(self._file.read, _PART_BYTES):
                if not await _is_read(send, data, "download"):
                    return
            await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Modules(PackedFiles):
    """The page's modules; one of them is also the script of a thread."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        if path == WORKER:
            response.headers["Cross-Origin-Embedder-Policy"] = "require-corp"  # an isolated page takes no other
        return response


class DecodeThreads:
    """One thread for large images, a few for small ones; who comes first is served first."""

    def __init__(self) -> None:
        self._large = ThreadPoolExecutor(LARGE_THREADS, thread_name_prefix="samref-large-image")
        self._small = ThreadPoolExecutor(SMALL_THREADS, thread_name_prefix="samref-image")

    async def run(self, pixels: int, work: Callable[[], T]) -> T:
        """What ``work`` gives, which decodes an image of ``pixels``."""
        threads = self._large if pixels > SMALL_PIXELS else self._small
        return await asyncio.get_running_loop().run_in_executor(threads, work)


class _Routes:
    """The endpoints and what they share."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._copies = DisplayCopies()
        self._framed = FramedCopies()
        self._decoding = DecodeThreads()

    async def send(self, request: Request) -> Response:
        body = await _body(request, REQUEST_BYTES)
        payload = _parsed(body) if len(body) <= SHORT_BYTES else await asyncio.to_thread(_parsed, body)
        tab_and_sequence(payload)  # what cannot even be answered is refused as a whole
        return _Lines(self._server.send(payload))

    async def upload(self, request: Request) -> Response:
        workspace_id = await asyncio.to_thread(self._server.find, _token(request))
        name = tidy_path(unquote(request.headers.get(FILE_NAME_HEADER, "")))
        return await self._put(workspace_id, name, await _body(request, self._server.limits.upload_bytes))

    async def saved(self, request: Request) -> Response:
        await asyncio.to_thread(self._server.find, _token(request))
        return _json({"saved": await asyncio.to_thread(self._server.saved)})

    async def folder(self, request: Request) -> Response:
        await asyncio.to_thread(self._server.find, _token(request))
        paths, left_out = await asyncio.to_thread(self._server.folder.paths)
        return _json({"paths": paths, "left_out": left_out})

    async def open_from_folder(self, request: Request) -> Response:
        workspace_id = await asyncio.to_thread(self._server.find, _token(request))
        path = request.query_params.get("path", "")
        data = await asyncio.to_thread(self._server.folder.read, path, self._server.limits.upload_bytes)
        return await self._put(workspace_id, tidy_path(path), data)

    async def _put(self, workspace_id: int, name: str, data: bytes) -> Response:
        size = await asyncio.to_thread(upright_size, data, max_pixels=self._server.limits.pixels)
        put = partial(self._server.put_image, workspace_id, data, name)
        entry, outcome = await self._decoding.run(size.pixels, put)
        return _json({**image_to_wire(entry), "outcome": outcome})

    async def image(self, request: Request) -> Response:
        digest = request.path_params["digest"]
        workspace_id, held = await asyncio.to_thread(self._server.image, _token(request), digest)
        decode = partial(self._server.decode, workspace_id, digest)
        if request.query_params.get("framed") == "1":
            return await self._framed_pixels(digest, held.size.pixels, request, decode)
        return await self._jpeg(digest, held.size.pixels, request, decode, PRIVATE)

    async def _framed_pixels(
        self, digest: str, pixels: int, request: Request, decode: Callable[[], DecodedImage]
    ) -> Response:
        data = self._framed.held(digest)
        if data is None:
            data = await self._decoding.run(pixels, partial(self._framed.get, digest, decode))
        if "br" in request.headers.get("accept-encoding", ""):
            return Response(data, media_type=BYTES, headers={**PRIVATE, "Content-Encoding": "br"})
        return Response(await asyncio.to_thread(brotli.decompress, data), media_type=BYTES, headers=PRIVATE)

    async def example(self, request: Request) -> Response:
        example = self._server.example(request.path_params["name"])
        headers = {**SECURE, "Cache-Control": "public, max-age=3600"}
        key, pixels = f"example:{example.name}", example.width * example.height
        return await self._jpeg(key, pixels, request, lambda: decode_stored_image(example.path.read_bytes()), headers)

    async def showcase(self, request: Request) -> Response:
        path = self._server.showcase_file(request.path_params["name"])
        return FileResponse(path, headers={**SECURE, "Cache-Control": "public, max-age=3600"})

    async def _jpeg(
        self, key: str, pixels: int, request: Request, decode: Callable[[], DecodedImage], headers: dict[str, str]
    ) -> Response:
        thumbnail = request.query_params.get("thumb") == "1"
        data = self._copies.held(key, thumbnail)
        if data is None:
            data = await self._decoding.run(pixels, partial(self._copies.get, key, thumbnail, decode))
        return Response(data, media_type="image/jpeg", headers=headers)

    async def export(self, request: Request) -> Response:
        if request.method == "GET":
            digest = request.query_params.get("image")
            said: Any = {
                "format": request.query_params.get("format", ""),
                "images": None if digest is None else [digest],
            }
        else:
            await asyncio.to_thread(self._server.find, _token(request))
            said = _parsed(await _body(request, REQUEST_BYTES))
        made = await self._server.export(_token(request), parse_export(said))
        return _Download(made)

    async def preview(self, request: Request) -> Response:
        await asyncio.to_thread(self._server.find, _token(request))
        wanted = parse_export(_parsed(await _body(request, REQUEST_BYTES)))
        return _json(await self._server.preview_export(_token(request), wanted))

    async def import_labels(self, request: Request) -> Response:
        await asyncio.to_thread(self._server.find, _token(request))
        name = tidy_file_name(unquote(request.headers.get(FILE_NAME_HEADER, "")))
        data = await _body(request, self._server.limits.upload_bytes)
        return _json(import_to_wire(await self._server.import_labels(_token(request), data, name)))

    async def import_boxes(self, request: Request) -> Response:
        await asyncio.to_thread(self._server.find, _token(request))
        data = await _body(request, self._server.limits.upload_bytes)
        imported = await self._server.import_boxes(_token(request), data)
        return _json({"boxes": imported.count, "images": len(imported.boxes), "message": imported.message})

    async def bulk(self, request: Request) -> Response:
        workspace_id, revision = await asyncio.to_thread(self._server.find_with_revision, _token(request))
        asked, tab = request.query_params.get("do", ""), request.query_params.get("tab", "")
        tab_and_sequence({"tab": tab})
        jobs = self._server.bulk
        match (request.method, asked):
            case ("GET", ""):
                told = await jobs.look(workspace_id, tab)
            case ("POST", "start"):
                told = await jobs.start(workspace_id, tab)
            case ("POST", "pause"):
                told = await jobs.pause(workspace_id)
            case ("POST", "cancel"):
                told = await jobs.cancel(workspace_id)
            case _:
                raise RequestError(f"A job in bulk knows no {asked[:40]!r}; use start, pause or cancel.")
        return _json({**told, "revision": revision})

    async def review(self, request: Request) -> Response:
        workspace_id = await asyncio.to_thread(self._server.find, _token(request))
        return _json(await asyncio.to_thread(self._server.bulk.to_review, workspace_id))


def build_routes(server: Server, static: Path, *, version: str, local: LocalModel | None = None) -> list[BaseRoute]:
    """Routes to be given to the web server.

    Args:
        server: answers.
        static: folder of the ES modules and the style sheet.
        version: part of the modules' address.
        local: the model for pages that run it themselves.
    """
    routes = _Routes(server)
    return [
        *(() if local is None else local.routes()),
        Route("/samref/send", _guarded(routes.send), methods=["POST"]),
        Route("/samref/images", _guarded(routes.upload), methods=["POST"]),
        Route("/samref/saved", _guarded(routes.saved), methods=["GET"]),
        Route("/samref/folder", _guarded(routes.folder), methods=["GET"]),
        Route("/samref/folder", _guarded(routes.open_from_folder), methods=["POST"]),
        Route("/samref/images/{digest}", _guarded(routes.image), methods=["GET"]),
        Route("/samref/examples/{name}", _guarded(routes.example), methods=["GET"]),
        Route("/samref/showcase/{name}", _guarded(routes.showcase), methods=["GET"]),
        Route("/samref/import-boxes", _guarded(routes.import_boxes), methods=["POST"]),
        Route("/samref/bulk", _guarded(routes.bulk), methods=["GET", "POST"]),
        Route("/samref/review", _guarded(routes.review), methods=["GET"]),
        Route("/samref/export", _guarded(routes.export), methods=["GET", "POST"]),
        Route("/samref/export/preview", _guarded(routes.preview), methods=["POST"]),
        Route("/samref/import", _guarded(routes.import_labels), methods=["POST"]),
        Mount(f"/samref/static/{version}", app=_Modules(static, caching=ASK_EACH_TIME)),
    ]


def _guarded(endpoint: Endpoint) -> Endpoint:
    """The endpoint with failures as JSON: what a person can repair as its sentence, anything else logged as a bug."""

    async def guarded(request: Request) -> Response:
        try:
            return await endpoint(request)
        except SamrefError as error:
            return _json({"error": {"code": error.code, "message": str(error)}}, status=_status(error))
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception:  # noqa: BLE001 - the last line of defence: logged with its traceback, never swallowed
            _log.exception("%s %s failed", request.method, request.url.path)
            return _json({"error": {"code": "internal", "message": UNEXPECTED}}, status=500)

    return guarded


def _status(error: SamrefError) -> int:
    if isinstance(error, UnknownWorkspaceError):
        return 401
    if isinstance(error, TooLargeError):
        return 413
    if isinstance(error, TooSlowError):
        return 408
    return {"storage": 507, "busy": 503, "request": 400}.get(error.code, 422)


def _token(request: Request) -> str | None:
    return request.headers.get(TOKEN_HEADER)


def _json(content: dict[str, Any], *, status: int = 200) -> Response:
    return JSONResponse(content, status_code=status, headers=PRIVATE)


async def _body(request: Request, limit: int) -> bytes:
    """The whole body, refused as soon as it is known to be too long."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit, int(declared))
    parts, length = [], 0
    async with aclosing(request.stream()) as stream:
        while (part := await _next_part(stream)) is not None:
            length += len(part)
            if length > limit:
                raise _too_large(limit, None)
            parts.append(part)
    return b"".join(parts)


async def _next_part(stream: AsyncGenerator[bytes, None]) -> bytes | None:
    try:
        return await asyncio.wait_for(anext(stream, None), SILENT_SENDER_S)
    except TimeoutError as error:
        raise TooSlowError(f"Nothing came for {SILENT_SENDER_S:.0f} seconds. Send it again.") from error


def _too_large(limit: int, length: int | None) -> TooLargeError:
    over = "larger" if length is None else f"{length:,} bytes long, {length - limit:,} more"
    return TooLargeError(f"This is {over} than the {limit / 2**20:.0f} MiB that this server takes at once. Send less.")


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RequestError("The request could not be read: it is not JSON.") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and the infinities are no JSON


def _attachment(file_name: str) -> str:
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._- ") else "_" for c in file_name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(file_name, safe='')}"
