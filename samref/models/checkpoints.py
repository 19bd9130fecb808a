"""Weights on disk: where they live, how they get there, and how they are known to be the right ones."""

from __future__ import annotations

import hashlib
import os
import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from samref.bundled import assets_folder
from samref.errors import CheckpointInvalidError, CheckpointMissingError
from samref.files import disk_errors
from samref.models.download import download
from samref.models.interface import Checkpoint

if TYPE_CHECKING:  # the paths of weights are asked for without torch
    from torch import Tensor, nn

CACHE_VARIABLE = "SAMREF_CACHE"
WEIGHTS_VARIABLE = "SAMREF_WEIGHTS"
KEYS_SHOWN = 4

UNREADABLE = (
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    OSError,
    AssertionError,
    struct.error,
)
"""What torch's readers throw at files that are damaged or of another kind; tests damage files at random."""


def cache_folder() -> Path:
    """Where fetched weights live: ``SAMREF_CACHE`` if set, else the user's cache folder. Not created here."""
    override = os.environ.get(CACHE_VARIABLE)
    if override:
        return Path(override).expanduser()
    return Path(platformdirs.user_cache_dir("samref", appauthor=False)) / "checkpoints"


def cached_path(checkpoint: Checkpoint) -> Path:
    """Where :func:`fetch` puts this checkpoint, whether or not it is there."""
    return cache_folder() / checkpoint.file_name


def weights_folder() -> Path:
    """Where the embedded weights lie: SAMREF_WEIGHTS if set, else the folder that comes with samref."""
    override = os.environ.get(WEIGHTS_VARIABLE)
    return Path(override) if override else assets_folder() / "weights"


def place_of(checkpoint: Checkpoint) -> Path:
    """Where the file belongs: fetched ones in the cache, ours beside the package."""
    return weights_folder() / checkpoint.file_name if checkpoint.comes_with_samref else cached_path(checkpoint)


def locate(checkpoint: Checkpoint, model_name: str, path: Path | None = None) -> Path:
    """The file of a checkpoint: ``path`` if given, else the cached one.

    Raises:
        CheckpointMissingError: it is not there; the message says how to get it.
    """
    if path is not None:
        if not path.is_file():
            raise CheckpointMissingError(f"{_no_file(path)} Check the path.")
        return path
    cached = cached_path(checkpoint)
    if not cached.is_file():
        raise CheckpointMissingError(
            f"The weights of {model_name} are not on this machine (looked for {cached}). "
            f"{how_to_get(checkpoint, model_name)}"
        )
    return cached


def how_to_get(checkpoint: Checkpoint, model_name: str) -> str:
    """One sentence: what a person does to have this file."""
    if checkpoint.url is None and checkpoint.page is not None:
        return (
            f"Download {checkpoint.file_name} from {checkpoint.page} and put it into {cache_folder()}, "
            "or name the file with --checkpoint."
        )
    if checkpoint.url is None:
        return f"None of {model_name} are published: train them, and name the file with --checkpoint."
    return f"Fetch them with: python -m samref models fetch {model_name}"


def verify(path: Path, checkpoint: Checkpoint) -> None:
    """Return quietly when the file has the checkpoint's size and digest, as far as these are known.

    Raises:
        CheckpointMissingError: no such file.
        CheckpointInvalidError: another size or another SHA-256.
        StorageError: it cannot be read.
    """
    if not path.is_file():
        raise CheckpointMissingError(_no_file(path))
    size_bytes = path.stat().st_size
    if size_bytes == 0:
        raise CheckpointInvalidError(f"{path} is empty. Delete it and fetch it again.")
    if checkpoint.size_bytes is not None and size_bytes != checkpoint.size_bytes:
        raise CheckpointInvalidError(
            f"{path} has {size_bytes:,} bytes, but {checkpoint.file_name} has {checkpoint.size_bytes:,}. "
            "The file is incomplete or another one; fetch it again."
        )
    if checkpoint.sha256 is not None:
        with disk_errors(f"{path} cannot be read"), path.open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
        if not actual.startswith(checkpoint.sha256.lower()):
            raise CheckpointInvalidError(
                f"{path} is damaged or is not {checkpoint.file_name}: its SHA-256 begins with {actual[:12]}, "
                f"expected {checkpoint.sha256[:12]}. Delete the file and fetch it again."
            )


