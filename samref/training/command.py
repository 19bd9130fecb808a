"""``python -m samref train``: one recipe, resumable, its averaged weights written as safetensors."""

from __future__ import annotations

import json
import math
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from safetensors.torch import save_file
from torch import nn

from samref.errors import CheckpointInvalidError, CheckpointMissingError, StorageError, TrainingError
from samref.models.checkpoints import load_into, load_safetensors
from samref.models.layers import channels_last
from samref.models.sam_ref import SamRef
from samref.models.tiny import TinyNet
from samref.models.zoo import TINY_REFINER
from samref.training.objectives import BaseObjective, Objective
from samref.training.recipes import RECIPES
from samref.training.refine import RefinerObjective
from samref.training.trainer import Trainer

__all__ = ["export_weights", "load_backbone", "train"]


def load_backbone(net: TinyNet, path: Path) -> None:
    """Initialise encoder and context block from a table of folded MobileNetV2 / DeepLab convolutions.

    Args:
        net: changed in place.
        path: npz with ``opNN.weight`` and ``opNN.bias`` in the order the layers run (out, in/groups, kh, kw).

    Raises:
        CheckpointMissingError: no such file.
        CheckpointInvalidError: not such a table, or of other shapes.
    """
    if not path.is_file():
        raise CheckpointMissingError(f"There is no pretrained backbone at {path}.")
    encoder = net.encoder.convolutions()
    context = [net.neck.aspp, net.neck.pooled, net.neck.merge]
    try:
        with np.load(path, allow_pickle=False) as table, torch.no_grad():
            has_context = f"op{len(encoder) + 3:02d}.weight" in table
            for index, layer in enumerate(encoder + (context if has_context else [])):
                weight, bias = (table[f"op{index:02d}.{part}"].astype(np.float32) for part in ("weight", "bias"))
                if weight.shape != tuple(layer.weight.shape):
                    raise CheckpointInvalidError(
                        f"{path}: layer {index} is {weight.shape}, the encoder needs {tuple(layer.weight.shape)}."
                    )
                assert layer.bias is not None
                layer.weight.copy_(torch.from_numpy(weight))
                layer.bias.copy_(torch.from_numpy(bias))
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise CheckpointInvalidError(f"{path} is not a table of backbone layers.") from error


def export_weights(module: nn.Module, path: Path, about: dict[str, str]) -> None:
    """Write ``module``'s weights in half precision; the old file stays until the new one is complete.

    Raises:
        StorageError: the file cannot be written.
    """
    weights = {key: value.detach().to("cpu", torch.float16).contiguous() for key, value in module.state_dict().items()}
    partial = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(weights, partial, metadata=about)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StorageError(f"The weights cannot be written to {path}: {error.strerror or error}.") from error


def train(
    recipe: Annotated[str, typer.Argument(help=f"One of: {', '.join(RECIPES)}.")],
    data: Annotated[Path, typer.Option(help="Folder of data sets: NAME/images and NAME/masks.")],
    out: Annotated[Path, typer.Option(help="Folder for the resumable state and the log.")],
    backbone: Annotated[Path | None, typer.Option(help="Pretrained MobileNetV2 table (npz) to start from.")] = None,
    base: Annotated[Path | None, typer.Option(help="Finished base (safetensors) under the refiner.")] = None,
    start: Annotated[Path | None, typer.Option(help="Weights (safetensors) of an earlier round to start from.")] = None,
    steps: Annotated[int | None, typer.Option(help="Other number of steps than the recipe's.")] = None,
    max_minutes: Annotated[float, typer.Option(help="Stop then; the same command goes on later.")] = math.inf,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    fp32: Annotated[bool, typer.Option(help="No mixed precision.")] = False,
    export: Annotated[Path | None, typer.Option(help="Write the averaged weights here (safetensors, fp16).")] = None,
) -> None:
    """Train the embedded model's base or its SAM-REF refiner; run the same command again to go on."""
    if recipe not in RECIPES:
        raise TrainingError(f"There is no recipe {recipe[:60]!r}. There are: {', '.join(RECIPES)}.")
    plan = RECIPES[recipe]
    if steps is not None:
        plan = replace(plan, steps=steps)
    chosen = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    torch.manual_seed(plan.seed)
    net = TinyNet()
    objective: Objective
    if plan.part == "base":
        if backbone is not None:
            load_backbone(net, backbone)
        if start is not None:
            load_into(net, load_safetensors(start), "tiny")
        objective = BaseObjective(channels_last(net, chosen))
    else:
        if base is None:
            raise TrainingError("A refiner is trained over a finished base: name it with --base FILE.safetensors.")
        load_into(net, load_safetensors(base), "tiny")
        objective = RefinerObjective(channels_last(net, chosen), channels_last(SamRef(TINY_REFINER), chosen))
    trainer = Trainer(objective, plan, data, out, chosen, bf16=not fp32)
    trainer.run(max_seconds=60 * max_minutes, report=typer.echo)
    if export is not None:
        about = {"recipe": plan.name, "step": str(trainer.step), "plan": json.dumps(trainer.plan)}
        export_weights(trainer.averaged, export, about)
        typer.echo(f"Wrote {export} ({export.stat().st_size / 1e6:.1f} MB) from step {trainer.step}.")
