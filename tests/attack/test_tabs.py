"""Hundreds of open tabs and a few slow senders: somebody else's click is answered as if they were not there."""

from __future__ import annotations

import resource
import secrets
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from tests.attack import images
from tests.attack.client import Person
from tests.attack.figures import Figures
from tests.attack.server import AttackedServer, Watch
from tests.attack.size import seeded, sized

TABS = sized(150, 500)
UNFINISHED = TABS // 3
CLICKS = sized(15, 40)
MARGIN_S = 0.15
GRADIO_SLOTS = 80
"""Work Gradio does at a time by default: no more tabs than this would not show whether they take its slots."""


def _make_room(files: int) -> None:
    """Raise this process's limit of open files, as far as it may; the server inherits it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < files:
        pytest.skip(f"at most {hard} files may be open here, {files} are needed (ulimit -n)")
    if soft != resource.RLIM_INFINITY and soft < files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))


class _Tab:
    """A page that is open, as its browser holds it.

    One connection was asked for Gradio's heartbeat and stays as the server leaves it, one waits for what the page may
    ask next; in some tabs a third one sends a request whose body never ends.
    """

    def __init__(self, url: str, *, unfinished: bool) -> None:
        self._sockets: list[socket.socket] = []
        address = urlsplit(url)
        host, port = address.hostname or "", address.port or 0
        session = secrets.token_hex(8)
        kind = "Accept: text/event-stream"
        head = f"GET /gradio_api/heartbeat/{session} HTTP/1.1\r\nHost: {address.netloc}\r\n{kind}\r\n\r\n"
        self._heartbeat = self._connected(host, port, head)
        self._connected(host, port, "")
        self._sender: socket.socket | None = None
        if unfinished:
            head = (
                f"POST /samref/send HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
                'Content-Length: 400\r\n\r\n{"v": 1, "seq": 1, "verb": "hel'
            )
            self._sender = self._connected(host, port, head)

    def _connected(self, host: str, port: int, head: str) -> socket.socket:
        connection = socket.create_connection((host, port), timeout=60)
        self._sockets.append(connection)
        connection.sendall(head.encode())
        return connection

    def is_answered(self) -> bool:
        """Whether the server has begun the heartbeat, or said that there is none."""
        return self._heartbeat.recv(4096).split(b" ", 2)[1] in (b"200", b"404")

    def is_sending(self) -> bool:
        """Whether the server still waits for the rest of the unfinished request."""
        if self._sender is None:
            return True
        self._sender.setblocking(False)
        try:
            self._sender.recv(4096)
        except BlockingIOError:
            return True
        return False

    def close(self) -> None:
        for connection in self._sockets:
            connection.close()


@contextmanager
def _open_tabs(url: str) -> Iterator[list[_Tab]]:
    tabs: list[_Tab] = []
    try:
        tabs += [_Tab(url, unfinished=number < UNFINISHED) for number in range(TABS)]
        yield tabs
    finally:
        for tab in tabs:
            tab.close()


def _clicks(person: Person, digest: str) -> tuple[list[float], list[float]]:
    """Times to the first and to the final mask."""
    first, final = [], []
    for number in range(CLICKS):
        reply = person.click(digest, 20 + 3 * (number % 40), 60, positive=number % 3 != 2)
        reply.accepted()
        first.append(reply.seconds[0])
        final.append(reply.seconds[-1])
        if number % 10 == 9:
            person.send("clear", digest).accepted()
    person.send("clear", digest)
    return first, final


def test_open_tabs_do_not_hold_up_somebody_elses_click(
    tmp_path_factory: pytest.TempPathFactory, figures: Figures
) -> None:
    assert TABS > GRADIO_SLOTS
    _make_room(4 * TABS + 500)
    server = AttackedServer(tmp_path_factory.mktemp("tabs"))
    server.start()
    try:
        person = Person(server.url)
        person.hello()
        digest = person.add(images.photo(seeded("tabs")), "mine.png")
        person.open(digest)
        _clicks(person, digest)  # to warm up
        with server.without_bugs():
            alone_first, alone_final = _clicks(person, digest)
            with Watch(server) as watch, _open_tabs(server.url) as tabs:
                assert all(tab.is_answered() for tab in tabs)
                crowd_first, crowd_final = _clicks(person, digest)
                assert all(tab.is_sending() for tab in tabs), "an unfinished request was given up too soon"
            deadline = time.monotonic() + 30
            while server.process.num_fds() > 100 and time.monotonic() < deadline:
                time.sleep(0.2)
            left = server.process.num_fds()
            again_first, again_final = _clicks(person, digest)
        person.close()
    finally:
        server.stop()
    figures.note("tabs", tabs=TABS, unfinished_requests=UNFINISHED, clicks=CLICKS, files_left_open=left)
    figures.note("tabs", threads=max(s.threads for s in watch.samples), grown_mib=round(watch.grown_mib))
    figures.times("tabs", "alone", alone_final)
    figures.times("tabs", "in the crowd", crowd_final)
    figures.times("tabs", "afterwards", again_final)
    pairs = (("first", alone_first, crowd_first), ("final", alone_final, crowd_final))
    for name, alone, crowd in pairs:
        ratio = statistics.median(crowd) / statistics.median(alone)
        figures.note("tabs", **{f"ratio_of_medians_{name}": round(ratio, 2)})
        assert statistics.median(crowd) < 2 * statistics.median(alone) + MARGIN_S, f"{name}: {crowd} after {alone}"
    assert statistics.median(again_first) < 2 * statistics.median(alone_first) + MARGIN_S
    assert left <= 100, "closed tabs still hold files open"
