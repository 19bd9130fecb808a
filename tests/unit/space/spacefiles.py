"""Spacefiles that differ from the repository's in one place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from samref.space.manifest import SPACEFILE_NAME, Spacefile, load_spacefile

Change: TypeAlias = Callable[[dict[str, Any]], object]


def write_changed(root: Path, folder: Path, change: Change) -> Path:
    """The repository's Spacefile after ``change`` was done to its values, written into ``folder``."""
    values: dict[str, Any] = yaml.safe_load((root / SPACEFILE_NAME).read_text("utf-8"))
    change(values)
    path = folder / SPACEFILE_NAME
    path.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), "utf-8")
    return path


def changed(root: Path, folder: Path, change: Change) -> Spacefile:
    """The same, read."""
    return load_spacefile(write_changed(root, folder, change))


def put(*keys: str, value: object) -> Change:
    """A change that gives the key at the end of ``keys`` another value."""

    def change(values: dict[str, Any]) -> None:
        for key in keys[:-1]:
            values = values[key]
        values[keys[-1]] = value

    return change
