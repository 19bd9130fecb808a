"""What every request passes first: whose name it asked for, which page made it, whether its address is open."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from samref.web.guard import Guard, Opening, known_hosts


def guarded(listens_on: str = "127.0.0.1", named: str = "", frame_ancestors: str = "self") -> TestClient:
    """A server behind the guard that answers 200 to everything the guard lets through."""

    async def anything(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.url.path)

    everything = Route("/{path:path}", anything, methods=["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
    guard = Middleware(Guard, hosts=known_hosts(listens_on, named), frame_ancestors=frame_ancestors)
    return TestClient(Starlette(routes=[everything], middleware=[guard]), base_url="http://127.0.0.1:7860")


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "LOCALHOST", "[::1]:7860"])
def test_a_server_for_this_machine_answers_to_its_loopback_names(host: str) -> None:
    assert guarded().get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7860", "192.168.1.4:7860", "", "127.0.0.1.evil.example", "[::"]
)
def test_a_name_that_was_made_to_point_here_gets_nothing(host: str) -> None:
    answer = guarded().get("/samref/images/x", headers={"Host": host})
    assert answer.status_code == 403
    assert "SAMREF_HOSTS" in answer.json()["error"]["message"]


def test_a_server_for_others_answers_to_addresses_and_to_names_it_was_told() -> None:
    client = guarded("0.0.0.0", "label.example.org, Lab")
    for host in ("192.168.1.4:7860", "[fe80::1]:7860", "label.example.org", "lab:7860", "localhost"):
        assert client.get("/", headers={"Host": host}).status_code == 200, host
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 403
    assert guarded("0.0.0.0", "*").get("/", headers={"Host": "whatever.example"}).status_code == 200


def test_a_proxy_cannot_be_made_to_speak_for_a_foreign_name() -> None:
    answer = guarded().get("/", headers={"X-Forwarded-Host": "evil.example"})
    assert answer.status_code == 403
    told = guarded(named="label.example.org")
    assert told.get("/", headers={"X-Forwarded-Host": "label.example.org"}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://127.0.0.1:3000", "http://localhost:7860", "null", "x"]
)
def test_a_request_that_another_page_made_is_refused(origin: str) -> None:
    answer = guarded().post("/samref/send", headers={"Origin": origin})
    assert answer.status_code == 403
    assert "another page" in answer.json()["error"]["message"]


def test_the_page_itself_may_ask_directly_and_through_a_proxy() -> None:
    assert guarded().post("/samref/send", headers={"Origin": "http://127.0.0.1:7860"}).status_code == 200
    client = guarded(named="label.example.org")
    behind = {"Origin": "https://label.example.org"}
    assert client.post("/samref/send", headers=behind).status_code == 200
    assert client.post("/samref/send", headers={**behind, "X-Forwarded-Host": "label.example.org"}).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/config",
        "/docs",
        "/openapi.json",
        "/monitoring",
        "/monitoring/summary",
        "/login",
        "/gradio_api/api/predict",
        "/gradio_api/call/x",
        "/gradio_api/component_server",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/heartbeat/x",
        "/gradio_api/info",
        "/gradio_api/openapi.json",
        "/gradio_api/proxy=http://evil.example",
        "/gradio_api/queue/data",
        "/gradio_api/queue/join",
        "/gradio_api/run/predict",
        "/gradio_api/upload",
        "/gradio_api/vibe-edit/",
        "//gradio_api/upload",
        "/samref",
        "/static",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_the_page_does_not_need_is_closed(path: str, method: str) -> None:
    answer = guarded().request(method, f"http://127.0.0.1:7860{path}")
    assert answer.status_code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_the_page_and_its_parts_are_only_ever_read(method: str) -> None:
    for path in ("/", "/assets/x.js", "/theme.css"):
        assert guarded().request(method, path).status_code == 405
        assert guarded().get(path).status_code == 200


def test_every_answer_says_what_it_may_load_and_who_may_frame_it() -> None:
    for path in ("/", "/nothing"):
        headers = guarded().get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'self'" in headers["content-security-policy"]
        assert headers["x-frame-options"] == "SAMEORIGIN"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cross-origin-embedder-policy"] == "require-corp"
        assert "cross-origin-resource-policy" not in headers


@pytest.mark.parametrize("ancestors", ["*", "https://huggingface.co https://*.hf.space"])
def test_a_setting_opens_the_page_to_frames(ancestors: str) -> None:
    headers = guarded(frame_ancestors=ancestors).get("/").headers
    assert f"frame-ancestors {ancestors}" in headers["content-security-policy"]
    assert "x-frame-options" not in headers
    assert headers["cross-origin-resource-policy"] == "cross-origin"


@pytest.mark.parametrize(("kind", "is_page"), [("text/html", True), ("text/javascript; charset=utf-8", False)])
def test_only_what_can_become_a_page_carries_the_rules_for_pages(kind: str, is_page: bool) -> None:
    guard = Guard(Response("1", media_type=kind), hosts=known_hosts("127.0.0.1", ""), frame_ancestors="self")
    headers = TestClient(guard, base_url="http://127.0.0.1:7860").get("/static/x").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert ("content-security-policy" in headers) is is_page
    assert ("x-frame-options" in headers) is is_page


def opened(*openings: Opening) -> TestClient:
    """A server behind the guard whose body comes back, with openings."""

    async def echo(request: Request) -> Response:
        return Response(str(len(await request.body())))

    guard = Middleware(Guard, hosts=known_hosts("127.0.0.1", ""), frame_ancestors="self", opened=openings)
    route = Route("/{path:path}", echo, methods=["GET", "HEAD", "POST", "PUT"])
    return TestClient(Starlette(routes=[route], middleware=[guard]), base_url="http://127.0.0.1:7860")


def test_an_opening_opens_its_address_and_method_alone() -> None:
    client = opened(Opening("POST", "/gradio_api/upload", 10), Opening("GET", "/gradio_api/call/"))
    assert client.post("/gradio_api/upload", content=b"0123456789").text == "10"
    assert client.get("/gradio_api/upload").status_code == 405
    assert client.get("/gradio_api/call/segment/x").status_code == 200
    assert client.post("/gradio_api/call/segment").status_code == 405
    for closed in ("/gradio_api/uploads", "/gradio_api/call", "/gradio_api/queue/join"):
        assert client.get(closed).status_code == 404
    assert not Opening("GET", "/masks/").leads_to("/masks/../x")
    assert client.get("/gradio_api/call/x", headers={"Host": "evil.example"}).status_code == 403
    assert client.get("/gradio_api/call/x", headers={"Origin": "http://evil.example"}).status_code == 403


def test_an_opening_takes_so_many_bytes_whether_they_are_announced_or_not() -> None:
    client = opened(Opening("POST", "/gradio_api/upload", 10))
    assert client.post("/gradio_api/upload", content=b"0" * 11).status_code == 413
    answer = client.post("/gradio_api/upload", content=iter([b"0" * 6, b"0" * 6]))
    assert answer.status_code == 413
    assert "Send less" in answer.text


def test_an_opening_can_say_that_it_is_full() -> None:
    full: list[str] = ["Come again."]
    client = opened(Opening("POST", "/x", 10, lambda: full[0] if full else None))
    answer = client.post("/x", content=b"1")
    assert (answer.status_code, answer.json()["error"]["message"]) == (503, "Come again.")
    full.clear()
    assert client.post("/x", content=b"1").status_code == 200


def test_who_runs_the_server_may_look_at_the_start_page_under_any_name() -> None:
    async def anything(_: Request) -> PlainTextResponse:
        return PlainTextResponse("here")

    guard = Middleware(Guard, hosts=known_hosts("0.0.0.0", ""), frame_ancestors="self", is_probed=True)
    route = Route("/{path:path}", anything, methods=["GET", "HEAD", "POST"])
    client = TestClient(Starlette(routes=[route], middleware=[guard]), base_url="http://127.0.0.1:7860")
    strange = {"Host": "r-ana-samref-1:7860"}
    assert client.get("/", headers=strange).status_code == 200
    assert client.head("/", headers=strange).status_code == 200
    assert client.post("/", headers=strange).status_code == 403
    assert client.get("/samref/folder", headers=strange).status_code == 403
