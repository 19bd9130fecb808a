"""The training stages of the three papers, every number frozen with the place it comes from.

Trust labels as in docs/papers.md: *code* read in the authors' code, *paper* in the paper, *digest* from third parties'
summaries, *ours* where the source leaves it open.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

__all__ = ["PAPER_RECIPES", "CornerClicks", "PaperRecipe", "SessionClicks"]

Part = Literal["sam-decoder", "sam-ref", "segnext", "focsam"]
LossName = Literal["nfl", "dice", "click", "sam-ref"]


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


@dataclass(frozen=True, slots=True)
class PaperRecipe:
    """One stage of one paper.

    Attributes:
        name: what the command calls it.
        part: what is trained; everything else is frozen.
        source: where the numbers are from, and what of them is ours.
        model: the network that is trained, or the frozen one below it.
        data: what the authors trained on.
        steps: optimiser steps.
        batch: objects per process and step; ``processes`` is how many GPUs the authors had.
        optimizer, rate, betas, weight_decay: of all parameters alike.
        warmup, warmup_from: steps of linear warm-up and the factor it begins with.
        schedule: "poly" falls linearly to zero, "drops" multiplies by ``drop`` at each of ``drops``.
        clip: greatest norm of the gradient, None for any.
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
        ema: decay of averaged weights; 0 keeps none, as the papers do.
    """

    name: str
    part: Part
    source: str
    model: str
    data: str
    steps: int
    clicks: SessionClicks | CornerClicks
    losses: tuple[LossName, ...]
    batch: int = 4
    processes: int = 4
    optimizer: Literal["adam", "adamw"] = "adamw"
    rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.05
    warmup: int = 1500
    warmup_from: float = 1e-6
    schedule: Literal["poly", "drops"] = "poly"
    drops: tuple[int, ...] = ()
    drop: float = 0.1
    clip: float | None = None
    augmentation: Literal["none", "colour", "full"] = "colour"
    stuff: float = 0.0
    overlap: float | None = None
    minimum_area: int = 1
    background: float = 0.0
    width: int = 64
    dynamic_windows: bool = True
    dynamic_relu: bool = True
    ema: float = 0.0
    seed: int = 2026

    def rate_factor(self, step: int) -> float:
        """Learning rate at ``step`` relative to :attr:`rate`."""
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
