"""``python -m samref latency``: seconds for whole images, a grid of clicks each (SAT latency)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from samref.cli.evaluate import StageOption, build_measured

if TYPE_CHECKING:
    from samref.datasets import ImageRecord
    from samref.evaluation.noc import Stage

__all__ = ["latency", "spread"]


def latency(
    data: Annotated[Path, typer.Option(metavar="DIR", help="Folder of a data set, or a folder of such folders.")],
    model: Annotated[str, typer.Option(help="Name of the model, or grabcut for OpenCV's GrabCut.")] = "tiny",
    images: Annotated[int, typer.Option(min=1, max=1000, help="Measure so many, spread over the data.")] = 3,
    stage: Annotated[StageOption, typer.Option(help="Whose masks are waited for.")] = StageOption.BOTH,
    layout: Annotated[str, typer.Option(help="As for evaluate.")] = "auto",
    split: Annotated[str | None, typer.Option(help="As for evaluate.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Take the weights from this file.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
) -> None:
    """Measure how long a model takes for whole images.

    Each image is encoded once; then 16 x 16 single clicks are answered one after the other, each with its mask at the
    image's own size ("SAT latency"). One image is done beforehand, so that nothing is measured while it warms up.
    """
    from samref.datasets import images_of
    from samref.evaluation.latency import GRID_SIDE, mean_timing, sat_latency
    from samref.evaluation.provenance import describe_machine

    predictor = build_measured(model, checkpoint, device, precision)
    chosen = [record.read_image() for record in spread(images_of(data, layout, split), images)]
    both: tuple[Stage, ...] = ("coarse", "refined")
    sat_latency(predictor, chosen[0], side=1)
    typer.echo(f"{model}, {len(chosen)} images, {GRID_SIDE} x {GRID_SIDE} clicks each, means in seconds")
    for one in (name for name in both if stage.value in (name, StageOption.BOTH)):
        mean = mean_timing([sat_latency(predictor, image, stage=one) for image in chosen])
        typer.echo(f"{one}: SAT {mean.total_s:.2f}, encode {mean.encode_s:.3f}, per click {mean.click_s:.4f}")
    machine = describe_machine(predictor)
    typer.echo("Machine: " + ", ".join(f"{key} {value}" for key, value in machine.items()) + ".")


def spread(records: list[ImageRecord], count: int) -> list[ImageRecord]:
    """``count`` of them at equal distances, the first one among them; all where there are no more."""
    count = min(count, len(records))
    return [records[index * len(records) // count] for index in range(count)]
