"""The composition root: everything put together, started and asked over HTTP."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import gradio
import httpx
import pytest

from samref import __version__
from samref.cli.main import main
from samref.errors import SamrefError
from samref.serve import App, build, model_entries
from samref.settings import Settings
from samref.web.first_load import without_comments
from samref.web.page import TEMPLATE, Page


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(model="tiny-random", precision="fp32", data_folder=tmp_path / "data", port=free_port())


@pytest.fixture
def page(settings: Settings) -> Iterator[Page]:
    """The page, served."""
    launched = Page(build)
    launched.launch(settings=settings, prevent_thread_lock=True)
    yield launched
    launched.close(verbose=False)


@pytest.fixture
def client(page: Page, settings: Settings) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{settings.port}", timeout=30) as one:
        yield one


@pytest.fixture
def app(settings: Settings) -> Iterator[App]:
    built = build(settings)
    yield built
    built.close()


def test_the_template_is_constant_and_evaluates_nothing() -> None:
    assert "${" not in TEMPLATE
    assert "{{" not in TEMPLATE
    canvas = next(block for block in Page(build).blocks.values() if isinstance(block, gradio.HTML))
    assert canvas.html_template == TEMPLATE


def test_the_page_is_served_with_its_modules_and_asks_nobody_else(page: Page, client: httpx.Client) -> None:
    html = client.get("/").text
    assert f"samref/static/{__version__}/samref.css" in html
    module = client.get(f"/samref/static/{__version__}/main.js")
    assert "export function mount" in module.text
    assert "javascript" in module.headers["content-type"]
    assert client.get("/samref/images/" + "ab" * 32).status_code == 401
    assert page.config["analytics_enabled"] is False
    assert page.config["dependencies"] == [], "nothing is done that knows no token"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # Gradio looks for ``spaces``
def test_on_a_space_the_page_asks_nobody_else_either(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYSTEM", "spaces")
    monkeypatch.setenv("SPACE_ID", "ana/samref")
    launched = Page(build)
    try:
        launched.launch(settings=settings, prevent_thread_lock=True)
        assert launched.space_id == "ana/samref"
        assert launched.config["space_id"] is None
        assert not launched.pwa
        assert launched._queue.max_size == 256
        with httpx.Client(base_url=f"http://127.0.0.1:{settings.port}", headers={"Host": "pod-1:7860"}) as prober:
            assert prober.get("/").status_code == 200
            assert prober.get("/theme.css").status_code == 403
            assert "ana/samref" not in prober.get("/").text
    finally:
        launched.close(verbose=False)


def test_a_taken_port_is_refused_before_a_model_is_loaded(page: Page, settings: Settings) -> None:
    def build_nothing(_: Settings) -> App:
        raise AssertionError("too late")

    with pytest.raises(SamrefError, match="--port"):
        Page(build_nothing).launch(settings=settings)


def test_a_page_can_be_closed_and_launched_again(page: Page, client: httpx.Client, settings: Settings) -> None:
    page.close(verbose=False)
    with pytest.raises(httpx.ConnectError):
        client.get("/")
    page.launch(settings=settings, prevent_thread_lock=True)
    assert client.get("/").status_code == 200


OPEN_TO_ALL = {
    "/",
    "/assets/{path:path}",
    "/favicon.ico",
    "/gradio_api/startup-events",
    "/robots.txt",
    "/samref/examples/{name}",
    "/samref/local/about.json",
    "/samref/local/{digest}/{name}",
    "/samref/send",
    "/samref/showcase/{name}",
    f"/samref/static/{__version__}",
    "/static/{path:path}",
    "/theme.css",
}
"""Every address that answers without a token: the page, its parts, and the door that makes a workspace."""

WITH_TOKEN = {
    "/samref/bulk",
    "/samref/export",
    "/samref/export/preview",
    "/samref/folder",
    "/samref/images",
    "/samref/images/{digest}",
    "/samref/import",
    "/samref/import-boxes",
    "/samref/review",
    "/samref/saved",
}


def test_every_address_is_known_and_the_rest_of_gradio_is_closed(page: Page, client: httpx.Client) -> None:
    paths = {path for path in _paths(page.app.routes) if not path.endswith("/") or path == "/"}
    assert len(paths) > 60, "Gradio's own are among them"
    assert paths >= OPEN_TO_ALL | WITH_TOKEN
    for path in sorted(paths - OPEN_TO_ALL):
        for method in ("GET", "POST"):
            status = client.request(method, re.sub(r"{\w+(:\w+)?}", "x", path)).status_code
            assert status in ((401, 405) if path in WITH_TOKEN else (404,)), (method, path)


def _paths(routes: Iterable[Any]) -> Iterator[str]:
    """The addresses of routes, those of routers included in them too."""
    for route in routes:
        if hasattr(route, "path"):
            yield route.path
        inner = getattr(getattr(route, "original_router", None), "routes", ())
        yield from _paths(inner)


def test_modules_come_packed_to_who_takes_them_and_whole_to_others(client: httpx.Client) -> None:
    address = f"/samref/static/{__version__}/canvas.js"
    packed = client.get(address, headers={"Accept-Encoding": "br"})
    whole = client.get(address, headers={"Accept-Encoding": "identity"})
    assert (packed.headers["content-encoding"], "content-encoding" in whole.headers) == ("br", False)
    assert int(packed.headers["content-length"]) * 2 < int(whole.headers["content-length"])
    assert packed.text == without_comments(whole.text), "httpx has unpacked it"
    again = client.get(address, headers={"Accept-Encoding": "br", "If-None-Match": packed.headers["etag"]})
    assert again.status_code == 304


def test_nothing_is_left_in_the_folder_for_temporary_files(
    client: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    files = {"files": ("a.png", b"x" * 1000)}
    assert client.post("/gradio_api/upload", files=files).status_code == 404
    assert client.get("/").status_code == 200
    assert not list(tmp_path.glob("gradio/**/*"))


def test_the_page_comes_up_though_its_own_machine_hardly_answers(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradio.networking, "url_ok", lambda _: False)
    page = Page(build)
    page.launch(settings=settings, prevent_thread_lock=True)
    try:
        assert httpx.get(f"http://127.0.0.1:{settings.port}/").status_code == 200
    finally:
        page.close(verbose=False)


def test_the_self_test_says_in_one_line_how_long_a_click_takes(app: App) -> None:
    line = app.self_test()
    assert "tiny-random on cpu" in line
    assert "refined" in line
    assert "\n" not in line


def test_only_models_that_are_here_can_be_chosen(app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMREF_CACHE", str(tmp_path / "nothing here"))
    entries = {entry.name: entry for entry in model_entries(app.settings.model)}
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
