"""``python -m samref labels``: out of one workspace as every format, and into another."""

from __future__ import annotations

import io
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samref.cli.main import main
from samref.core.geometry import ImageSize
from samref.core.masks import Rle
from samref.core.prompts import Prompts
from samref.labels.annotations import Annotation
from samref.labels.events import AnnotationsImported
from samref.labels.folder import DATABASE_NAME, FolderLock
from samref.labels.formats import FORMATS
from samref.labels.store import NewWorkspace, ProjectStore

SIZE = ImageSize(12, 16)


@pytest.fixture
def image() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 12), "grey").save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def workspaces(tmp_path: Path, image: bytes) -> tuple[Path, NewWorkspace, NewWorkspace]:
    """A data folder with a workspace that has an object, and one that has only the image."""
    folder = tmp_path / "data"
    with closing(ProjectStore(folder / DATABASE_NAME)) as store:
        labelled, empty = store.create_workspace(), store.create_workspace()
        mask = np.zeros((12, 16), dtype=np.bool_)
        mask[3:9, 2:9] = True
        at = datetime(2026, 11, 21, tzinfo=UTC)
        made = Annotation("a", 1, Rle.from_mask(mask), Prompts(), "tiny", 0.9, at, "", 1.0, 1)
        digest = store.add_image(labelled.id, image, "sub/cat.png", SIZE)
        store.append(labelled.id, digest, AnnotationsImported((made,)))
        store.add_image(empty.id, image, "cat.png", SIZE)
    return folder, labelled, empty


def run(*arguments: str | Path) -> int:
    """Run a command; gives its exit code."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("csv", "png-class", "png-instance")])
def test_labels_go_from_one_workspace_to_another(
    workspaces: tuple[Path, NewWorkspace, NewWorkspace],
    tmp_path: Path,
    name: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, labelled, empty = workspaces
    out = tmp_path / "out"
    assert run("labels", "export", str(labelled.id), "-o", out, "--format", name, "--data", folder) == 0
    assert "1 image, 1 object" in capsys.readouterr().out
    has_ids = name in ("coco-polygon", "coco-rle", "zip")
    for words in ("1 object in 1 image imported", "1 object in 1 image" if has_ids else "1 object was here already"):
        assert run("labels", "import", empty.token, out, "--data", folder) == 0
        assert words in capsys.readouterr().out
    with closing(ProjectStore(folder / DATABASE_NAME)) as store:
        (before,), (after,) = (store.project(each.id).images for each in (labelled, empty))
        assert [a.mask for a in after.annotations] == [a.mask for a in before.annotations]


def test_nothing_is_imported_while_a_server_runs(
    workspaces: tuple[Path, NewWorkspace, NewWorkspace], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, labelled, empty = workspaces
    out = tmp_path / "out.json"
    assert run("labels", "export", str(labelled.id), "-o", out, "--data", folder) == 0
    with FolderLock(folder):
        assert run("labels", "import", str(empty.id), out, "--data", folder) == 1
    assert "in use by another samref" in capsys.readouterr().err


@pytest.mark.parametrize("workspace", ["99", "no-such-key-at-all-here"])
def test_an_unknown_workspace_is_told(
    workspaces: tuple[Path, NewWorkspace, NewWorkspace],
    tmp_path: Path,
    workspace: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("labels", "export", workspace, "-o", tmp_path / "x", "--data", workspaces[0]) == 1
    assert "`python -m samref workspaces list` shows all" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
