"""A page without a browser: one person at one tab, and requests that no page would send."""

from __future__ import annotations

import contextlib
import http.client
import json
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import quote, urlsplit

import httpx

__all__ = ["Answer", "Bare", "Person", "RefusedError", "Reply", "bare_request", "changes", "new_tab", "taken"]

Answer: TypeAlias = dict[str, Any]
"""One answer of ``docs/protocol.md``."""

PATIENCE_S = 60.0
TOKEN_HEADER = "X-Samref-Token"


class RefusedError(Exception):
    """The server said no."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


@dataclass
class Reply:
    """All answers to one request, and how long after it each one came."""

    status: int = 0
    answers: list[Answer] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def last(self) -> Answer:
        return self.answers[-1]

    def accepted(self) -> Answer:
        """The final answer.

        Raises:
            RefusedError: it is an error or a farewell.
        """
        assert self.answers, f"status {self.status} and no answer"
        last = self.last
        if last["kind"] != "view":
            told = last.get("error") or last.get("bye") or {}
            raise RefusedError(str(told.get("code") or told.get("reason")), str(told.get("message")))
        assert last["final"], f"the stream ended without a final answer: {last}"
        return last


def new_tab() -> str:
    return secrets.token_urlsafe(16)


class Person:
    """One tab of one workspace. It knows nothing from before, so that each answer tells everything."""

    def __init__(self, url: str, token: str | None = None, *, patience_s: float = PATIENCE_S) -> None:
        self.http = httpx.Client(base_url=url, timeout=patience_s, trust_env=False)
        self.token = token
        self.tab = new_tab()
        self.seq = 0
        self.revisions: dict[str, int] = {}

    def close(self) -> None:
        self.http.close()

    # ---- the protocol's one route

    def payload(self, verb: str, image: str | None = None, **arguments: Any) -> dict[str, Any]:
        """The next request of this tab."""
        self.seq += 1
        return {
            "v": 1,
            "seq": self.seq,
            "tab": self.tab,
            "token": self.token,
            "verb": verb,
            "image": image,
            "revision": self.revisions.get(image or "", 0),
            "known": {"annotations": 0, "workspace": 0},
            **arguments,
        }

    def ask(self, verb: str, image: str | None = None, **arguments: Any) -> Iterator[Answer]:
        """The answers to one request as they come."""
        body = json.dumps(self.payload(verb, image, **arguments))
        headers = {"Content-Type": "application/json"}
        with self.http.stream("POST", "samref/send", content=body, headers=headers) as response:
            if response.status_code != 200:
                raise _refused(response.status_code, response.read())
            for line in response.iter_lines():
                if line.strip():
                    answer: Answer = json.loads(line)
                    self._note(answer)
                    yield answer

    def send(self, verb: str, image: str | None = None, **arguments: Any) -> Reply:
        """All answers to one request."""
        reply = Reply(200)
        began = time.perf_counter()
        for answer in self.ask(verb, image, **arguments):
            reply.answers.append(answer)
            reply.seconds.append(time.perf_counter() - began)
        return reply

    def hello(self) -> Answer:
        """The workspace; a new one when there is no token yet."""
        answer = self.send("hello").accepted()
        self.token = answer["workspace"]["token"]
        return answer

    def open(self, digest: str) -> Answer:
        return self.send("open", digest).accepted()

    def click(self, digest: str, x: float, y: float, *, positive: bool = True) -> Reply:
        prompt = {"type": "click", "x": x, "y": y, "positive": positive}
        return self.send("prompt", digest, prompts=[prompt])

    def _note(self, answer: Answer) -> None:
        view = answer.get("view")
        if view:
            self.revisions[view["image"]["digest"]] = view["revision"]

    # ---- the other routes

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.token is None else {TOKEN_HEADER: self.token}

    def upload(self, data: bytes, name: str = "image.png") -> httpx.Response:
        headers = {
            **self.headers,
            "X-Samref-Filename": quote(name, safe=""),
            "Content-Type": "application/octet-stream",
        }
        return self.http.post("samref/images", content=data, headers=headers)

    def add(self, data: bytes, name: str = "image.png") -> str:
        """Upload an image that must be taken; its digest."""
        digest: str = taken(self.upload(data, name))["digest"]
        return digest

    def image(self, digest: str, *, thumbnail: bool = False) -> httpx.Response:
        return self.http.get(f"samref/images/{digest}{'?thumb=1' if thumbnail else ''}", headers=self.headers)

    def export(self, kind: str, digest: str | None = None) -> httpx.Response:
        query = {"format": kind} | ({} if digest is None else {"image": digest})
        return self.http.get("samref/export", params=query, headers=self.headers)

    def bring(self, coco: bytes) -> httpx.Response:
        """Import a COCO file."""
        return self.http.post("samref/import", content=coco, headers=self.headers)

    def everything(self) -> dict[str, Any]:
        """All that this workspace holds, to be compared with itself later."""
        workspace = self.hello()["workspace"]
        views = [self.open(image["digest"])["view"] for image in workspace["images"]]
        for view in views:
            view.pop("seconds")
            view["annotations"].pop("revision")  # since when this server has known them
        return {
            "revision": workspace["revision"],
            "classes": workspace["classes"],
            "images": workspace["images"],
            "views": views,
            "export": taken(self.export("coco-rle")),
        }


def changes(before: Any, now: Any, place: str = "") -> list[str]:
    """Where two JSON values differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = sorted(set(before) | set(now))
        return [line for key in keys for line in changes(before.get(key), now.get(key), f"{place}/{key}")]
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        parts = enumerate(zip(before, now, strict=True))
        return [line for number, pair in parts for line in changes(*pair, f"{place}/{number}")]
    return [] if before == now else [f"{place}: {before!r:.200} became {now!r:.200}"]


