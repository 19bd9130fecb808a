"""The ablations: one command trains what differs, measures every variant and can be stopped and started again."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner, Result

from samref.cli.main import build_app
from samref.errors import DataError, TrainingError
from samref.training.ablation import BASELINE, SIZES, USES, trained_size


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
    assert [row[0] for row in rows] == ["| base alone", "| without LFR", "| N 1"]
    assert [row[2] for row in rows] == ["0", "shipped", "1"]
    parameters = [int(row[1]) for row in rows]
    assert parameters[0] == 0
    assert 0 < parameters[2] < parameters[1]
    assert all(0 < float(value) <= 1 for row in rows for value in row[5:9])
    weights = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("refiner.safetensors")}
    assert len(weights) == 1, "what concerns the use alone needs no training"
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


def test_every_size_has_a_folder_of_its_own_and_uses_differ_in_nothing_trained() -> None:
    assert len({trained_size(config) for config in SIZES.values()}) == len(SIZES)
    assert {trained_size(config) for config in USES.values()} == {trained_size(USES["shipped"])}
    assert len(set(USES.values())) == len(USES)
    assert trained_size(BASELINE) != trained_size(USES["shipped"])
