"""The option that says which data folder a command works on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from samref.settings import Settings

__all__ = ["DataOption", "data_folder"]

DataOption: TypeAlias = Annotated[
    Path | None, typer.Option("--data", help="Data folder; the one of `serve` unless told otherwise.")
]


def data_folder(given: Path | None) -> Path:
    """The folder that ``samref serve`` would use.

    Raises:
        SettingsError: a SAMREF_... variable cannot be used.
    """
    return Settings.from_environment(os.environ, data_folder=given).data_folder
