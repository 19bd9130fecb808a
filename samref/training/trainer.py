"""The training loop: one encoding per picture, several prompts per object, a loss at every one of them."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from samref.errors import TrainingError
from samref.training.annotator import BatchAnnotator
from samref.training.dataset import SceneBatch, SceneBatches, find_pictures
from samref.training.objectives import Objective
from samref.training.recipes import Recipe

__all__ = ["Trainer", "rate_factor"]


def rate_factor(step: int, recipe: Recipe) -> float:
    """Learning rate at ``step`` relative to the recipe's: linear warm-up, constant, linear fall to zero."""
    rising = min(1.0, (step + 1) / max(1, recipe.warmup))
    falling = (recipe.steps - step) / max(1.0, recipe.cooldown * recipe.steps)
    return max(0.0, min(rising, falling))


class Trainer:
    """Trains ``objective.trained`` and keeps an averaged copy of it; resumable at any step.

    Args:
        objective: what is trained and how its loss is computed.
        recipe: every number of the run.
        data: folder of data sets.
        out: folder for ``state.pt`` (resume), ``log.jsonl`` and ``weights.safetensors``'s source, the averaged copy.
        device: where to train; bf16 autocast is used on both CPU and GPU when ``bf16``.
    """

    def __init__(
        self, objective: Objective, recipe: Recipe, data: Path, out: Path, device: torch.device, bf16: bool = True
    ) -> None:
        self.objective = objective
        self.recipe = recipe
        self.out = out
        self.device = device
        self.bf16 = bf16
        self.pictures = find_pictures(data)
        self.trained = objective.trained
        self.averaged = copy.deepcopy(self.trained).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(objective.parameter_groups(recipe), lr=recipe.rate, betas=(0.9, 0.99))
        self.base_rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        self.step = 0
        self.seconds = 0.0
        out.mkdir(parents=True, exist_ok=True)
        if (out / "state.pt").exists():
            self._resume()

    def run(
        self,
        max_seconds: float = math.inf,
        log_every: int = 20,
        save_every: int = 100,
        report: Callable[[str], None] | None = None,
    ) -> None:
        """Train until the recipe's last step or ``max_seconds``; one JSON line per log step.

        Raises:
            TrainingError: the loss is not finite; the last good state is kept.
        """
        started = time.monotonic()
        previous = self.seconds
        seen: dict[str, list[float]] = {}
        for batch in self._batches():
            if self.step >= self.recipe.steps or time.monotonic() - started > max_seconds:
                break
            for key, value in self._train_step(batch).items():
                seen.setdefault(key, []).append(value)
            self.step += 1
            self.seconds = previous + time.monotonic() - started
            if self.step % log_every == 0:
                line = self._log({key: round(float(np.mean(values)), 5) for key, values in seen.items()})
                if report is not None:
                    report(line)
                seen = {}
            if self.step % save_every == 0:
                self.save()
        self.save()

    def _batches(self) -> Iterator[SceneBatch]:
        scenes = SceneBatches(
            self.pictures,
            self.recipe.shapes,
            self.recipe.objects,
            seed=self.recipe.seed,
            start=self.step,
            favoured=dict(self.recipe.favoured),
            pasted=self.recipe.pasted,
        )
        loader: DataLoader[SceneBatch] = DataLoader(scenes, batch_size=None, num_workers=1, prefetch_factor=4)
        return iter(loader)

    def _train_step(self, batch: SceneBatch) -> dict[str, float]:
        rng = np.random.default_rng([self.recipe.seed, batch.index, 1])
        for group, rate in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = rate * rate_factor(self.step, self.recipe)
        rgb = torch.from_numpy(batch.rgb).permute(0, 3, 1, 2).to(self.device)
        labels = torch.from_numpy(batch.labels).flatten(0, 1)[:, None]
        half, numeric = half_labels(labels)
        annotator = BatchAnnotator(numeric, self.objective.map_radius, rng)
        annotator.begin()
        self.optimizer.zero_grad(set_to_none=True)
        values = self.objective.backward(
            rgb, labels.to(self.device), half.to(self.device), annotator, rng, self._autocast, self.recipe.objects
        )
        if not all(math.isfinite(value) for value in values.values()):
            raise TrainingError(
                f"The loss is not finite at step {self.step}. The state of the last save is in {self.out}; "
                "lower the learning rate and run the same command again."
            )
        nn.utils.clip_grad_norm_(self.trained.parameters(), 1.0)
        self.optimizer.step()
        with torch.no_grad():
            decay = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
            for mean, live in zip(self.averaged.parameters(), self.trained.parameters(), strict=True):
                mean.lerp_(live, 1 - decay)
        return values

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def _log(self, values: dict[str, float]) -> str:
        line = {"step": self.step, "seconds": round(self.seconds, 1), **values}
        with (self.out / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        return json.dumps(line)

    @property
    def plan(self) -> dict[str, Any]:
        """The recipe as plain values."""
        return asdict(self.recipe)

    def save(self) -> None:
        """Write the resumable state; the old file stays until the new one is complete."""
        state = {
            "recipe": json.dumps(self.plan),
            "step": self.step,
            "seconds": self.seconds,
            "trained": self.trained.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        partial = self.out / "state.pt.part"
        torch.save(state, partial)
        partial.replace(self.out / "state.pt")

    def _resume(self) -> None:
        state = torch.load(self.out / "state.pt", map_location=self.device, weights_only=True)
        recipe = json.loads(state["recipe"])
        if recipe["name"] != self.recipe.name:
            raise TrainingError(f"{self.out} holds a run of {recipe['name']!r}, not of {self.recipe.name!r}.")
        self.trained.load_state_dict(state["trained"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = int(state["step"]), float(state["seconds"])


def half_labels(labels: Tensor) -> tuple[Tensor, np.ndarray[Any, np.dtype[np.uint8]]]:
    """uint8 labels (N, 1, S, S) at half resolution.

    Returns:
        float (N, 2, S/2, S/2): ground truth and valid; and uint8 (N, S/2, S/2) with 0, 1, 255.
    """
    gt = F.avg_pool2d((labels == 1).float(), 2)
    ignored = F.avg_pool2d((labels == 255).float(), 2) >= 0.5
    inside = gt > 0.49
    numeric = inside.to(torch.uint8).masked_fill(ignored, 255)
    return torch.cat([inside.float(), (~ignored).float()], dim=1), numeric[:, 0].numpy()
