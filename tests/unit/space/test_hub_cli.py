"""The commands ``space push`` and ``space status``, as a person or a script runs them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub")

from huggingface_hub import constants

from samref.cli.main import build_app
from samref.errors import SpaceError
from tests.browser.server import Server
from tests.unit.space.fake_hub import TOKEN, FakeHub, fake_hub

SPACE = "anna/samref"
SECRET = "hf_bucket-key-0123456789"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with fake_hub() as hub:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        yield hub
        assert hub.unknown == []


def run(*words: str) -> object:
    return build_app("space")(["space", *words], prog_name="samref", standalone_mode=False)


def test_nobody_is_asked_where_nobody_sits(hub: FakeHub, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(SpaceError, match="--yes"):
        run("push", SPACE, "--target", "gpu", "--root", str(root))
    assert hub.changes == []


def test_yes_is_an_answer_to_what_costs(hub: FakeHub, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("push", SPACE, "--target", "gpu", "--root", str(root), "--yes", "--wait", "0")
    space = hub.spaces[SPACE]
    assert (space.hardware, space.sleep_s) == ("t4-small", 1800)
    assert "t4-small at 0.40 $ an hour" in capsys.readouterr().out
    run("status", SPACE, "--target", "gpu", "--root", str(root))
    assert f"files      all {len(space.files) - 1} are those of a fresh build" in capsys.readouterr().out


def test_a_fault_of_the_project_is_said_before_anything_is_sent(
    hub: FakeHub, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("samref.space.build.readme_of", lambda *_: "no front matter\n")
    with pytest.raises(SpaceError, match="front matter"):
        run("push", SPACE, "--root", str(root))
    assert hub.requests == []


@pytest.mark.slow
def test_a_push_ends_with_a_click_at_the_public_address(root: Path, tmp_path: Path) -> None:
    server = Server(tmp_path)
    with fake_hub() as hub:
        server.start()
        try:
            hub.address = server.url
            environment = {
                **os.environ,
                "HF_ENDPOINT": hub.endpoint,
                "HF_TOKEN": TOKEN,
                "HF_HUB_OFFLINE": "0",
                "HF_HUB_VERBOSITY": "debug",
                "PYTHONPATH": str(root),
                "SPACE_SECRET_HF_TOKEN": SECRET,
            }
            command = [sys.executable, "-m", "samref", "space", "push", SPACE, "--root", str(root), "--wait", "2"]
            done = subprocess.run(
                command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240
            )
        finally:
            server.kill()
        assert done.returncode == 0, done.stderr
        assert "refined mask" in done.stdout
        assert SECRET not in done.stdout + done.stderr
        assert hub.spaces[SPACE].secrets["HF_TOKEN"]["value"] == SECRET
        assert len(hub.spaces[SPACE].commits) == 2
        assert hub.unknown == []
