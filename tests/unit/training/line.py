"""A model of four weights and a feed of numbers: what the trainer does can be seen without any image."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from samref.training.recipes import PaperRecipe, SessionClicks
from samref.training.trainer import Autocast, Processes, Trainee, Trainer

LINE = PaperRecipe(
    name="line",
    part="segnext",
    source="",
    model="tiny-line",
    data="",
    steps=5,
    clicks=SessionClicks(),
    losses=("nfl",),
    batch=2,
    rate=0.05,
    warmup=0,
    schedule="drops",
)


class LineFit(Trainee):
    def __init__(self, width: int = 4) -> None:
        torch.manual_seed(1)
        self.trained = nn.Linear(width, 1)
        self.breaks = ""
        self.slow_s = 0.0


class LineFeed:
    def __init__(self, recipe: PaperRecipe) -> None:
        self.recipe = recipe

    def batch(self, number: int) -> Tensor:
        count = self.recipe.batch
        rows = [torch.Generator().manual_seed(n) for n in range(number * count, (number + 1) * count)]
        return torch.stack([torch.randn(5, generator=row) for row in rows])

    def learn(
        self, objective: LineFit, batch: Tensor, step: int, device: torch.device, autocast: Autocast
    ) -> dict[str, float]:
        time.sleep(objective.slow_s)
        loss = ((objective.trained(batch[:, :4]) - batch[:, 4:]) ** 2).mean()
        if objective.breaks == "loss":
            loss = loss * float("nan")
        torch.autograd.backward(loss)
        if objective.breaks == "gradient":
            next(objective.trained.parameters()).grad.fill_(float("inf"))  # type: ignore[union-attr]
        return {"loss": float(loss.detach())}


def main() -> None:
    out = Path(sys.argv[1])
    fit, processes = LineFit(), Processes.join(cpu=True)
    fit.slow_s = 0.5 if "--slowly" in sys.argv else 0.0
    trainer = Trainer(fit, LINE, LineFeed(LINE), out, torch.device("cpu"), bf16=False, processes=processes, workers=0)
    trainer.run(save_every=1)
    flat = torch.cat([p.detach().flatten() for p in fit.trained.parameters()])
    gradients = torch.cat([p.grad.flatten() for p in fit.trained.parameters() if p.grad is not None])
    torch.save({"weights": flat, "gradients": gradients}, f"{out}-{processes.rank}.pt")
    processes.close()


if __name__ == "__main__":
    main()
