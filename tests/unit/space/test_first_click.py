"""The first click on a server says how long a visitor waits, or in one sentence what is wrong there."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from samref.core.masks import Rle
from samref.errors import SpaceError
from samref.space.first_click import PAUSE_S, first_click

PAGE = '<link href="samref/static/0.1.0/samref.css">'
DIGEST = "0" * 64
COUNTS = Rle.from_runs(4, 6, [2, 3, 1, 18]).counts
MASK = {"box": [10, 20, 6, 4], "counts": COUNTS, "scale": 1}


def _view(phase: str, mask: object = None) -> dict[str, Any]:
    image = {"digest": DIGEST, "width": 640, "height": 480}
    return {"phase": phase, "revision": 3, "image": image, "draft": {"mask": mask}}


def _answer(final: bool, **content: Any) -> dict[str, Any]:
    return {"v": 1, "kind": "view", "final": final, **content}


HELLO = [_answer(True, workspace={"token": "t", "examples": [{"name": "cup.jpg"}]})]
OPENED = [_answer(False, view=_view("preparing")), _answer(True, view=_view("ready"))]
CLICKED = [_answer(False, view=_view("coarse", MASK)), _answer(True, view=_view("refined", MASK))]
WELL = {"hello": HELLO, "open_example": OPENED, "prompt": CLICKED}


class _Server(ThreadingHTTPServer):
    page: str = PAGE
    status: int = 200
    asleep: int = 0
    answers: dict[str, Any]
    asked: list[dict[str, Any]]
    authorised: list[str | None]


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, *_: Any) -> None: ...

    def _send(self, status: int, data: bytes) -> None:
        self.server.authorised.append(self.headers["Authorization"])
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        self.server.asleep -= 1
        page = self.server.page if self.server.asleep < 0 else "This Space is waking up."
        self._send(self.server.status, page.encode())

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(request)
        answers = self.server.answers[request["verb"]]
        if isinstance(answers, int):
            self._send(answers, b'{"error": {"code": "busy", "message": "Too much to do."}}')
        else:
            self._send(200, "".join(f"{json.dumps(each)}\n" for each in answers).encode())


@contextmanager
def serving(**changes: Any) -> Iterator[tuple[str, _Server]]:
    server = _Server(("127.0.0.1", 0), _Handler)
    server.asked, server.authorised = [], []
    server.answers = {**WELL, **changes}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server
    finally:
        server.shutdown()
        server.server_close()


def test_a_click_on_the_middle_of_the_first_example_is_timed_and_counted() -> None:
    with serving() as (address, server):
        found = first_click(address, patience_s=10)
    hello, opened, clicked = server.asked
    assert (hello["token"], opened["token"], clicked["token"]) == (None, "t", "t")
    assert opened["name"] == "cup.jpg"
    assert (clicked["image"], clicked["revision"]) == (DIGEST, 3)
    assert clicked["prompts"] == [{"type": "click", "x": 320, "y": 240, "positive": True}]
    assert [each["seq"] for each in server.asked] == [1, 2, 3]
    assert found.pixels == 21
    assert 0 < found.coarse_s <= found.refined_s < 10
    assert 0 < found.page_s < 10
    assert 0 < found.open_s < 10


def test_cells_of_a_preview_count_as_the_pixels_they_cover() -> None:
    mask = {"box": [10, 20, 12, 8], "counts": COUNTS, "scale": 2}
    with serving(prompt=[_answer(True, view=_view("refined", mask))]) as (address, _):
        found = first_click(address, patience_s=10)
    assert found.pixels == 84
    assert found.coarse_s == found.refined_s, "there was one mask"


def test_a_token_goes_to_the_address_and_none_goes_by_itself() -> None:
    with serving() as (address, server):
        first_click(address, patience_s=10, token="hf_private")
        assert set(server.authorised) == {"Bearer hf_private"}
        server.authorised.clear()
        first_click(address, patience_s=10)
        assert set(server.authorised) == {None}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"hello": 503}, "answered with status 503 while an example was opened"),
        ({"hello": [_answer(True, workspace={"token": "t", "examples": []})]}, "has no example to click on"),
        ({"prompt": OPENED[1:]}, "answered a click without a refined mask"),
        ({"prompt": CLICKED[:1]}, "ended an answer in the middle while a click was answered"),
        ({"prompt": []}, "ended an answer in the middle while a click was answered"),
        ({"prompt": [_answer(True, view=_view("refined"))]}, "with an empty mask"),
        (
            {"prompt": [_answer(True, view=_view("refined", {"box": [0, 0, 0, 0], "counts": "", "scale": 1}))]},
            "answered a click on cup.jpg with an empty mask",
        ),
        (
            {"prompt": [_answer(True, view=_view("refined", {**MASK, "counts": "zz"}))]},
            "gave an answer that cannot be understood while a click was answered",
        ),
        (
            {"open_example": [{"kind": "view", "final": True}]},
            "gave an answer that cannot be understood while an example",
        ),
        (
            {"prompt": [{"kind": "error", "final": True, "error": {"code": "busy", "message": "Too much to do."}}]},
            "refused while a click was answered: Too much to do.",
        ),
        ({"hello": [{"kind": "bye", "final": True, "bye": {"message": "Reload."}}]}, "refused while an example was"),
    ],
)
def test_a_server_that_does_not_work_is_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    with serving(**changes) as (address, _), pytest.raises(SpaceError) as caught:
        first_click(address, patience_s=10)
    assert sentence in str(caught.value)
    assert str(caught.value).startswith(address)


def test_a_page_that_is_not_ours_is_waited_for_and_then_said() -> None:
    with serving() as (address, server):
        server.page = "This Space is sleeping."
        with pytest.raises(SpaceError, match=r"did not come in time: its page is not samref's \(status 200\)"):
            first_click(address, patience_s=1.5)
        server.status, server.page = 403, "This server does not answer to the name."
        with pytest.raises(SpaceError, match="it answers with status 403: This server does not answer to the name"):
            first_click(address, patience_s=1.5)
        server.status, server.page, server.asleep = 200, PAGE, 3
        assert first_click(address, patience_s=10).page_s >= 3 * PAUSE_S


def test_a_place_where_nothing_listens_is_said() -> None:
    with serving() as (address, _):
        pass
    with pytest.raises(SpaceError, match="nothing answers there"):
        first_click(address, patience_s=0.3)
