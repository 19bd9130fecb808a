"""The training loop, for every recipe: batches by number, gradients, one optimiser step, an averaged copy, a state.

Batch ``n`` and all that is random in learning from it depend on the recipe's seed and ``n`` alone, so a run that was
killed and started again ends in the same weights. Step ``s`` of ``P`` processes that accumulate over ``A`` batches
takes the batches ``s·A·P`` to ``(s+1)·A·P - 1``; process ``r`` every ``P``-th of them, beginning with the ``r``-th.
"""

from __future__ import annotations

import copy
import itertools
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from samref.errors import SamrefError, StorageError, TrainingError
from samref.training.dataset import find_images
from samref.training.objectives import Autocast
from samref.training.paper_recipes import PaperRecipe
from samref.training.processes import Processes
from samref.training.recipes import Recipe
from samref.training.run_state import cut_log, make_folder, read_state, write_state
from samref.training.scenes import SceneFeed

__all__ = ["Feed", "Trainee", "Trainer", "rate_factor"]


class Trainee(Protocol):
    """Something to train: the module whose weights change, and its parameters as the optimiser wants them."""

    trained: nn.Module

    def parameter_groups(self, recipe: Any) -> list[dict[str, Any]]: ...


class Feed(Protocol):
    """Where batches come from and how they are put before a trainee."""

    def batch(self, number: int) -> Any:
        """Batch ``number`` of the run; depends on the seed and the number alone."""
        ...

    def learn(
        self, objective: Any, batch: Any, step: int, device: torch.device, autocast: Autocast
    ) -> dict[str, float]:
        """Add the gradients of the batch's loss to the trainee's, and return numbers for the log."""
        ...


def rate_factor(step: int, recipe: Recipe | PaperRecipe) -> float:
    """Learning rate at ``step`` relative to the recipe's: linear warm-up, constant, linear fall to zero."""
    if isinstance(recipe, PaperRecipe):
        return recipe.rate_factor(step)
    rising = min(1.0, (step + 1) / max(1, recipe.warmup))
    falling = (recipe.steps - step) / max(1.0, recipe.cooldown * recipe.steps)
    return max(0.0, min(rising, falling))


