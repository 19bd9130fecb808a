"""Our own HTTP routes: who may see what, what is refused, what a browser is told."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient
from starlette.types import Message

from samref.web import http as routes_module
from samref.web.http import FILE_NAME_HEADER, REQUEST_BYTES, TOKEN_HEADER, build_routes
from tests.unit.web.conftest import Page, Server, png


@pytest.fixture
def client(server: Server, tmp_path: Path) -> Iterator[TestClient]:
    static = tmp_path / "static"
    static.mkdir()
    (static / "main.js").write_text("export const answer = 42;", encoding="utf-8")
    (tmp_path / "secret.txt").write_text("secret", encoding="utf-8")
    routes = build_routes(server.verbs, static, version="1.2")
    with TestClient(Starlette(routes=routes)) as started:
        yield started


@pytest.fixture
def token(server: Server) -> str:
    return server.newcomer()


def upload(client: TestClient, token: str, data: bytes, name: str = "a.png") -> dict[str, object]:
    headers = {TOKEN_HEADER: token, FILE_NAME_HEADER: quote(name)}
    answer = client.post("/samref/images", content=data, headers=headers)
    assert answer.status_code == 200, answer.text
    stored: dict[str, object] = answer.json()
    return stored


def ask(client: TestClient, **fields: object) -> Any:
    """One request of a page, as its module sends it."""
    request = {"v": 1, "seq": 1, "token": None, "verb": "hello", "image": None, "tab": "page-1", **fields}
    return client.post("/samref/send", json=request)


def test_answers_come_as_lines_of_the_request(client: TestClient, server: Server) -> None:
    (line,) = ask(client).text.splitlines()
    token = json.loads(line)["workspace"]["token"]
    stored = upload(client, token, png())
    page: dict[str, object] = {"token": token, "image": stored["digest"]}
    assert [json.loads(line)["seq"] for line in ask(client, seq=2, verb="open", **page).text.splitlines()][-1] == 2
    answer = ask(client, seq=3, verb="prompt", prompts=[{"type": "click", "x": 48, "y": 36}], **page, revision=1)
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["cache-control"] == "no-store"
    stages = [json.loads(line) for line in answer.text.splitlines()]
    assert stages[-1]["view"]["phase"] == "refined"
    assert [stage["final"] for stage in stages] == [False] * (len(stages) - 1) + [True]
    assert ask(client, seq=3, verb="sync", **page).text == "", "a number is answered once"
    assert ask(client, seq=1, verb="sync", **page, tab="page-2").text, "each page load counts for itself"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[1, 2]",
        b'"text"',
        b'{"v": 1, "seq": 1, "verb": "hello"}',
        b'{"v": 1, "seq": 1, "verb": "hello", "tab": 7}',
        b'{"v": 1, "seq": 1, "verb": "hello", "tab": "../x"}',
        b'{"v": 1, "seq": NaN, "verb": "hello", "tab": "a"}',
        b"[" * 100_000,
        b"9" * 100_000,
        b"\xff\xfe",
    ],
)
def test_a_request_that_is_none_gets_a_sentence(
    client: TestClient, caplog: pytest.LogCaptureFixture, body: bytes
) -> None:
    answer = client.post("/samref/send", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "request"
    assert not caplog.records


def test_a_request_is_short(client: TestClient) -> None:
    answer = client.post("/samref/send", content=b" " * (REQUEST_BYTES + 1))
    assert answer.status_code == 413
    assert "2,097,153 bytes long, 1 more than the 2 MiB" in answer.json()["error"]["message"]


def test_a_sender_who_falls_silent_is_not_waited_for(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes_module, "SILENT_SENDER_S", 0.05)

    async def silent() -> Message:
        await asyncio.sleep(60)
        raise AssertionError("waited for too long")

    async def scenario() -> list[Message]:
        sent: list[Message] = []

        async def note(message: Message) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/samref/send", "headers": [], "query_string": b""}
        await client.app({**scope, "raw_path": b"/samref/send", "root_path": ""}, silent, note)
        return sent

    assert asyncio.run(asyncio.wait_for(scenario(), 10))[0]["status"] == 408


def test_a_reader_who_falls_silent_is_not_waited_for(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes_module, "SLOW_READER_S", 0.05)
    body = json.dumps({"v": 1, "seq": 1, "token": None, "verb": "hello", "image": None, "tab": "slow"}).encode()

    async def request() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def stuck(message: Message) -> None:
        if message["type"] == "http.response.body":
            await asyncio.sleep(60)

    async def scenario() -> None:
        scope = {"type": "http", "method": "POST", "path": "/samref/send", "headers": [], "query_string": b""}
        await client.app({**scope, "raw_path": b"/samref/send", "root_path": ""}, request, stuck)

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_a_image_goes_in_and_comes_back_upright(client: TestClient, token: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    buffer = io.BytesIO()
    Image.new("RGB", (60, 40), (250, 0, 0)).save(buffer, format="JPEG", exif=exif)
    stored = upload(client, token, buffer.getvalue(), "Katze äöü.jpg")
    assert (stored["file_name"], stored["width"], stored["height"]) == ("Katze äöü.jpg", 40, 60)
    answer = client.get(f"/samref/images/{stored['digest']}", headers={TOKEN_HEADER: token})
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    with Image.open(io.BytesIO(answer.content)) as shown:
        assert shown.size == (40, 60)
    thumb = client.get(f"/samref/images/{stored['digest']}?thumb=1", headers={TOKEN_HEADER: token})
    with Image.open(io.BytesIO(thumb.content)) as small:
        assert max(small.size) <= 256


@pytest.mark.parametrize("bad", [None, "", "wrong", "../../etc/passwd", "x" * 5000])
def test_without_the_right_token_nothing_is_told(client: TestClient, token: str, bad: str | None) -> None:
    stored = upload(client, token, png())
    headers = {} if bad is None else {TOKEN_HEADER: bad}
    for method, path in (
        ("GET", f"/samref/images/{stored['digest']}"),
        ("GET", f"/samref/images/{stored['digest']}?token={token}"),
        ("GET", "/samref/export?format=coco-rle"),
        ("POST", "/samref/images"),
        ("POST", "/samref/import"),
    ):
        answer = client.request(method, path, headers=headers)
        assert answer.status_code == 401, path
        assert answer.json()["error"]["message"]


def test_another_workspace_cannot_have_the_image(client: TestClient, server: Server, token: str) -> None:
    stored = upload(client, token, png())
    stranger = server.newcomer()
    answer = client.get(f"/samref/images/{stored['digest']}", headers={TOKEN_HEADER: stranger})
    assert answer.status_code == 422
    assert "does not hold" in answer.json()["error"]["message"]
    answer = client.get(f"/samref/export?format=png-class&image={stored['digest']}", headers={TOKEN_HEADER: stranger})
    assert answer.status_code == 422


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 422),
        (b"not an image", 422),
        (png()[:60], 422),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 422),
        (png(width=2000, height=1000), 413),
        (b"x" * 200_001, 413),
    ],
)
def test_what_cannot_be_used_is_refused_and_not_kept(
    client: TestClient, server: Server, token: str, data: bytes, status: int
) -> None:
    answer = client.post("/samref/images", content=data, headers={TOKEN_HEADER: token})
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == "image"
    assert answer.json()["error"]["message"].endswith(".")
    assert server.store.images(server.verbs.find(token)) == ()


def test_a_body_without_a_length_is_stopped_at_the_limit(client: TestClient, token: str) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(300):
            yield b"x" * 1000

    answer = client.post("/samref/images", content=endless(), headers={TOKEN_HEADER: token})
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("../../etc/passwd", "etc/passwd"),
        ("C:\\images\\cat.jpg", "images/cat.jpg"),
        ("<b>${7*7}</b>.png", "<b>${7*7}</b>.png"),
        ("a\r\nSet-Cookie: x", "aSet-Cookie: x"),
        ("", "image"),
        ("x" * 500, "x" * 200),
    ],
)
def test_a_file_name_leads_out_of_no_folder(client: TestClient, token: str, sent: str, kept: str) -> None:
    assert upload(client, token, png(), sent)["file_name"] == kept


def test_an_example_is_given_to_anybody_but_only_by_its_name(client: TestClient) -> None:
    assert client.get("/samref/examples/red_disk.png").status_code == 200
    assert client.get("/samref/examples/red_disk.png?thumb=1").headers["content-type"] == "image/jpeg"
    for name in ("CREDITS.md", "..%2FCREDITS.md", "%2E%2E%2Fsecret.txt", "nothing.png"):
        assert client.get(f"/samref/examples/{name}").status_code in (404, 422)


def test_modules_are_served_and_nothing_beside_them(client: TestClient) -> None:
    answer = client.get("/samref/static/1.2/main.js")
    assert answer.status_code == 200
    assert "javascript" in answer.headers["content-type"]
    assert answer.headers["cache-control"] == "no-cache"
    for path in (
        "/samref/static/1.2/../secret.txt",
        "/samref/static/1.2/%2e%2e/secret.txt",
        "/samref/static/9/main.js",
    ):
        assert client.get(path).status_code == 404


def labelled(server: Server) -> Page:
    """A page with one accepted object."""

    async def draw() -> Page:
        page = Page(server, "tab")
        await page.ask("hello")
        page.image = server.add_image(page.token, png(), "disk.png")
        await page.view_of("open")
        await page.view_of("prompt", prompts=[{"type": "click", "x": 48, "y": 36}])
        await page.view_of("commit", class_id=1)
        return page

    return asyncio.run(draw())


def test_labels_are_downloaded_in_every_format(client: TestClient, server: Server) -> None:
    page = labelled(server)
    headers = {TOKEN_HEADER: page.token or ""}
    for kind in ("coco-polygon", "coco-rle"):
        answer = client.get(f"/samref/export?format={kind}", headers=headers)
        assert answer.headers["content-disposition"].startswith("attachment; filename=")
        coco = answer.json()
        assert [annotation["category_id"] for annotation in coco["annotations"]] == [1]
        assert coco["annotations"][0]["area"] == page.annotations[next(iter(page.annotations))]["area"]
    for kind in ("png-class", "png-instance"):
        answer = client.get(f"/samref/export?format={kind}&image={page.image}", headers=headers)
        with Image.open(io.BytesIO(answer.content)) as mask:
            assert mask.size == (96, 72)
    answer = client.get("/samref/export?format=zip", headers=headers)
    assert "annotations/instances.json" in zipfile.ZipFile(io.BytesIO(answer.content)).namelist()


@pytest.mark.parametrize("kind", ["", "pdf", "../x", "png-class"])
def test_an_export_that_does_not_exist_is_refused(client: TestClient, token: str, kind: str) -> None:
    answer = client.get(f"/samref/export?format={kind}", headers={TOKEN_HEADER: token})
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "label"


def test_an_export_is_imported_again_into_an_open_page(client: TestClient, server: Server) -> None:
    page = labelled(server)
    headers = {TOKEN_HEADER: page.token or ""}
    exported = client.get("/samref/export?format=coco-rle", headers=headers).content
    (identifier,) = page.annotations
    asyncio.run(page.view_of("delete", id=identifier))
    assert page.annotations == {}
    answer = client.post("/samref/import", content=exported, headers=headers)
    assert answer.json()["annotations"] == 1
    assert "1 object in 1 image" in answer.json()["message"]
    asyncio.run(page.view_of("sync"))
    assert list(page.annotations) == [identifier]


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"images": 3}', json.dumps({"annotations": [{}]}).encode()])
def test_an_import_that_is_no_coco_file_changes_nothing(client: TestClient, server: Server, data: bytes) -> None:
    page = labelled(server)
    answer = client.post("/samref/import", content=data, headers={TOKEN_HEADER: page.token or ""})
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "import"
    asyncio.run(page.view_of("sync"))
    assert len(page.annotations) == 1


def test_a_bug_is_told_without_its_details(
    client: TestClient, server: Server, token: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret /path")

    monkeypatch.setattr(server.store, "reading", broken)
    answer = client.get("/samref/export?format=zip", headers={TOKEN_HEADER: token})
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "secret" in caplog.text
