"""``python -m samref precompute``: image embeddings on disk, for recipes over a frozen SAM."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from samref.inference.device import choose_device
from samref.training.embeddings import EmbeddingStore, precompute
from samref.training.sam_stage import load_frozen_sam
from samref.training.stages import find_training_images


def precompute_embeddings(
    data: Annotated[Path, typer.Option(help="A data set, a folder of data sets, or a samref project's data folder.")],
    out: Annotated[Path, typer.Option(help="Folder of the embeddings; one place for all models.")],
    model: Annotated[str, typer.Option(help="sam-vit-b, sam-vit-l or sam-vit-h.")] = "sam-vit-b",
    checkpoint: Annotated[Path | None, typer.Option(help="The official file, when it is not in the cache.")] = None,
    layout: Annotated[str, typer.Option(help="How --data lies on the disk; auto recognises it.")] = "auto",
    split: Annotated[str | None, typer.Option(help="Part of the data set; its train part unless told.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Compute SAM's image embeddings once; training with --embeddings reads them. Run again to go on after a break."""
    found = find_training_images(data, layout, split)
    typer.echo(found.summary)
    sam = load_frozen_sam(model, checkpoint, choose_device(device))
    done = precompute(sam, found.records, EmbeddingStore.of(out, sam), report=typer.echo)
    typer.echo(f"{done.made} made, {done.there} were there; {done.size_bytes / 1e9:.2f} GB in all.")
