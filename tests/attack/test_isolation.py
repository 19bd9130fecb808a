"""Nobody gets at somebody else's images and labels, and no other site gets at anything."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

from samref import __version__
from tests.attack import images
from tests.attack.client import Answer, Bare, Person, bare_request, changes, new_tab
from tests.attack.figures import Figures
from tests.attack.server import AttackedServer
from tests.attack.size import FULL, seeded

MARK = "vErYsEcReT"

EXPORTS = ("coco-polygon", "coco-rle", "png-class", "png-instance", "zip")

CLOSED = (
    ("POST", "/gradio_api/upload"),
    ("GET", "/gradio_api/upload_progress?upload_id=1"),
    ("POST", "/gradio_api/queue/join"),
    ("GET", "/gradio_api/queue/data?session_hash=abc"),
    ("GET", "/gradio_api/queue/status"),
    ("POST", "/gradio_api/run/send"),
    ("POST", "/gradio_api/api/send"),
    ("POST", "/gradio_api/call/send"),
    ("GET", "/gradio_api/call/send/1"),
    ("POST", "/gradio_api/call/v2/send"),
    ("POST", "/gradio_api/cancel"),
    ("POST", "/gradio_api/reset"),
    ("POST", "/gradio_api/component_server"),
    ("POST", "/gradio_api/process_recording"),
    ("POST", "/gradio_api/stream/1"),
    ("GET", "/gradio_api/file=/etc/passwd"),
    ("GET", "/gradio_api/file/etc/passwd"),
    ("GET", "/gradio_api/proxy=http://127.0.0.1:9/x"),
    ("GET", "/gradio_api/info"),
    ("GET", "/gradio_api/openapi.json"),
    ("GET", "/gradio_api/token"),
    ("GET", "/gradio_api/user"),
    ("GET", "/gradio_api/deep_link"),
    ("GET", "/gradio_api/dev/reload"),
    ("GET", "/gradio_api/vibe-code"),
    ("POST", "/gradio_api/vibe-edit"),
    ("GET", "/file=/etc/passwd"),
    ("GET", "/proxy=http://127.0.0.1:9/x"),
    ("POST", "/upload"),
    ("POST", "/queue/join"),
    ("POST", "/run/send"),
    ("GET", "/openapi.json"),
    ("GET", "/docs"),
    ("GET", "/redoc"),
    ("GET", "/monitoring"),
    ("GET", "/monitoring/summary"),
    ("GET", "/profiling/traces"),
    ("GET", "/profiling/summary"),
    ("POST", "/profiling/clear"),
    ("POST", "/login"),
)
"""What Gradio would answer and samref does not need."""


@dataclass(frozen=True)
class Estate:
    """What the owner has, and the words that would betray it."""

    digest: str
    annotation: str
    secrets: tuple[bytes, ...]
    jpegs: tuple[bytes, ...]
    before: Mapping[str, Any]

    def leak(self, body: bytes) -> str | None:
        """What of the owner's stands in an answer."""
        for secret in self.secrets:
            if secret in body:
                return secret.decode("utf-8", "replace")
        return "the image itself" if any(jpeg in body for jpeg in self.jpegs) else None


@pytest.fixture
def estate(owner: Person) -> Estate:
    digest = owner.add(images.photo(seeded("isolation")), f"{MARK}.png")
    owner.open(digest)
    owner.send("add_class", name=f"class {MARK}").accepted()
    owner.click(digest, 60, 60).accepted()
    view = owner.send("commit", digest, class_id=2).accepted()["view"]
    (annotation,) = view["annotations"]["changed"]
    owner.click(digest, 100, 30).accepted()
    mask = json.dumps(annotation["mask"]["counts"])[1:-1]
    assert owner.token is not None
    words = (MARK, digest, annotation["id"], owner.token, mask)
    jpegs = tuple(owner.image(digest, thumbnail=thumbnail).content for thumbnail in (False, True))
    return Estate(digest, annotation["id"], tuple(w.encode() for w in words), jpegs, owner.everything())


