"""``python -m samref latency``: seconds for whole images, a grid of clicks each (SAT latency)."""

from __future__ import annotations

from typing import Annotated

import typer

from samref.cli.evaluate import Checkpoint, Data, Device, Layout, Model, Precision, Split, StageOption


def latency(
    data: Data,
    model: Model = "tiny",
    images: Annotated[int, typer.Option(min=1, max=1000, help="Number of images, spread over the data.")] = 3,
    stage: Annotated[StageOption, typer.Option(help="Mask that is waited for.")] = StageOption.BOTH,
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
    from samref.evaluation.cost import GRID_SIDE, mean_timing, sat_latency, spread
    from samref.evaluation.provenance import describe_machine
    from samref.evaluation.run import build_measured

    predictor = build_measured(model, checkpoint, device, precision)
    chosen = [record.read_image() for record in spread(images_of(data, layout, split), images)]
    sat_latency(predictor, chosen[0], side=1)
    typer.echo(f"{model}, {len(chosen)} images, {GRID_SIDE} x {GRID_SIDE} clicks each, means in seconds")
    for one in stage.stages:
        mean = mean_timing([sat_latency(predictor, image, stage=one) for image in chosen])
        typer.echo(f"{one}: SAT {mean.total_s:.2f}, encode {mean.encode_s:.3f}, per click {mean.click_s:.4f}")
    machine = describe_machine(predictor)
    typer.echo("Machine: " + ", ".join(f"{key} {value}" for key, value in machine.items()) + ".")
