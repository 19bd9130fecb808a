"""``space pull-data`` gives a folder that can be served."""

from __future__ import annotations

from pathlib import Path

import pytest

from samref.cli.main import main
from samref.core.geometry import ImageSize
from samref.labels.shipping.depot import Depot
from samref.labels.shipping.restoring import begin
from samref.labels.shipping.shipper import Shipper
from samref.labels.sqlite import SqliteDatabase
from samref.labels.store import ProjectStore


def test_what_was_shipped_is_fetched_into_a_data_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    address, folder, home = f"file://{tmp_path}/depot", tmp_path / "data", tmp_path / "home"
    folder.mkdir()
    begun = begin(folder, lambda: Depot(address))
    store = ProjectStore(folder / "samref.sqlite")
    made = store.create_workspace()
    digest = store.add_image(made.id, b"a photo", "cat.jpg", ImageSize(12, 16))
    assert isinstance(store.database, SqliteDatabase)
    Shipper(begun, store.database, store.blobs, folder, ship_every_s=1, snapshot_every_s=60).ship()
    main_quietly("space", "pull-data", address, str(home))
    assert "1 workspace, 1 image (0.0 kB), as they were at 20" in capsys.readouterr().out
    fetched = ProjectStore(home / "samref.sqlite", reads_only=True)
    assert fetched.find_workspace(made.token) == (made.id, store.workspace_revision(made.id))
    assert fetched.image_bytes(made.id, digest) == b"a photo"
    (tmp_path / "depot" / "blobs" / digest[:2] / digest).write_bytes(b"half")
    with pytest.raises(SystemExit) as ended:
        main(["space", "pull-data", address, str(tmp_path / "other")])
    assert ended.value.code == 1
    assert f"Not fetched: Image {digest}" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["space", "pull-data", address, str(home)])
    assert "is not empty" in capsys.readouterr().err
    store.close()


def test_a_token_is_needed_for_hugging_face(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(SystemExit):
        main(["space", "pull-data", "hf://buckets/somebody/labels", str(tmp_path / "home")])
    assert "HF_TOKEN is not set" in capsys.readouterr().err
    assert not (tmp_path / "home").exists()


def main_quietly(*arguments: str) -> None:
    """Run a command that ends well."""
    with pytest.raises(SystemExit) as ended:
        main([*arguments])
    assert ended.value.code in (0, None)