class Trainer:
    """Trains ``objective.trained`` and keeps an averaged copy of it; resumable at any step.

    Args:
        objective: what is trained and how its loss is computed.
        recipe: every number of the run.
        data: a folder of data sets for an objective that learns from scenes, or any other feed.
        out: folder for ``state.pt`` (resume) and ``log.jsonl``.
        device: where to train; bf16 autocast is used on both CPU and GPU when ``bf16``.
        accumulate: batches whose gradients are averaged for one step.
        processes: who trains along; this process alone unless told.
        workers: processes that prepare batches.
    """

    def __init__(
        self,
        objective: Trainee,
        recipe: Recipe | PaperRecipe,
        data: Path | Feed,
        out: Path,
        device: torch.device,
        bf16: bool = True,
        *,
        accumulate: int = 1,
        processes: Processes | None = None,
        workers: int = 1,
    ) -> None:
        self.objective = objective
        self.recipe = recipe
        if isinstance(data, Path):
            assert isinstance(recipe, Recipe), "a stage of a paper brings a feed of its own"
            data = SceneFeed.of(find_images(data), recipe)
        self.feed: Feed = data
        self.out = out
        self.device = device
        self.bf16 = bf16
        self.accumulate = accumulate
        self.processes = processes or Processes()
        self.workers = workers
        self.trained = objective.trained
        self.optimizer = _build_optimizer(objective.parameter_groups(recipe), recipe)
        # Without averaging there is no copy: the averaged weights are the live ones.
        self.averaged = copy.deepcopy(self.trained).requires_grad_(False) if recipe.ema > 0 else self.trained
        self.base_rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        self.step = 0
        self.seconds = 0.0
        make_folder(out)
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
            StorageError: the state cannot be written; the last good state is kept.
        """
        started = time.monotonic()
        previous = self.seconds
        seen: dict[str, list[float]] = {}
        batches = self._batches()
        while self.step < self.recipe.steps:
            if self.processes.any(time.monotonic() - started > max_seconds):
                break
            for key, value in self._train_step(batches).items():
                seen.setdefault(key, []).append(value)
            self.step += 1
            self.seconds = previous + time.monotonic() - started
            if self.step % log_every == 0:
                line = self._log({key: round(float(np.mean(values)), 5) for key, values in seen.items()})
                if report is not None and self.processes.is_first:
                    report(line)
                seen = {}
            if self.step % save_every == 0:
                self.save()
        self.save()

    def _batches(self) -> Iterator[Any]:
        joint = self.accumulate * self.processes.count
        numbers = itertools.count(self.step * joint + self.processes.rank, self.processes.count)
        loader: DataLoader[Any] = DataLoader(
            _ByNumber(self.feed),
            batch_size=None,
            sampler=numbers,
            num_workers=self.workers,
            prefetch_factor=4 if self.workers else None,
        )
        return iter(loader)

    def _train_step(self, batches: Iterator[Any]) -> dict[str, float]:
        for group, rate in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = rate * rate_factor(self.step, self.recipe)
        self.optimizer.zero_grad(set_to_none=True)
        seen: dict[str, list[float]] = {}
        for _ in range(self.accumulate):
            batch = next(batches)
            if isinstance(batch, SamrefError):
                raise batch
            values = self.feed.learn(self.objective, batch, self.step, self.device, self._autocast)
            self._check_finite(values.values(), "loss")
            for key, value in values.items():
                seen.setdefault(key, []).append(value)
        parameters = list(self.trained.parameters())
        if self.accumulate > 1:
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter.grad /= self.accumulate
        self.processes.average_gradients(parameters)
        limit = self.recipe.clip if isinstance(self.recipe, PaperRecipe) else 1.0
        norm = nn.utils.clip_grad_norm_(parameters, math.inf if limit is None else limit)
        self._check_finite([float(norm)], "gradient")
        self.optimizer.step()
        if self.averaged is not self.trained:
            with torch.no_grad():
                decay = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
                for mean, live in zip(self.averaged.parameters(), self.trained.parameters(), strict=True):
                    mean.lerp_(live, 1 - decay)
        return {key: float(np.mean(values)) for key, values in seen.items()}

    def _check_finite(self, values: Any, what: str) -> None:
        if self.processes.any(not all(math.isfinite(value) for value in values)):
            raise TrainingError(
                f"The {what} is not finite at step {self.step}. The state of the last save is in {self.out}; "
                "lower the learning rate and run the same command again."
            )

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def _log(self, values: dict[str, float]) -> str:
        line = json.dumps({"step": self.step, "seconds": round(self.seconds, 1), **values})
        if self.processes.is_first:
            try:
                with (self.out / "log.jsonl").open("a") as file:
                    file.write(line + "\n")
            except OSError as error:
                raise StorageError(f"The log in {self.out} cannot be written: {error.strerror or error}.") from error
        return line

    @property
    def plan(self) -> dict[str, Any]:
        """The recipe as plain values."""
        return asdict(self.recipe)

    def save(self) -> None:
        """Write the resumable state; the old file stays until the new one is complete.

        Raises:
            StorageError: it cannot be written; the old one is as it was.
        """
        if self.processes.is_first:
            state = {
                "recipe": json.dumps(self.plan),
                "step": self.step,
                "seconds": self.seconds,
                "trained": self.trained.state_dict(),
                "averaged": self.averaged.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            }
            write_state(state, self.out / "state.pt")
        self.processes.wait()

    def _resume(self) -> None:
        state, recipe = read_state(self.out / "state.pt", self.device)
        if recipe["name"] != self.recipe.name:
            raise TrainingError(f"{self.out} holds a run of {recipe['name']!r}, not of {self.recipe.name!r}.")
        if isinstance(self.recipe, PaperRecipe) and recipe.get("model", self.recipe.model) != self.recipe.model:
            raise TrainingError(f"{self.out} holds a run over {recipe['model']}, not over {self.recipe.model}.")
        try:
            self.trained.load_state_dict(state["trained"])
            self.averaged.load_state_dict(state["averaged"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError) as error:
            raise TrainingError(f"{self.out} holds a run of {recipe['name']!r} over a model of other sizes.") from error
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        if self.processes.is_first:
            cut_log(self.out / "log.jsonl", self.step)


class _ByNumber(Dataset[Any]):
    """A feed as the loader's worker processes want it.

    What is wrong with the data comes back as a value: the loader would bury its sentence in a worker's traceback.
    """

    def __init__(self, feed: Feed) -> None:
        self.feed = feed

    def __getitem__(self, number: int) -> Any:
        try:
            return self.feed.batch(number)
        except SamrefError as error:
            return error


def _build_optimizer(groups: list[dict[str, Any]], recipe: Recipe | PaperRecipe) -> torch.optim.Optimizer:
    if isinstance(recipe, Recipe):
        return torch.optim.AdamW(groups, lr=recipe.rate, betas=(0.9, 0.99))
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, lr=recipe.rate, betas=recipe.betas, weight_decay=recipe.weight_decay)