def fetch(checkpoint: Checkpoint) -> Path:
    """The path of a verified copy in the cache folder, downloaded first where there is none.

    Raises:
        CheckpointMissingError: nowhere to fetch it from, no connection, or the transfer broke off.
        CheckpointInvalidError: what the server sent is not the checkpoint.
        StorageError: no space, or the folder cannot be written.
    """
    target = cached_path(checkpoint)
    if _is_good(target, checkpoint):
        return target
    if checkpoint.url is None:
        by_hand = f" {how_to_get(checkpoint, '')}" if checkpoint.page is not None else ""
        raise CheckpointMissingError(f"There is no address to fetch {checkpoint.file_name} from.{by_hand}")
    download(checkpoint.url, target, lambda part: verify(part, checkpoint), checkpoint.size_bytes)
    return target


def load_torch(path: Path, checkpoint: Checkpoint | None = None) -> dict[str, Tensor]:
    """The tensors of a ``.pth`` file, on the CPU; no code in the file is ever run.

    Args:
        path: the file.
        checkpoint: what it has to be; checked before it is opened. None checks nothing.

    Raises:
        CheckpointMissingError: no such file.
        CheckpointInvalidError: wrong size or digest, not a state dict, or a pickle that wants to run code.
    """
    import torch
    from torch import Tensor

    verify(path, checkpoint or Checkpoint(path.name))
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointInvalidError(
            f"{path} was refused: it is not a plain file of weights (it is damaged, or contains code to run)."
        ) from error
    except UNREADABLE as error:
        raise CheckpointInvalidError(f"{path} is not a readable PyTorch checkpoint; it may be cut short.") from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise CheckpointInvalidError(f"{path} does not hold weights by name, but a {type(content).__name__}.")
    others = [
        f"{key!r} is a {type(value).__name__}"
        for key, value in content.items()
        if not (isinstance(key, str) and isinstance(value, Tensor))
    ]
    if others or not content:
        found = _shortened(others) if others else "it holds nothing"
        raise CheckpointInvalidError(f"{path} does not hold weights by name and nothing else: {found}.")
    return dict(content)


def load_safetensors(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file, on the CPU."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    verify(path, Checkpoint(path.name, sha256=sha256))
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointInvalidError(f"{path} is not a readable safetensors file; it may be cut short.") from error


def load_into(module: nn.Module, state_dict: Mapping[str, Tensor], name: str, *, assign: bool = False) -> None:
    """Fill ``module`` with weights that fit it exactly; nothing is changed when they do not.

    Args:
        module: what to fill.
        state_dict: weights by name.
        name: of the model, for the message.
        assign: take the tensors themselves instead of copying them (a module on the meta device needs that).
    """
    own = module.state_dict()
    missing = [key for key in own if key not in state_dict]
    extra = [key for key in state_dict if key not in own]
    misshapen = [
        f"{key} is {tuple(state_dict[key].shape)} instead of {tuple(value.shape)}"
        for key, value in own.items()
        if key in state_dict and state_dict[key].shape != value.shape
    ]
    faults = [
        f"{label}: {_shortened(keys)}"
        for label, keys in (("missing", missing), ("not part of the model", extra), ("wrong shape", misshapen))
        if keys
    ]
    if faults:
        raise CheckpointInvalidError(f"These are not the weights of {name}. " + "; ".join(faults) + ".")
    unusable = [f"{key} {fault}" for key, value in own.items() if (fault := _number_fault(state_dict[key], value))]
    if unusable:
        raise CheckpointInvalidError(
            f"The weights of {name} hold what no model can compute with: {_shortened(unusable)}. "
            "The file is damaged, or its training went wrong."
        )
    module.load_state_dict(dict(state_dict), strict=True, assign=assign)


def _number_fault(given: Tensor, wanted: Tensor) -> str | None:
    """What is wrong with the numbers of a weight that has the right name and shape; None when nothing is."""
    import torch

    if given.layout != torch.strided or given.is_quantized:
        return "is not a plain tensor"
    if given.is_floating_point() != wanted.is_floating_point() or given.is_complex():
        return f"is {given.dtype} instead of {wanted.dtype}".replace("torch.", "")
    if given.is_floating_point() and not bool(torch.isfinite(given).all()):
        return "is not finite (NaN or infinity)"
    return None


def _no_file(path: Path) -> str:
    return f"{path} is a folder, not a checkpoint file." if path.is_dir() else f"There is no checkpoint file at {path}."


def _shortened(keys: list[str]) -> str:
    more = f" and {len(keys) - KEYS_SHOWN} more" if len(keys) > KEYS_SHOWN else ""
    return ", ".join(keys[:KEYS_SHOWN]) + more


def _is_good(path: Path, checkpoint: Checkpoint) -> bool:
    try:
        verify(path, checkpoint)
    except (CheckpointMissingError, CheckpointInvalidError):
        return False
    return True
