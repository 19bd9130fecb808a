"""``python -m samref latency``: seconds for whole images, a grid of clicks each (SAT latency)."""

from __future__ import annotations

from typing import Annotated

import typer

from samref.cli.evaluate import Checkpoint, Data, Device, Layout, Model, Precision, Split, Stages


def latency(
    data: Data,
    model: Model = "tiny",
    images: Annotated[int, typer.Option(min=1, max=1000, help="Number of images, spread over the data.")] = 3,
    stage: Annotated[Stages, typer.Option(help="Mask that is waited for.")] = "both",
    layout: Layout = "auto",
    split: Split = None,
    checkpoint: Checkpoint = None,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Measure how long a model takes for whole images.

    Each image is encoded once; then 16 x 16 single clicks are answered one after the other, each with its mask at the
    image's own size ("SAT latency"). One image is done beforehand, so that nothing is measured while it warms up.
    """
    from samref.datasets import images_of
    from samref.evaluation.cost import GRID_SIDE, mean_latency, sat_latency, spread
    from samref.evaluation.report import describe_machine, in_words, text_table
    from samref.evaluation.run import build_measured

    predictor = build_measured(model, checkpoint, device, precision)
    chosen = [record.read_image() for record in spread(images_of(data, layout, split), images)]
    sat_latency(predictor, chosen[0], side=1)
    rows = [["stage", "SAT s", "encode s", "s/click"]]
    for one in ("coarse", "refined") if stage == "both" else (stage,):
        encode_s, clicks_s = mean_latency(predictor, chosen, one)
        rows.append([one, f"{encode_s + clicks_s:.2f}", f"{encode_s:.3f}", f"{clicks_s / GRID_SIDE**2:.4f}"])
    typer.echo(f"{model}, {len(chosen)} images, {GRID_SIDE} x {GRID_SIDE} clicks each, means in seconds\n")
    typer.echo(text_table(rows, has_sum=False))
    typer.echo(f"\nMachine: {in_words(describe_machine(predictor))}.")
