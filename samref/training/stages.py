"""A paper's recipe put together: the network, what of it is trained, and what its samples need."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import torch
from torch import nn

from samref.errors import TrainingError
from samref.models.checkpoints import load_into, load_safetensors, load_torch
from samref.models.focsam.network import FocusRefiner, RefinerConfig
from samref.models.focsam.weights import about_focus, official_parts
from samref.models.sam import SPECS
from samref.models.sam.model import SamModel, build_sam
from samref.models.sam.network import SAM_CONFIGS
from samref.models.sam_ref.network import SamRef, SamRefConfig
from samref.models.sam_ref.weights import SMALL_REFINER, about_refiner, trained_parts
from samref.models.segnext.network import SEGNEXT_CONFIGS, SegNextNet
from samref.training.focsam_stage import FocusObjective
from samref.training.paper_recipes import PaperRecipe
from samref.training.sam_ref_stage import SamRefObjective
from samref.training.sam_stage import SamDecoderObjective
from samref.training.segnext_stage import SegNextObjective, load_mae

__all__ = ["Stage", "StageFiles", "build_stage", "load_frozen_sam"]

PaperObjective: TypeAlias = SamDecoderObjective | SamRefObjective | SegNextObjective | FocusObjective

SMALL_FOCUS = RefinerConfig(width=32, depth=3, heads=4, mlp_ratio=2.0, window=8)
"""Over ``sam-random``: to try a recipe in seconds."""


@dataclass(frozen=True, slots=True)
class StageFiles:
    """Weights that a stage begins with.

    Attributes:
        checkpoint: SAM's official file, when it is not in the cache.
        decoder: of a finished stage 1 (``sam-ref-decoder``, ``focsam-decoder``), in place of SAM's own decoder.
        backbone: MAE ViT-B, for SegNext.
        start: weights of the trained part to go on from.
    """

    checkpoint: Path | None = None
    decoder: Path | None = None
    backbone: Path | None = None
    start: Path | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """What the trainer and the feed need to know.

    Attributes:
        objective: what is trained.
        side: S of the model frame.
        sam: the SAM below, None for SegNext; its encoder is frozen and its embeddings may be stored.
        with_pixels: whether samples carry larger pixels.
    """

    objective: PaperObjective
    side: int
    sam: SamModel | None
    with_pixels: bool

    def to_export(self) -> nn.Module:
        """The trained part under the names that whoever loads it expects.

        FocSAM's refiner takes the decoder it was trained through with it, in the authors' names: such a file is what
        ``focsam-vit-*`` loads with ``--checkpoint``. SAM-REF's refiner does likewise, for ``sam-ref-vit-*``. All others
        go out as they are.
        """
        if isinstance(self.objective, FocusObjective):
            return official_parts(self.objective.sam.network, self.objective.refiner, ("refine_head", "decode_head"))
        if isinstance(self.objective, SamRefObjective):
            return trained_parts(self.objective.sam.network, self.objective.refiner)
        return self.objective.trained

    def about_export(self) -> dict[str, str]:
        """What whoever loads the export must know beside the weights; empty where the names say it all."""
        if isinstance(self.objective, SamRefObjective):
            return about_refiner(self.objective.refiner.config)
        return about_focus(self.objective.refiner.config) if isinstance(self.objective, FocusObjective) else {}


def build_stage(
    recipe: PaperRecipe, files: StageFiles, device: torch.device, *, model: str | None = None, width: int | None = None
) -> Stage:
    """The stage on ``device``, its new weights drawn from the recipe's seed.

    Args:
        recipe: which stage.
        files: what it begins with.
        device: where to train.
        model: another network than the recipe's: ``sam-vit-b|l|h``, ``segnext-b-sax1|sax2|sum``, or ``*-random`` to
            try it.
        width: another C of the SAM-REF refiner.

    Raises:
        TrainingError: the recipe cannot be trained over that model.
        CheckpointMissingError: weights are not on this machine.
        CheckpointInvalidError: weights are of another model.
    """
    torch.manual_seed(recipe.seed)
    name = model or recipe.model
    if recipe.part == "segnext":
        return _segnext(recipe, files, name, device)
    sam = load_frozen_sam(name, files.checkpoint, device)
    if files.decoder is not None:
        load_into(sam.network.mask_decoder, _load(files.decoder), f"the mask decoder of {name}")
    if recipe.part == "sam-decoder":
        decoder = SamDecoderObjective(sam, recipe)
        _start(decoder.trained, files, recipe.name)
        return Stage(decoder, sam.config.image_size, sam, False)
    if recipe.part == "focsam":
        sizes = SMALL_FOCUS if name.endswith("-random") else RefinerConfig(width=sam.config.prompt_dim)
        sizes = replace(sizes, dynamic_windows=recipe.dynamic_windows, dynamic_relu=recipe.dynamic_relu)
        focus = FocusRefiner(sizes).to(device)
        _start(focus, files, recipe.name)
        return Stage(FocusObjective(sam, focus, recipe), sam.config.image_size, sam, False)
    paper = SamRefConfig(width=width or recipe.width, embedding_channels=sam.config.prompt_dim)
    refiner = SamRef(SMALL_REFINER if name.endswith("-random") else paper).to(device)
    _start(refiner, files, recipe.name)
    return Stage(SamRefObjective(sam, refiner, recipe), sam.config.image_size, sam, True)


def load_frozen_sam(name: str, checkpoint: Path | None, device: torch.device) -> SamModel:
    """A SAM of that name that answers with its single mask.

    Raises:
        TrainingError: that is not a SAM.
        CheckpointMissingError: its weights are not on this machine.
        CheckpointInvalidError: the file is not the official one.
    """
    if name not in SAM_CONFIGS:
        raise TrainingError(f"{name[:60]!r} is not a Segment Anything model. There are: {', '.join(SAM_CONFIGS)}.")
    sam = build_sam(SPECS[name], "single", checkpoint=checkpoint)
    return sam.to(device, torch.float32)


def _segnext(recipe: PaperRecipe, files: StageFiles, name: str, device: torch.device) -> Stage:
    if name not in SEGNEXT_CONFIGS:
        raise TrainingError(f"{name[:60]!r} is not a SegNext model. There are: {', '.join(SEGNEXT_CONFIGS)}.")
    net = SegNextNet(SEGNEXT_CONFIGS[name])
    if files.backbone is not None:
        load_mae(net, files.backbone)
    _start(net, files, recipe.name)
    return Stage(SegNextObjective(net.to(device), recipe), net.config.image_size, None, False)


def _start(module: nn.Module, files: StageFiles, name: str) -> None:
    if files.start is None:
        return
    weights = _load(files.start)
    # An export holds more than the trained part (Stage.to_export); of that, the part alone is taken.
    prefix = {FocusRefiner: "refine_head.", SamRef: "refiner."}.get(type(module))
    if prefix is not None and any(key.startswith(prefix) for key in weights):
        weights = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    load_into(module, weights, f"the part that {name} trains")


def _load(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        return {key: value.float() for key, value in load_safetensors(path).items()}
    return load_torch(path)
