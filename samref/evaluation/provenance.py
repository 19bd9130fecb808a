"""What the numbers of a measurement rest on: files measured, weights, software, machine."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from samref import __version__
from samref.datasets import ImageRecord, KeptMasks
from samref.errors import DataError
from samref.evaluation.grabcut import GRABCUT
from samref.models.checkpoints import locate, weights_folder
from samref.models.interface import Checkpoint
from samref.models.registry import get_spec

CPU_INFO = Path("/proc/cpuinfo")

_WHOLE_SHA256 = 64


def data_digest(records: Sequence[ImageRecord]) -> str:
    """SHA-256 over the images and the masks that are measured; the same wherever and however they are stored."""
    total = hashlib.sha256()
    for record in records:
        masks = record.masks
        kept = masks if isinstance(masks, KeptMasks) else KeptMasks.of(record.image_path, masks.read())
        total.update(f"{record.dataset}/{record.name} {file_digest(record.image_path)}\n".encode())
        for key, gt, ignore in kept.objects:
            if record.keys is None or key in record.keys:
                total.update(f"{key} {gt.counts} {'' if ignore is None else ignore.counts}\n".encode())
    return total.hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error


def weights_digests(model: str, checkpoint: Path | None = None) -> dict[str, str]:
    """SHA-256 of each file of a model's weights, by file name.

    Weights that samref takes by their whole digest only are not read again.

    Args:
        model: its name in the zoo, or "grabcut", which has none.
        checkpoint: what was given instead: a file, or a folder of files.

    Raises:
        UnknownModelError: there is no such model.
        CheckpointMissingError: the weights are not on this machine.
    """
    if model == GRABCUT:
        return {}
    wanted = get_spec(model).checkpoints
    if checkpoint is not None and not checkpoint.is_dir():
        return {checkpoint.name: file_digest(locate(Checkpoint(checkpoint.name), model, checkpoint))}
    digests = {}
    for file in wanted:
        if checkpoint is None and file.sha256 is not None and len(file.sha256) == _WHOLE_SHA256:
            digests[file.file_name] = file.sha256
            continue
        own = checkpoint or weights_folder()
        given = own / file.file_name if checkpoint is not None or file.comes_with_samref else None
        digests[file.file_name] = file_digest(locate(file, model, given))
    return digests


def describe_machine(predictor: Any = None) -> dict[str, str | int]:
    """What the times depend on; the predictor's own device and precision where it has them."""
    facts: dict[str, str | int] = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": cpu_name(),
        "cores": os.cpu_count() or 0,
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "torch": torch.__version__,
        "samref": __version__,
    }
    for name in ("device", "dtype"):
        value = getattr(predictor, name, None)
        if value is not None:
            facts[name] = str(value)
    if str(facts.get("device", "")).startswith("cuda"):
        facts["gpu"] = torch.cuda.get_device_name(facts["device"])
    return facts


def in_words(machine: Mapping[str, str | int]) -> str:
    """``system Linux x86_64, cores 2, ...``."""
    return ", ".join(f"{key} {value}" for key, value in machine.items())


def cpu_name() -> str:
    """The processor in its maker's words, as far as the system tells."""
    try:
        lines = CPU_INFO.read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
