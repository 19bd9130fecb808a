"""FocSAM's weights: the authors' file and its key names, a refiner alone, and what there is without either.

A whole file has ``backbone.``, ``neck.``, ``decode_head.`` and ``refine_head.`` (the authors call SAM's parts so). A
file may also hold ``refine_head.`` alone, or with ``decode_head.``; the rest is then the official Segment Anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import safe_open
from torch import Tensor, nn
from torch.serialization import safe_globals

from samref.errors import CheckpointInvalidError, CheckpointMissingError
from samref.models.checkpoints import (
    cached_path,
    how_to_get,
    load_into,
    load_safetensors,
    load_torch,
    locate,
)
from samref.models.focsam.model import FocsamConfig, FocsamModel
from samref.models.focsam.network import FocusRefiner, RefinerConfig
from samref.models.interface import Checkpoint, ModelSpec
from samref.models.layers import randomize
from samref.models.sam.model import SamModel, build_sam
from samref.models.sam.network import SAM_CONFIGS, build_sam_network, network_from

OFFICIAL_INPUT = FocsamConfig(input_rule="focsam", channel_order="bgr")
"""How the authors' evaluation prepares images; taken with whole files, which were trained so."""

_RANDOM = RefinerConfig(width=32, depth=3, heads=4, mlp_ratio=2.0, window=8)
_Switch = Literal["dynamic_windows", "dynamic_relu"]
_SWITCHES_KEY = "focsam_refiner"
"""Where a file of safetensors says which parts of the refiner it does without."""

SAM_PARTS = frozenset(("image_encoder", "prompt_encoder", "mask_decoder"))
_NECK_NAMES = {"pe_layer": "pos_embed_layer", "point_embeddings": "point_embeds"}


def build_random(spec: ModelSpec, over: ModelSpec, seed: int) -> FocsamModel:
    """FocSAM over the SAM that ``over`` describes, both with random weights."""
    refiner = FocusRefiner(_RANDOM if spec.purpose == "test" else RefinerConfig())
    randomize(refiner, seed + 1)
    return FocsamModel(build_sam(replace(over, checkpoints=()), seed=seed), refiner, spec)


def build_focsam(
    plain: ModelSpec,
    refined: ModelSpec,
    over: ModelSpec,
    own: Checkpoint,
    *,
    checkpoint: Path | None = None,
) -> FocsamModel:
    """FocSAM with the weights there are, on the CPU in float32.

    The specs are of the model without (``plain``) and with a refiner and of the SAM below. ``checkpoint`` is a whole
    FocSAM file, a refiner (with or without its decoder), or an official SAM file; else what lies in the cache folder
    counts.
    """
    name = plain.name
    path = checkpoint or cached_path(own)
    if checkpoint is None and not path.is_file():
        return FocsamModel(_plain(name, over, own), None, plain)
    weights = _read(locate(own, name, path))
    parts = {key.partition(".")[0] for key in weights}
    sam_config = SAM_CONFIGS[over.name]
    if parts <= SAM_PARTS:
        return FocsamModel(SamModel(over, sam_config, network_from(sam_config, weights, name)), None, plain)
    with torch.device("meta"):
        refiner, network = FocusRefiner(_config_of(path)), build_sam_network(sam_config)
    is_whole = not parts <= {"refine_head", "decode_head"}
    load_into(
        official_parts(network, refiner, None if is_whole else parts | {"refine_head"}), weights, name, assign=True
    )
    if is_whole:
        base = SamModel(over, sam_config, network_from(sam_config, network.state_dict(), name))
    else:
        base = _base_of_refiner(path, over)
        if "decode_head" in parts:
            base.network.mask_decoder = network.mask_decoder.requires_grad_(False)
    return FocsamModel(base, refiner, refined, OFFICIAL_INPUT if is_whole else FocsamConfig())


def about_focus(config: RefinerConfig) -> dict[str, str]:
    """What a file's metadata must say about the refiner in it; nothing where it is the published one."""
    told = {name: value for name, value in asdict(config).items() if name in get_args(_Switch) and not value}
    return {_SWITCHES_KEY: json.dumps(told)} if told else {}


def _config_of(path: Path) -> RefinerConfig:
    """The published refiner, or the part of it that a file of an ablation says it holds."""
    if path.suffix != ".safetensors":
        return RefinerConfig()
    with safe_open(path, framework="pt") as file:
        told = (file.metadata() or {}).get(_SWITCHES_KEY, "{}")
    try:
        return RefinerConfig(**TypeAdapter(dict[_Switch, bool]).validate_json(told, strict=True))
    except ValidationError as error:
        raise CheckpointInvalidError(
            f"{path} does not say properly which FocSAM refiner it holds. Export it again."
        ) from error


def official_parts(network: Any, refiner: FocusRefiner, parts: Iterable[str] | None = None) -> nn.Module:
    """The same modules under FocSAM's names, for reading and writing its files.

    ``parts`` says which of the four; all unless told otherwise.
    """
    neck = nn.Module()
    for name, child in network.prompt_encoder.named_children():
        neck.add_module(_NECK_NAMES.get(name, name), child)
    named = {"backbone": network.image_encoder, "neck": neck, "decode_head": network.mask_decoder}
    whole = nn.Module()
    for name, child in {**named, "refine_head": refiner}.items():
        if parts is None or name in parts:
            whole.add_module(name, child)
    return whole


def _plain(name: str, over: ModelSpec, own: Checkpoint) -> SamModel:
    """SAM alone, where there is no refiner."""
    try:
        return build_sam(over)
    except CheckpointMissingError as error:
        get_own = f"Put a file of your own training at {cached_path(own)}, or name it with --checkpoint."
        raise CheckpointMissingError(
            f"{name} has no weights on this machine. {get_own if own.page is None else how_to_get(own, name)} "
            f"For plain SAM's masks meanwhile: python -m samref models fetch {name}"
        ) from error


def _base_of_refiner(path: Path, over: ModelSpec) -> SamModel:
    try:
        return build_sam(over)
    except CheckpointMissingError as error:
        raise CheckpointMissingError(f"{path} holds a refiner without the SAM it belongs to. {error}") from error


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        weights = load_safetensors(path)
    else:
        with safe_globals([(_NotNeeded, told) for told in _TRAINING_LOG]):
            weights = load_torch(path)
    return {key: value.float() if value.is_floating_point() else value for key, value in weights.items()}


class _NotNeeded:
    """Takes the place of whatever mmengine writes beside the weights; swallows everything and does nothing."""

    def __new__(cls, *_: object) -> _NotNeeded:
        return object.__new__(cls)

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


_TRAINING_LOG = (
    "mmengine.logging.history_buffer.HistoryBuffer",
    "builtins.getattr",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.ndarray",
    "numpy.dtype",
)
"""Names in mmengine's log of losses, which torch refuses in a file of weights. None of them is ever called: each name
means :class:`_NotNeeded` while such a file is read. Any other name is refused as always."""
