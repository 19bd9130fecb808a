"""What every request passes before Gradio or our own routes see it: host, origin, address, size, headers.

Gradio answers some ninety addresses, of which the page needs a handful; the rest (uploads, its queue, file and proxy
routes, its API pages, monitoring) would be a way in that nothing here uses, so they are closed. What a server does
besides (masks for scripts, a GPU that is lent) opens those of the rest that it needs, each an :class:`Opening`.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PAGE_ADDRESSES = frozenset({"/", "/favicon.ico", "/robots.txt", "/theme.css", "/gradio_api/startup-events"})
"""Gradio's addresses that its page asks for, and the one it asks itself at start; each is only ever read."""

PAGE_FOLDERS = ("/assets/", "/static/")
"""The same for everything below these."""

OWN_FOLDER = "/samref/"

ANY = "*"

ANY_ADDRESS = "any address"
"""Stands among the hosts for every numeric address: no name that a foreign page could have point here."""

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

_OF_EVERYTHING = {"X-Content-Type-Options": "nosniff"}

_COMMON_HEADERS = {
    **_OF_EVERYTHING,
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",  # with the line above WebAssembly may use threads
}

_NO_DOCUMENTS = frozenset({"application/javascript", "text/javascript", "text/css", "image/jpeg", "image/png"})
"""Nothing of these kinds becomes a page: what is said about pages would be half a kilobyte in each of a hundred."""

_POLICY = {
    "default-src": "'self'",
    "script-src": "'self' 'unsafe-inline' 'unsafe-eval'",  # Gradio's start page and js_on_load are made of these
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "connect-src": "'self'",
    "worker-src": "'self' blob:",
    "object-src": "'none'",
    "base-uri": "'self'",
    "form-action": "'self'",
}


@dataclass(frozen=True, slots=True)
class Opening:
    """An address of Gradio's that is open beside those of the page.

    Attributes:
        method: it can be asked with.
        path: of the address; everything below it where this ends in "/".
        max_bytes: of what may be sent there.
        refusal: a sentence when nothing can be taken just now, asked each time.
    """

    method: Literal["GET", "POST"]
    path: str
    max_bytes: int = 0
    refusal: Callable[[], str | None] = lambda: None

    def leads_to(self, path: str) -> bool:
        """Whether ``path`` is this address."""
        if self.path.endswith("/"):
            return path.startswith(self.path) and ".." not in path.split("/")
        return path == self.path


