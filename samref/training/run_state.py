"""The resumable state of a training run on disk: whole or as it was, and read without running any code in it."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from samref.errors import StorageError, TrainingError

__all__ = ["cut_log", "export_weights", "make_folder", "read_state", "write_state"]


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


def cut_log(path: Path, step: int) -> None:
    """Leave out what a log says about steps after ``step``: they are done again. A half-written last line goes, too.

    Raises:
        StorageError: the shorter log cannot be written; the old one is as it was.
    """
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if _step_of(line) <= step]
    if len(kept) == len(lines):
        return
    partial = path.with_suffix(".part")
    try:
        partial.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StorageError(f"The log {path} cannot be written: {error.strerror or error}.") from error


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def export_weights(module: nn.Module, path: Path, about: dict[str, str], dtype: torch.dtype = torch.float16) -> None:
    """Write ``module``'s weights, in half precision unless told; the old file stays until the new one is complete.

    A name that ends in ``.pth`` gives a PyTorch file of the weights alone (without ``about``), any other safetensors.

    Raises:
        StorageError: the file cannot be written.
    """
    weights = {key: value.detach().to("cpu", dtype).contiguous() for key, value in module.state_dict().items()}
    partial = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".pth":
            with partial.open("wb") as file:
                torch.save(weights, file)
        else:
            save_file(weights, partial, metadata=about)
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise StorageError(f"The weights cannot be written to {path}: {reason}.") from error
