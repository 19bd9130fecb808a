"""Scenes put before the objectives of the embedded model: tensors, half-resolution labels, a simulated annotator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from samref.training.annotator import BatchAnnotator
from samref.training.dataset import IGNORE, SceneBatch, SceneBatches, ScenePaths
from samref.training.objectives import Autocast, Objective
from samref.training.recipes import Recipe

__all__ = ["SceneFeed", "half_labels", "mostly"]


class SceneFeed:
    """Batches of scenes by number; what is random in learning from one depends on its number alone, too."""

    def __init__(self, scenes: SceneBatches, recipe: Recipe) -> None:
        self.scenes = scenes
        self.recipe = recipe

    @classmethod
    def of(cls, images: Mapping[str, list[ScenePaths]], recipe: Recipe) -> SceneFeed:
        """The scenes that ``recipe`` asks for."""
        return cls(
            SceneBatches(
                dict(images),
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
        half, numeric = half_labels(labels)
        annotator = BatchAnnotator(numeric, objective.map_radius, rng)
        annotator.begin()
        return objective.backward(
            rgb, labels.to(device), half.to(device), annotator, rng, autocast, self.recipe.objects
        )


def half_labels(labels: Tensor) -> tuple[Tensor, np.ndarray[Any, np.dtype[np.uint8]]]:
    """uint8 labels (N, 1, S, S) at half resolution.

    Returns:
        float (N, 2, S/2, S/2): ground truth and valid; and uint8 (N, S/2, S/2) with 0, 1, 255.
    """
    inside = mostly((labels == 1).float(), 2)
    ignored = F.avg_pool2d((labels == IGNORE).float(), 2) >= 0.5
    numeric = inside.to(torch.uint8).masked_fill(ignored, IGNORE)
    return torch.cat([inside.float(), (~ignored).float()], dim=1), numeric[:, 0].numpy()


def mostly(plane: Tensor, factor: int) -> Tensor:
    """Cells of ``factor`` x ``factor`` pixels more than half of which lie inside; every other one at just half.

    Were halves always inside, all masks learnt from such cells would be too wide: by a quarter of a pixel at factor 2.

    Args:
        plane: float (..., S, T), 1 inside and 0 outside.
        factor: pixels per cell and side.

    Returns:
        bool (..., S/factor, T/factor).
    """
    share = F.avg_pool2d(plane, factor)
    rows, columns = (torch.arange(length, device=plane.device) for length in share.shape[-2:])
    is_black = (rows[:, None] + columns) % 2 == 0  # of a chessboard
    return (share > 0.5) | ((share == 0.5) & is_black)
