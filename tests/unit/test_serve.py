"""The server as its own process: how it starts, refuses to start, and ends."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from samref.core.geometry import ImageSize
from samref.core.prompts import Click
from samref.labels.events import Prompted
from samref.labels.store import ProjectStore
from tests.unit.labels.conftest import workspace_of

pytestmark = pytest.mark.slow

START_S = 120
ROOT = Path(__file__).resolve().parents[2]


class Process:
    """``app.py`` on a data folder."""

    def __init__(self, data: Path, log: Path, **settings: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SAMREF_")}
        environment = {**kept, "SAMREF_MODEL": "tiny-random", "NO_PROXY": "127.0.0.1,localhost", **settings}
        environment["SAMREF_PRECISION"] = "fp32"
        command = [sys.executable, "app.py", "--port", str(self.port), "--data", str(data), "--no-self-test"]
        self._log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT)

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_S
        while "Ready after" not in self.said:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.1)

    def upload(self, token: str, data: bytes) -> int:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/samref/images", data, {"X-Samref-Token": token, "Content-Type": "image/png"}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        return self.process.wait(timeout=30)

    def ended(self) -> int:
        return self.process.wait(timeout=START_S)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "server.log"


def started(processes: list[Process], data: Path, log: Path, **settings: str) -> Process:
    process = Process(data, log, **settings)
    processes.append(process)
    return process


@pytest.fixture
def processes() -> Iterator[list[Process]]:
    all_of_them: list[Process] = []
    yield all_of_them
    for each in all_of_them:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_in_order_and_one_file_is_the_whole_database(
    processes: list[Process], data: Path, log: Path, root: Path, how: signal.Signals
) -> None:
    store = ProjectStore(data / "samref.sqlite")
    token = store.create_workspace().token
    store.close()
    server = started(processes, data, log)
    server.wait_until_ready()
    photo = (root / "assets" / "examples" / "coffee.jpg").read_bytes()
    assert server.upload(token, photo) == 200
    assert (data / "samref.sqlite-wal").stat().st_size > 0
    second = started(processes, data, log.with_name("second.log"))
    assert second.ended() == 1
    assert f"samref: The folder {data} is in use by another samref (process {server.process.pid} on" in second.said
    assert "Traceback" not in second.said
    assert server.end(how) == 0
    assert sorted(path.name for path in data.iterdir()) == ["images", "samref.lock", "samref.sqlite"]
    assert "Traceback" not in server.said
    alone = data.parent / "copied.sqlite"
    alone.write_bytes((data / "samref.sqlite").read_bytes())
    copy = ProjectStore(alone, blobs=data / "images", reads_only=True)
    assert len(copy.images(1)) == 1
    copy.close()


def test_a_server_that_was_killed_lets_go_of_the_folder_and_a_full_store_loses_nothing(
    processes: list[Process], data: Path, log: Path, root: Path
) -> None:
    store = ProjectStore(data / "samref.sqlite")
    token = store.create_workspace().token
    store.close()
    photo = (root / "assets" / "examples" / "coffee.jpg").read_bytes()
    settings = {"SAMREF_STORE_BYTES": str(len(photo) + 200_000)}
    server = started(processes, data, log, **settings)
    server.wait_until_ready()
    assert server.upload(token, photo) == 200
    assert server.end(signal.SIGKILL) == -signal.SIGKILL
    store = ProjectStore(data / "samref.sqlite")  # filled by labelling
    (image,) = store.images(1)
    store.append(1, image.digest, *[Prompted(Click(1, 1), "tiny-random")] * 3000)
    store.close()
    again = started(processes, data, log, **settings)
    again.wait_until_ready()
    assert again.upload(token, (root / "assets" / "examples" / "rocket.jpg").read_bytes()) == 507
    assert again.end(signal.SIGTERM) == 0
    store = ProjectStore(data / "samref.sqlite", reads_only=True)
    assert workspace_of(store, token) == 1
    assert len(store.events(1, image.digest)) == 3001
    assert store.image_bytes(1, image.digest) == photo
    store.close()


@pytest.mark.parametrize("how", ["moved", "emptied", "rubbish", "table"])
def test_a_lost_or_damaged_database_ends_the_start_with_one_sentence_and_keeps_the_images(
    processes: list[Process], data: Path, log: Path, how: str
) -> None:
    store = ProjectStore(data / "samref.sqlite")
    number = store.create_workspace().id
    digests = {store.add_image(number, bytes([n]), f"{n}.png", ImageSize(2, 2)) for n in range(5)}
    store.close()
    path = data / "samref.sqlite"
    match how:
        case "moved":
            path.rename(data.parent / "elsewhere.sqlite")
        case "emptied":
            path.write_bytes(b"")
        case "rubbish":
            path.write_bytes(b"rubbish" * 4096)
        case _:
            with sqlite3.connect(path) as connection:
                connection.execute("DROP TABLE images")
            connection.close()
    server = started(processes, data, log)
    assert server.ended() == 1
    assert server.said.startswith("samref: ")
    assert server.said.count("\n") == 1, server.said
    assert "workspaces restore" in server.said
    assert {file.name for file in (data / "images").glob("??/*")} == digests


def test_a_setting_that_means_nothing_any_more_is_said(processes: list[Process], data: Path, log: Path) -> None:
    server = started(processes, data, log, SAMREF_WORKSPACE_DAYS="30")
    assert server.ended() == 1
    assert "samref: SAMREF_WORKSPACE_DAYS is set, but" in server.said
    assert not data.exists()
