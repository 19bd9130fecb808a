"""SAM-REF's weights over Segment Anything: a refiner of one's own training, or the one that fits any base.

A file of one's own training (``samref train sam-ref-64 --export``) holds ``refiner.`` and the ``mask_decoder.`` it was
trained over; the sizes and choices it was trained with stand in the file's metadata. The rest is the official SAM.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from samref.errors import CheckpointInvalidError
from samref.models.checkpoints import cached_path, load_into, load_safetensors, place_of
from samref.models.interface import Checkpoint, ModelSpec
from samref.models.layers import randomize
from samref.models.sam.model import SAM_SPECS, Variant, build_sam
from samref.models.sam.network import build_sam_network
from samref.models.sam_ref.model import SamRefModel
from samref.models.sam_ref.network import SamRef, SamRefConfig

AGNOSTIC_REFINER = SamRefConfig(
    width=32,
    global_blocks=5,
    local_blocks=3,
    dilations=(1, 2, 4, 8, 1),
    residual_detail=True,
    surest=4.0,
    inject_embedding=False,
    rule="change",
)
"""The refiner that fits any base with a frame like SAM's: it sees image, prompts and mask, never an embedding."""

SMALL_REFINER = SamRefConfig(width=8, global_blocks=1, local_blocks=1, embedding_channels=32, crop=64, minimum=8)
"""The paper's form over ``sam-random``: to try things in seconds."""

_AGNOSTIC_WEIGHTS = Checkpoint(
    "agnostic-refiner.safetensors",
    sha256="c3bdfe426b84dec3f4a549aa2f341766c261f7642bee643c68a743bad14156ac",
    size_bytes=349_904,
)
_AGNOSTIC_NOTE = (
    "Its refiner knows image, clicks and mask, not SAM's embedding; it was trained on the masks of other bases and "
    "changes little."
)
_CONFIG_KEY = "sam_ref"


def sam_ref_specs() -> tuple[ModelSpec, ...]:
    """SAM-REF over each SAM."""
    return tuple(_spec(spec) for spec in SAM_SPECS.values())


def _spec(sam: ModelSpec) -> ModelSpec:
    name = sam.name.replace("sam-", "sam-ref-", 1)
    spec = replace(sam, name=name, title=f"SAM-REF over {sam.title}", stages=("coarse", "refined"))
    if not spec.checkpoints:
        return spec
    if _own_file(spec).is_file():
        return _of_own_training(spec)
    return replace(spec, checkpoints=(*spec.checkpoints, _AGNOSTIC_WEIGHTS), note=_AGNOSTIC_NOTE)


def _own_file(spec: ModelSpec) -> Path:
    """Where a refiner of one's own training is looked for when none is named."""
    return cached_path(_own_checkpoint(spec))


def _own_checkpoint(spec: ModelSpec) -> Checkpoint:
    return Checkpoint(f"{spec.name}.safetensors", page="docs/training.md")


def _of_own_training(spec: ModelSpec) -> ModelSpec:
    return replace(
        spec,
        checkpoints=(*SAM_SPECS[spec.name.replace("sam-ref-", "sam-", 1)].checkpoints, _own_checkpoint(spec)),
        note="Its refiner and its decoder are of your own training.",
    )


def build_sam_ref(spec: ModelSpec, *, checkpoint: Path | None = None, seed: int = 0) -> SamRefModel:
    """SAM-REF over a SAM that always answers with its single mask, on the CPU in float32.

    Source: papers.md 1.3, step 1 (mask token 0 at every click, as FocSAM).

    Args:
        spec: one of :func:`sam_ref_specs`.
        checkpoint: SAM's official file when it is not in the cache, or (``.safetensors``) decoder and refiner of one's
            own training; SAM is then taken from the cache. Unless told, such a file is looked for in the cache
            folder under the model's name.
        seed: of the random weights of ``sam-ref-random``.

    Raises:
        CheckpointMissingError: the weights are not on this machine.
        CheckpointInvalidError: they are damaged or belong to another model.
    """
    variant: Variant = spec.name.rsplit("-", 1)[-1]  # type: ignore[assignment]
    if checkpoint is None and _own_file(spec).is_file():
        checkpoint = _own_file(spec)
    if checkpoint is not None and checkpoint.suffix == ".safetensors":
        return _build_trained(spec, variant, checkpoint, seed)
    sam = build_sam(variant, "single", checkpoint=checkpoint, seed=seed)
    if variant == "random":
        refiner = SamRef(SMALL_REFINER)
        randomize(refiner, seed + 1)
    else:
        refiner = load_agnostic_refiner()
    return SamRefModel(sam, refiner, spec)


def load_agnostic_refiner(config: SamRefConfig = AGNOSTIC_REFINER) -> SamRef:
    """The refiner that fits any base, with its weights; ``config`` may use it differently, at the same sizes.

    Raises:
        CheckpointMissingError: the file does not lie beside the package.
        CheckpointInvalidError: it is damaged.
    """
    refiner = SamRef(config)
    load_into(refiner, load_safetensors(place_of(_AGNOSTIC_WEIGHTS), _AGNOSTIC_WEIGHTS.sha256), "agnostic-refiner")
    return refiner


def _build_trained(spec: ModelSpec, variant: Variant, path: Path, seed: int) -> SamRefModel:
    """Decoder and refiner of one file over the rest of SAM, which answers with the mask they were trained on."""
    weights = {key: value.float() for key, value in load_safetensors(path).items()}
    config = _config_of(path)
    base = build_sam(variant, "single", seed=seed)
    with torch.device("meta"):
        refiner, network = SamRef(config), build_sam_network(base.config)
    load_into(trained_parts(network, refiner), weights, spec.name, assign=True)
    base.network.mask_decoder = network.mask_decoder.requires_grad_(False).eval()
    return SamRefModel(base, refiner, _of_own_training(spec))


def trained_parts(network: Any, refiner: SamRef) -> nn.Module:
    """What a training of SAM-REF leaves, under the names of its file.

    Args:
        network: the package's ``Sam``, with the decoder that the refiner was trained over.
        refiner: the refiner.
    """
    whole = nn.Module()
    whole.add_module("mask_decoder", network.mask_decoder)
    whole.add_module("refiner", refiner)
    return whole


def about_refiner(config: SamRefConfig) -> dict[str, str]:
    """What a file's metadata must say about the refiner in it."""
    return {_CONFIG_KEY: json.dumps(asdict(config))}


def _config_of(path: Path) -> SamRefConfig:
    """The choices a refiner was trained with.

    Raises:
        CheckpointInvalidError: the file does not say them.
    """
    try:
        with safe_open(path, framework="pt") as file:
            told = json.loads((file.metadata() or {})[_CONFIG_KEY])
        config = SamRefConfig(**{**told, "dilations": tuple(told["dilations"])})
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointInvalidError(
            f"{path} does not say which SAM-REF refiner it holds. Export it with: python -m samref train --export FILE."
        ) from error
    known = SamRefConfig()
    odd = [name for name, value in asdict(config).items() if not isinstance(value, _kinds(getattr(known, name)))]
    if odd:
        raise CheckpointInvalidError(f"{path}: its SAM-REF refiner has an unusable {', '.join(odd)}.")
    return config


def _kinds(like: object) -> tuple[type, ...]:
    return (int, float) if type(like) is float else (type(like),)
