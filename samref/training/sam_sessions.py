"""A batch of objects in front of a frozen or trained SAM: their embeddings, clicks, masks, and one decode for all.

The decoder sees every object with its own number of clicks: objects are grouped by it, because a padding point would
be one more token that the others attend to, and the answer would depend on who else is in the batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samref.core.geometry import Frame, ImageSize
from samref.core.oracle import FocsamAnnotator
from samref.core.prompts import Click
from samref.models.focsam.model import SingleMask, decode_single_mask
from samref.models.interface import ImageInput
from samref.models.layers import resize
from samref.models.sam.model import SamModel
from samref.training.clicks import SessionPlan, plan_session
from samref.training.objectives import Autocast
from samref.training.paper_recipes import SessionClicks
from samref.training.samples import Draws, Sample, SampleBatch

__all__ = ["SamSessions", "decode_objects", "image_embeddings", "targets_of"]


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


def targets_of(batch: SampleBatch, device: torch.device) -> tuple[Tensor, Tensor]:
    """Ground truth and valid pixels, float (B, 1, S, S) each."""
    labels = torch.from_numpy(np.stack([sample.labels for sample in batch.samples]))[:, None].to(device)
    return (labels == 1).float(), (labels != 255).float()


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

    def answer(self, index: int, logits: Tensor) -> None:
        """(1, h, w) logits: what the object's next click is about, and SAM's next mask prompt."""
        self.objects[index].mask = logits.detach()
