"""Weights on disk: where they live, how they get there, and how they are known to be the right ones."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import shutil
import struct
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import filelock
import httpx
import platformdirs
from tqdm import tqdm

from samref.errors import CheckpointInvalidError, CheckpointMissingError, StorageError
from samref.files import assets_folder, disk_errors, put_in_place
from samref.models.interface import Checkpoint

if TYPE_CHECKING:  # the paths of weights are asked for without torch
    from torch import Tensor, nn

CACHE_VARIABLE = "SAMREF_CACHE"
WEIGHTS_VARIABLE = "SAMREF_WEIGHTS"
KEYS_SHOWN = 4

TIMEOUT_S = 30.0
"""Silence after which a connection counts as lost; not the time of the whole transfer."""

SPARE_BYTES = 64 << 20
"""Left free on the disk: a completely full one troubles everything else that runs there."""

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

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
    with contextlib.suppress(CheckpointMissingError, CheckpointInvalidError):
        verify(target, checkpoint)
        return target
    if checkpoint.url is None:
        by_hand = f" {how_to_get(checkpoint, '')}" if checkpoint.page is not None else ""
        raise CheckpointMissingError(f"There is no address to fetch {checkpoint.file_name} from.{by_hand}")
    download(checkpoint.url, target, lambda part: verify(part, checkpoint), checkpoint.size_bytes)
    return target


def load_torch(path: Path, checkpoint: Checkpoint | None = None) -> dict[str, Tensor]:
    """The tensors of a ``.pth`` file, on the CPU; no code in the file is ever run.

    A ``checkpoint`` says what it has to be, checked before it is opened; None checks nothing.

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

    ``name`` is the model's, for the message; ``assign`` takes the tensors themselves instead of copying them (a module
    on the meta device needs that).
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


# ---- one large file, so that a broken transfer goes on where it stopped


def check_address(url: str) -> None:
    """Refuse everything but encrypted transfers; plain http goes no further than this machine."""
    address = urlsplit(url)
    if address.scheme == "https" or (address.scheme == "http" and address.hostname in LOOPBACK):
        return
    raise CheckpointInvalidError(f"Weights are fetched over https only, not from {url}.")


def download(url: str, target: Path, verify: Callable[[Path], None], size_bytes: int | None = None) -> None:
    """Bring the file at ``url`` to ``target``, which appears only once it is whole and right.

    Until then it is called ``<target>.part``; what that holds already is not fetched again. A terminal shows a bar.

    ``verify`` raises :class:`CheckpointInvalidError` about a whole file that is another one.

    Raises:
        CheckpointMissingError: no connection, an error page, the transfer broke off, or another process is at it.
        CheckpointInvalidError: what the server offers is another file.
        StorageError: no space, or the folder cannot be written.
    """
    check_address(url)
    part = target.with_name(f"{target.name}.part")
    with disk_errors(f"{target.name} was not stored in {target.parent} (SAMREF_CACHE chooses another folder)"):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with filelock.FileLock(target.with_name(f".{target.name}.lock"), blocking=False):
                _transfer(url, part, target.name, size_bytes)
                _check(url, part, target.name, verify)
                put_in_place(part, target)
        except filelock.Timeout as error:
            raise CheckpointMissingError(
                f"Another process is fetching {target.name} right now. Wait for it to finish."
            ) from error


def _check(url: str, part: Path, name: str, verify: Callable[[Path], None]) -> None:
    try:
        verify(part)
    except CheckpointInvalidError as error:
        part.unlink()
        raise CheckpointInvalidError(
            f"What {urlsplit(url).hostname} sent is not {name}: size or SHA-256 differ. "
            "It was deleted. Try again; if it happens twice, the server's file or a proxy in between is wrong."
        ) from error


def _transfer(url: str, part: Path, name: str, total: int | None) -> None:
    """Bring ``part`` up to its full length."""
    done = part.stat().st_size if part.exists() else 0
    if total is not None and done > total:
        done = 0
    if done == total:
        return
    _check_space(part, name, done, total)
    host = urlsplit(url).hostname
    hooks = {"request": [lambda request: check_address(str(request.url))]}  # of every redirect, too
    started = False
    try:
        with httpx.Client(follow_redirects=True, timeout=TIMEOUT_S, event_hooks=hooks) as client:
            response = _answer(client, url, done)
            started = True
            if not response.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
                done = 0  # the server cannot go on in the middle, so everything comes again
            total = _length(response, name, done, total)
            with (
                part.open("ab" if done else "wb") as file,
                tqdm(total=total, initial=done, unit="B", unit_scale=True, desc=name, disable=None) as bar,
            ):
                for chunk in response.iter_raw():
                    done += len(chunk)
                    if total is not None and done > total:
                        raise CheckpointInvalidError(f"The server sends more than {name} should have. Try again later.")
                    file.write(chunk)
                    bar.update(len(chunk))
                file.flush()
                os.fsync(file.fileno())
    except httpx.HTTPStatusError as error:
        answer = error.response
        raise CheckpointMissingError(
            f"{host} answered {answer.status_code} {answer.reason_phrase} for {name}. Try again later, or fetch {url} "
            f"by other means and put it into {part.parent}."
        ) from error
    except httpx.HTTPError as error:
        if not started:
            raise CheckpointMissingError(
                f"{name} could not be fetched from {host} ({error}). Check the connection "
                "and run the same command again: what has arrived is kept."
            ) from error
        of = "" if total is None else f" of {total / 1e6:,.1f}"
        raise CheckpointMissingError(
            f"The connection broke off after {done / 1e6:,.1f}{of} MB of {name}. "
            "Run the same command again: it goes on from there."
        ) from error


def _answer(client: httpx.Client, url: str, offset: int) -> httpx.Response:
    """The server's answer, its body still to come: from ``offset`` on, or the whole file where it cannot do that."""
    headers = {"User-Agent": "samref", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    response = client.send(client.build_request("GET", url, headers=headers), stream=True)
    if offset and response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        response.close()
        return _answer(client, url, 0)
    return response.raise_for_status()


def _length(response: httpx.Response, name: str, done: int, total: int | None) -> int | None:
    """Length of the whole file; another one than expected is refused before its first byte (error pages are files)."""
    announced = response.headers.get("Content-Length", "")
    if not announced.isdigit():
        return total
    offered = done + int(announced)
    if total is not None and offered != total:
        raise CheckpointInvalidError(
            f"The server offers a file of {offered:,} bytes where {name} has {total:,}. "
            "Nothing was stored; try again later."
        )
    return offered


def _check_space(part: Path, name: str, done: int, total: int | None) -> None:
    if total is None:
        return
    free = shutil.disk_usage(part.parent).free
    if free < total - done + SPARE_BYTES:
        raise StorageError(
            f"{name} needs {(total - done) / 1e6:,.0f} MB more in {part.parent}, where only "
            f"{free / 1e6:,.0f} MB are free. Make room, or choose another folder with SAMREF_CACHE."
        )
