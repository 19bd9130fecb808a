"""``python -m samref refiner``: record coarse masks, train the base-agnostic refiner on them, check it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from samref.errors import DataError, TrainingError
from samref.training.agnostic import AGNOSTIC_RECIPES, AgnosticObjective

if TYPE_CHECKING:
    from samref.models.tiny import TinyNet

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="A refiner that fits any base: record masks, train, check.")

RECORDED_SIDE = 384
"""Pixels of a recorded scene; its low-res frame has a quarter of them, as SAM's 256 of 1024."""


class BaseKind(StrEnum):
    """Bases whose masks can be recorded."""

    TINY = "tiny"
    GRABCUT = "grabcut"


@app.command()
def masks(
    base: Annotated[BaseKind, typer.Argument(help="Whose masks: the embedded base's, or GrabCut's.")],
    data: Annotated[Path, typer.Option(help="Folder of data sets: NAME/images and NAME/masks.")],
    out: Annotated[Path, typer.Option(help="Folder for the records, one file per object.")],
    weights: Annotated[
        Path | None, typer.Option(help="tiny: a safetensors file, or state.pt of an unfinished training.")
    ] = None,
    scenes: Annotated[int, typer.Option(min=1, help="Scenes, of two objects each.")] = 120,
    seed: Annotated[int, typer.Option(min=0, help="Of the scenes and of the simulated person.")] = 0,
) -> None:
    """Record what a base answers to a simulated person, to train a refiner on; goes on where it was stopped."""
    from samref.training.dataset import BatchShape, SceneBatches, find_pictures
    from samref.training.mask_records import record_grabcut, record_tiny, save_record

    net = None
    if base is BaseKind.TINY:
        if weights is None:
            raise DataError("Name the embedded base's weights with --weights FILE.")
        net = _tiny(weights)
    shape = BatchShape(pictures=1, side=RECORDED_SIDE, whole=0.3, zoomed=0.35, share=1.0)
    batches = SceneBatches(find_pictures(data), (shape,), 2, seed)
    for index in range(scenes):
        names = [out / f"{index:05d}-{number}.npz" for number in range(2)]
        if all(name.is_file() for name in names):
            continue
        rng = np.random.default_rng([seed, index, 2])
        batch = batches.batch(index)
        found = record_grabcut(batch, rng) if net is None else record_tiny(net, batch, rng)
        for name, record in zip(names, found, strict=True):
            save_record(record, name)
    typer.echo(f"{scenes} scenes of {base.value} are recorded in {out}.")


@app.command()
def train(
    data: Annotated[Path, typer.Option(help="Folder of data sets: NAME/images and NAME/masks.")],
    out: Annotated[Path, typer.Option(help="Folder for the resumable state and the log.")],
    tiny: Annotated[list[Path] | None, typer.Option(help="Records of the embedded base; may be repeated.")] = None,
    grabcut: Annotated[list[Path] | None, typer.Option(help="Records of GrabCut; may be repeated.")] = None,
    recipe: Annotated[str, typer.Option(help=f"One of: {', '.join(AGNOSTIC_RECIPES)}.")] = "agnostic-refiner",
    steps: Annotated[int | None, typer.Option(help="Other number of steps than the recipe's.")] = None,
    max_minutes: Annotated[float, typer.Option(help="Stop then; the same command goes on later.")] = math.inf,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    fp32: Annotated[bool, typer.Option(help="No mixed precision.")] = False,
    export: Annotated[Path | None, typer.Option(help="Write the averaged weights here (safetensors, fp16).")] = None,
) -> None:
    """Train the refiner on imitated and on recorded masks; a kind without records is held out."""
    import torch

    from samref.models.layers import channels_last
    from samref.models.sam_ref import SamRef
    from samref.models.zoo import AGNOSTIC_REFINER
    from samref.training.command import export_weights
    from samref.training.mask_records import load_records
    from samref.training.trainer import Trainer

    if recipe not in AGNOSTIC_RECIPES:
        raise TrainingError(f"There is no recipe {recipe[:60]!r}. There are: {', '.join(AGNOSTIC_RECIPES)}.")
    plan = AGNOSTIC_RECIPES[recipe] if steps is None else replace(AGNOSTIC_RECIPES[recipe], steps=steps)
    chosen = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    folders = {"tiny": tiny or [], "grabcut": grabcut or []}
    records = {name: [r for folder in given for r in load_records(folder)] for name, given in folders.items() if given}
    torch.manual_seed(plan.seed)
    objective = AgnosticObjective(channels_last(SamRef(AGNOSTIC_REFINER), chosen), records)
    trainer = Trainer(objective, plan, data, out, chosen, bf16=not fp32)
    trainer.run(max_seconds=60 * max_minutes, report=typer.echo)
    if export is not None:
        kinds = ", ".join(objective.kinds)
        about = {"recipe": plan.name, "step": str(trainer.step), "masks": kinds, "plan": json.dumps(trainer.plan)}
        export_weights(trainer.averaged, export, about)
        typer.echo(f"Wrote {export} ({export.stat().st_size / 1e6:.2f} MB) from step {trainer.step}; masks: {kinds}.")


def _tiny(weights: Path) -> TinyNet:
    """The embedded base from a weights file or from a training state."""
    import torch

    from samref.models.checkpoints import load_into, load_safetensors
    from samref.models.tiny import TinyNet

    net = TinyNet()
    if weights.suffix == ".pt":
        state = torch.load(weights, map_location="cpu", weights_only=True)
        load_into(net, state["averaged"], "tiny")
    else:
        load_into(net, load_safetensors(weights), "tiny")
    return net.eval().requires_grad_(False)
