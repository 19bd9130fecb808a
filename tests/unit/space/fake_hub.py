"""A Hugging Face Hub of one account on this machine, with real state: Spaces, commits, large files, stages.

It answers what the library's source (``huggingface_hub/hf_api.py``, ``_commit_api.py``, ``lfs.py``) asks for and reads,
and is as strict as the real one where a push could go wrong: a commit on another parent, a binary file that is not
stored as a large one, a file to delete that is not there. What it does not know, it answers with 501 and remembers.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_test"
LARGE_BYTES = 10_000_000
PAGE = 50
"""Entries of a list that come at once, as on the real Hub; the rest by a Link header."""

STILL = "RUNNING (the commit before)"
"""What the Hub tells as RUNNING while it has not yet begun to build a new commit."""

GITATTRIBUTES = b"".join(
    b"*.%s filter=lfs diff=lfs merge=lfs -text\n" % kind for kind in (b"bin", b"onnx", b"safetensors")
)
README = b"---\nsdk: gradio\n---\n"


@dataclass(frozen=True)
class Blob:
    data: bytes
    is_large: bool = False

    @property
    def git(self) -> str:
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.data)}\n"
        data = pointer.encode() if self.is_large else self.data
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True)
class FakeCommit:
    id: str
    title: str
    message: str
    author: str
    files: Mapping[str, Blob]


@dataclass
class FakeSpace:
    name: str
    sdk: str
    hardware: str = "cpu-basic"
    running_hardware: str | None = None
    sleep_s: int | None = None
    stages: list[str] = field(default_factory=lambda: ["NO_APP_FILE"])
    """Stages to come; each look takes the first one, and the last one stays. :data:`STILL` is RUNNING, too."""
    running: str | None = None
    tells_commit: bool = True
    error: str = ""
    variables: dict[str, dict[str, str]] = field(default_factory=dict)
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    commits: list[FakeCommit] = field(default_factory=list)
    logs: dict[str, list[str]] = field(default_factory=lambda: {"build": [], "run": []})
    restarts: int = 0
    is_private: bool = False

    @property
    def head(self) -> FakeCommit:
        return self.commits[0]

    @property
    def files(self) -> dict[str, bytes]:
        return {path: blob.data for path, blob in self.head.files.items()}

    def commit(self, files: Mapping[str, Blob], title: str, message: str = "", author: str = "anna") -> FakeCommit:
        chain = f"{[each.id for each in self.commits]}{title}{message}{sorted((k, v.git) for k, v in files.items())}"
        made = FakeCommit(hashlib.sha1(chain.encode()).hexdigest(), title, message, author, dict(files))
        self.commits.insert(0, made)
        return made


@dataclass
class Request:
    method: str
    path: str
    query: str
    body: bytes


@dataclass
class Fault:
    """What is answered in place of the real thing, so many times."""

    method: str
    path: re.Pattern[str]
    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str]
    times: int


class FakeHub:
    """The Hub; ``spaces`` by name is its state."""

    def __init__(self) -> None:
        self.spaces: dict[str, FakeSpace] = {}
        self.large: dict[str, bytes] = {}
        self.requests: list[Request] = []
        self.unknown: list[str] = []
        self.role = "write"
        self.after_commit = ["BUILDING", "APP_STARTING", "RUNNING"]
        self.after_create = ["NO_APP_FILE"]
        self.after_restart = ["APP_STARTING", "RUNNING"]
        self.lost_commits: list[str] = []
        """For each commit to come: "before" or "after" it takes effect the connection is cut, "" leaves it alone."""
        self.before_commit: Callable[[FakeSpace], None] | None = None
        self.faults: list[Fault] = []
        self.lock = threading.Lock()
        self.endpoint = ""
        self.address = ""
        """Of every Space, where it is not that of Hugging Face."""

    def fail(
        self,
        method: str,
        path: str,
        status: int,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        times: int = 1,
    ) -> None:
        """Answer ``status`` to the next requests of that method whose path fits the pattern."""
        self.faults.append(Fault(method, re.compile(path), status, body or {}, headers or {}, times))

    def made(self, method: str, path: str) -> list[Request]:
        """Requests of that method whose path fits the pattern."""
        return [each for each in self.requests if each.method == method and re.search(path, each.path)]

    @property
    def changes(self) -> list[Request]:
        """Requests that change something."""
        return [each for each in self.requests if each.method != "GET"]


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """A Hub on a free port of this machine."""
    hub = FakeHub()

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class RefusalError(Exception):
    def __init__(self, status: int, error: str, code: str | None = None) -> None:
        super().__init__(error)
        self.status, self.error, self.code = status, error, code


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # an answer leaves in one piece, or each would wait for a delayed acknowledgement

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the standard library
        pass

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - their names in the standard library

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        if self.command == "POST" and "/commit/" in path and self.hub.lost_commits[:1] == ["before"]:
            self.hub.lost_commits.pop(0)
            self.rfile.read(length // 2)  # in the middle of the commit
            self._cut()
            return
        body = self.rfile.read(length)
        with self.hub.lock:
            self.hub.requests.append(Request(self.command, path, parts.query, body))
            try:
                self._fail_as_told(path)
                if self.headers.get("Authorization") != f"Bearer {TOKEN}" and not path.startswith("/storage/"):
                    raise RefusalError(401, "Invalid credentials in Authorization header")
                answer = self._answer(path, parse_qs(parts.query), body)
            except RefusalError as refusal:
                headers = {"X-Error-Message": refusal.error}
                headers |= {"X-Error-Code": refusal.code} if refusal.code else {}
                self._send(refusal.status, {"error": refusal.error}, headers)
                return
            except _ToldError as told:
                self._send(told.fault.status, dict(told.fault.body), told.fault.headers)
                return
        if answer is None:
            self._cut()
        elif isinstance(answer, _Events):
            self._send_events(answer)
        else:
            self._send(200, answer, self._link)

    def _fail_as_told(self, path: str) -> None:
        for fault in self.hub.faults:
            if fault.times > 0 and fault.method == self.command and fault.path.search(path):
                fault.times -= 1
                raise _ToldError(fault)

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _send(self, status: int, body: Any, headers: Mapping[str, str]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _send_events(self, events: _Events) -> None:
        data = b"".join(
            b"data: " + json.dumps({"data": line, "timestamp": "2026-11-01T00:00:00.000Z"}).encode() + b"\n\n"
            for line in events.lines
        )
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    # ---- what is asked

    def _answer(self, path: str, query: Mapping[str, list[str]], body: bytes) -> Any:
        self._link: dict[str, str] = {}
        hub, method = self.hub, self.command
        if (method, path) == ("GET", "/api/whoami-v2"):
            return {
                "type": "user",
                "name": "anna",
                "orgs": [],
                "auth": {"type": "access_token", "accessToken": {"displayName": "test", "role": hub.role}},
            }
        if (method, path) == ("POST", "/api/repos/create"):
            return self._create(json.loads(body))
        if (method, path) == ("POST", "/api/validate-yaml"):
            return self._validate(json.loads(body))
        if method == "PUT" and path.startswith("/storage/"):
            oid = path.removeprefix("/storage/")
            if hashlib.sha256(body).hexdigest() != oid:
                raise RefusalError(400, "the content is not that of its name")
            hub.large[oid] = body
            return {}
        if found := re.fullmatch(r"/spaces/([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            return self._batch(self._space(found[1]), json.loads(body))
        if found := re.fullmatch(r"/api/spaces/([^/]+/[^/]+)(?:/(.+))?", path):
            return self._of_space(self._space(found[1]), method, found[2] or "", query, body)
        return self._unknown()

    def _unknown(self) -> Any:
        self.hub.unknown.append(f"{self.command} {self.path}")
        raise RefusalError(501, f"the fake Hub does not know {self.command} {self.path}")

    def _space(self, name: str) -> FakeSpace:
        if name not in self.hub.spaces:
            raise RefusalError(404, "Repository not found", "RepoNotFound")
        return self.hub.spaces[name]

    def _of_space(self, space: FakeSpace, method: str, what: str, query: Mapping[str, list[str]], body: bytes) -> Any:
        if method == "GET":
            return self._read(space, what, query)
        if (method, what) == ("POST", "commit/main"):
            return self._commit(space, body)
        return self._set(space, method, what, json.loads(body) if body else {})

    def _read(self, space: FakeSpace, what: str, query: Mapping[str, list[str]]) -> Any:
        match what.split("/"):
            case [""]:
                host = f"{space.name.replace('/', '-').lower()}"
                return {
                    "id": space.name,
                    "sha": space.head.id,
                    "private": space.is_private,
                    "sdk": space.sdk,
                    "subdomain": host,
                    "host": self.hub.address or f"https://{host}.hf.space",
                    "siblings": [{"rfilename": path} for path in space.head.files],
                }
            case ["runtime"]:
                return _runtime(space, look=True)
            case ["commits", "main"]:
                return self._paged([_commit_json(each) for each in space.commits], query)
            case ["tree", revision]:
                return self._tree(space, revision, query)
            case ["logs", ("build" | "run") as kind]:
                return _Events(space.logs[kind])
            case ["variables"]:
                return space.variables
            case ["secrets"]:
                return {
                    name: {key: each[key] for key in each if key != "value"} for name, each in space.secrets.items()
                }
        return self._unknown()

    def _set(self, space: FakeSpace, method: str, what: str, values: Mapping[str, Any]) -> Any:
        match method, what:
            case "POST", "variables" | "secrets":
                there = space.variables if what == "variables" else space.secrets
                there[values["key"]] = {
                    "value": values["value"],
                    "description": values.get("description", ""),
                    "updatedAt": "2026-11-01T00:00:00.000Z",
                }
                return space.variables if what == "variables" else {}
            case "DELETE", "variables":
                space.variables.pop(values["key"])
                return space.variables
            case "POST", "hardware":
                space.hardware = values["flavor"]
                space.sleep_s = values.get("sleepTimeSeconds", space.sleep_s)
                space.stages = list(self.hub.after_restart)
                return _runtime(space)
            case "POST", "sleeptime":
                space.sleep_s = values["seconds"]
                return _runtime(space)
            case "POST", "restart":
                space.restarts += 1
                space.stages = list(self.hub.after_restart)
                return _runtime(space)
            case "POST", "preupload/main":
                return {"files": [_upload_mode(space, each) for each in values["files"]]}
        return self._unknown()

    def _create(self, values: Mapping[str, Any]) -> Any:
        name = f"{values.get('organization') or 'anna'}/{values['name']}"
        address = f"{self.hub.endpoint}/spaces/{name}"
        if name in self.hub.spaces:
            raise _ToldError(
                Fault("", re.compile(""), 409, {"error": "You already created this space repo", "url": address}, {}, 1)
            )
        space = FakeSpace(name, values["sdk"], values.get("hardware", "cpu-basic"), stages=list(self.hub.after_create))
        space.sleep_s = values.get("sleepTimeSeconds")
        for key in ("secrets", "variables"):
            for each in values.get(key, []):
                getattr(space, key)[each["key"]] = {"value": each["value"]}
        space.commit({".gitattributes": Blob(GITATTRIBUTES), "README.md": Blob(README)}, "initial commit")
        self.hub.spaces[name] = space
        return {"url": address}

    def _validate(self, values: Mapping[str, Any]) -> Any:
        if not values["content"].startswith("---\n"):
            raise _ToldError(
                Fault("", re.compile(""), 400, {"errors": [{"message": "no front matter"}], "warnings": []}, {}, 1)
            )
        return {"errors": [], "warnings": []}

    def _batch(self, space: FakeSpace, values: Mapping[str, Any]) -> Any:
        answered = []
        for each in values["objects"]:
            answer = {"oid": each["oid"], "size": each["size"]}
            if each["oid"] not in self.hub.large:
                answer["actions"] = {"upload": {"href": f"{self.hub.endpoint}/storage/{each['oid']}"}}
            answered.append(answer)
        return {"transfer": "basic", "objects": answered}

    def _commit(self, space: FakeSpace, body: bytes) -> Any:
        lines = [json.loads(line) for line in body.decode().splitlines()]
        header = lines[0]["value"]
        if self.hub.before_commit is not None:
            act, self.hub.before_commit = self.hub.before_commit, None
            act(space)
        if header.get("parentCommit") not in (None, space.head.id):
            raise RefusalError(412, "A commit has happened since. Please refresh and try again.")
        files = dict(space.head.files)
        for line in lines[1:]:
            value = line["value"]
            match line["key"]:
                case "file":
                    data = base64.b64decode(value["content"])
                    if b"\0" in data:
                        raise RefusalError(400, f"{value['path']} is binary; it must be stored as a large file")
                    files[value["path"]] = Blob(data)
                case "lfsFile":
                    if value["oid"] not in self.hub.large:
                        raise RefusalError(422, f"the content of {value['path']} was not uploaded")
                    files[value["path"]] = Blob(self.hub.large[value["oid"]], is_large=True)
                case "deletedFile":
                    if value["path"] not in files:
                        raise RefusalError(404, "A file with this name doesn't exist", "EntryNotFound")
                    del files[value["path"]]
                case unknown:
                    raise RefusalError(501, f"the fake Hub does not know the operation {unknown}")
        made = space.commit(files, header["summary"], header["description"])
        space.stages = list(self.hub.after_commit)
        if self.hub.lost_commits and self.hub.lost_commits.pop(0) == "after":
            return None
        return {"commitUrl": f"{self.hub.endpoint}/spaces/{space.name}/commit/{made.id}", "commitOid": made.id}

    def _tree(self, space: FakeSpace, revision: str, query: Mapping[str, list[str]]) -> Any:
        assert query.get("recursive") == ["True"] or query.get("recursive") == ["true"], query
        commit = space.head if revision == "main" else next(each for each in space.commits if each.id == revision)
        folders = {path.rsplit("/", 1)[0] for path in commit.files if "/" in path}
        entries: list[dict[str, Any]] = [
            {"type": "directory", "path": folder, "oid": "0" * 40, "size": 0} for folder in sorted(folders)
        ]
        for path, blob in sorted(commit.files.items()):
            entry = {"type": "file", "path": path, "size": len(blob.data), "oid": blob.git}
            if blob.is_large:
                entry["lfs"] = {"oid": blob.sha256, "size": len(blob.data), "pointerSize": 130}
            entries.append(entry)
        return self._paged(entries, query)

    def _paged(self, entries: list[dict[str, Any]], query: Mapping[str, list[str]]) -> list[dict[str, Any]]:
        start = int(query.get("cursor", ["0"])[0])
        if start + PAGE < len(entries):
            others = "&".join(f"{key}={values[0]}" for key, values in query.items() if key != "cursor")
            address = f"{self.hub.endpoint}{urlsplit(self.path).path}?cursor={start + PAGE}&{others}"
            self._link = {"Link": f'<{address}>; rel="next"'}
        return entries[start : start + PAGE]


@dataclass
class _Events:
    lines: list[str]


class _ToldError(Exception):
    def __init__(self, fault: Fault) -> None:
        super().__init__()
        self.fault = fault


def _upload_mode(space: FakeSpace, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Large where git's attributes or the size say so, or where the first bytes are not text."""
    attributes = space.files.get(".gitattributes", b"").decode().splitlines()
    patterns = [line.split()[0] for line in attributes if "filter=lfs" in line]
    path = asked["path"]
    is_large = (
        asked["size"] > LARGE_BYTES
        or b"\0" in base64.b64decode(asked["sample"])
        or any(fnmatch.fnmatch(path.rsplit("/", 1)[-1], pattern) for pattern in patterns)
    )
    there = space.head.files.get(path)
    ignored = [line for line in space.files.get(".gitignore", b"").decode().split() if fnmatch.fnmatch(path, line)]
    return {
        "path": path,
        "uploadMode": "lfs" if is_large else "regular",
        "shouldIgnore": bool(ignored),
        "oid": None if there is None else there.sha256 if there.is_large else there.git,
    }


def _runtime(space: FakeSpace, *, look: bool = False) -> dict[str, Any]:
    """What the Space does; each ``look`` goes one stage on."""
    stage = space.stages.pop(0) if look and len(space.stages) > 1 else space.stages[0]
    if stage == "RUNNING":
        space.running = space.head.id
        space.running_hardware = space.hardware
    answer: dict[str, Any] = {
        "stage": "RUNNING" if stage == STILL else stage,
        "hardware": {"current": space.running_hardware, "requested": space.hardware},
        "gcTimeout": space.sleep_s,
        "replicas": {"current": 1, "requested": 1},
        "domains": [{"domain": f"{space.name.replace('/', '-')}.hf.space", "stage": "READY"}],
    }
    if space.tells_commit and space.running:
        answer["sha"] = space.running
    if space.error:
        answer["errorMessage"] = space.error
    return answer


def _commit_json(commit: FakeCommit) -> dict[str, Any]:
    return {
        "id": commit.id,
        "title": commit.title,
        "message": commit.message,
        "authors": [{"user": commit.author}],
        "date": "2026-11-01T10:00:00.000Z",
    }
