"""FocSAM's stage 2: the refiner, trained through SAM's frozen decoder (papers.md 3.5)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from samref.core.geometry import ImageSize
from samref.models.focsam.model import SingleMask
from samref.models.focsam.network import FocusRefiner, active_cells, expanded_boxes, object_boxes
from samref.models.layers import resize
from samref.models.sam.model import SamModel
from samref.training.losses import click_loss
from samref.training.objectives import Autocast, iou
from samref.training.paper_recipes import PaperRecipe, SessionClicks
from samref.training.sam_sessions import SamSessions, decode_objects, image_embeddings, targets_of
from samref.training.sam_stage import click_tensors, mask_losses
from samref.training.samples import Draws, SampleBatch

__all__ = ["FocusObjective"]

GROWTH = (1.0, 1.4)
"""Of the coarse mask's box in training, per axis, drawn anew for each use."""


class FocusObjective:
    """A session with one refocusing: ``r`` ordinary steps, the refiner, ``n - r`` steps from the new embedding.

    All of that is without gradient; then the step of the refocusing and the last one run again with it. The loss is on
    the mask after n + 1 clicks, and its gradient goes through the frozen decoder into the refiner.
    """

    def __init__(self, sam: SamModel, refiner: FocusRefiner, recipe: PaperRecipe) -> None:
        assert isinstance(recipe.clicks, SessionClicks)
        self.sam = sam
        self.refiner = refiner
        self.recipe = recipe
        self.session_clicks = recipe.clicks
        self.trained: nn.Module = refiner

    def parameter_groups(self, recipe: PaperRecipe) -> list[dict[str, Any]]:
        return [{"params": list(self.refiner.parameters()), "lr": recipe.rate}]

    def backward(self, batch: SampleBatch, draws: Draws, device: torch.device, autocast: Autocast) -> dict[str, float]:
        embedding = image_embeddings(self.sam, batch, device, autocast)
        gt, valid = targets_of(batch, device)
        sessions = SamSessions(batch, self.session_clicks, draws)
        # One pair of growths for each step of the longest session, and one for the step that is learnt from.
        growths = draws.of_step().uniform(*GROWTH, size=(self.session_clicks.most + 2, 2))
        current = embedding.clone()
        coarse_clicks: list[Any] = [None] * len(sessions.objects)
        coarse_masks: list[Tensor | None] = [None] * len(sessions.objects)
        self.refiner.eval()
        for step in range(sessions.steps + 1):
            active = [i for i, one in enumerate(sessions.objects) if one.plan.earlier >= step]
            for index in active:
                sessions.click_on_answer(index)
            now = [i for i in active if sessions.objects[i].plan.refine == step]
            for index in now:
                coarse_clicks[index] = list(sessions.clicks[index])
                coarse_masks[index] = sessions.masks[index]
            earlier = sessions.active(step)
            if not earlier:
                continue
            with torch.no_grad():
                refocusing = [i for i in now if i in earlier]
                if refocusing:
                    coarse = self._decode(embedding, sessions.clicks, sessions.masks, refocusing)
                    current[refocusing] = self._refocus(embedding[refocusing], coarse, growths[step], autocast)
                answer = self._decode(current, sessions.clicks, sessions.masks, earlier)
            for place, index in enumerate(earlier):
                sessions.answer(index, answer.logits[place])
        self.refiner.train()
        with torch.no_grad():
            coarse = decode_objects(self.sam, embedding, coarse_clicks, coarse_masks)
        refocused = self._refocus(embedding, coarse, growths[-1], autocast)
        logits = resize(decode_objects(self.sam, refocused, sessions.clicks, sessions.masks).logits, gt.shape[-2:])
        loss = mask_losses(self.recipe, logits, gt, valid).mean()
        if "click" in self.recipe.losses:
            loss = loss + click_loss(logits, *click_tensors(sessions, device))
        torch.autograd.backward(loss)
        before = resize(coarse.logits, gt.shape[-2:])
        return {
            "loss": float(loss.detach()),
            "iou_coarse": iou(before, gt, valid),
            "iou": iou(logits.detach(), gt, valid),
        }

    def _decode(
        self, embedding: Tensor, clicks: list[Any], masks: list[Tensor | None], chosen: list[int]
    ) -> SingleMask:
        return decode_objects(self.sam, embedding[chosen], [clicks[i] for i in chosen], [masks[i] for i in chosen])

    def _refocus(self, embedding: Tensor, coarse: SingleMask, growth: Any, autocast: Autocast) -> Tensor:
        side = self.sam.config.image_size
        frame = ImageSize(side, side)
        boxes = object_boxes(resize(coarse.logits.detach(), (side, side))[:, 0] > 0)
        grown = expanded_boxes(boxes, float(growth[0]), float(growth[1]), frame)
        cells = active_cells(grown, frame, ImageSize(*embedding.shape[-2:]))
        with autocast():
            refocused: Tensor = self.refiner(embedding, coarse.token.detach(), cells)
        return refocused.float()
