"""Every number of a training run, frozen: the embedded model's recipes and those of the three papers.

Trust labels in ``source``, as in docs/papers.md: *code* read in the authors' code, *paper* in the paper, *digest* from
third parties' summaries, *ours* where the source leaves it open.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from torch import nn

Part = Literal["base", "refiner", "sam-decoder", "sam-ref", "segnext", "focsam"]
Framing = Literal["whole", "crop", "object"]
LossName = Literal["nfl", "dice", "click", "sam-ref"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe(ABC):
    """What every recipe says.

    Attributes:
        name: what the command calls it.
        part: what is trained; everything else is frozen. "base" (encoder, neck, coarse decoder) and "refiner" (GFR and
            LFR over the finished base) are the embedded model's.
        model: the network that is trained, or the frozen one below it.
        steps: optimiser steps.
        optimizer, rate, betas, weight_decay: of the optimiser.
        warmup: steps in which the rate rises.
        clip: greatest norm of the gradient, None for any.
        ema: decay of averaged weights; 0 keeps none, as the papers do.
    """

    name: str
    part: Part
    model: str
    steps: int
    rate: float
    optimizer: Literal["adam", "adamw"] = "adamw"
    betas: tuple[float, float]
    weight_decay: float
    warmup: int
    clip: float | None
    ema: float
    seed: int = 2026

    @abstractmethod
    def rate_factor(self, step: int) -> float:
        """Learning rate at ``step`` relative to :attr:`rate`."""

    def parameter_groups(self, parameters: Iterable[nn.Parameter]) -> list[dict[str, Any]]:
        """The groups that the optimiser wants: here one, for all alike."""
        return [{"params": list(parameters), "lr": self.rate, "weight_decay": self.weight_decay}]


# ---- the embedded model


@dataclass(frozen=True, slots=True)
class BatchShape:
    """How many images of which side, and how often that shape is drawn.

    ``whole`` and ``zoomed`` are the shares of scenes with the framing "whole" and "object"; the rest are crops.
    """

    images: int
    side: int
    whole: float
    share: float
    zoomed: float = 0.0

    def draw_framing(self, rng: np.random.Generator) -> Framing:
        drawn = rng.random()
        return "whole" if drawn < self.whole else "object" if drawn < self.whole + self.zoomed else "crop"


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneRecipe(Recipe):
    """How a part of the embedded model is trained: on scenes, each with several objects of one image.

    Attributes:
        shapes: images per batch, their side, the share of whole images, and how often that shape is drawn.
        objects: objects asked for per image; they share one encoding.
        cooldown: the learning rate is constant after ``warmup`` and falls to zero over this last share of the steps.
        frozen_stages: leading encoder stages that keep their pretrained weights (the stem is frozen with them).
        encoder_rate: learning rate of the encoder relative to ``rate``.
        favoured: data sets drawn this many times as often as their size alone would say.
        pasted: share of scenes into which an object of another image is pasted.
    """

    model: str = "tiny"
    shapes: tuple[BatchShape, ...]
    objects: int = 2
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.02
    warmup: int = 200
    cooldown: float = 0.3
    clip: float | None = 1.0
    ema: float = 0.998
    frozen_stages: int = 2
    encoder_rate: float = 0.1
    favoured: tuple[tuple[str, float], ...] = ()
    pasted: float = 0.0

    def rate_factor(self, step: int) -> float:
        """Linear warm-up, constant, linear fall to zero."""
        rising = min(1.0, (step + 1) / max(1, self.warmup))
        falling = (self.steps - step) / max(1.0, self.cooldown * self.steps)
        return max(0.0, min(rising, falling))

    def parameter_groups(self, parameters: Iterable[nn.Parameter]) -> list[dict[str, Any]]:
        """Two groups: weights, which decay, and norms and biases, which do not."""
        listed = list(parameters)
        return [
            {"params": [p for p in listed if p.ndim > 1], "lr": self.rate, "weight_decay": self.weight_decay},
            {"params": [p for p in listed if p.ndim <= 1], "lr": self.rate, "weight_decay": 0.0},
        ]


NATURAL = (
    ("coco_subset", 2.5),
    ("endangered_animals", 1.8),
    ("human_seg", 1.6),
    ("coolfish_via", 1.3),
    ("car_parts", 1.3),
    ("balloon", 1.5),
    ("household_via", 1.5),
)
"""Photographs of everyday objects, which most people label; drawn more often in the second round."""

EVERYDAY = (
    ("ecssd", 1.6),
    ("coco_persons", 1.6),
    ("street_coad", 1.4),
    ("feral_cats", 1.2),
    ("food_plates", 0.7),
    ("eg1800_portraits", 0.6),
    ("teachers", 0.6),
)
"""The same of the second part of the data; sets whose images resemble each other are drawn less often."""

WITH_DETAIL = (
    BatchShape(images=8, side=320, whole=0.35, zoomed=0.35, share=0.6),
    BatchShape(images=4, side=512, whole=0.7, zoomed=0.3, share=0.4),
)
"""Batches of which a third show one object as large as a detail window does; from the second round on."""

_SMOKE = SceneRecipe(
    name="smoke-base",
    part="base",
    shapes=(BatchShape(images=2, side=128, whole=0.5, share=1.0),),
    steps=6,
    rate=1e-3,
    warmup=2,
)

SCENE_RECIPES = {
    recipe.name: recipe
    for recipe in (
        SceneRecipe(
            name="tiny-base",
            part="base",
            shapes=(
                BatchShape(images=8, side=320, whole=0.45, share=0.55),
                BatchShape(images=4, side=512, whole=0.9, share=0.45),
            ),
            steps=1700,
            rate=1.5e-3,
            cooldown=0.35,
        ),
        SceneRecipe(
            name="tiny-base-2",
            part="base",
            shapes=WITH_DETAIL,
            steps=4500,
            rate=1e-3,
            cooldown=0.35,
            favoured=NATURAL,
            pasted=0.15,
            ema=0.999,
            seed=2027,
        ),
        SceneRecipe(
            name="tiny-base-3",
            part="base",
            shapes=WITH_DETAIL,
            steps=1000,
            rate=8e-4,
            warmup=60,
            cooldown=0.6,
            favoured=(*NATURAL, *EVERYDAY),
            pasted=0.3,
            seed=2030,
        ),
        SceneRecipe(
            name="tiny-refiner",
            part="refiner",
            shapes=(
                BatchShape(images=4, side=384, whole=0.4, share=0.5),
                BatchShape(images=3, side=512, whole=0.9, share=0.5),
            ),
            steps=480,
            rate=2e-3,
            warmup=40,
            cooldown=0.6,
            ema=0.99,
        ),
        _SMOKE,
        replace(_SMOKE, name="smoke-refiner", part="refiner"),
    )
}


# ---- the papers


@dataclass(frozen=True, slots=True)
class SessionClicks:
    """A session cut off at a random click, as FocSAM trains (papers.md 3.5).

    Attributes:
        most: most clicks before the one that is learnt from; their number n has P ∝ γⁿ.
        decay: γ by a part of the data set's name; ``other_decay`` for the rest.
        refine_decay: γ_r of the refine step r in 0..n, likewise; ``other_refine_decay`` for the rest.
        spread: later clicks fall anywhere deeper than the greatest depth over this.
    """

    most: int = 20
    decay: tuple[tuple[str, float], ...] = (("coco", 0.6), ("lvis", 0.9))
    other_decay: float = 0.6
    refine_decay: tuple[tuple[str, float], ...] = (("coco", 0.6), ("lvis", 0.35))
    other_refine_decay: float = 0.6
    spread: float = 1.7

    def decay_of(self, data_set: str) -> float:
        """γ of the number of clicks. A name that holds both ("coco_lvis") takes the first."""
        return _by_name(self.decay, data_set, self.other_decay)

    def refine_decay_of(self, data_set: str) -> float:
        """γ of the refine step."""
        return _by_name(self.refine_decay, data_set, self.other_refine_decay)


@dataclass(frozen=True, slots=True)
class CornerClicks:
    """RITM's sampled points and simulated corrections, as SegNext trains (papers.md 2.3 and 4.6).

    Attributes:
        points: most points of each sign.
        decay: γ of their numbers.
        merged: how often two objects are asked for as one.
        corrections: most corrections after the sampled points; their number is uniform.
        erosions, eroded: positives keep this many 3x3 erosions away from the edge, this often.
        outside: shares of negatives from the band around the object, from other objects, from anywhere outside.
        band: width of that band over the square root of the object's area.
        threshold: of the probability.
    """

    points: int = 24
    decay: float = 0.8
    merged: float = 0.15
    corrections: int = 3
    erosions: int = 3
    eroded: float = 0.9
    outside: tuple[float, float, float] = (0.5, 0.4, 0.1)
    band: float = 0.1
    threshold: float = 0.49


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperRecipe(Recipe):
    """One stage of one paper: trained on samples, one object of one image each.

    Attributes:
        source: where the numbers are from, and what of them is ours.
        data: what the authors trained on.
        batch: objects per process and step; ``processes`` is how many GPUs the authors had.
        warmup_from: factor with which the linear warm-up begins.
        schedule: "poly" falls linearly to zero, "drops" multiplies by ``drop`` at each of ``drops``.
        clicks: how a person is simulated.
        losses: summed with unit weights.
        augmentation: "none", "colour" (FocSAM) or "full" (SegNext). Stored embeddings allow "none" only.
        stuff: how often the regions of stuff that RITM's COCO+LVIS has are objects of a sample.
        overlap: where LVIS's objects cover each other (papers.md 3.5): an object is left out of a sample when more than
            this share of it, or of one painted before it, lies under the other; None: objects are as they are.
        minimum_area: least object area in model pixels, after augmentation.
        background: how often an image is kept whose objects have all left the frame in augmentation (else it is
            augmented anew). 0 also skips images that have no object large enough; above 0 those are empty samples.
        width: C of the SAM-REF refiner.
        dynamic_windows, dynamic_relu: of FocSAM's refiner; each off is a row of its ablation.
    """

    source: str
    data: str
    clicks: SessionClicks | CornerClicks
    losses: tuple[LossName, ...]
    batch: int = 4
    processes: int = 4
    rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.05
    warmup: int = 1500
    warmup_from: float = 1e-6
    schedule: Literal["poly", "drops"] = "poly"
    drops: tuple[int, ...] = ()
    drop: float = 0.1
    clip: float | None = None
    ema: float = 0.0
    augmentation: Literal["none", "colour", "full"] = "colour"
    stuff: float = 0.0
    overlap: float | None = None
    minimum_area: int = 1
    background: float = 0.0
    width: int = 64
    dynamic_windows: bool = True
    dynamic_relu: bool = True

    def rate_factor(self, step: int) -> float:
        """Linear warm-up, then the schedule."""
        if step < self.warmup:
            return self.warmup_from + (1 - self.warmup_from) * step / max(1, self.warmup - 1)
        if self.schedule == "drops":
            return float(self.drop ** sum(step >= at for at in self.drops))
        return max(0.0, 1 - (step - self.warmup) / max(1, self.steps - self.warmup))


def _by_name(table: tuple[tuple[str, float], ...], data_set: str, other: float) -> float:
    return next((value for part, value in table if part in data_set.lower()), other)


_SEGNEXT_EPOCH = 30_000 // 16
"""Steps of one epoch on COCO+LVIS: 30 000 samples, 16 a step over four GPUs."""
_SEGNEXT_FINE_EPOCH = 30_000 // 12
"""Steps of one epoch of the fine-tuning on HQSeg-44K: 12 a step over four GPUs."""

_SEGNEXT = PaperRecipe(
    name="segnext-sax2",
    part="segnext",
    source=(
        "papers.md 2.3, code (SegNext): Adam 5e-5, x0.1 at epochs 50 and 90 of 100 x 30 000 samples, batch 16 over 4 "
        "GPUs, NFL on the full-resolution output, from MAE ViT-B weights, nothing frozen."
    ),
    model="segnext-b-sax2",
    data="COCO+LVIS (stuff with probability 0.3)",
    steps=100 * _SEGNEXT_EPOCH,
    clicks=CornerClicks(),
    losses=("nfl",),
    optimizer="adam",
    rate=5e-5,
    weight_decay=0.0,
    warmup=0,
    schedule="drops",
    drops=(50 * _SEGNEXT_EPOCH, 90 * _SEGNEXT_EPOCH),
    augmentation="full",
    stuff=0.3,
    minimum_area=1000,
    background=0.05,
)

_FOCSAM_SOURCE = (
    "papers.md 3.5, code (FocSAM): AdamW 1e-4, weight decay 0.05, linear warm-up of 1500 steps from a factor of 1e-6, "
    "then linear to 0, 4 images on each of 4 GPUs; n and r clicks with P ∝ γⁿ and γ_rʳ."
)

_REFINER_SOURCE = (
    "papers.md 1.4. Digest: the refiner alone for 80 k steps, embeddings stored, losses NFL, Dice, BCE and weighted "
    "NFL. Ours: their assignment, optimiser, rate and click simulation (FocSAM's), window jitter (FocalClick's)."
)

_SAM_REF = PaperRecipe(
    name="sam-ref-64",
    part="sam-ref",
    source=_REFINER_SOURCE,
    model="sam-vit-b",
    data="COCO+LVIS, or HQSeg-44K",
    steps=80_000,
    clicks=SessionClicks(),
    losses=("sam-ref",),
    augmentation="none",
    width=64,
)

_FOCSAM_REFINER = PaperRecipe(
    name="focsam-refiner",
    part="focsam",
    source=_FOCSAM_SOURCE + " Stage 2: refiner alone, 160 k steps, NFL + click loss.",
    model="sam-vit-h",
    data="COCO panoptic and LVIS",
    steps=160_000,
    clicks=SessionClicks(),
    losses=("nfl", "click"),
    overlap=0.5,
)
_ABLATION = " Row of the ablation (papers.md 3.7): what takes the place of the part that is missing is ours."

PAPER_RECIPES = {
    recipe.name: recipe
    for recipe in (
        PaperRecipe(
            name="sam-ref-decoder",
            part="sam-decoder",
            source=(
                "papers.md 1.4. Digest: the mask decoder alone for 320 k steps of batch 4, embeddings stored. Ours "
                "(= FocSAM): batch 4 on each of 4 GPUs, optimiser, rate, clicks; NFL + Dice."
            ),
            model="sam-vit-b",
            data="COCO+LVIS, or HQSeg-44K",
            steps=320_000,
            clicks=SessionClicks(),
            losses=("nfl", "dice"),
            augmentation="none",
        ),
        _SAM_REF,
        replace(_SAM_REF, name="sam-ref-32", width=32),
        replace(_SEGNEXT, name="segnext-sax1", model="segnext-b-sax1"),
        _SEGNEXT,
        replace(_SEGNEXT, name="segnext-sum", model="segnext-b-sum"),
        replace(
            _SEGNEXT,
            name="segnext-sax2-hqseg",
            source=(
                "papers.md 2.3, code (SegNext): starts from the COCO+LVIS weights of epoch 90 (--start), same recipe, "
                "but batch 12 over 4 GPUs; the published weight is that of the first epoch."
            ),
            data="HQSeg-44K",
            steps=_SEGNEXT_FINE_EPOCH,
            batch=3,
            drops=(),
        ),
        PaperRecipe(
            name="focsam-decoder",
            part="sam-decoder",
            source=_FOCSAM_SOURCE + " Stage 1: decoder alone, 320 k steps, NFL.",
            model="sam-vit-h",
            data="COCO panoptic and LVIS",
            steps=320_000,
            clicks=SessionClicks(),
            losses=("nfl",),
            overlap=0.5,
        ),
        _FOCSAM_REFINER,
        replace(
            _FOCSAM_REFINER, name="focsam-refiner-dwin", dynamic_relu=False, source=_FOCSAM_REFINER.source + _ABLATION
        ),
        replace(
            _FOCSAM_REFINER,
            name="focsam-refiner-pdyrelu",
            dynamic_windows=False,
            source=_FOCSAM_REFINER.source + _ABLATION,
        ),
    )
}

RECIPES: dict[str, SceneRecipe | PaperRecipe] = {**SCENE_RECIPES, **PAPER_RECIPES}
"""By the name that ``samref train`` takes."""
