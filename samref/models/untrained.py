"""Architectures at their real size with random weights: what they cost can be measured without their weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

import torch

from samref.errors import UnknownModelError
from samref.models.checkpoints import load_into
from samref.models.focsam.model import FocsamModel
from samref.models.focsam.network import FocusRefiner
from samref.models.interface import InteractiveModel, ModelSpec
from samref.models.layers import randomize
from samref.models.sam.model import SAM_CONFIGS, SAM_SPECS, SamModel
from samref.models.sam.network import network_from, seeded_weights
from samref.models.sam_ref.model import SamRefModel
from samref.models.sam_ref.network import SamRef, SamRefConfig
from samref.models.sam_ref.weights import AGNOSTIC_REFINER
from samref.models.segnext.model import SEGNEXT_CONFIGS, SEGNEXT_SPECS, SegNextModel
from samref.models.segnext.network import SegNextNet
from samref.models.segnext.network import seeded_weights as dense_prompts_weights

SamName = Literal["sam-vit-b", "sam-vit-l", "sam-vit-h"]

_NOTE = "Random weights at the real size: for times and memory only, its masks mean nothing."


def build_untrained(name: str, seed: int = 0) -> InteractiveModel:
    """An architecture at its real size with seeded random weights, on the CPU in float32.

    It is for measuring time, parameters and memory. Its masks mean nothing, so no quality may be read from it; parts
    whose cost depends on the mask (FocSAM's window) are measured on whatever mask comes out.

    Args:
        name: one of :data:`UNTRAINED`.
        seed: of the weights.

    Raises:
        UnknownModelError: there is none of that name.
    """
    if name not in UNTRAINED:
        raise UnknownModelError(f"{name[:60]!r} cannot be built without weights. These can: {', '.join(UNTRAINED)}.")
    return UNTRAINED[name](seed)


def _sam(name: SamName, seed: int) -> SamModel:
    config = SAM_CONFIGS[name]
    return SamModel(_spec(SAM_SPECS[name], name), config, network_from(config, seeded_weights(config, seed), name))


def _sam_ref(name: str, base: SamName, config: SamRefConfig, seed: int) -> SamRefModel:
    refiner = SamRef(config)
    randomize(refiner, seed + 1)
    spec = replace(_spec(SAM_SPECS[base], name), stages=("coarse", "refined"))
    return SamRefModel(_sam(base, seed), refiner, spec)


def _segnext(name: str, seed: int) -> SegNextModel:
    config = SEGNEXT_CONFIGS[name]
    with torch.device("meta"):
        network = SegNextNet(config)
    load_into(network, dense_prompts_weights(config, seed), name, assign=True)
    return SegNextModel(_spec(SEGNEXT_SPECS[name], name), network)


def _focsam(name: str, base: SamName, seed: int) -> FocsamModel:
    refiner = FocusRefiner()
    randomize(refiner, seed + 1)
    return FocsamModel(_sam(base, seed), refiner, replace(_spec(SAM_SPECS[base], name), stages=("coarse", "refined")))


def _spec(like: ModelSpec, name: str) -> ModelSpec:
    return replace(like, name=name, title=f"{name}, random weights", checkpoints=(), note=_NOTE)


UNTRAINED: Mapping[str, Callable[[int], InteractiveModel]] = {
    "sam-vit-b": lambda seed: _sam("sam-vit-b", seed),
    "sam-vit-l": lambda seed: _sam("sam-vit-l", seed),
    "sam-vit-h": lambda seed: _sam("sam-vit-h", seed),
    "sam-ref-vit-b": lambda seed: _sam_ref("sam-ref-vit-b", "sam-vit-b", AGNOSTIC_REFINER, seed),
    "sam-ref-vit-b-c64": lambda seed: _sam_ref("sam-ref-vit-b-c64", "sam-vit-b", SamRefConfig(width=64), seed),
    "sam-ref-vit-b-c32": lambda seed: _sam_ref("sam-ref-vit-b-c32", "sam-vit-b", SamRefConfig(width=32), seed),
    "segnext-b-sax1": lambda seed: _segnext("segnext-b-sax1", seed),
    "segnext-b-sax2": lambda seed: _segnext("segnext-b-sax2", seed),
    "focsam-vit-b": lambda seed: _focsam("focsam-vit-b", "sam-vit-b", seed),
    "focsam-vit-l": lambda seed: _focsam("focsam-vit-l", "sam-vit-l", seed),
    "focsam-vit-h": lambda seed: _focsam("focsam-vit-h", "sam-vit-h", seed),
}
"""How each is built. ``sam-ref-vit-b`` has the refiner that fits any base; ``-c64`` and ``-c32`` are the paper's form,
with SAM's embedding injected, in both widths."""
