"""A checkout as something to run: its commands, its server, and a page without a browser that talks to the server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from tests.golden.answers import SEEN_COARSE, Canon

PATIENCE_S = 900.0


class Checkout:
    """The source tree in ``folder``, run by its own Python where it has one, with one thread and in float32.

    Args:
        folder: of the checkout.
        scratch: for temporary files; also the (empty) cache of fetched weights.
    """

    def __init__(self, folder: Path, scratch: Path) -> None:
        self.folder = folder.resolve()
        self.scratch = scratch
        python = self.folder / ".venv/bin/python"
        self.python = str(python) if python.exists() else sys.executable
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SAMREF_")}
        self._environment = {
            **inherited,
            "PYTHONPATH": str(self.folder),
            "OMP_NUM_THREADS": "1",  # sums are taken in the same order each time
            "SAMREF_PRECISION": "fp32",
            "SAMREF_DEVICE": "cpu",
            "SAMREF_CACHE": str(scratch / "cache"),
            "SAMREF_DATA_FOLDER": str(scratch / "default"),
            "NO_PROXY": "127.0.0.1,localhost",
            "COLUMNS": "200",
            "NO_COLOR": "1",
            "TERM": "dumb",
        }

    def canon(self) -> Canon:
        return Canon({"scratch": self.scratch, "checkout": self.folder})

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Python with these arguments, in the checkout; a command that does not end exits with 124."""
        command = ["timeout", str(PATIENCE_S), self.python, *arguments]
        return subprocess.run(command, cwd=self.folder, env=self._environment, capture_output=True, text=True)

    @contextmanager
    def serving(self, data: Path, model: str = "tiny", *, is_killed: bool = False) -> Iterator[str]:
        """The address of the real server over the folder ``data``, until this is left."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [self.python, "app.py", "--port", str(port), "--data", str(data), "--model", model, "--no-self-test"]
        log_file = data.parent / f"{data.name}.log"
        with log_file.open("ab") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, env=self._environment, stdout=log, stderr=subprocess.STDOUT
            )
        url = f"http://127.0.0.1:{port}/"
        try:
            _wait_for(url, process, log_file)
            yield url
        finally:
            process.send_signal(signal.SIGKILL if is_killed else signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url, timeout=5, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise RuntimeError(f"The server does not answer:\n{log.read_text(errors='replace')[-4000:]}")


class Tab:
    """One tab of one workspace. It tells the server what it has seen, as the page does.

    Args:
        url: of the server.
        canon: for its answers; tabs that see the same ids share one.
        name: of the page load.
        token: of the workspace; None: ``hello`` makes one.
    """

    def __init__(self, url: str, canon: Canon, name: str, token: str | None = None) -> None:
        self.http = httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False)
        self.canon = canon
        self.name = name
        self.token = token
        self.seq = 0
        self.views: dict[str, dict[str, Any]] = {}
        self.order: dict[str, list[str]] = {}
        self.workspace: dict[str, Any] = {}
        self._merged: dict[str, int] = {}

    def send(self, verb: str, image: str | None = None, **arguments: Any) -> Any:
        """One request, carried out to the end: its canonical final answer, and the coarse one if it was seen."""
        answers = self.raw(self.payload(verb, image, **arguments))
        if not isinstance(answers, list) or not answers:
            return answers
        coarse = [one for one in answers[:-1] if (one.get("view") or {}).get("phase") == "coarse"]
        return {"answer": answers[-1], SEEN_COARSE: coarse[-1] if coarse else None}

    def payload(self, verb: str, image: str | None = None, **arguments: Any) -> dict[str, Any]:
        self.seq += 1
        seen = {"annotations": self._merged.get(image or "", 0), "workspace": self.workspace.get("revision", 0)}
        revision = self.views.get(image or "", {}).get("revision", 0)
        head = {"v": 1, "seq": self.seq, "tab": self.name, "token": self.token, "verb": verb, "image": image}
        return {**head, "revision": revision, "known": seen, **arguments}

    def raw(self, payload: Any) -> Any:
        """The canonical answers to any request; for a refusal of the request as such its status and body."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        response = self.http.post("samref/send", content=body, headers={"Content-Type": "application/json"})
        if response.status_code != 200:
            return self._plain(response)
        answers = [json.loads(line) for line in response.text.splitlines() if line.strip()]
        for answer in answers:
            self._note(answer)
        return self.canon.clean(answers)

    def hello(self) -> Any:
        return self.send("hello")

    def click(self, image: str, x: float, y: float, positive: bool = True) -> Any:
        return self.send("prompt", image, prompts=[{"type": "click", "x": x, "y": y, "positive": positive}])

    def upload(self, data: bytes, name: str) -> Any:
        head = {**self._headers, "X-Samref-Filename": quote(name, safe="")}
        return self._plain(self.http.post("samref/images", content=data, headers=head))

    def add(self, path: Path) -> str:
        """Upload a file that must be taken; its digest."""
        found: str = self.upload(path.read_bytes(), path.name)["body"]["digest"]
        return found

    def get(self, address: str) -> Any:
        return self._plain(self.http.get(address, headers=self._headers))

    def export(self, kind: str, image: str | None = None) -> Any:
        """The content of an export with its file name."""
        response = self.export_bytes(kind, image)
        if response.status_code != 200:
            return self._plain(response)
        disposition = response.headers["content-disposition"]
        content = self.canon.file(disposition.rpartition("''")[2], response.content)
        return {"name": disposition, "type": response.headers["content-type"], "content": content}

    def export_bytes(self, kind: str, image: str | None = None) -> httpx.Response:
        query = {"format": kind} | ({} if image is None else {"image": image})
        return self.http.get("samref/export", params=query, headers=self._headers)

    def bring(self, coco: bytes) -> Any:
        """Import a COCO file."""
        return self._plain(self.http.post("samref/import", content=coco, headers=self._headers))

    @property
    def _headers(self) -> dict[str, str]:
        return {} if self.token is None else {"X-Samref-Token": self.token}

    def _plain(self, response: httpx.Response) -> Any:
        kind = response.headers.get("content-type", "")
        body = response.json() if kind == "application/json" else self.canon.file("", response.content)
        return {"status": response.status_code, "type": kind, "body": self.canon.clean(body)}

    def _note(self, answer: dict[str, Any]) -> None:
        if "workspace" in answer:
            self.workspace = answer["workspace"]
            self.token = self.workspace["token"]
        view = answer.get("view")
        if not view:
            return
        image = view["image"]["digest"]
        self.views[image] = view
        self.canon.know(view["draft"]["editing"])
        if "annotations" in view:
            self._merged[image] = view["annotations"]["revision"]
            self.order[image] = view["annotations"]["order"]
            for identifier in self.order[image]:
                self.canon.know(identifier)


def sentences(result: subprocess.CompletedProcess[str], canon: Canon) -> dict[str, Any]:
    """What a command answered."""
    return {"exit": result.returncode, "out": canon.prose(result.stdout), "err": canon.prose(result.stderr)}