def _wrong_tokens(token: str, stranger: str) -> Mapping[str, Any]:
    """Everything one might try instead of the owner's token."""
    return {
        "none": None,
        "empty": "",
        "blank": " ",
        "another person's": stranger,
        "guessed": secrets.token_urlsafe(32),
        "one letter short": token[:-1],
        "first letter missing": token[1:],
        "one letter more": token + "A",
        "other case": token.swapcase(),
        "backwards": token[::-1],
        "its hash": hashlib.sha256(token.encode()).hexdigest(),
        "half of it": token[: len(token) // 2],
        "a wild card": "%",
        "sql": "' OR '1'='1",
        "null": "null",
        "undefined": "undefined",
        "number of the workspace": "1",
        "unicode": "тоkен\u202e",
        "full width": "".join(chr(ord(c) + 0xFEE0) for c in token),
        "very long": "A" * 5_000,
        "path": "../../samref.sqlite",
    }


def _odd_tokens(token: str) -> Mapping[str, Any]:
    """What can stand in JSON only."""
    return {
        "list of it": [token],
        "object of it": {"token": token},
        "true": True,
        "zero": 0,
        "one": 1,
        "with a zero byte": token + "\x00",
        "with a line break": token + "\n",
        "half a character": "\ud800",
        "enormous": "A" * 200_000,
    }


def _verbs(estate: Estate) -> Iterator[tuple[str, Mapping[str, Any]]]:
    one = {"id": estate.annotation}
    yield from (("hello", {}), ("open", {}), ("sync", {}), ("undo", {}), ("redo", {}), ("clear", {}))
    yield "prompt", {"prompts": [{"type": "click", "x": 3, "y": 3, "positive": True}]}
    yield "commit", {"class_id": 1}
    yield from (("edit", one), ("delete", one), ("set_visible", {**one, "visible": False}))
    yield "reclass", {**one, "class_id": 1}
    yield "use_model", {"name": "tiny"}
    yield from (("add_class", {"name": "stolen"}), ("change_class", {"class_id": 1, "name": "stolen"}))
    yield from (("remove_class", {"class_id": 2}), ("prefetch", {"digest": estate.digest}))


def _send(url: str, token: Any, verb: str, estate: Estate, arguments: Mapping[str, Any]) -> Bare:
    payload = {"v": 1, "seq": 1, "tab": new_tab(), "token": token, "verb": verb, "image": estate.digest}
    payload |= {"revision": 10**6, "known": {"annotations": 0, "workspace": 0}, **arguments}
    headers = [("Content-Type", "application/json")]
    return bare_request(url, "POST", "/samref/send", headers, json.dumps(payload).encode())


def _own_routes(url: str, token: Any, estate: Estate) -> Iterator[tuple[str, Bare]]:
    headers = [] if token is None else [("X-Samref-Token", token)]
    digest = estate.digest
    for path in (f"images/{digest}", f"images/{digest}?thumb=1"):
        yield path, bare_request(url, "GET", f"/samref/{path}", headers)
    for kind in EXPORTS:
        for query in (f"format={kind}", f"format={kind}&image={digest}"):
            yield query, bare_request(url, "GET", f"/samref/export?{query}", headers)
    coco = json.dumps({"images": [], "categories": [{"id": 1, "name": "stolen"}], "annotations": []}).encode()
    yield "import", bare_request(url, "POST", "/samref/import", headers, coco)
    yield "upload", bare_request(url, "POST", "/samref/images", headers, b"no image")


def test_no_wrong_token_opens_somebody_elses_workspace(
    served: AttackedServer, owner: Person, stranger: Person, estate: Estate, figures: Figures
) -> None:
    assert owner.token is not None
    assert stranger.token is not None
    tokens = _wrong_tokens(owner.token, stranger.token)
    leaks: list[str] = []
    tried = 0
    with served.without_bugs():
        for name, token in {**tokens, **_odd_tokens(owner.token)}.items():
            for verb, arguments in _verbs(estate):
                answer = _send(served.url, token, verb, estate, arguments)
                tried += 1
                kinds = [json.loads(line)["kind"] for line in answer.text.splitlines() if line.startswith('{"v"')]
                harmless = verb == "hello" and token in (None, stranger.token)
                harmless |= token == stranger.token and verb in ("add_class", "change_class")
                found = estate.leak(answer.body)
                if found or ("view" in kinds and not harmless) or answer.status >= 500:
                    leaks.append(f"{verb} with the token {name}: {answer.status} {found} {answer.text[:200]}")
        for name, token in tokens.items():
            for route, answer in _own_routes(served.url, token, estate):
                tried += 1
                found = estate.leak(answer.body)
                own = token == stranger.token and (route == "import" or "image=" not in route)
                if found or answer.status >= 500 or (answer.status == 200 and not own):
                    leaks.append(f"{route} with the token {name}: {answer.status} {found}")
        # An image's file is no key to its labels: who brings the same one sees none of them.
        digest = stranger.add(owner_photo(estate), "same.png")
        assert digest == estate.digest
        assert stranger.open(digest)["view"]["annotations"]["order"] == []
    assert leaks == []
    assert changes(dict(estate.before), owner.everything()) == []
    figures.note("isolation", tokens_tried_on_routes=tried, leaks=len(leaks))


def owner_photo(estate: Estate) -> bytes:
    photo = images.photo(seeded("isolation"))
    assert hashlib.sha256(photo).hexdigest() == estate.digest
    return photo


def _paths(estate: Estate, data: str) -> Iterator[str]:
    targets = ["/etc/passwd", f"{data}/samref.sqlite", f"{data}/images/{estate.digest[:2]}/{estate.digest}"]
    ups: tuple[str, ...] = (
        "../",
        "..%2f",
        "%2e%2e/",
        "%2e%2e%2f",
        "..%252f",
        "..\\",
        "..%5c",
        "....//",
        "%c0%ae%c0%ae/",
        "..;/",
    )
    places = [
        "/",
        "/samref/",
        "/samref/images/",
        "/samref/examples/",
        "/samref/static/",
        f"/samref/static/{__version__}/",
        "/static/",
        "/assets/",
        "/svelte/",
        "/custom_component/",
        "/gradio_api/",
        "/gradio_api/file=",
        "/file=",
        "/theme.css/",
    ]
    if not FULL:
        ups, targets = ups[:4] + ups[5:7], targets[:2]
    for place in places:
        for target in targets:
            for up in ups:
                yield place + up * 12 + target.lstrip("/")
            yield place + target
            yield place + "/" + target
            yield place + "file://" + target
            yield place + target.replace("/", "%2f")
            yield place + target + "%00.jpg"
        yield place + "../app.py"
        yield place + "..%2f..%2f..%2fhandlers.py"
        yield place + "../weights/README.md"


def test_no_path_leads_out_of_what_is_served(
    served: AttackedServer, owner: Person, estate: Estate, figures: Figures
) -> None:
    code = (b"root:x:0:0", b"root:*:0:0", b"SQLite format 3", b"token_hash", b"from samref", b"# Weights")
    photo = owner_photo(estate)
    found: list[str] = []
    tried = 0
    assert owner.token is not None
    with served.without_bugs():
        for path in _paths(estate, str(served.data)):
            for headers in ([], [("X-Samref-Token", owner.token)]) if path.startswith("/samref/") else ([],):
                answer = bare_request(served.url, "GET", path, headers, longest=200_000)
                tried += 1
                if answer.status >= 500 or photo in answer.body or any(word in answer.body for word in code):
                    found.append(f"{path}: {answer.status} {answer.text[:100]!r}")
    assert found == []
    figures.note("isolation", paths_tried=tried, files_read_outside=0)


def test_requests_under_a_foreign_host_name_are_refused(
    served: AttackedServer, owner: Person, estate: Estate, figures: Figures
) -> None:
    """A page of another site that points its own name at this machine must not reach the server."""
    port = urlsplit(served.url).port
    assert owner.token is not None
    token = [("X-Samref-Token", owner.token)]
    hosts = ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", "localhost.evil.example", "0x7f.1", "")
    paths = (
        "/",
        "/config",
        "/samref/examples/coffee.jpg",
        f"/samref/images/{estate.digest}",
        "/samref/export?format=zip",
    )
    passed = []
    with served.without_bugs():
        for host in hosts:
            for path in paths:
                answer = bare_request(served.url, "GET", path, [("Host", host), *token], longest=100_000)
                if answer.status < 400 or estate.leak(answer.body):
                    passed.append(f"{path} under the name {host!r}: {answer.status}")
            answer = bare_request(served.url, "POST", "/samref/send", [("Host", host)], _hello(owner))
            if answer.status < 400 or estate.leak(answer.body):
                passed.append(f"send under the name {host!r}: {answer.status}")
        for path in paths:
            for name in ("X-Forwarded-Host", "Forwarded", "X-Original-URL", "X-Forwarded-Server"):
                value = "host=evil.example" if name == "Forwarded" else "evil.example"
                answer = bare_request(served.url, "GET", path, [(name, value), *token], longest=2_000_000)
                if answer.status < 400 and "evil.example" in answer.text + str(dict(answer.headers)):
                    passed.append(f"{path} takes {name} for the server's name: {answer.status}")
    assert passed == []
    figures.note("isolation", foreign_host_names_tried=len(hosts) * (len(paths) + 1) + 4 * len(paths))


def _hello(owner: Person) -> bytes:
    payload = {"v": 1, "seq": 1, "tab": new_tab(), "token": owner.token, "verb": "hello", "image": None}
    return json.dumps({**payload, "revision": 0, "known": {}}).encode()


def test_other_sites_can_neither_ask_nor_read(
    served: AttackedServer, owner: Person, estate: Estate, figures: Figures
) -> None:
    port = urlsplit(served.url).port or 0
    assert owner.token is not None
    token = ("X-Samref-Token", owner.token)
    origins = ("http://evil.example", "https://127.0.0.1.evil.example", f"http://127.0.0.1:{port + 1}", "null")
    posts = (
        ("/samref/send", _hello(owner)),
        ("/samref/images", owner_photo(estate)),
        ("/samref/import", b"{}"),
        ("/gradio_api/upload", b"x"),
    )
    passed = []
    with served.without_bugs():
        own = [("Origin", served.url.rstrip("/")), token]
        assert bare_request(served.url, "POST", "/samref/send", own, _hello(owner)).status == 200
        for origin in origins:
            for path, body in posts:
                answer = bare_request(served.url, "POST", path, [("Origin", origin), token], body)
                if answer.status not in (403, 404, 405) or estate.leak(answer.body):
                    passed.append(f"POST {path} from {origin}: {answer.status}")
            for path in ("/", f"/samref/images/{estate.digest}", "/samref/export?format=zip"):
                answer = bare_request(served.url, "GET", path, [("Origin", origin), token])
                allowed = answer.headers.get("access-control-allow-origin")
                if (answer.status < 400 and allowed in (origin, "*")) or estate.leak(answer.body):
                    passed.append(f"GET {path} may be read by {origin}")
    assert passed == []
    assert changes(dict(estate.before), owner.everything()) == []
    figures.note("isolation", foreign_origins_tried=len(origins) * (len(posts) + 3))


def test_what_gradio_offers_beside_the_page_is_closed(served: AttackedServer, figures: Figures) -> None:
    body = json.dumps({"fn_index": 0, "data": [], "session_hash": "abc", "event_id": "1"}).encode()
    headers = [("Content-Type", "application/json")]
    opened = []
    with served.without_bugs():
        for method, path in CLOSED:
            for variant in (path, path.replace("?", "/?") if "?" in path else path + "/"):
                sent = body if method == "POST" else b""
                answer = bare_request(served.url, method, variant, headers, sent, longest=1000)
                if answer.status not in (403, 404, 405):
                    opened.append(f"{method} {variant}: {answer.status} {answer.text[:80]!r}")
    assert opened == []
    figures.note("isolation", closed_routes_tried=2 * len(CLOSED))


def test_nothing_is_framed_by_another_site(served: AttackedServer) -> None:
    page = bare_request(served.url, "GET", "/")
    assert page.status == 200
    policy = page.headers.get("content-security-policy", "")
    assert "frame-ancestors" in policy or page.headers.get("x-frame-options", "").upper() in ("DENY", "SAMEORIGIN")


def test_a_farewell_is_all_that_an_unknown_token_gets(served: AttackedServer, owner: Person, estate: Estate) -> None:
    answer = _send(served.url, secrets.token_urlsafe(32), "open", estate, {})
    farewell: Answer = json.loads(answer.text.splitlines()[-1])
    assert (farewell["kind"], farewell["bye"]["reason"]) == ("bye", "token")
    assert "view" not in farewell
    assert "workspace" not in farewell
