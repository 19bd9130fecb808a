"""``python -m samref train`` and ``precompute``: one recipe, resumable; SAM's image embeddings on disk before that."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from samref.inference.device import choose_device
from samref.training.embeddings import EmbeddingStore, precompute
from samref.training.recipes import RECIPES
from samref.training.sam_stage import load_frozen_sam
from samref.training.stages import StageFiles, find_training_images
from samref.training.stages import train as train_recipe

Data: TypeAlias = Annotated[
    Path, typer.Option(help="A data set, a folder of data sets, or a samref project's data folder.")
]
Layout: TypeAlias = Annotated[str, typer.Option(help="How --data lies on the disk; auto recognises it.")]
Split: TypeAlias = Annotated[str | None, typer.Option(help="Part of the data set; its train part unless told.")]
Device: TypeAlias = Annotated[str, typer.Option(help="auto, cpu or cuda.")]


def train(
    recipe: Annotated[str, typer.Argument(help=f"One of: {', '.join(RECIPES)}.")],
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for the resumable state and the log.")],
    layout: Layout = "auto",
    split: Split = None,
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
    device: Device = "auto",
    fp32: Annotated[bool, typer.Option(help="No mixed precision.")] = False,
    export: Annotated[Path | None, typer.Option(help="Write the trained weights here (.safetensors, or .pth).")] = None,
) -> None:
    """Train one recipe; run the same command again to go on. Several GPUs: accelerate launch -m samref train ..."""
    train_recipe(
        recipe,
        data,
        out,
        StageFiles(checkpoint, base, backbone, start),
        typer.echo,
        layout=layout,
        split=split,
        model=model,
        embeddings=embeddings,
        steps=steps,
        batch=batch,
        accumulate=accumulate,
        max_seconds=60 * max_minutes,
        save_every=save_every,
        workers=workers,
        device=device,
        bf16=not fp32,
        export=export,
    )


def precompute_embeddings(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder of the embeddings; one place for all models.")],
    model: Annotated[str, typer.Option(help="sam-vit-b, sam-vit-l or sam-vit-h.")] = "sam-vit-b",
    checkpoint: Annotated[Path | None, typer.Option(help="The official file, when it is not in the cache.")] = None,
    layout: Layout = "auto",
    split: Split = None,
    device: Device = "auto",
) -> None:
    """Compute SAM's image embeddings once; training with --embeddings reads them. Run again to go on after a break."""
    found = find_training_images(data, layout, split)
    typer.echo(found.summary)
    sam = load_frozen_sam(model, checkpoint, choose_device(device))
    done = precompute(sam, found.records, EmbeddingStore.of(out, sam), report=typer.echo)
    typer.echo(f"{done.made} made, {done.there} were there; {done.size_bytes / 1e9:.2f} GB in all.")
