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
from samref.models.checkpoints import load_into, load_safetensors, place_of
from samref.models.interface import Checkpoint, ModelSpec
from samref.models.layers import randomize
from samref.models.sam.model import build_sam
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

_CONFIGS = {
    "sam-ref-random": SMALL_REFINER,
    "sam-ref-vit-b-c64": SamRefConfig(width=64),
    "sam-ref-vit-b-c32": SamRefConfig(width=32),
}
"""Refiners that need weights of their own; all other models have the one that fits any base."""

_CONFIG_KEY = "sam_ref"

# A SAM below a refiner always answers with its single mask: papers.md 1.3, step 1 (mask token 0 at every click).


def build_random(spec: ModelSpec, over: ModelSpec, seed: int) -> SamRefModel:
    """SAM-REF over the SAM that ``over`` describes, both with random weights."""
    refiner = SamRef(_CONFIGS.get(spec.name, AGNOSTIC_REFINER))
    randomize(refiner, seed + 1)
    return SamRefModel(build_sam(replace(over, checkpoints=()), "single", seed=seed), refiner, spec)


def build_agnostic(spec: ModelSpec, over: ModelSpec, weights: Checkpoint, checkpoint: Path | None) -> SamRefModel:
    """The refiner that fits any base over a SAM; ``checkpoint`` is SAM's official file when it is not in the cache."""
    return SamRefModel(build_sam(over, "single", checkpoint=checkpoint), load_agnostic_refiner(weights), spec)


def load_agnostic_refiner(weights: Checkpoint, config: SamRefConfig = AGNOSTIC_REFINER) -> SamRef:
    """The refiner that fits any base; ``config`` may use it differently, at the same sizes."""
    refiner = SamRef(config)
    load_into(refiner, load_safetensors(place_of(weights), weights.sha256), "agnostic-refiner")
    return refiner


def build_trained(spec: ModelSpec, over: ModelSpec, path: Path, seed: int) -> SamRefModel:
    """Decoder and refiner of one file over the rest of SAM, which answers with the mask they were trained on."""
    weights = {key: value.float() for key, value in load_safetensors(path).items()}
    config = _config_of(path)
    base = build_sam(over, "single", seed=seed)
    with torch.device("meta"):
        refiner, network = SamRef(config), build_sam_network(base.config)
    load_into(trained_parts(network, refiner), weights, spec.name, assign=True)
    base.network.mask_decoder = network.mask_decoder.requires_grad_(False).eval()
    return SamRefModel(base, refiner, spec)


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
    """The choices a refiner was trained with."""
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
