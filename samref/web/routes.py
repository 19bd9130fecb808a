"""Our own HTTP routes beside Gradio's: requests and answers, images and labels in and out, modules.

Gradio's login does not cover them, so each one checks the workspace's token itself. See ``docs/protocol.md``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote, unquote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from samref.core.images import DecodedImage, decode_stored_image, upright_size
from samref.errors import ImageError, SamrefError
from samref.web.answers import UNEXPECTED, error_code
from samref.web.decoding import DecodeThreads
from samref.web.display import DisplayCopies
from samref.web.examples import Examples
from samref.web.handlers import Handlers
from samref.web.wire import RequestError
from samref.web.workspace import UnknownWorkspaceError, Workspace, Workspaces, image_to_wire

__all__ = ["FILE_NAME_HEADER", "TOKEN_HEADER", "build_routes"]

TOKEN_HEADER = "X-Samref-Token"  # noqa: S105 - the name of a header
FILE_NAME_HEADER = "X-Samref-Filename"

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

_log = logging.getLogger(__name__)

_TAB = re.compile(r"[A-Za-z0-9_-]{1,64}")

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
                part = {"type": "http.response.body", "body": f"{text}\n".encode(), "more_body": True}
                try:
                    await asyncio.wait_for(send(part), SLOW_READER_S)
                except TimeoutError:
                    _log.info("A browser stopped reading its answer; the connection is closed.")
                    return
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Modules(StaticFiles):
    """Modules and style sheet; the browser asks each time whether its copy is still right."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update({"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"})
        return response


class _Routes:
    """The endpoints and what they share."""

    def __init__(
        self, handlers: Handlers, workspaces: Workspaces, examples: Examples, upload_bytes: int, pixels: int
    ) -> None:
        self._handlers = handlers
        self._workspaces = workspaces
        self._examples = examples
        self._upload_bytes = upload_bytes
        self._pixels = pixels
        self._copies = DisplayCopies()
        self._decoding = DecodeThreads()

    async def send(self, request: Request) -> Response:
        body = await _body(request, REQUEST_BYTES)
        payload = _parsed(body) if len(body) <= SHORT_BYTES else await asyncio.to_thread(_parsed, body)
        tab = payload.get("tab") if isinstance(payload, dict) else None
        if not isinstance(tab, str) or not _TAB.fullmatch(tab):
            raise RequestError("The request could not be read: it does not say from which page load it comes.")
        return _Lines(self._handlers.send(payload, tab))

    async def upload(self, request: Request) -> Response:
        workspace = await self._workspace(request)
        name = _file_name(request.headers.get(FILE_NAME_HEADER, ""))
        data = await _body(request, self._upload_bytes)
        pixels = (await asyncio.to_thread(upright_size, data, max_pixels=self._pixels)).pixels
        entry = await self._decoding.run(pixels, partial(workspace.add_image, data, name))
        return _json(image_to_wire(entry))

    async def image(self, request: Request) -> Response:
        workspace = await self._workspace(request)
        digest = request.path_params["digest"]
        held = await asyncio.to_thread(workspace.image, digest)  # refused unless this workspace holds it
        return await self._jpeg(digest, held.size.pixels, request, lambda: workspace.decode(digest), PRIVATE)

    async def example(self, request: Request) -> Response:
        example = self._examples.get(request.path_params["name"])
        headers = {**SECURE, "Cache-Control": "public, max-age=3600"}
        key, pixels = f"example:{example.name}", example.width * example.height
        return await self._jpeg(key, pixels, request, lambda: decode_stored_image(example.path.read_bytes()), headers)

    async def _jpeg(
        self, key: str, pixels: int, request: Request, decode: Callable[[], DecodedImage], headers: dict[str, str]
    ) -> Response:
        thumbnail = request.query_params.get("thumb") == "1"
        data = self._copies.held(key, thumbnail)
        if data is None:
            data = await self._decoding.run(pixels, partial(self._copies.get, key, thumbnail, decode))
        return Response(data, media_type="image/jpeg", headers=headers)

    async def export(self, request: Request) -> Response:
        workspace = await self._workspace(request)
        kind, digest = request.query_params.get("format", ""), request.query_params.get("image")
        exported = await workspace.export(kind, digest)
        headers = {**PRIVATE, "Content-Disposition": _attachment(exported.file_name)}
        return Response(exported.data, media_type=exported.media_type, headers=headers)

    async def import_labels(self, request: Request) -> Response:
        workspace = await self._workspace(request)
        data = await _body(request, self._upload_bytes)
        imported = await workspace.import_coco(data)
        counts = {"annotations": imported.count, "images": len(imported.annotations)}
        return _json({**counts, "message": imported.message})

    async def _workspace(self, request: Request) -> Workspace:
        return await asyncio.to_thread(self._workspaces.find, request.headers.get(TOKEN_HEADER))


def build_routes(
    handlers: Handlers,
    workspaces: Workspaces,
    examples: Examples,
    static: Path,
    *,
    version: str,
    upload_bytes: int,
    pixels: int,
) -> list[BaseRoute]:
    """Routes to be given to the web server.

    Args:
        handlers: answer the requests of pages.
        workspaces: who may see what.
        examples: the bundled images; anybody may see them.
        static: folder of the ES modules and the style sheet.
        version: part of the modules' address.
        upload_bytes: largest body of a request.
        pixels: largest image.
    """
    routes = _Routes(handlers, workspaces, examples, upload_bytes, pixels)
    return [
        Route("/samref/send", _guarded(routes.send), methods=["POST"]),
        Route("/samref/images", _guarded(routes.upload), methods=["POST"]),
        Route("/samref/images/{digest}", _guarded(routes.image), methods=["GET"]),
        Route("/samref/examples/{name}", _guarded(routes.example), methods=["GET"]),
        Route("/samref/export", _guarded(routes.export), methods=["GET"]),
        Route("/samref/import", _guarded(routes.import_labels), methods=["POST"]),
        Mount(f"/samref/static/{version}", app=_Modules(directory=static)),
    ]


def _guarded(endpoint: Endpoint) -> Endpoint:
    """The endpoint with failures as JSON: what a person can repair as its sentence, anything else logged as a bug."""

    async def guarded(request: Request) -> Response:
        try:
            return await endpoint(request)
        except SamrefError as error:
            return _json({"error": {"code": error_code(error), "message": str(error)}}, status=_status(error))
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
    return {"storage": 507, "busy": 503, "request": 400}.get(error_code(error), 422)


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


def _file_name(header: str) -> str:
    """The file name a browser sent, only ever shown or written into exports, never used as a path."""
    name = unquote(header).replace("\\", "/").rpartition("/")[2]
    name = "".join(character for character in name if character.isprintable()).strip()
    return name[:200] or "image"


def _attachment(file_name: str) -> str:
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._- ") else "_" for c in file_name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(file_name, safe='')}"
