"""A server that ships its labels: what the page is told, before and after its machine is lost."""

from __future__ import annotations

import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from samref.errors import SettingsError, StorageError, UnwritableError
from samref.serve import App, build
from samref.settings import Settings
from samref.web.page import Page


def settings_for(tmp_path: Path, **more: Any) -> Settings:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    return Settings(
        model="tiny-random",
        precision="fp32",
        data_folder=tmp_path / "data",
        port=port,
        self_test=False,
        **{"ship_to": f"file://{tmp_path}/depot", "ship_every_s": 0.05, **more},
    )


@contextmanager
def served(settings: Settings) -> Iterator[tuple[App, httpx.Client]]:
    apps: list[App] = []

    def note(given: Settings) -> App:
        apps.append(build(given))
        return apps[-1]

    page = Page(note)
    page.launch(settings=settings, prevent_thread_lock=True)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{settings.port}", timeout=30) as client:
            yield apps[0], client
    finally:
        page.close(verbose=False)


def hello(client: httpx.Client, token: str | None = None) -> dict[str, Any]:
    request = {
        "v": 1,
        "seq": 1,
        "tab": secrets.token_urlsafe(16),
        "token": token,
        "verb": "hello",
        "image": None,
        "revision": 0,
    }
    response = client.post("/samref/send", json={**request, "known": {"annotations": 0, "workspace": 0}})
    answer: dict[str, Any] = response.json()
    return answer


def saved(client: httpx.Client, token: str) -> dict[str, Any]:
    said: dict[str, Any] = client.get("/samref/saved", headers={"X-Samref-Token": token}).json()["saved"]
    return said


def test_the_page_is_told_up_to_when_work_is_saved_and_finds_it_after_the_loss_of_the_machine(tmp_path: Path) -> None:
    settings, began = settings_for(tmp_path), time.time()
    with served(settings) as (app, client):
        workspace = hello(client)["workspace"]
        made_at, token = time.time(), workspace["token"]
        assert workspace["keeping"]["saved"]["fetched_at"] is None
        deadline = time.monotonic() + 30
        while saved(client, token)["up_to"] is None or saved(client, token)["up_to"] <= made_at:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert not [line for line in app.report() if "Fetched" in line]
        assert client.get("/samref/saved").status_code == 401
    shutil.rmtree(tmp_path / "data")
    with served(settings) as (app, client):
        workspace = hello(client, token)["workspace"]
        assert workspace["token"] == token
        told = workspace["keeping"]["saved"]
        assert told["fetched_at"] > began
        assert (told["is_partial"], told["problem"], told["is_taken_over"]) == (False, None, False)
        assert [line for line in app.report() if line.startswith("Fetched from file://")]


def test_a_server_that_was_driven_out_says_so_and_refuses(tmp_path: Path) -> None:
    with served(settings_for(tmp_path)) as (app, client):
        token = hello(client)["workspace"]["token"]
        assert app.shipment is not None
        assert app.shipment.shipper is not None
        app.shipment.shipper._depot.claim()
        with suppress(UnwritableError):  # it may have seen it already
            app.store.create_workspace()
        deadline = time.monotonic() + 30
        while not saved(client, token)["is_taken_over"]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        keeping = hello(client, token)["workspace"]["keeping"]
        assert "Another server has taken over" in keeping["read_only"]
        refused = hello(client)
        assert refused["error"]["code"] == "storage"
        assert "Another server has taken over" in refused["error"]["message"]


def test_without_a_token_the_server_runs_and_the_page_says_that_nothing_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with served(settings_for(tmp_path, ship_to="hf://buckets/somebody/labels")) as (app, client):
        assert any("HF_TOKEN is not set" in line for line in app.report())
        told = hello(client)["workspace"]["keeping"]["saved"]
        assert told["up_to"] is None
        assert "does not survive a restart" in told["problem"]
        assert "somebody" not in told["problem"], "where it would be is nothing for everybody"


def test_a_server_that_ships_nothing_says_nothing_of_it(tmp_path: Path) -> None:
    with served(settings_for(tmp_path, ship_to="")) as (_, client):
        workspace = hello(client)["workspace"]
        assert workspace["keeping"]["saved"] is None
        assert saved(client, workspace["token"]) is None


def test_another_database_cannot_be_shipped(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="SAMREF_SHIP_TO copies labels in SQLite"):
        build(settings_for(tmp_path, database="postgresql+psycopg://nobody@nowhere/x"))
    with pytest.raises(SettingsError, match="no address to ship to"):
        build(settings_for(tmp_path, ship_to="/some/folder"))


def test_a_second_server_on_the_same_folder_does_not_drive_out_the_first(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    with served(settings) as (app, _):
        with pytest.raises(StorageError, match="is in use by another samref"):
            build(settings)
        assert app.shipment is not None
        assert app.shipment.shipper is not None
        assert app.shipment.shipper._depot.claims() == [app.shipment.begun.generation]
