"""Objectives over Segment Anything: its mask decoder alone, and FocSAM's refiner through the frozen decoder.

The decoder is stage 1 of SAM-REF and of FocSAM, the refiner FocSAM's stage 2 (papers.md 1.4 and 3.5). The decoder sees
every object with its own number of clicks: objects are grouped by it, because a padding point would be one more token
that the others attend to, and the answer would depend on who else is in the batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samref.core.geometry import Frame, ImageSize
from samref.core.oracle import FocsamAnnotator
from samref.core.prompts import Click
from samref.errors import TrainingError
from samref.models.focsam.model import SingleMask, decode_single_mask
from samref.models.focsam.network import FocusRefiner, active_cells, expanded_boxes, object_boxes
from samref.models.interface import ImageInput
from samref.models.layers import resize
from samref.models.sam import SPECS
from samref.models.sam.model import SamModel, build_sam
from samref.models.sam.network import SAM_CONFIGS
from samref.training.clicks import SessionPlan, plan_session
from samref.training.losses import EPS_FOCSAM, click_loss, dice_loss, iou, normalized_focal_loss
from samref.training.recipes import PaperRecipe, SessionClicks
from samref.training.samples import Draws, Sample, SampleBatch, targets_of
from samref.training.trainer import Autocast, Trainee

GROWTH = (1.0, 1.4)
"""Of the coarse mask's box in FocSAM's training, per axis, drawn anew for each use."""


def load_frozen_sam(name: str, checkpoint: Path | None, device: torch.device) -> SamModel:
    """A SAM of that name that answers with its single mask."""
    if name not in SAM_CONFIGS:
        raise TrainingError(f"{name[:60]!r} is not a Segment Anything model. There are: {', '.join(SAM_CONFIGS)}.")
    sam = build_sam(SPECS[name], "single", checkpoint=checkpoint)
    return sam.to(device, torch.float32)


def image_embeddings(sam: SamModel, batch: SampleBatch, device: torch.device, autocast: Autocast) -> Tensor:
    """(B, C, h, w) float32: the stored ones, or else the frozen encoder's."""
    stored = [sample.embedding for sample in batch.samples]
    if all(embedding is not None for embedding in stored):
        return torch.stack([e for e in stored if e is not None]).to(device, torch.float32)
    images = []
    for sample in batch.samples:
        size = ImageSize(sample.framed.shape[0], sample.framed.shape[1])
        frame = Frame.letterbox(size, sam.config.image_size)
        images.append(sam.preprocess(ImageInput(torch.from_numpy(sample.framed), frame)))
    with torch.no_grad(), autocast():
        embedding: Tensor = sam.network.image_encoder(torch.cat(images).to(sam.dtype))
    return embedding.float()


def decode_objects(
    sam: SamModel, image_embedding: Tensor, clicks: list[list[Click]], masks: list[Tensor | None]
) -> SingleMask:
    """SAM's single mask for each object, gradients flowing into whatever asks for them.

    Args:
        sam: its decoder and prompt encoder.
        image_embedding: (B, C, h, w), one per object.
        clicks: of each object, in the model frame.
        masks: (1, h, w) logits of each object's previous answer, None before the first.
    """
    groups: dict[tuple[int, bool], list[int]] = {}
    for index, (own, mask) in enumerate(zip(clicks, masks, strict=True)):
        groups.setdefault((len(own), mask is not None), []).append(index)
    logits: dict[int, Tensor] = {}
    tokens: dict[int, Tensor] = {}
    device = image_embedding.device
    for (_, has_mask), members in groups.items():
        points = torch.tensor([[(c.x, c.y) for c in clicks[i]] for i in members], dtype=torch.float32, device=device)
        labels = torch.tensor([[int(c.positive) for c in clicks[i]] for i in members], device=device)
        given = torch.stack([m for i in members if (m := masks[i]) is not None]) if has_mask else None
        sparse, dense = sam.network.prompt_encoder(points=(points, labels), boxes=None, masks=given)
        answer = decode_single_mask(sam.network.mask_decoder, image_embedding[members], sam.image_pe, sparse, dense)
        for place, index in enumerate(members):
            logits[index], tokens[index] = answer.logits[place], answer.token[place]
    order = range(len(clicks))
    return SingleMask(torch.stack([logits[i] for i in order]), torch.stack([tokens[i] for i in order]))


@dataclass(slots=True)
class _Object:
    """What one simulated person has said about an object and was answered."""

    sample: Sample
    plan: SessionPlan
    rng: np.random.Generator
    annotator: FocsamAnnotator
    clicks: list[Click] = field(default_factory=list)
    mask: Tensor | None = None


