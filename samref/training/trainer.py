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
import os
import pickle
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import safetensors.torch
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from samref.errors import SamrefError, TrainingError
from samref.files import disk_errors, replacing, write_atomically
from samref.training.recipes import Recipe

Autocast: TypeAlias = Callable[[], AbstractContextManager[Any]]


class Trainee:
    """Something to train: the module whose weights change, and its parameters as the optimiser wants them."""

    trained: nn.Module

    def parameter_groups(self, recipe: Recipe) -> list[dict[str, Any]]:
        return recipe.parameter_groups(self.trained.parameters())


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


class Trainer:
    """Trains ``objective.trained`` and keeps an averaged copy of it; resumable at any step.

    ``out`` gets ``state.pt`` (resume) and ``log.jsonl``; the gradients of ``accumulate`` batches are averaged for one
    step; ``bf16`` autocast is used on CPU and GPU alike; ``workers`` are processes that prepare batches.
    """

    def __init__(
        self,
        objective: Trainee,
        recipe: Recipe,
        feed: Feed,
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
        self.feed = feed
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
        with disk_errors(f"The folder {out} cannot be made"):
            out.mkdir(parents=True, exist_ok=True)
        if (out / "state.pt").exists():
            self._resume()

    def run(
        self, max_seconds: float = math.inf, log_every: int = 20, save_every: int = 100, *, progress: bool = False
    ) -> None:
        """Train until the recipe's last step or for ``max_seconds``, one JSON line every ``log_every`` steps.

        ``progress`` draws a bar, where there is a terminal to draw it in.
        """
        started = time.monotonic()
        previous = self.seconds
        seen: dict[str, list[float]] = {}
        batches = self._batches()
        hidden = None if progress and self.processes.is_first else True
        with tqdm(total=self.recipe.steps, initial=self.step, unit="step", disable=hidden) as bar:
            while self.step < self.recipe.steps:
                if self.processes.any(time.monotonic() - started > max_seconds):
                    break
                for key, value in self._train_step(batches).items():
                    seen.setdefault(key, []).append(value)
                self.step += 1
                self.seconds = previous + time.monotonic() - started
                bar.update()
                if self.step % log_every == 0:
                    means = {key: round(float(np.mean(values)), 5) for key, values in seen.items()}
                    self._log(means)
                    bar.set_postfix(means)
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
            group["lr"] = rate * self.recipe.rate_factor(self.step)
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
        norm = nn.utils.clip_grad_norm_(parameters, math.inf if self.recipe.clip is None else self.recipe.clip)
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

    def _log(self, values: dict[str, float]) -> None:
        if not self.processes.is_first:
            return
        with disk_errors(f"The log in {self.out} cannot be written"), (self.out / "log.jsonl").open("a") as file:
            file.write(json.dumps({"step": self.step, "seconds": round(self.seconds, 1), **values}) + "\n")

    def save(self) -> None:
        """Write the resumable state; the old file stays until the new one is complete."""
        if self.processes.is_first:
            state = {
                "recipe": json.dumps(asdict(self.recipe)),
                "step": self.step,
                "seconds": self.seconds,
                "trained": self.trained.state_dict(),
                "averaged": self.averaged.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            }
            write_torch(state, self.out / "state.pt")
        self.processes.wait()

    def _resume(self) -> None:
        state, recipe = read_state(self.out / "state.pt", self.device)
        if recipe["name"] != self.recipe.name:
            raise TrainingError(f"{self.out} holds a run of {recipe['name']!r}, not of {self.recipe.name!r}.")
        if recipe.get("model", self.recipe.model) != self.recipe.model:
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


def _build_optimizer(groups: list[dict[str, Any]], recipe: Recipe) -> torch.optim.Optimizer:
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, lr=recipe.rate, betas=recipe.betas)


# ---- several processes


class Processes:
    """One process alone, or one of several started by ``accelerate launch``, each with its part of the joint batch.

    Not a wrapper around the model: objectives call parts of it, several times per step and with several backward
    passes. So the gradients are averaged once they are complete, which is what one process would have computed.
    """

    def __init__(self, accelerator: Any = None) -> None:
        self._accelerator = accelerator
        self.count: int = 1 if accelerator is None else accelerator.num_processes
        self.rank: int = 0 if accelerator is None else accelerator.process_index

    @classmethod
    def join(cls, *, cpu: bool) -> Processes:
        """The group that ``accelerate launch`` (or torchrun) started this process in; alone without it."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        try:
            from accelerate import Accelerator  # type: ignore[import-untyped]
        except ModuleNotFoundError as error:
            raise TrainingError("Several processes need the package accelerate: pip install 'samref[train]'") from error
        return cls(Accelerator(cpu=cpu))

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    @property
    def device(self) -> torch.device | None:
        """The device of this process, None when it is alone and may choose."""
        return None if self._accelerator is None else torch.device(self._accelerator.device)

    def wait(self) -> None:
        """Until all processes are here."""
        if self._accelerator is not None:
            self._accelerator.wait_for_everyone()

    def close(self) -> None:
        """Leave the group."""
        if self._accelerator is not None:
            self._accelerator.end_training()

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` holds in any process: all decide alike."""
        if self._accelerator is None:
            return flag
        told = self._accelerator.reduce(torch.tensor(float(flag), device=self.device), reduction="sum")
        return float(told) > 0

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its mean over the processes; a parameter that nobody used keeps none."""
        if self._accelerator is None:
            return
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        used = torch.tensor([float(parameter.grad is not None) for parameter in trained], device=self.device)
        shared = [p for p, users in zip(trained, self._accelerator.reduce(used, reduction="sum"), strict=True) if users]
        if not shared:
            return
        flat = torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in shared])
        flat = self._accelerator.reduce(flat, reduction="mean")
        start = 0
        for parameter in shared:
            parameter.grad = flat[start : start + parameter.numel()].view_as(parameter).clone()
            start += parameter.numel()


# ---- files: whole or as they were, and read without running any code in them


def write_torch(content: dict[str, Any], path: Path) -> None:
    """Write a PyTorch file, durable when this returns; the old file stays until the new one is complete."""
    with replacing(path) as part, part.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:  # torch's writer hides what the system said about the disk
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None


def read_state(path: Path, device: torch.device) -> tuple[dict[str, Any], dict[str, Any]]:
    """The state and, out of it, the recipe as plain values."""
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        recipe = json.loads(state["recipe"])
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError, TypeError) as error:
        raise TrainingError(f"{path} is not a state of a training run. Choose another folder.") from error
    return dict(state), dict(recipe)


def cut_log(path: Path, step: int) -> None:
    """Leave out what a log says about steps after ``step``: they are done again. A half-written last line goes, too."""
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if _step_of(line) <= step]
    if len(kept) < len(lines):
        write_atomically(path, "".join(line + "\n" for line in kept).encode())


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def export_weights(module: nn.Module, path: Path, about: dict[str, str], dtype: torch.dtype = torch.float16) -> None:
    """Write ``module``'s weights, in half precision unless told; the old file stays until the new one is complete.

    A name that ends in ``.pth`` gives a PyTorch file of the weights alone (without ``about``), any other safetensors.
    """
    weights = {key: value.detach().to("cpu", dtype).contiguous() for key, value in module.state_dict().items()}
    with disk_errors(f"The folder {path.parent} cannot be made"):
        path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".pth":
        write_torch(weights, path)
    else:
        write_atomically(path, safetensors.torch.save(weights, metadata=about))