def taken(response: httpx.Response) -> Any:
    """The JSON of a response that must be one of success.

    Raises:
        RefusedError: it is not.
    """
    if response.status_code != 200:
        raise _refused(response.status_code, response.content)
    return response.json()


def _refused(status: int, body: bytes) -> RefusedError:
    try:
        error = json.loads(body)["error"]
        return RefusedError(str(error["code"]), str(error["message"]))
    except (ValueError, KeyError, TypeError):
        return RefusedError(str(status), body[:300].decode("utf-8", "replace"))


@dataclass(frozen=True)
class Bare:
    """What came back from a request that was written byte by byte."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


def bare_request(
    url: str,
    method: str,
    target: str,
    headers: Sequence[tuple[str, str]] = (),
    body: bytes = b"",
    *,
    patience_s: float = PATIENCE_S,
    longest: int = 4_000_000,
) -> Bare:
    """A request whose path, Host and other headers are sent exactly as given, not tidied up by a library.

    Args:
        url: of the server.
        method: GET, POST, ...
        target: path and query as they shall stand in the request line.
        headers: without Host the server's own is sent.
        body: sent as it is.
        patience_s: for the connection and each read.
        longest: more of the body is not read (some of Gradio's answers never end).
    """
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=patience_s)
    try:
        connection._validate_path = lambda _: None  # type: ignore[attr-defined]  # paths no library would send
        names = {name.lower() for name, _ in headers}
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        if "host" not in names:
            connection.putheader("Host", address.netloc)
        if "content-length" not in names and "transfer-encoding" not in names and (body or method == "POST"):
            connection.putheader("Content-Length", str(len(body)))
        for name, value in headers:
            connection.putheader(name, value.encode("utf-8"))
        connection.endheaders()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused before it was read; see the answer
            connection.send(body)
        response = connection.getresponse()
        try:
            answered = response.read(longest)
        except http.client.IncompleteRead as broken:  # the server failed while it was answering
            answered = broken.partial
        return Bare(response.status, {k.lower(): v for k, v in response.getheaders()}, answered)
    finally:
        connection.close()
