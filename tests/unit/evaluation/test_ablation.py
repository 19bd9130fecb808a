"""``samref ablate``: every use differs from the shipped one, and the same words measure nothing twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from samref.cli.main import build_app
from samref.errors import DataError, ModelError
from samref.models.sam_ref.model import SamRefModel
from tests.unit.evaluation.painter import write_zoo


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    write_zoo(tmp_path / "zoo")
    return tmp_path / "zoo"


def ablate(data: Path, out: Path, *more: str) -> Result:
    common = ["ablate", "--data", str(data), "--out", str(out), "--max-clicks", "3", "--device", "cpu"]
    return CliRunner().invoke(build_app("ablate"), [*common, "--precision", "fp32", *more])


def rows_of(result: Result) -> dict[str, list[str]]:
    assert result.exit_code == 0, result.output
    lines = [line.strip("| ").split(" | ") for line in result.stdout.splitlines() if line.startswith("| ")]
    return {line[0]: line[1:] for line in lines[1:]}


def test_each_use_is_measured_once_and_asks_for_other_parts(
    zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[tuple[bool, str]] = []
    refine = SamRefModel._refine

    def spy(self: SamRefModel, *given: object) -> object:
        used.append((self.refiner.config.use_local, self.refiner.config.selector))
        return refine(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(SamRefModel, "_refine", spy)
    chosen = ("--model", "tiny-random", "--use", "as shipped", "--use", "without LFR", "--use", "DS never")
    first = rows_of(ablate(zoo, tmp_path / "out", *chosen))
    assert list(first) == ["as shipped", "without LFR", "DS never"]
    assert set(used) == {(True, "above"), (False, "above"), (True, "never")}
    used.clear()
    assert rows_of(ablate(zoo, tmp_path / "out", *chosen)) == first
    assert not used


def test_what_cannot_be_ablated_is_refused(zoo: Path, tmp_path: Path) -> None:
    unknown = ablate(zoo, tmp_path / "out", "--use", "DS sideways")
    assert isinstance(unknown.exception, DataError)
    assert "DS below" in str(unknown.exception)
    bare = ablate(zoo, tmp_path / "out", "--model", "sam-random")
    assert isinstance(bare.exception, ModelError)
    assert "no SAM-REF refiner" in str(bare.exception)
