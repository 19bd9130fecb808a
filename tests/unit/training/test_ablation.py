"""The ablations: one command trains what differs, measures every variant and can be stopped and started again."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from samref.__main__ import build_app
from samref.errors import DataError, TrainingError
from samref.training.ablation import BASELINE, VARIANTS, trained_size


def ablate(shapes: Path, out: Path, *more: str, steps: int = 1) -> Result:
    measured = ("--data", str(shapes), "--dev", str(shapes), "--out", str(out), "--limit-per-dataset", "1")
    return CliRunner().invoke(
        build_app("refiner"), ["refiner", "ablate", *measured, "--clicks", "2", "--steps", str(steps), *more]
    )


def test_variants_are_trained_once_per_size_measured_and_taken_up_again(shapes: Path, tmp_path: Path) -> None:
    chosen = ("--variant", "N 1", "--variant", "without LFR")
    first = ablate(shapes, tmp_path, *chosen)
    assert first.exit_code == 0, first.output
    rows = [line.split(" | ") for line in first.output.splitlines() if line.startswith("| ")][1:]
    assert [row[0] for row in rows] == ["| base alone", "| N 1", "| without LFR"]
    parameters = [int(row[1]) for row in rows]
    assert parameters[0] == 0
    assert 0 < parameters[1] < parameters[2]
    assert all(0 < float(value) <= 1 for row in rows for value in row[4:8])
    weights = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("refiner.safetensors")}
    assert len(weights) == 2
    again = ablate(shapes, tmp_path, *chosen)
    assert again.output.endswith("".join(line for line in first.output.splitlines(True) if line.startswith("|")))
    assert {path: path.stat().st_mtime_ns for path in weights} == weights
    other = ablate(shapes, tmp_path, "--variant", "N 1", steps=2)
    assert isinstance(other.exception, DataError)
    assert "another number of steps" in str(other.exception)


def test_an_unknown_variant_is_named_with_those_there_are(shapes: Path, tmp_path: Path) -> None:
    result = ablate(shapes, tmp_path, "--variant", "N 4")
    assert isinstance(result.exception, TrainingError)
    assert "N 8" in str(result.exception)


def test_variants_that_need_other_weights_have_folders_of_their_own() -> None:
    assert trained_size(VARIANTS["without LFR"]) == trained_size(BASELINE)
    sizes = {trained_size(VARIANTS[name]) for name in ("C 32, N 5", "N 1", "N 3", "N 8", "C 64", "spread blocks")}
    assert len(sizes) == 6
    assert pytest.approx(BASELINE.surest) == VARIANTS["spread blocks"].surest
