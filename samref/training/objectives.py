"""What is trained and what its loss is: what all objectives share, and the embedded model's base."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from samref.errors import CheckpointInvalidError, CheckpointMissingError
from samref.models.layers import resize, to_unit
from samref.models.tiny.network import Embedding, TinyNet
from samref.training.clicks import BatchAnnotator
from samref.training.losses import dice_loss, normalized_focal_loss
from samref.training.recipes import Recipe, SceneRecipe

Autocast: TypeAlias = Callable[[], AbstractContextManager[Any]]


class Trainee:
    """Something to train: the module whose weights change, and its parameters as the optimiser wants them."""

    trained: nn.Module

    def parameter_groups(self, recipe: Recipe) -> list[dict[str, Any]]:
        return recipe.parameter_groups(self.trained.parameters())


class SceneObjective(Protocol):
    """What learns from scenes."""

    map_radius: float

    def backward(
        self,
        rgb: Tensor,
        labels: Tensor,
        half: Tensor,
        annotator: BatchAnnotator,
        rng: np.random.Generator,
        autocast: Autocast,
        objects: int,
    ) -> dict[str, float]:
        """Leave gradients in ``trained`` and return numbers for the log.

        Args:
            rgb: uint8 (B, 3, S, S).
            labels: uint8 (N, 1, S, S), N = B x objects, with 0, 1 and 255 (ignore).
            half: float (N, 2, S/2, S/2) ground truth and valid pixels.
            annotator: has given every object its first prompt.
            rng: for all that is random here.
            autocast: mixed precision.
            objects: K, objects per image.
        """
        ...


def click_schedule(rng: np.random.Generator) -> list[bool]:
    """Which prompts of an object are learnt from: mostly the first three, sometimes the last two of up to ten."""
    if rng.random() < 0.65:
        return [True, True, True]
    return [True] + [False] * int(rng.integers(1, 8)) + [True, True]


def to_input(rgb: Tensor) -> Tensor:
    """uint8 (B, 3, H, W) to the encoder's [-1, 1]."""
    return to_unit(rgb).contiguous(memory_format=torch.channels_last)


def iou(logits: Tensor, gt: Tensor, valid: Tensor) -> float:
    """Mean IoU of a batch at the threshold 0."""
    pred = (logits > 0) & (valid > 0)
    truth = (gt > 0) & (valid > 0)
    intersection = (pred & truth).flatten(1).sum(1).float()
    return float((intersection / (pred | truth).flatten(1).sum(1).clamp_min(1)).mean())


class BaseObjective(Trainee):
    """Stage 1: encoder (its later stages), neck and coarse decoder; NFL + Dice at every prompt."""

    def __init__(self, net: TinyNet) -> None:
        self.trained = self.net = net
        self.map_radius = net.config.click_radius / net.config.map_stride

    def parameter_groups(self, recipe: Recipe) -> list[dict[str, Any]]:
        assert isinstance(recipe, SceneRecipe)
        encoder = self.net.encoder
        for module in (encoder.stem, *encoder.stages[: recipe.frozen_stages]):
            module.requires_grad_(False)
        neck = self.net.neck
        pretrained = [
            p for m in (encoder, neck.aspp, neck.pooled, neck.merge) for p in m.parameters() if p.requires_grad
        ]
        known = {id(p) for p in encoder.parameters()} | {id(p) for p in pretrained}
        fresh = [p for p in self.net.parameters() if id(p) not in known]
        return [
            *recipe.parameter_groups(fresh),
            {"params": pretrained, "lr": recipe.rate * recipe.encoder_rate, "weight_decay": 0.0},
        ]

    def backward(
        self,
        rgb: Tensor,
        labels: Tensor,  # noqa: ARG002 - the base learns at half resolution
        half: Tensor,
        annotator: BatchAnnotator,
        rng: np.random.Generator,
        autocast: Autocast,
        objects: int,
    ) -> dict[str, float]:
        with autocast():
            embedding = self.net.embed(to_input(rgb))
        leaves = [level.detach().requires_grad_() for level in embedding]
        gt, valid = half[:, :1], half[:, 1:]
        count, _, height, width = gt.shape
        mask_input = torch.zeros(count, 1, height // 2, width // 2, device=rgb.device)
        has_mask = torch.zeros(count, 1, 1, 1, device=rgb.device)
        learnt = click_schedule(rng)
        values: dict[str, float] = {}
        for step, learn in enumerate(learnt):
            maps = torch.from_numpy(annotator.maps).to(rgb.device).float()
            with torch.set_grad_enabled(learn), autocast():
                shared = Embedding(*(leaf.repeat_interleave(objects, dim=0) for leaf in leaves))
                low_res_logits = self.net.decoder(shared, maps, mask_input, has_mask).float()
                logits = resize(low_res_logits, (height, width))
            if learn:
                loss = normalized_focal_loss(logits, gt, valid).mean() + dice_loss(logits, gt, valid).mean()
                torch.autograd.backward(loss / sum(learnt))
                name = f"{step + 1}" if step < 3 and len(learnt) == 3 else ("1" if step == 0 else "late")
                values[f"loss{name}"] = float(loss.detach())
                values[f"iou{name}"] = iou(logits.detach(), gt, valid)
            mask_input, has_mask = low_res_logits.detach(), torch.ones_like(has_mask)
            if step + 1 < len(learnt):
                annotator.correct(logits.detach().cpu())
        torch.autograd.backward(list(embedding), [leaf.grad for leaf in leaves])
        return values


def load_backbone(net: TinyNet, path: Path) -> None:
    """Initialise encoder and context block from a table of folded MobileNetV2 / DeepLab convolutions.

    Args:
        net: changed in place.
        path: npz with ``opNN.weight`` and ``opNN.bias`` in the order the layers run (out, in/groups, kh, kw).
    """
    if not path.is_file():
        raise CheckpointMissingError(f"There is no pretrained backbone at {path}.")
    encoder = net.encoder.convolutions()
    context = [net.neck.aspp, net.neck.pooled, net.neck.merge]
    try:
        with np.load(path, allow_pickle=False) as table, torch.no_grad():
            has_context = f"op{len(encoder) + 3:02d}.weight" in table
            for index, layer in enumerate(encoder + (context if has_context else [])):
                weight, bias = (table[f"op{index:02d}.{part}"].astype(np.float32) for part in ("weight", "bias"))
                if weight.shape != tuple(layer.weight.shape):
                    raise CheckpointInvalidError(
                        f"{path}: layer {index} is {weight.shape}, the encoder needs {tuple(layer.weight.shape)}."
                    )
                assert layer.bias is not None
                layer.weight.copy_(torch.from_numpy(weight))
                layer.bias.copy_(torch.from_numpy(bias))
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise CheckpointInvalidError(f"{path} is not a table of backbone layers.") from error