class Guard:
    """ASGI middleware around the whole application.

    Args:
        app: what it guards.
        hosts: names this server answers to, in lower case; ``"*"`` among them means any.
        frame_ancestors: who may show the page in a frame: "self", "*" or addresses separated by spaces.
        opened: addresses of Gradio's that are open beside those of the page.
        is_probed: whether the start page is shown under any name: whoever runs the server looks there whether it is
            up, under a name that nobody was told. Nothing else is, so a foreign name gains nothing by it.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: frozenset[str],
        frame_ancestors: str,
        opened: Sequence[Opening] = (),
        is_probed: bool = False,
    ) -> None:
        self._app = app
        self._hosts = hosts
        self._opened = tuple(opened)
        self._is_probed = is_probed
        self._headers = dict(_COMMON_HEADERS)
        own_frames_only = frame_ancestors == "self"
        if own_frames_only:
            self._headers["X-Frame-Options"] = "SAMEORIGIN"
        else:  # a page that may use threads shows in its frames only what says that it may be shown
            self._headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        ancestors = "'self'" if own_frames_only else frame_ancestors
        policy = {**_POLICY, "frame-ancestors": ancestors}
        self._headers["Content-Security-Policy"] = "; ".join(f"{name} {value}" for name, value in policy.items())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            opening = self._opening(scope)
            refusal = self._refusal(scope, opening)
            if opening is not None and refusal is None:
                receive = _limited(receive, opening.max_bytes)
            await (refusal or self._app)(scope, receive, self._with_headers(send))
        else:  # nothing here speaks WebSocket
            await send({"type": "websocket.close", "code": 1008})

    def _opening(self, scope: Scope) -> Opening | None:
        method, path = scope["method"], scope["path"]
        return next((one for one in self._opened if one.method == method and one.leads_to(path)), None)

    def _refusal(self, scope: Scope, opening: Opening | None) -> JSONResponse | None:
        headers, method, path = Headers(scope=scope), scope["method"], scope["path"]
        asked = [headers.get("host", ""), *headers.getlist("x-forwarded-host")]
        is_probe = self._is_probed and path == "/" and method in ("GET", "HEAD")
        for host in asked:
            if not is_probe and not self._is_known(_host_name(host)):
                return _refused(
                    HTTPStatus.FORBIDDEN,
                    f"This server does not answer to the name {host[:100]!r}. Whoever runs it can add the name with "
                    "the setting SAMREF_HOSTS.",
                )
        origin = headers.get("origin")
        if origin is not None and not self._is_own(origin, asked):
            return _refused(
                HTTPStatus.FORBIDDEN,
                f"This request was made by another page ({origin[:100]!r}). Open samref at its own address.",
            )
        if path.startswith(OWN_FOLDER):
            return None
        if opening is not None:
            full = opening.refusal()
            return None if full is None else _refused(HTTPStatus.SERVICE_UNAVAILABLE, full, code="busy")
        if any(one.leads_to(path) for one in self._opened):
            return _refused(HTTPStatus.METHOD_NOT_ALLOWED, "This address is asked in another way.")
        if path not in PAGE_ADDRESSES and not path.startswith(PAGE_FOLDERS):
            return _refused(HTTPStatus.NOT_FOUND, "There is nothing at this address.")
        if method not in ("GET", "HEAD"):
            return _refused(HTTPStatus.METHOD_NOT_ALLOWED, "This address can only be read.")
        return None

    def _is_known(self, name: str) -> bool:
        if ANY in self._hosts or name in self._hosts:
            return True
        return ANY_ADDRESS in self._hosts and _is_address(name)

    def _is_own(self, origin: str, asked: Iterable[str]) -> bool:
        """Whether a page of this server made the request: of the very host asked, or of one named in the settings."""
        place = urlsplit(origin).netloc.lower()
        if not place:
            return False  # "null", which frames without an origin and files send
        name = _host_name(place)
        named = name in self._hosts and name not in _LOOPBACK_NAMES
        return named or any(place == host.lower() for host in asked)

    def _with_headers(self, send: Send) -> Send:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                kind = headers.get("content-type", "").partition(";")[0].strip().lower()
                for name, value in (_OF_EVERYTHING if kind in _NO_DOCUMENTS else self._headers).items():
                    headers.setdefault(name, value)
            await send(message)

        return send_with_headers


def known_hosts(listens_on: str, named: str) -> frozenset[str]:
    """The names a server answers to.

    A server for this machine alone answers to the names of this machine's loopback. One for others answers to numeric
    addresses and this machine's own name, too. A page on a foreign name that was made to point here reaches neither.
    ``named`` are further names, separated by commas; "*" for any.
    """
    names = {name.strip().lower() for name in named.split(",") if name.strip()}
    if not is_loopback(listens_on):
        own_name = socket.gethostname().lower()
        names |= {ANY_ADDRESS, own_name, f"{own_name}.local", listens_on.lower()}
    return frozenset(names | _LOOPBACK_NAMES)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens there."""
    return host.lower() in _LOOPBACK_NAMES


def _host_name(host: str) -> str:
    """The name in a Host header or the host part of an address, without its port."""
    try:
        return (urlsplit(f"//{host.strip()}").hostname or "").lower()
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _refused(status: HTTPStatus, message: str, *, code: str = "request") -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message}}, status_code=status)


def _limited(receive: Receive, max_bytes: int) -> Receive:
    """What comes in, until it is more than ``max_bytes``; Gradio itself would take any number of files at once."""
    length = 0

    async def receive_limited() -> Message:
        nonlocal length
        message = await receive()
        length += len(message.get("body", b""))
        if length > max_bytes:
            raise HTTPException(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"This is larger than the {max_bytes / 2**20:.0f} MiB that this server takes at once. Send less.",
            )
        return message

    return receive_limited
