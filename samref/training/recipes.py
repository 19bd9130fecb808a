"""Every number of a training run, frozen."""

from __future__ import annotations

from dataclasses import dataclass

from samref.training.dataset import BatchShape

__all__ = ["RECIPES", "Recipe"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a part of the embedded model is trained.

    Attributes:
        part: "base" (encoder, neck, coarse decoder) or "refiner" (GFR and LFR over the finished base).
        shapes: images per batch, their side, the share of whole images, and how often that shape is drawn.
        objects: objects asked for per image; they share one encoding.
        steps: optimiser steps; the learning rate is constant after ``warmup`` and falls to zero over the last
            ``cooldown`` share of them.
        frozen_stages: leading encoder stages that keep their pretrained weights (the stem is frozen with them).
        encoder_rate: learning rate of the encoder relative to ``rate``.
        favoured: data sets drawn this many times as often as their size alone would say.
        pasted: share of scenes into which an object of another image is pasted.
        ema: decay of the averaged weights that are shipped.
    """

    name: str
    part: str
    shapes: tuple[BatchShape, ...]
    objects: int
    steps: int
    rate: float
    warmup: int = 200
    cooldown: float = 0.3
    weight_decay: float = 0.02
    frozen_stages: int = 2
    encoder_rate: float = 0.1
    favoured: tuple[tuple[str, float], ...] = ()
    pasted: float = 0.0
    ema: float = 0.998
    seed: int = 2026


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

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="tiny-base",
            part="base",
            shapes=(
                BatchShape(images=8, side=320, whole=0.45, share=0.55),
                BatchShape(images=4, side=512, whole=0.9, share=0.45),
            ),
            objects=2,
            steps=1700,
            rate=1.5e-3,
            cooldown=0.35,
        ),
        Recipe(
            name="tiny-base-2",
            part="base",
            shapes=WITH_DETAIL,
            objects=2,
            steps=4500,
            rate=1e-3,
            cooldown=0.35,
            favoured=NATURAL,
            pasted=0.15,
            ema=0.999,
            seed=2027,
        ),
        Recipe(
            name="tiny-base-3",
            part="base",
            shapes=WITH_DETAIL,
            objects=2,
            steps=1000,
            rate=8e-4,
            warmup=60,
            cooldown=0.6,
            favoured=(*NATURAL, *EVERYDAY),
            pasted=0.3,
            ema=0.998,
            seed=2030,
        ),
        Recipe(
            name="tiny-refiner",
            part="refiner",
            shapes=(
                BatchShape(images=4, side=384, whole=0.4, share=0.5),
                BatchShape(images=3, side=512, whole=0.9, share=0.5),
            ),
            objects=2,
            steps=480,
            rate=2e-3,
            warmup=40,
            cooldown=0.6,
            ema=0.99,
        ),
        Recipe(
            name="smoke-base",
            part="base",
            shapes=(BatchShape(images=2, side=128, whole=0.5, share=1.0),),
            objects=2,
            steps=6,
            rate=1e-3,
            warmup=2,
        ),
        Recipe(
            name="smoke-refiner",
            part="refiner",
            shapes=(BatchShape(images=2, side=128, whole=0.5, share=1.0),),
            objects=2,
            steps=6,
            rate=1e-3,
            warmup=2,
        ),
    )
}
