"""The composition root: everything put together, started and asked over HTTP."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from samref import __version__
from samref.__main__ import main
from samref.errors import SamrefError
from samref.serve import App, build
from samref.settings import Settings
from samref.web.canvas import KEEP_EVENT, ON_LOAD, SEND_EVENT, TEMPLATE, build_canvas


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    settings = Settings(model="tiny-random", precision="fp32", data_folder=tmp_path / "data", port=free_port())
    built = build(settings)
    yield built
    built.close()


def test_the_template_is_constant_and_evaluates_nothing() -> None:
    assert "${" not in TEMPLATE
    assert "{{" not in TEMPLATE
    canvas = build_canvas("x.js")
    assert (canvas.html_template, canvas.js_on_load) == (TEMPLATE, ON_LOAD)
    for name in (SEND_EVENT, KEEP_EVENT):
        assert callable(getattr(canvas, name))


def test_the_page_is_served_with_its_modules_and_asks_nobody_else(app: App) -> None:
    page = app.launch(block=False)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{app.settings.port}", timeout=30) as client:
            html = client.get("/").text
            assert f"samref/static/{__version__}/samref.css" in html
            module = client.get(f"/samref/static/{__version__}/main.js")
            assert "export function mount" in module.text
            assert "javascript" in module.headers["content-type"]
            assert client.get("/samref/images/" + "ab" * 32).status_code == 401
            config = client.get("/config").json()
            assert config["analytics_enabled"] is False
            events = [event for dependency in config["dependencies"] for _, event in dependency["targets"]]
            assert {SEND_EVENT, KEEP_EVENT} <= set(events)
            named = [d["api_name"] for d in config["dependencies"] if d.get("api_visibility") == "public"]
            assert named == [], "no call for scripts that knows no token"
        with pytest.raises(SamrefError, match="--port"):
            app.launch(block=False)
    finally:
        page.close()


def test_the_self_test_says_in_one_line_how_long_a_click_takes(app: App) -> None:
    line = app.self_test()
    assert "tiny-random on cpu" in line
    assert "refined" in line
    assert "\n" not in line


def test_only_models_that_are_here_can_be_chosen(app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMREF_CACHE", str(tmp_path / "nothing here"))
    entries = {entry.name: entry for entry in app.predictors.entries()}
    assert next(iter(entries)) == "tiny-random", "the default comes first"
    assert not entries["sam-vit-h"].ready
    assert "models fetch sam-vit-h" in entries["sam-vit-h"].note


@pytest.mark.parametrize(
    "arguments", [("--model", "gigantic"), ("--precision", "fp8"), ("--device", "abacus"), ("--port", "99999")]
)
def test_a_start_that_cannot_work_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["serve", "--data", str(tmp_path), *arguments])
    assert stop.value.code == 1
    assert capsys.readouterr().err.startswith("samref: ")


def test_a_data_folder_that_is_a_file_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(SystemExit):
        main(["serve", "--model", "tiny-random", "--data", str(tmp_path / "file" / "data")])
    assert capsys.readouterr().err.startswith("samref: ")
