"""What every request passes before Gradio or our own routes see it: host, origin, address, size, headers.

Gradio answers some ninety addresses, of which the page needs a handful; the rest (uploads, its queue, file and proxy
routes, its API pages, monitoring) would be a way in that nothing here uses, so they are closed.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
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


class Guard:
    """ASGI middleware around the whole application.

    Args:
        app: what it guards.
        hosts: names this server answers to, in lower case; ``"*"`` among them means any.
        frame_ancestors: who may show the page in a frame: "self", "*" or addresses separated by spaces.
    """

    def __init__(self, app: ASGIApp, *, hosts: frozenset[str], frame_ancestors: str) -> None:
        self._app = app
        self._hosts = hosts
        self._headers = dict(_COMMON_HEADERS)
        own_frames_only = frame_ancestors == "self"
        if own_frames_only:
            self._headers["X-Frame-Options"] = "SAMEORIGIN"
        ancestors = "'self'" if own_frames_only else frame_ancestors
        policy = {**_POLICY, "frame-ancestors": ancestors}
        self._headers["Content-Security-Policy"] = "; ".join(f"{name} {value}" for name, value in policy.items())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            refusal = self._refusal(scope)
            await (refusal or self._app)(scope, receive, self._with_headers(send))
        else:  # nothing here speaks WebSocket
            await send({"type": "websocket.close", "code": 1008})

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers, method, path = Headers(scope=scope), scope["method"], scope["path"]
        asked = [headers.get("host", ""), *headers.getlist("x-forwarded-host")]
        for host in asked:
            if not self._is_known(_host_name(host)):
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


def _refused(status: HTTPStatus, message: str) -> JSONResponse:
    return JSONResponse({"error": {"code": "request", "message": message}}, status_code=status)
