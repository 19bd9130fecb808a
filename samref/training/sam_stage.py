"""Fine-tuning SAM's mask decoder, all else frozen: stage 1 of SAM-REF and of FocSAM (papers.md 1.4 and 3.5)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from samref.models.layers import resize
from samref.models.sam.model import SamModel
from samref.training.losses import EPS_FOCSAM, click_loss, dice_loss, normalized_focal_loss
from samref.training.objectives import Autocast, iou
from samref.training.paper_recipes import PaperRecipe, SessionClicks
from samref.training.sam_sessions import SamSessions, decode_objects, image_embeddings, targets_of
from samref.training.samples import Draws, SampleBatch

__all__ = ["SamDecoderObjective", "mask_losses"]


def mask_losses(recipe: PaperRecipe, logits: Tensor, gt: Tensor, valid: Tensor) -> Tensor:
    """The mask losses that a recipe names (all but the click loss), one value per object (B,)."""
    total = torch.zeros(len(logits), device=logits.device)
    if "nfl" in recipe.losses:
        total = total + normalized_focal_loss(logits, gt, valid, eps=EPS_FOCSAM, eps_in_count=False)
    if "dice" in recipe.losses:
        total = total + dice_loss(logits, gt, valid)
    return total


class SamDecoderObjective:
    """Trains the mask decoder on the click after a simulated session; the session itself leaves no gradient.

    Token 0 gives the only mask, as FocSAM and SAM-REF use it; the IoU head and the other mask tokens keep what they
    have. SAM's decoder runs in float32 (bfloat16 cannot tell two neighbouring pixels of a 1024 frame apart), so mixed
    precision concerns the encoder only.
    """

    def __init__(self, sam: SamModel, recipe: PaperRecipe) -> None:
        assert isinstance(recipe.clicks, SessionClicks)
        self.sam = sam
        self.recipe = recipe
        self.session_clicks = recipe.clicks
        self.trained: nn.Module = sam.network.mask_decoder.requires_grad_(True)

    def parameter_groups(self, recipe: PaperRecipe) -> list[dict[str, Any]]:
        return [{"params": list(self.trained.parameters()), "lr": recipe.rate}]

    def backward(self, batch: SampleBatch, draws: Draws, device: torch.device, autocast: Autocast) -> dict[str, float]:
        embedding = image_embeddings(self.sam, batch, device, autocast)
        gt, valid = targets_of(batch, device)
        sessions = SamSessions(batch, self.session_clicks, draws)
        for step in range(sessions.steps):
            active = sessions.active(step)
            for index in active:
                sessions.click_on_answer(index)
            with torch.no_grad():
                answer = decode_objects(
                    self.sam,
                    embedding[active],
                    [sessions.clicks[i] for i in active],
                    [sessions.masks[i] for i in active],
                )
            for place, index in enumerate(active):
                sessions.answer(index, answer.logits[place])
        for index in range(len(sessions.objects)):
            sessions.click_on_answer(index)
        low_res_logits = decode_objects(self.sam, embedding, sessions.clicks, sessions.masks).logits
        logits = resize(low_res_logits, gt.shape[-2:])
        loss = mask_losses(self.recipe, logits, gt, valid).mean()
        if "click" in self.recipe.losses:
            loss = loss + click_loss(logits, *click_tensors(sessions, device))
        torch.autograd.backward(loss)
        return {"loss": float(loss.detach()), "iou": iou(logits.detach(), gt, valid)}


def click_tensors(sessions: SamSessions, device: torch.device) -> tuple[Tensor, Tensor]:
    """All clicks so far: (B, N, 2) pixels (x, y) and (B, N) labels with -1 as padding."""
    most = max(len(clicks) for clicks in sessions.clicks)
    points = torch.zeros(len(sessions.objects), most, 2)
    labels = torch.full((len(sessions.objects), most), -1)
    for row, clicks in enumerate(sessions.clicks):
        for place, click in enumerate(clicks):
            points[row, place, 0], points[row, place, 1] = click.x, click.y
            labels[row, place] = int(click.positive)
    return points.to(device), labels.to(device)
