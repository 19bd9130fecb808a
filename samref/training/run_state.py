"""The resumable state of a training run on disk: whole or as it was, and read without running any code in it."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import torch

from samref.errors import StorageError, TrainingError

__all__ = ["make_folder", "read_state", "write_state"]


def make_folder(folder: Path) -> None:
    """Make the folder of a run, if it is not there.

    Raises:
        StorageError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"The folder {folder} cannot be made: {error.strerror or error}.") from error


def write_state(state: dict[str, Any], path: Path) -> None:
    """Write ``state``, durable when this returns; the old file stays until the new one is complete.

    Raises:
        StorageError: it cannot be written; the old file is as it was.
    """
    partial = path.with_suffix(".pt.part")
    try:
        with partial.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except (OSError, RuntimeError) as error:  # torch's own writer reports a full disk as a RuntimeError
        partial.unlink(missing_ok=True)
        cause = error if isinstance(error, OSError) else error.__context__
        reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(error).split("\n")[0]
        raise StorageError(
            f"The state of the run cannot be written to {path} ({reason}). The state of the last save is still there; "
            "free some space and run the same command again."
        ) from error


def read_state(path: Path, device: torch.device) -> tuple[dict[str, Any], dict[str, Any]]:
    """The state and, out of it, the recipe as plain values.

    Raises:
        TrainingError: the file is damaged or something else.
    """
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        recipe = json.loads(state["recipe"])
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError, TypeError) as error:
        raise TrainingError(f"{path} is not a state of a training run. Choose another folder.") from error
    return dict(state), dict(recipe)
