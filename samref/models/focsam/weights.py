"""FocSAM's weights: the authors' file and its key names, a refiner alone, and what there is without either.

A whole file has ``backbone.``, ``neck.``, ``decode_head.`` and ``refine_head.`` (the authors call SAM's parts so). A
file may also hold ``refine_head.`` alone, or with ``decode_head.``; the rest is then the official Segment Anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
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
from samref.models.sam.model import SAM_CONFIGS, SAM_SPECS, SamModel, Variant, build_sam
from samref.models.sam.network import build_sam_network, network_from

OFFICIAL_INPUT = FocsamConfig(input_rule="focsam", channel_order="bgr")
"""How the authors' evaluation prepares images; taken with whole files, which were trained so."""

_PAGE = "https://github.com/YouHuang67/focsam (the link FocSAM-ViT-H; unzip it and rename iter_160000.pth so)"

FILES: Mapping[str, Checkpoint] = {
    "focsam-vit-b": Checkpoint("focsam_vit_b.pth"),
    "focsam-vit-l": Checkpoint("focsam_vit_l.pth"),
    "focsam-vit-h": Checkpoint("focsam_vit_h.pth", page=_PAGE),
}
"""Names that FocSAM's weights are looked for by in the cache folder. The authors have published those of ViT-H only."""

_SWITCHES = frozenset(("dynamic_windows", "dynamic_relu"))
_SWITCHES_KEY = "focsam_refiner"
"""Where a file of safetensors says which parts of the refiner it does without."""

SAM_PARTS = frozenset(("image_encoder", "prompt_encoder", "mask_decoder"))
_NECK_NAMES = {"pe_layer": "pos_embed_layer", "point_embeddings": "point_embeds"}


def focsam_specs() -> tuple[ModelSpec, ...]:
    """FocSAM over each official SAM; what a spec says depends on the weights that are on this machine now."""
    return tuple(_spec(name, has_refiner=cached_path(file).is_file()) for name, file in FILES.items())


def _spec(name: str, *, has_refiner: bool) -> ModelSpec:
    sam = SAM_SPECS[name.replace("focsam", "sam")]
    spec = replace(
        sam,
        name=name,
        title=f"FocSAM over {sam.title}",
        licence="MIT (FocSAM), Apache-2.0 (Segment Anything)",
        source="https://github.com/YouHuang67/focsam",
    )
    if has_refiner:
        # The page marks it as a file that a person brings. SAM's, if needed too, is asked for when the model is built.
        return replace(spec, stages=("coarse", "refined"), checkpoints=(replace(FILES[name], page=_PAGE),))
    where = f"FocSAM's own are at {spec.source}" if FILES[name].page else "none of this size have been published"
    return replace(spec, note=f"It has no refiner weights, so it gives plain SAM's mask; {where}.")


def build_focsam(name: str, *, checkpoint: Path | None = None, config: FocsamConfig | None = None) -> FocsamModel:
    """FocSAM with the weights there are, on the CPU in float32.

    Args:
        name: ``focsam-vit-b``, ``-l`` or ``-h``.
        checkpoint: a whole FocSAM file, a refiner (with or without its decoder), or an official SAM file; else what
            lies in the cache folder.
        config: instead of :data:`OFFICIAL_INPUT` for whole files and SAM's own input for all others.

    Raises:
        CheckpointMissingError: neither FocSAM's weights nor SAM's are on this machine; says how to get them.
        CheckpointInvalidError: the file is damaged or belongs to another model; names the keys.
    """
    variant: Variant = name[-1]  # type: ignore[assignment]
    path = checkpoint or cached_path(FILES[name])
    if checkpoint is None and not path.is_file():
        return FocsamModel(_plain(name, variant), None, _spec(name, has_refiner=False))
    weights = _read(path, name)
    parts = {key.partition(".")[0] for key in weights}
    sam_config = SAM_CONFIGS[f"sam-vit-{variant}"]
    if parts <= SAM_PARTS:
        base = SamModel(SAM_SPECS[f"sam-vit-{variant}"], sam_config, network_from(sam_config, weights, name))
        return FocsamModel(base, None, _spec(name, has_refiner=False))
    with torch.device("meta"):
        refiner, network = FocusRefiner(_config_of(path)), build_sam_network(sam_config)
    is_whole = not parts <= {"refine_head", "decode_head"}
    load_into(
        official_parts(network, refiner, None if is_whole else parts | {"refine_head"}), weights, name, assign=True
    )
    if is_whole:
        network = network_from(sam_config, network.state_dict(), name)
        base = SamModel(SAM_SPECS[f"sam-vit-{variant}"], sam_config, network)
    else:
        base = _base_of_refiner(path, variant)
        if "decode_head" in parts:
            base.network.mask_decoder = network.mask_decoder.requires_grad_(False)
    config = config or (OFFICIAL_INPUT if is_whole else FocsamConfig())
    return FocsamModel(base, refiner, _spec(name, has_refiner=True), config)


def about_focus(config: RefinerConfig) -> dict[str, str]:
    """What a file's metadata must say about the refiner in it; nothing where it is the published one."""
    told = {name: value for name, value in asdict(config).items() if name in _SWITCHES and not value}
    return {_SWITCHES_KEY: json.dumps(told)} if told else {}


def _config_of(path: Path) -> RefinerConfig:
    """The published refiner, or the part of it that a file of an ablation says it holds.

    Raises:
        CheckpointInvalidError: the file does not say it properly.
    """
    if path.suffix != ".safetensors":
        return RefinerConfig()
    with safe_open(path, framework="pt") as file:
        told = (file.metadata() or {}).get(_SWITCHES_KEY, "{}")
    try:
        switches = json.loads(told)
    except ValueError:
        switches = None
    if (
        not isinstance(switches, dict)
        or not set(switches) <= _SWITCHES
        or not set(map(type, switches.values())) <= {bool}
    ):
        raise CheckpointInvalidError(f"{path} does not say properly which FocSAM refiner it holds. Export it again.")
    return RefinerConfig(**switches)


def official_parts(network: Any, refiner: FocusRefiner, parts: Iterable[str] | None = None) -> nn.Module:
    """The same modules under FocSAM's names, for reading and writing its files.

    Args:
        network: the package's ``Sam``.
        refiner: the refiner.
        parts: which of the four to take; all unless told otherwise.
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


def _plain(name: str, variant: Variant) -> SamModel:
    """SAM alone, where there is no refiner."""
    try:
        return build_sam(variant)
    except CheckpointMissingError as error:
        file = FILES[name]
        own = f"Put a file of your own training at {cached_path(file)}, or name it with --checkpoint."
        raise CheckpointMissingError(
            f"{name} has no weights on this machine. {own if file.page is None else how_to_get(file, name)} "
            f"For plain SAM's masks meanwhile: python -m samref models fetch {name}"
        ) from error


def _base_of_refiner(path: Path, variant: Variant) -> SamModel:
    try:
        return build_sam(variant)
    except CheckpointMissingError as error:
        raise CheckpointMissingError(f"{path} holds a refiner without the SAM it belongs to. {error}") from error


def _read(path: Path, name: str) -> dict[str, Tensor]:
    located = locate(FILES[name], name, path)
    if located.suffix == ".safetensors":
        weights = load_safetensors(located)
    else:
        with safe_globals([(_NotNeeded, told) for told in _TRAINING_LOG]):
            weights = load_torch(located)
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
