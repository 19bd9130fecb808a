"""``app.py`` as Gradio's tools and hosts of Gradio apps use it, and ``samref`` as a library."""

from __future__ import annotations

import ast
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import samref

START_S = 120

LIGHT = "import sys, {module}; print(*sorted({{'torch', 'gradio', 'cv2'}} & sys.modules.keys()))"


def environment(data: Path, port: int) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SAMREF_", "GRADIO_"))}
    own = {"SAMREF_MODEL": "tiny-random", "SAMREF_PRECISION": "fp32", "SAMREF_DATA_FOLDER": str(data)}
    return {**kept, **own, "GRADIO_SERVER_PORT": str(port), "NO_PROXY": "127.0.0.1,localhost"}


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(("module", "heavy"), [("samref", ""), ("app", "gradio")])
def test_an_import_loads_nothing_heavy(root: Path, module: str, heavy: str) -> None:
    command = [sys.executable, "-c", LIGHT.format(module=module)]
    assert subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout.strip() == heavy


def test_every_name_of_the_api_exists_and_is_known_to_type_checkers() -> None:
    assert all(getattr(samref, name) is not None for name in samref.__all__)
    assert set(samref.__all__) <= set(dir(samref))
    tree = ast.parse(Path(samref.__file__).read_text("utf-8"))
    (checked,) = [node for node in tree.body if isinstance(node, ast.If)]
    imports = {
        alias.name: statement.module
        for statement in checked.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert imports == samref._HOMES
    assert sorted([*imports, "__version__"]) == samref.__all__
    with pytest.raises(AttributeError, match="nothing"):
        samref.nothing  # noqa: B018


LAUNCH = """
import sys
import app
assert "torch" not in sys.modules
app.demo.launch(prevent_thread_lock=True)
print(app.demo.local_url, flush=True)
sys.stdin.read()
app.demo.close()
"""


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        (sys.executable, "-c", LAUNCH),
        (sys.executable, "app.py", "--no-self-test"),
        (str(Path(sys.executable).with_name("gradio")), "app.py", "--", "--no-self-test"),
    ],
    ids=["import", "run", "gradio"],
)
def test_every_way_to_start_serves_the_page_with_our_routes_behind_the_guard(
    root: Path, tmp_path: Path, port: int, processes: list[subprocess.Popen[str]], command: tuple[str, ...]
) -> None:
    log = tmp_path / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            command,
            cwd=root,
            env=environment(tmp_path / "data", port),
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        )
    processes.append(process)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
        deadline = time.monotonic() + START_S
        while True:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            try:
                page = client.get("/")
                break
            except httpx.TransportError:
                time.sleep(0.2)
        static = f"/samref/static/{samref.__version__}/main.js"
        assert static.removeprefix("/") in page.text
        assert "export function mount" in client.get(static).text
        assert "frame-ancestors 'self'" in page.headers["content-security-policy"]
        assert client.get("/", headers={"Host": "example.org"}).status_code == 403
        assert client.get("/gradio_api/info").status_code == 404
    if command[1] == "-c":
        process.communicate(timeout=30)
        assert process.returncode == 0, log.read_text()
        assert not (tmp_path / "data" / "samref.sqlite-wal").exists(), "the database was closed in order"
    else:
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(timeout=30) == 0, log.read_text()
    assert "Traceback" not in log.read_text()
