"""Several processes that train one model: each sees its own part of the joint batch, their gradients are averaged.

Not a wrapper around the model: objectives call parts of it, several times per step and with several backward passes.
So the gradients are averaged once they are complete, which is what one process would have computed on the joint batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from samref.errors import TrainingError


class Processes:
    """One process alone, or one of several started by ``accelerate launch``."""

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
