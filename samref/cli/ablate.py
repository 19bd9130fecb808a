"""``python -m samref ablate``: what the parts of SAM-REF are worth, with the weights that a model has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from samref.cli.evaluate import Checkpoint, Data, Device, MaxClicks, Precision, Seed


def ablate(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for the reports; the same command goes on there.")],
    model: Annotated[str, typer.Option(help="Model with a SAM-REF refiner: tiny or sam-ref-*.")] = "tiny",
    use: Annotated[list[str] | None, typer.Option(help="Row of the table, may be repeated; all unless told.")] = None,
    max_clicks: MaxClicks = 20,
    limit_per_dataset: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Objects of each data set; all unless told.")
    ] = None,
    seed: Seed = 0,
    checkpoint: Checkpoint = None,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Measure a model without its local refiner, with other dynamic selectors, and with its final mask fed back."""
    from samref.evaluation.ablation import ablate as measure
    from samref.evaluation.noc import ClickProtocol
    from samref.files import disk_errors

    with disk_errors(f"The folder {out} cannot be made"):
        out.mkdir(parents=True, exist_ok=True)
    protocol = ClickProtocol(max_clicks, limit_per_dataset=limit_per_dataset, seed=seed)
    table = measure(
        data,
        model,
        protocol,
        out,
        use or (),
        checkpoint=checkpoint,
        device=device,
        precision=precision,
        told=lambda words: typer.echo(words, err=True),
    )
    typer.echo(table, nl=False)