class SamSessions:
    """The objects of a batch, clicked on by simulated people (papers.md 3.5).

    How many clicks, and at which of them FocSAM refocuses, is drawn once for all objects of one data set in the batch.

    Attributes:
        objects: in the order of the batch.
        steps: most earlier clicks of any of them.
    """

    def __init__(self, batch: SampleBatch, recipe: SessionClicks, draws: Draws) -> None:
        names = sorted({sample.data_set for sample in batch.samples})
        plans = {name: plan_session(recipe, name, draws.of_data_set(batch.number, name)) for name in names}
        self.objects: list[_Object] = []
        for sample in batch.samples:
            rng = draws.of(sample)
            annotator = FocsamAnnotator(sample.labels == 1, rng, recipe.spread)
            self.objects.append(_Object(sample, plans[sample.data_set], rng, annotator))
        self.steps = max(one.plan.earlier for one in self.objects)

    @property
    def clicks(self) -> list[list[Click]]:
        return [one.clicks for one in self.objects]

    @property
    def masks(self) -> list[Tensor | None]:
        return [one.mask for one in self.objects]

    def active(self, step: int) -> list[int]:
        """Objects that have an earlier click at ``step`` (from 0)."""
        return [index for index, one in enumerate(self.objects) if one.plan.earlier > step]

    def click(self, index: int, pred: NDArray[np.bool_] | None) -> None:
        """One more click of an object on its mask so far (None: nothing was answered yet)."""
        one = self.objects[index]
        click = one.annotator.click(np.zeros(one.sample.labels.shape, dtype=np.bool_) if pred is None else pred)
        if click is not None:  # where nothing is wrong, the same clicks are answered again
            one.clicks.append(click)

    def click_on_answer(self, index: int) -> None:
        """One more click, on the answer that the object was last given."""
        mask, side = self.objects[index].mask, self.objects[index].sample.labels.shape
        self.click(index, None if mask is None else (resize(mask[None].float(), side)[0, 0] > 0).cpu().numpy())

    def decode(self, sam: SamModel, embedding: Tensor, chosen: list[int], *, keep: bool = False) -> SingleMask:
        """The answers about some of the objects; ``embedding`` is of all, and kept answers are what is clicked on."""
        answer = decode_objects(
            sam, embedding[chosen], [self.clicks[i] for i in chosen], [self.masks[i] for i in chosen]
        )
        if keep:
            for place, index in enumerate(chosen):
                self.answer(index, answer.logits[place])
        return answer

    def answer(self, index: int, logits: Tensor) -> None:
        """(1, h, w) logits: what the object's next click is about, and SAM's next mask prompt."""
        self.objects[index].mask = logits.detach()


def session_loss(recipe: PaperRecipe, sessions: SamSessions, logits: Tensor, gt: Tensor, valid: Tensor) -> Tensor:
    """The losses that a recipe names, of logits (B, 1, S, S) after the last clicks; one value."""
    loss = torch.zeros(len(logits), device=logits.device)
    if "nfl" in recipe.losses:
        loss = loss + normalized_focal_loss(logits, gt, valid, eps=EPS_FOCSAM, eps_in_count=False)
    if "dice" in recipe.losses:
        loss = loss + dice_loss(logits, gt, valid)
    total = loss.mean()
    return total + click_loss(logits, *click_tensors(sessions, logits.device)) if "click" in recipe.losses else total


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


class SamDecoderObjective(Trainee):
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
        self.trained = sam.network.mask_decoder.requires_grad_(True)

    def backward(self, batch: SampleBatch, draws: Draws, device: torch.device, autocast: Autocast) -> dict[str, float]:
        embedding = image_embeddings(self.sam, batch, device, autocast)
        gt, valid = targets_of(batch, device)
        sessions = SamSessions(batch, self.session_clicks, draws)
        for step in range(sessions.steps):
            active = sessions.active(step)
            for index in active:
                sessions.click_on_answer(index)
            with torch.no_grad():
                sessions.decode(self.sam, embedding, active, keep=True)
        for index in range(len(sessions.objects)):
            sessions.click_on_answer(index)
        low_res_logits = decode_objects(self.sam, embedding, sessions.clicks, sessions.masks).logits
        logits = resize(low_res_logits, gt.shape[-2:])
        loss = session_loss(self.recipe, sessions, logits, gt, valid)
        torch.autograd.backward(loss)
        return {"loss": float(loss.detach()), "iou": iou(logits.detach(), gt, valid)}


class FocusObjective(Trainee):
    """A session with one refocusing: ``r`` ordinary steps, the refiner, ``n - r`` steps from the new embedding.

    All of that is without gradient; then the step of the refocusing and the last one run again with it. The loss is on
    the mask after n + 1 clicks, and its gradient goes through the frozen decoder into the refiner.
    """

    def __init__(self, sam: SamModel, refiner: FocusRefiner, recipe: PaperRecipe) -> None:
        assert isinstance(recipe.clicks, SessionClicks)
        self.sam = sam
        self.trained = self.refiner = refiner
        self.recipe = recipe
        self.session_clicks = recipe.clicks

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
                    coarse = sessions.decode(self.sam, embedding, refocusing)
                    current[refocusing] = self._refocus(embedding[refocusing], coarse, growths[step], autocast)
                sessions.decode(self.sam, current, earlier, keep=True)
        self.refiner.train()
        with torch.no_grad():
            coarse = decode_objects(self.sam, embedding, coarse_clicks, coarse_masks)
        refocused = self._refocus(embedding, coarse, growths[-1], autocast)
        logits = resize(decode_objects(self.sam, refocused, sessions.clicks, sessions.masks).logits, gt.shape[-2:])
        loss = session_loss(self.recipe, sessions, logits, gt, valid)
        torch.autograd.backward(loss)
        before = resize(coarse.logits, gt.shape[-2:])
        return {
            "loss": float(loss.detach()),
            "iou_coarse": iou(before, gt, valid),
            "iou": iou(logits.detach(), gt, valid),
        }

    def _refocus(self, embedding: Tensor, coarse: SingleMask, growth: Any, autocast: Autocast) -> Tensor:
        side = self.sam.config.image_size
        frame = ImageSize(side, side)
        boxes = object_boxes(resize(coarse.logits.detach(), (side, side))[:, 0] > 0)
        grown = expanded_boxes(boxes, float(growth[0]), float(growth[1]), frame)
        cells = active_cells(grown, frame, ImageSize(*embedding.shape[-2:]))
        with autocast():
            refocused: Tensor = self.refiner(embedding, coarse.token.detach(), cells)
        return refocused.float()
