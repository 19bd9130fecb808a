"""``samref models``: list, fetch, verify; the files are a few bytes and lie in the cache folder already."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from samref.cli import models as models_command
from samref.errors import CheckpointMissingError, UnknownModelError
from samref.models import registry as zoo
from samref.models.interface import Checkpoint, ModelSpec
from samref.models.sam import SPECS as SAM_SPECS

CONTENT = b"weights"
CHECKPOINT = Checkpoint(
    "own.pth", "http://127.0.0.1:9/own.pth", hashlib.sha256(CONTENT).hexdigest(), size_bytes=len(CONTENT)
)


def spec(name: str, *checkpoints: Checkpoint, note: str = "") -> ModelSpec:
    return ModelSpec(name, name.title(), "letterbox", 64, frozenset(), ("coarse",), checkpoints, note=note)


SPECS = (
    spec("small", Checkpoint("small.safetensors"), note="Small and quick."),
    spec("own", CHECKPOINT),
    spec("own-refined", CHECKPOINT),
)


def get_spec(name: str) -> ModelSpec:
    for one in SPECS:
        if one.name == name:
            return one
    raise UnknownModelError(f"no {name}")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAMREF_CACHE", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    (tmp_path / "weights").mkdir()
    monkeypatch.setenv("SAMREF_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr(models_command, "list_models", lambda: SPECS)
    monkeypatch.setattr(models_command, "get_spec", get_spec)
    return tmp_path


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(models_command.app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_the_list_says_which_weights_are_here(cache: Path) -> None:
    assert run("list")[1].splitlines()[0].split() == ["small", "weights", "missing", "Small"]
    (cache / "weights" / "small.safetensors").touch()
    code, output = run("list")
    lines = output.splitlines()
    assert code == 0
    assert lines[0].split() == ["small", "included", "Small"]
    assert "Small and quick." in lines[1]
    assert lines[2].split()[:3] == ["own", "not", "fetched"]
    assert str(cache) in output
    (cache / "own.pth").write_bytes(CONTENT)
    assert run("list")[1].splitlines()[2].split()[:2] == ["own", "fetched"]


def test_fetching_what_is_here_already_says_where_it_is(cache: Path) -> None:
    (cache / "own.pth").write_bytes(CONTENT)
    code, output = run("fetch", "own", "small")
    assert code == 0
    assert str(cache / "own.pth") in output
    assert "small needs nothing" in output


def test_fetching_without_a_connection_fails_with_a_sentence() -> None:
    with pytest.raises(CheckpointMissingError, match="Check the connection"):
        run("fetch", "own")


def test_an_unknown_model_is_refused_before_anything_is_fetched() -> None:
    with pytest.raises(UnknownModelError):
        run("fetch", "own", "none")


def test_verifying_reads_a_shared_file_once_and_tells_good_from_bad(cache: Path) -> None:
    assert run("verify") == (0, "Nothing to check: there are no weights on this machine.\n")
    path = cache / "own.pth"
    path.write_bytes(CONTENT)
    assert run("verify") == (0, f"{path} is complete and right.\n")
    path.write_bytes(b"WEIGHTS")
    code, output = run("verify", "own")
    assert code == 1
    assert "SHA-256" in output


def test_verifying_a_model_that_is_not_here_fails() -> None:
    code, output = run("verify", "own")
    assert code == 1
    assert "models fetch own" in output


def test_every_sam_has_a_line_in_the_real_list() -> None:
    names = {one.name for one in zoo.list_models()}
    assert {name for name in SAM_SPECS if name != "sam-random"} <= names
