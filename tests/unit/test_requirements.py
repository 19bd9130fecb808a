from __future__ import annotations

import tomllib
from pathlib import Path


def _requirements(root: Path) -> list[str]:
    lines = (line.split("#")[0].strip() for line in (root / "requirements.txt").read_text("utf-8").splitlines())
    return [line for line in lines if line]


def test_requirements_txt_and_pyproject_name_the_same_ranges(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    assert sorted(_requirements(root)) == sorted(project["dependencies"])


def test_every_runtime_requirement_has_an_upper_bound(root: Path) -> None:
    assert [line for line in _requirements(root) if "<" not in line] == []


def test_torchvision_is_not_required(root: Path) -> None:
    assert not any("torchvision" in line for line in _requirements(root))
