"""Whose weights a file holds, for the sentence that refuses it: "... but those of sam-vit-l".

Asked only when weights did not fit, so it may build every network it knows, without memory of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch
from torch import Tensor, nn


def recognised(state_dict: Mapping[str, Tensor]) -> str | None:
    """The model whose weights these are, by name and shape of every single one; None when it is none we know."""
    shapes = {key: tuple(value.shape) for key, value in state_dict.items()}
    for name, key, build in _networks():
        if key not in shapes:
            continue
        with torch.device("meta"):
            own = build().state_dict()
        if own.keys() == shapes.keys() and all(tuple(value.shape) == shapes[key] for key, value in own.items()):
            return name
    return None


def owner_of_size(size_bytes: int) -> str | None:
    """The published file of exactly this size, with its model; None when there is none."""
    from samref.models.registry import list_models

    for spec in list_models():
        for checkpoint in spec.checkpoints:
            if checkpoint.size_bytes == size_bytes:
                return f"{checkpoint.file_name} of {spec.name}"
    return None


def _networks() -> Iterator[tuple[str, str, Callable[[], nn.Module]]]:
    """Name, a weight that only this family has (so that few networks are built), and how it is built."""
    # Imported here: these modules load their weights through samref.models.checkpoints, which asks us.
    from samref.models.registry import TINY_REFINER
    from samref.models.sam.model import SAM_CONFIGS
    from samref.models.sam.network import build_sam_network
    from samref.models.sam_ref.network import SamRef
    from samref.models.segnext.model import SEGNEXT_CONFIGS
    from samref.models.segnext.network import SegNextNet
    from samref.models.tiny.network import TinyNet

    yield "tiny (its base)", "neck.aspp.weight", TinyNet
    yield "tiny (its refiner)", "global_refiner.error_head.weight", lambda: SamRef(TINY_REFINER)
    for name, sizes in SEGNEXT_CONFIGS.items():
        yield name, "visual_prompts_encoder.proj.weight", partial(SegNextNet, sizes)
    for name, config in SAM_CONFIGS.items():
        yield name, "image_encoder.pos_embed", partial(build_sam_network, config)
    yield "focsam (its refiner)", "refine_head.embed_proj.weight", _focsam_refiner
    for name in ("vit-b", "vit-l", "vit-h"):
        sam = partial(build_sam_network, SAM_CONFIGS[f"sam-{name}"])
        yield f"focsam-{name}", "backbone.pos_embed", partial(_focsam, sam)


def _focsam_refiner() -> nn.Module:
    from samref.models.focsam.network import FocusRefiner

    return nn.ModuleDict({"refine_head": FocusRefiner()})


def _focsam(build_sam: Callable[[], nn.Module]) -> nn.Module:
    from samref.models.focsam.network import FocusRefiner
    from samref.models.focsam.weights import official_parts

    return official_parts(build_sam(), FocusRefiner())
