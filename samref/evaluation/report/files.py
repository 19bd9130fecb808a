"""Where a report goes: refused before a long measurement, written whole or not at all afterwards."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samref.errors import StorageError
from samref.files import disk_errors, write_atomically

__all__ = ["check_target", "is_device", "write_json", "write_text"]


def check_target(path: Path) -> None:
    """Refuse, before a long measurement, a path that cannot be written.

    Raises:
        StorageError: it is a folder, lies in none, or in one where this program may not write.
    """
    if path.is_dir():
        raise StorageError(f"The report cannot be written: {path} is a folder.")
    if not path.parent.is_dir():
        raise StorageError(f"The report cannot be written: there is no folder {path.parent}.")
    if not os.access(path if is_device(path) else path.parent, os.W_OK):
        raise StorageError(f"The report cannot be written: this program may not write in {path.parent}.")


def write_json(value: Mapping[str, Any], path: Path) -> None:
    """Write plain values as JSON.

    Raises:
        StorageError: as :func:`write_text`.
    """
    write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", path)


def write_text(text: str, path: Path) -> None:
    """Write a report whole or not at all; a file that was there stays when the disk is full.

    Raises:
        StorageError: the disk is full or cannot be written.
    """
    if is_device(path):  # a device or a pipe cannot be replaced
        with disk_errors(f"{path} was not written"):
            path.write_text(text, encoding="utf-8")
    else:
        write_atomically(path, text.encode("utf-8"))


def is_device(path: Path) -> bool:
    """Whether it is a device or a pipe: written into, never replaced, and nothing is laid beside it."""
    return path.exists() and not path.is_file()
