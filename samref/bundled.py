"""Finds the files that come with samref: example images and weights."""

from __future__ import annotations

from pathlib import Path


def assets_folder() -> Path:
    """``assets``: inside the package where a wheel was installed, beside it in a checkout."""
    package = Path(__file__).parent
    installed = package / "assets"
    return installed if installed.is_dir() else package.parent / "assets"
