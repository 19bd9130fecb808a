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

from samref.errors import CheckpointInvalidError, CheckpointMissingError, TrainingError
from samref.models.checkpoints import load_into, load_safetensors
from samref.models.layers import channels_last
from samref.models.sam_ref.network import SamRef
from samref.models.tiny.model import TINY_REFINER
from samref.models.tiny.network import TinyNet
from samref.training.embedding_store import EmbeddingStore
from samref.training.feed import find_training_images, scene_feed
from samref.training.objectives import BaseObjective, Objective
from samref.training.paper_recipes import PAPER_RECIPES, PaperRecipe
from samref.training.processes import Processes
from samref.training.recipes import RECIPES, Recipe
from samref.training.refine import RefinerObjective
from samref.training.run_state import export_weights
from samref.training.samples import SampleFeed
from samref.training.stages import Stage, StageFiles, build_stage
from samref.training.trainer import Feed, Trainee, Trainer

__all__ = ["export_weights", "load_backbone", "train"]

ALL_RECIPES: dict[str, Recipe | PaperRecipe] = {**RECIPES, **PAPER_RECIPES}


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


def train(
    recipe: Annotated[str, typer.Argument(help=f"One of: {', '.join(ALL_RECIPES)}.")],
    data: Annotated[Path, typer.Option(help="A data set, a folder of data sets, or a samref project's data folder.")],
    out: Annotated[Path, typer.Option(help="Folder for the resumable state and the log.")],
    layout: Annotated[str, typer.Option(help="How --data lies on the disk; auto recognises it.")] = "auto",
    split: Annotated[str | None, typer.Option(help="Part of the data set; its train part unless told.")] = None,
    backbone: Annotated[
        Path | None, typer.Option(help="Pretrained encoder: MobileNetV2 table (npz); for segnext MAE ViT-B (pth).")
    ] = None,
    base: Annotated[
        Path | None, typer.Option(help="Below a refiner: finished base of tiny, or stage 1's decoder (safetensors).")
    ] = None,
    start: Annotated[Path | None, typer.Option(help="Weights of an earlier round to start from.")] = None,
    model: Annotated[str | None, typer.Option(help="Paper recipes: over another network, e.g. sam-vit-l.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="SAM's official file, when it is not in the cache.")] = None,
    embeddings: Annotated[Path | None, typer.Option(help="Folder that samref precompute filled.")] = None,
    steps: Annotated[int | None, typer.Option(help="Other number of steps than the recipe's.")] = None,
    batch: Annotated[int | None, typer.Option(help="Paper recipes: objects per process and step.")] = None,
    accumulate: Annotated[int, typer.Option(min=1, help="Batches whose gradients make one step.")] = 1,
    max_minutes: Annotated[float, typer.Option(help="Stop then; the same command goes on later.")] = math.inf,
    save_every: Annotated[int, typer.Option(min=1, help="Steps between two saves.")] = 100,
    workers: Annotated[int, typer.Option(min=0, help="Processes that prepare batches.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    fp32: Annotated[bool, typer.Option(help="No mixed precision.")] = False,
    export: Annotated[Path | None, typer.Option(help="Write the trained weights here (.safetensors, or .pth).")] = None,
) -> None:
    """Train one recipe; run the same command again to go on. Several GPUs: accelerate launch -m samref train ..."""
    if recipe not in ALL_RECIPES:
        raise TrainingError(f"There is no recipe {recipe[:60]!r}. There are: {', '.join(ALL_RECIPES)}.")
    plan = ALL_RECIPES[recipe]
    if steps is not None:
        plan = replace(plan, steps=steps)
    processes = Processes.join(cpu=device == "cpu")
    chosen = processes.device or torch.device(
        ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    )
    objective: Trainee
    feed: Feed
    stage: Stage | None = None
    if isinstance(plan, Recipe):
        if model is not None or checkpoint is not None or embeddings is not None or batch is not None:
            raise TrainingError(f"{recipe} trains the embedded model: it takes no model, checkpoint or embeddings.")
        objective = _build_embedded(plan, backbone, base, start, chosen)
        feed, about_data = scene_feed(data, plan, layout, split)
    else:
        plan = replace(plan, batch=batch or plan.batch, model=model or plan.model)
        found = find_training_images(data, layout, split)
        about_data = found.summary
        files = StageFiles(checkpoint, base, backbone, start)
        stage = build_stage(plan, files, chosen)
        if export is not None and export.suffix == ".pth" and stage.about_export():
            raise TrainingError(f"{recipe} is exported as .safetensors: a .pth file cannot say what refiner it holds.")
        store = None
        if embeddings is not None:
            if stage.sam is None:
                raise TrainingError(f"{recipe} trains its encoder, so there are no embeddings to store.")
            store = EmbeddingStore.of(embeddings, stage.sam)
            store.require()
            plan = replace(plan, augmentation="none")
        objective = stage.objective
        feed = SampleFeed(found.records, plan, stage.side, store, with_pixels=stage.with_pixels)
    if processes.is_first:
        typer.echo(about_data)
    trainer = Trainer(
        objective,
        plan,
        feed,
        out,
        chosen,
        bf16=not fp32,
        accumulate=accumulate,
        processes=processes,
        workers=workers,
    )
    trainer.run(max_seconds=60 * max_minutes, save_every=save_every, report=typer.echo)
    if export is not None and processes.is_first:
        about = {"recipe": plan.name, "step": str(trainer.step), "plan": json.dumps(trainer.plan)}
        if stage is None:
            export_weights(trainer.averaged, export, about)
        else:
            export_weights(stage.to_export(), export, about | stage.about_export(), torch.float32)
        typer.echo(f"Wrote {export} ({export.stat().st_size / 1e6:.1f} MB) from step {trainer.step}.")
    processes.close()


def _build_embedded(
    plan: Recipe, backbone: Path | None, base: Path | None, start: Path | None, device: torch.device
) -> Objective:
    """The embedded model's base, or its refiner over a finished base."""
    torch.manual_seed(plan.seed)
    net = TinyNet()
    if plan.part == "base":
        if backbone is not None:
            load_backbone(net, backbone)
        if start is not None:
            load_into(net, load_safetensors(start), "tiny")
        return BaseObjective(channels_last(net, device))
    if base is None:
        raise TrainingError("A refiner is trained over a finished base: name it with --base FILE.safetensors.")
    load_into(net, load_safetensors(base), "tiny")
    return RefinerObjective(channels_last(net, device), channels_last(SamRef(TINY_REFINER), device))
