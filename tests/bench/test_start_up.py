"""From the command to a page that answers."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

Record = Callable[[str, float, str], None]

PATIENCE_S = 120


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _wait_for_page(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        assert server.poll() is None, f"the app ended with exit code {server.returncode}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                assert answer.status == 200
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.05)
    raise AssertionError(f"no page after {PATIENCE_S} s")


def test_the_app_starts(root: Path, tmp_path: Path, record: Record) -> None:
    port = _free_port()
    command = [sys.executable, "app.py", "--port", str(port), "--data", str(tmp_path)]
    started = time.perf_counter()
    with subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _wait_for_page(f"http://127.0.0.1:{port}/", server)
            record("python app.py until the page answers", time.perf_counter() - started, "s")
        finally:
            server.terminate()
            server.wait(timeout=20)
