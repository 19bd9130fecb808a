"""The real app as its own process, to be started, killed and started again on the same port and folder."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from samref.labels.events import Event
from samref.labels.store import ProjectStore

__all__ = ["Server"]

START_S = 150
ROOT = Path(__file__).resolve().parents[2]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Server:
    """``app.py`` on a free port with its own data folder.

    Args:
        folder: for its data and its log.
        precision: of the model.
        settings: further environment variables, such as ``SAMREF_SESSIONS``.

    Attributes:
        checkout: folder of the ``app.py`` that is started.
    """

    checkout: Path = ROOT

    def __init__(self, folder: Path, precision: str = "fp32", settings: Mapping[str, str] | None = None) -> None:
        self._precision = precision
        self._settings = dict(settings or {})
        self.data = folder / "data"
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        self._log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until the page answers."""
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SAMREF_")},
            "SAMREF_PRECISION": self._precision,
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),  # sums in the same order as offline
            "NO_PROXY": "127.0.0.1,localhost",
            **self._settings,
        }
        command = [sys.executable, "app.py", "--port", str(self.port), "--data", str(self.data), "--device", "cpu"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--no-self-test"], cwd=self.checkout, env=environment, stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            assert self._process.poll() is None, f"the app ended:\n{self.log}"
            try:
                with urllib.request.urlopen(self.url, timeout=5) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.1)
        raise AssertionError(f"no page after {START_S} s:\n{self.log}")

    def kill(self) -> None:
        """SIGKILL: no time to tidy up."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    @property
    def log(self) -> str:
        """What it has said so far."""
        return self._log.read_text(errors="replace")[-6000:]

    def events(self, token: str, digest: str) -> tuple[Event, ...]:
        """The log of one image in the workspace of that token, as it is on the disk."""
        store = ProjectStore(self.data / "samref.sqlite")
        try:
            found = store.find_workspace(token)
            assert found is not None
            return store.events(found[0], digest)
        finally:
            store.close()
