"""Scenes put before the objectives of the embedded model: tensors, half-resolution labels, a simulated annotator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from samref.training.annotator import BatchAnnotator
from samref.training.dataset import Picture, SceneBatch, SceneBatches
from samref.training.objectives import Autocast, Objective
from samref.training.recipes import Recipe

__all__ = ["SceneFeed", "half_labels"]


class SceneFeed:
    """Batches of scenes by number; what is random in learning from one depends on its number alone, too."""

    def __init__(self, scenes: SceneBatches, recipe: Recipe) -> None:
        self.scenes = scenes
        self.recipe = recipe

    @classmethod
    def of(cls, pictures: Mapping[str, list[Picture]], recipe: Recipe) -> SceneFeed:
        """The scenes that ``recipe`` asks for."""
        return cls(
            SceneBatches(
                dict(pictures),
                recipe.shapes,
                recipe.objects,
                seed=recipe.seed,
                favoured=dict(recipe.favoured),
                pasted=recipe.pasted,
            ),
            recipe,
        )

    def batch(self, number: int) -> SceneBatch:
        return self.scenes.batch(number)

    def learn(
        self,
        objective: Objective,
        batch: SceneBatch,
        step: int,  # noqa: ARG002 - nothing here is drawn for a whole step
        device: torch.device,
        autocast: Autocast,
    ) -> dict[str, float]:
        """Leave the gradients of one batch in ``objective.trained``."""
        rng = np.random.default_rng([self.recipe.seed, batch.index, 1])
        rgb = torch.from_numpy(batch.rgb).permute(0, 3, 1, 2).to(device)
        labels = torch.from_numpy(batch.labels).flatten(0, 1)[:, None]
        half, numeric = half_labels(labels, rng)
        annotator = BatchAnnotator(numeric, objective.map_radius, rng)
        annotator.begin()
        return objective.backward(
            rgb, labels.to(device), half.to(device), annotator, rng, autocast, self.recipe.objects
        )


def half_labels(labels: Tensor, rng: np.random.Generator) -> tuple[Tensor, np.ndarray[Any, np.dtype[np.uint8]]]:
    """uint8 labels (N, 1, S, S) at half resolution.

    A cell that an outline cuts is inside as often as its share of the object says: were halves always inside, every
    mask learnt from them would be a quarter of a pixel too wide.

    Returns:
        float (N, 2, S/2, S/2): ground truth and valid; and uint8 (N, S/2, S/2) with 0, 1, 255.
    """
    gt = F.avg_pool2d((labels == 1).float(), 2)
    ignored = F.avg_pool2d((labels == 255).float(), 2) >= 0.5
    inside = gt > torch.from_numpy(rng.random(gt.shape, dtype=np.float32)).to(gt.device)
    numeric = inside.to(torch.uint8).masked_fill(ignored, 255)
    return torch.cat([inside.float(), (~ignored).float()], dim=1), numeric[:, 0].numpy()
