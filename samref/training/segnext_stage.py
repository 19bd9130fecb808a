"""SegNext's training: the whole network, on sampled points and up to three simulated corrections (papers.md 2.3)."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from samref.core.prompt_maps import draw_disk
from samref.errors import CheckpointInvalidError, CheckpointMissingError
from samref.models.checkpoints import load_into
from samref.models.segnext.network import SegNextNet
from samref.training.clicks import Points, correct_points, sample_points
from samref.training.losses import iou, normalized_focal_loss
from samref.training.recipes import CornerClicks, PaperRecipe
from samref.training.samples import Draws, SampleBatch, targets_of
from samref.training.trainer import Autocast, Trainee


class SegNextObjective(Trainee):
    """Trains everything. The image is encoded once, with gradient; the corrections before the last mask have none."""

    def __init__(self, net: SegNextNet, recipe: PaperRecipe) -> None:
        assert isinstance(recipe.clicks, CornerClicks)
        self.trained = self.net = net.requires_grad_(True)
        self.points = recipe.clicks

    def backward(self, batch: SampleBatch, draws: Draws, device: torch.device, autocast: Autocast) -> dict[str, float]:
        gt, valid = targets_of(batch, device)
        rngs = [draws.of(sample) for sample in batch.samples]
        points = [
            sample_points(list(sample.parts), sample.others, self.points, rng)
            for sample, rng in zip(batch.samples, rngs, strict=True)
        ]
        corrections = int(draws.of_step().integers(self.points.corrections + 1))
        self.net.train()
        with autocast():
            image_embedding = self.net.embed(self.net.prepare(self._images(batch, device)))
        previous = torch.zeros_like(gt)
        self.net.eval()
        for number in range(1, corrections + 1):
            with torch.no_grad(), autocast():
                logits = self._decode(image_embedding.detach(), previous, points)
            previous = logits.float().sigmoid()
            masks = previous[:, 0].cpu().numpy()
            points = [
                correct_points(own, mask, sample.labels, number, self.points.threshold, rng)
                for own, mask, sample, rng in zip(points, masks, batch.samples, rngs, strict=True)
            ]
        self.net.train()
        with autocast():
            logits = self._decode(image_embedding, previous, points)
        logits = logits.float()
        loss = normalized_focal_loss(logits, gt, valid).mean()
        torch.autograd.backward(loss)
        return {"loss": float(loss.detach()), "iou": iou(logits.detach(), gt, valid)}

    def _images(self, batch: SampleBatch, device: torch.device) -> Tensor:
        """RGB (B, 3, S, S) on 0..1, padded with black at the bottom and on the right before it is normalised."""
        side = self.net.config.image_size
        canvas = np.zeros((len(batch.samples), side, side, 3), dtype=np.uint8)
        for target, sample in zip(canvas, batch.samples, strict=True):
            target[: sample.framed.shape[0], : sample.framed.shape[1]] = sample.framed
        return torch.from_numpy(canvas).permute(0, 3, 1, 2).to(device).float() / 255

    def _decode(self, image_embedding: Tensor, previous: Tensor, points: list[Points]) -> Tensor:
        """Logits (B, 1, S, S) for the mask so far and the points so far."""
        side, radius = self.net.config.image_size, self.net.config.click_radius
        disks = np.zeros((len(points), 2, side, side), dtype=np.uint8)
        for target, own in zip(disks, points, strict=True):
            for click in own.clicks:
                draw_disk(target[0 if click.positive else 1], click.x, click.y, radius)
        maps = torch.cat([previous, torch.from_numpy(disks).to(previous.device).float()], dim=1)
        return self.net.to_model_frame(self.net.decode(image_embedding, maps))


def load_mae(net: SegNextNet, path: Path) -> None:
    """Start the encoder from a published MAE ViT; positions are interpolated to the grid, the decoder is left out."""
    if not path.is_file():
        raise CheckpointMissingError(f"There are no pretrained weights at {path}.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        weights = dict(content.get("model", content))
        positions = weights["pos_embed"]
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, AttributeError, KeyError, TypeError) as error:
        raise CheckpointInvalidError(f"{path} does not hold the weights of an MAE encoder.") from error
    own = net.backbone.state_dict()
    taken = {name: weights[name] for name in own if name in weights}
    taken["pos_embed"] = _fitted(positions, net.config.grid)
    for name in ("fc_norm.weight", "fc_norm.bias"):  # in the released files, but not used
        taken.setdefault(name, own[name])
    load_into(net.backbone, taken, f"an MAE encoder ({path.name})")


def _fitted(positions: Tensor, grid: int) -> Tensor:
    """(1, 1 + n², C) as (1, 1 + grid², C); the class token's row stays."""
    side = round((positions.shape[1] - 1) ** 0.5)
    cells = positions[:, 1:].transpose(1, 2).reshape(1, -1, side, side).float()
    if side != grid:
        cells = F.interpolate(cells, (grid, grid), mode="bicubic", align_corners=False)
    return torch.cat([positions[:, :1], cells.flatten(2).transpose(1, 2)], dim=1)
